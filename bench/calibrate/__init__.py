"""What this machine can carry: the generator against an echo, the generator with the control behind it, and
each store alone.  `bench calibrate` measures it (`measure.py`), `stored.py` keeps it, and every run is held
against it.

A ceiling is operations per second of CPU, times the cores that the component may use: what it would carry if
CPU were what binds and nobody else used any.  Counted so, other work on the machine hardly moves it."""
