"""Does the instrument find what is wrong, and nothing else?  Errors are planted; the checks must find them.

`recorded/` is a clean run as it was recorded, without its time series: `bench run --scheme db --users 12
--rate 5 --duration 10s --warmup 3s --reads-per-mark 1.5 --history 3/4`."""
