"""Does the instrument find what is wrong?  Known errors are planted into an honest run, by a proxy between
the load and the server, and what the checks find is held against what was planted."""
