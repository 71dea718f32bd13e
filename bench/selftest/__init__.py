"""Does the instrument find what is wrong, and nothing else?  Known errors are planted, and the checks must
find them: in an honest run, by a proxy between load and server, and in the record of one, row by row.

`recorded/` is a clean run as it was recorded, without its time series: `bench run --scheme db --users 12
--rate 5 --duration 10s --warmup 3s --reads-per-mark 1.5 --history 3/4`."""
