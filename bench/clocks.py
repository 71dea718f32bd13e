"""The wall clock seen from the monotonic one: kernel stamps are converted with it, and its steps are seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

CLOCK_ERROR_NS: Final = 5_000
"""The two clocks must be known to each other this well, or no stamp is converted."""
STEP_NS: Final = 1_000
"""A difference of the clocks that moves by more than measuring explains was a step (NTP slews both alike)."""
QUIET_NS: Final = 1_000_000_000
"""Stamps are void for so long after a step: they may be from before it."""
LOOKS: Final = 20


class Clocks:
    """CLOCK_REALTIME seen from CLOCK_MONOTONIC.

    Their difference is constant but for steps.  Each look brackets it between two readings, and what all
    looks since the last step agree on is known to a fraction of a microsecond."""

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        realtime_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._realtime_ns = realtime_ns
        self._low, self._high = -(1 << 62), 1 << 62
        self._void_until = 0
        self.steps = 0
        self.stepped_ns = 0
        """By how much all steps together moved the wall clock, either way."""
        for _ in range(LOOKS):
            self.look()

    def look(self) -> int:
        """Compares the clocks; returns the monotonic time.  To be called before each read, so that a step
        voids the first stamp after it already."""
        before = self._monotonic_ns()
        realtime = self._realtime_ns()
        after = self._monotonic_ns()
        low, high = max(self._low, realtime - after), min(self._high, realtime - before)
        if low <= high:
            self._low, self._high = low, high
        elif low > high + STEP_NS:
            self._low, self._high = realtime - after, realtime - before
            self._void_until = after + QUIET_NS
            self.steps += 1
            self.stepped_ns += low - high
        return after

    def monotonic(self, stamp: int, now: int) -> int:
        """A kernel's stamp as a monotonic time, at most `now`; 0 if it cannot be told."""
        if self._high - self._low > 2 * CLOCK_ERROR_NS or now < self._void_until:
            return 0
        moment = stamp - (self._low + self._high) // 2
        return min(moment, now) if moment <= now + CLOCK_ERROR_NS else 0
