"""Does the instrument find what is wrong, and nothing else?  Known errors are planted, and the checks must
find them: in an honest run, by a proxy between load and server, and in the record of one, row by row.

`recorded/` is a clean run of `redis --guard lease` as it was recorded, without its time series; `make
record-clean` makes it anew (record.py)."""
