"""Two sides on one machine at once: their servers run side by side on the same services, everybody stays
connected, and the load goes to one of them at a time, A B B A.

`sides` finds out where each server comes from, `trees` makes a checkout and an environment of a ref,
`share` gives each side its part of one stack, `conduct` gives them their turns."""
