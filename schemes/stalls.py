"""When this process stood still: its event loop, its garbage collector, and steps of the wall clock.

A harness that reads it knows which of its figures this process had a share in.  Times are ns of
CLOCK_MONOTONIC; each entry is what was noticed at `at_ns`, and how long it was in µs."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from schemes.run_queue import RunQueue

TICK_S: Final = 0.02
GAP_NS: Final = 5_000_000
"""A loop that came back this much later than it was due held up everybody."""
PAUSE_NS: Final = 1_000_000
STEP_NS: Final = 1_000_000
KEPT: Final = 20_000
LOOP, GC, CLOCK, CORE = "loop", "gc", "clock", "core"
"""CORE comes after a LOOP, with the same time: how much of it the process waited for a core at most."""


class Stalls:
    """The newest KEPT of them.  A gap of the loop began up to TICK_S before it is seen to."""

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        realtime_ns: Callable[[], int] = time.time_ns,
        waited_ns: Callable[[], int] | None = None,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._realtime_ns = realtime_ns
        self._waited_ns = waited_ns or RunQueue().waited_ns
        self._waited = self._waited_ns()
        self._found: deque[tuple[str, int, int]] = deque(maxlen=KEPT)
        self._since_ns = monotonic_ns()
        self._collecting_ns = 0
        self._clock = self._clocks_apart()
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0

    def watch_gc(self) -> None:
        """From now on, until `stop`."""
        gc.callbacks.append(self.collected)

    def collected(self, phase: str, _: dict[str, int]) -> None:
        """What Python calls before and after each collection."""
        now = self._monotonic_ns()
        if phase == "start":
            self._collecting_ns = now
        elif now - self._collecting_ns >= PAUSE_NS:
            self._note(GC, now, now - self._collecting_ns)

    def watch_loop(
        self, loop: asyncio.AbstractEventLoop, told: Callable[[float], None] = lambda _: None
    ) -> None:
        """From now on, until `stop`; `told(seconds)` hears how late each tick was.

        No task: that would cost twice as much."""
        if self._timer is not None:
            told(self.tick(self._due_ns) / 1e9)
        self._due_ns = self._monotonic_ns() + int(TICK_S * 1e9)
        self._timer = loop.call_later(TICK_S, self.watch_loop, loop, told)

    def stop(self) -> None:
        """Watches no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.collected in gc.callbacks:
            gc.callbacks.remove(self.collected)

    def tick(self, due_ns: int) -> int:
        """The loop is back from a wait until `due_ns`; by how many ns it is late."""
        now, waited = self._monotonic_ns(), self._waited_ns()
        if now - due_ns > GAP_NS:
            self._note(LOOP, now, now - due_ns)
            if waited > self._waited:
                self._note(CORE, now, min(waited - self._waited, now - due_ns))
        self._waited = waited
        low, high = self._clocks_apart()
        step = max(low - self._clock[1], self._clock[0] - high)
        if step > STEP_NS:
            self._note(CLOCK, now, step)
        self._clock = low, high
        return now - due_ns

    def to_dict(self) -> dict[str, Any]:
        """For STATS and `/status`: complete since `since_ns`, by the clock that says `now_ns`."""
        whole = len(self._found) < KEPT
        return {
            "now_ns": self._monotonic_ns(),
            "since_ns": self._since_ns if whole else self._found[0][1],
            "found": list(self._found),
        }

    def _clocks_apart(self) -> tuple[int, int]:
        """Bounds of CLOCK_REALTIME less CLOCK_MONOTONIC."""
        before = self._monotonic_ns()
        realtime = self._realtime_ns()
        return realtime - self._monotonic_ns(), realtime - before

    def _note(self, kind: str, at_ns: int, length_ns: int) -> None:
        self._found.append((kind, at_ns, length_ns // 1000))
