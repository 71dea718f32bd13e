"""Asks the server each second how far its consumer is behind (LAG on the control door), for lag L7."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from bench.control import Control, ControlError
from bench.results import QUEUE_AGES

TIMEOUT_S: Final = 1.0
COMPONENT: Final = "kafka"
GAUGES: Final = ("lag_events", "lag_ms", "lag_outbox_events", "lag_outbox_ms")


class QueueLag:
    """A connection of its own, so that whoever waits on the door does not hold it up.  `connect` may raise
    ControlError; a second without an answer gives no sample, and the next one a new connection."""

    def __init__(self, connect: Callable[[], Control]) -> None:
        self._connect = connect
        self._control: Control | None = None
        self._last: dict[int, int] = {}
        self._ages: list[tuple[int, int, int, int]] = []

    def sample(self) -> list[tuple[str, str, float]]:
        """(component, metric, value) of what is known now."""
        try:
            if self._control is None:
                self._control = self._connect()
            told = self._control.ask("LAG", timeout_s=TIMEOUT_S).stats or {}
        except ControlError:
            self.close()
            return []
        self._note(told.get("lag_ages") or ())
        gauges = {name: told.get(name) for name in GAUGES}
        return [(COMPONENT, name, float(value)) for name, value in gauges.items() if value is not None]

    def _note(self, ages: Any) -> None:
        now = time.monotonic_ns()
        for above_us, within_us, applied in ages:
            if applied > self._last.get(within_us, 0):
                self._last[within_us] = applied
                self._ages.append((now, above_us, within_us, applied))

    def ages(self) -> np.ndarray[Any, Any]:
        """Rows of `queue_ages`."""
        return np.array(self._ages, QUEUE_AGES)

    def close(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.close()
