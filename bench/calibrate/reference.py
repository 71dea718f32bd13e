"""How fast a core of this machine is just now: a loop of the harness's own, by its own CPU time.

On a shared host a second of CPU does not always buy the same: the frequency moves, and somebody else may have
the core's other thread.  A calibration is kept with what this loop did in each of its rounds, to be told
beside the ceilings."""

from __future__ import annotations

import random
import time
from typing import Final

WALL_S: Final = 0.5
ENTRIES: Final = 2_000
"""In a core's own caches: with 50,000, the memory that all share, the same loop took 5.3 to 8.5 million steps
within seconds; so it took 15 to 18."""
AT_ONCE: Final = 1_000


def steps_per_cpu_s(wall_s: float = WALL_S) -> float:
    """Lookups of a dictionary in no order, and a sum, for a second of this thread's CPU."""
    held = {i: i for i in range(ENTRIES)}
    keys = random.Random(1).sample(range(ENTRIES), ENTRIES)
    end, began, done, total = time.monotonic() + wall_s, time.thread_time(), 0, 0
    while time.monotonic() < end:
        first = done % ENTRIES
        for key in keys[first : first + AT_ONCE]:
            total += held[key]
        done += AT_ONCE
    return done / (time.thread_time() - began)
