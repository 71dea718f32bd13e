"""How fast the cores are while something is calibrated.  On a machine that others use, the same instructions
take more CPU time: a neighbour has the other half of the core, its caches, or its clock.

A process of its own does the same small piece of work ten times a second, as far in front of others as what is
calibrated, and notes the CPU time that it took.  A ceiling is told for the fastest pace that was seen."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench import cores

EVERY_S: Final = 0.1
ROUNDS: Final = 20_000
FASTEST_OF: Final = 20
"""The pace that one in so many is faster than."""


class Pace:
    """A context manager.  `folder` takes what the process notes."""

    def __init__(self, folder: Path) -> None:
        self._notes = folder / "pace"

    def __enter__(self) -> Pace:
        self._process = subprocess.Popen([sys.executable, "-m", "bench.calibrate.pace", str(self._notes)])
        cores.prefer([self._process.pid])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def slower(self, start_s: float, end_s: float) -> float:
        """How many times the CPU time of the fastest pace work took between two moments of CLOCK_MONOTONIC;
        1 where nothing was noted then."""
        notes = [tuple(map(float, line.split())) for line in self._notes.read_text().splitlines()]
        return slower(notes, start_s, end_s)


def slower(notes: list[tuple[float, ...]], start_s: float, end_s: float) -> float:
    """`notes`: (when, CPU time)."""
    inside = [took for at, took in notes if start_s <= at <= end_s]
    if not inside:
        return 1.0
    fastest = sorted(took for _, took in notes)[len(notes) // FASTEST_OF]
    return max(1.0, statistics.median(inside) / fastest)


def work() -> int:
    """Arithmetic, and memory enough that a cold cache shows."""
    seen: dict[int, int] = {}
    for i in range(ROUNDS):
        seen[i * 7919 % 4093] = i
    return len(seen)


def main(notes: Path) -> None:
    with notes.open("w", buffering=1) as out:
        while True:
            began = time.thread_time_ns()
            work()
            out.write(f"{time.monotonic():.3f} {time.thread_time_ns() - began}\n")
            time.sleep(EVERY_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
