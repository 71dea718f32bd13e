"""When a load process stood still: gevent's loop, the garbage collector, and steps of the wall clock.

Kept between two reports; the runner has them then, also of a process that is killed later."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

from bench.clocks import Clocks
from bench.load.pacing import now_ns
from bench.record import Stall
from schemes.run_queue import RunQueue

TICK_S: Final = 0.02
GAP_NS: Final = 5_000_000
PAUSE_NS: Final = 1_000_000
Found = tuple[int, int, int]
"""(bench.record.Stall, noticed at, µs)."""


class Stalls:
    """`take` gives what was found since it was last called.  A gap of the loop began up to TICK_S before it
    is seen to."""

    def __init__(
        self,
        loop: Any,
        monotonic_ns: Callable[[], int] = now_ns,
        waited_ns: Callable[[], int] | None = None,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._waited_ns = waited_ns or RunQueue().waited_ns
        self._waited = self._waited_ns()
        self._clocks = Clocks(monotonic_ns)
        self._found: list[Found] = []
        self.since_ns = self._due_ns = monotonic_ns()
        self._collecting_ns = 0
        self._timer = loop.timer(TICK_S, TICK_S)

    def start(self) -> None:
        self._due_ns = self._monotonic_ns() + int(TICK_S * 1e9)
        self._timer.start(self.tick)
        gc.callbacks.append(self.collected)

    def stop(self) -> None:
        self._timer.stop()
        gc.callbacks.remove(self.collected)

    def tick(self) -> None:
        """The loop had its turn at the timer."""
        stepped_ns = self._clocks.stepped_ns
        now, waited = self._clocks.look(), self._waited_ns()
        if now - self._due_ns > GAP_NS:
            self._found.append((int(Stall.LOOP), now, (now - self._due_ns) // 1000))
            if waited > self._waited:
                of_it = min(waited - self._waited, now - self._due_ns)
                self._found.append((int(Stall.CORE), now, of_it // 1000))
        self._waited = waited
        if self._clocks.stepped_ns != stepped_ns:
            self._found.append((int(Stall.CLOCK), now, (self._clocks.stepped_ns - stepped_ns) // 1000))
        self._due_ns = now + int(TICK_S * 1e9)

    def collected(self, phase: str, _: dict[str, int]) -> None:
        """What Python calls before and after each collection."""
        now = self._monotonic_ns()
        if phase == "start":
            self._collecting_ns = now
        elif now - self._collecting_ns >= PAUSE_NS:
            self._found.append((int(Stall.GC), now, (now - self._collecting_ns) // 1000))

    def take(self) -> list[Found]:
        found, self._found = self._found, []
        return found
