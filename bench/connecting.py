"""Until everybody is connected, or nobody more comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bench.load.config import Live

PATIENCE_S: Final = 60.0
"""Without anybody more.  Who is refused comes back after 45 s at the latest (`bench/load/device.py`)."""
LOST: Final = "lost: "


class Connecting:
    """Asked with each report whether all are connected."""

    def __init__(self, local_ports: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._local_ports, self._clock = local_ports, clock
        self._most, self._since = -1, clock()

    def all_are(self, live: Live) -> bool:
        """Raises TimeoutError, with what most of the others met, if nobody more came for PATIENCE_S."""
        if live.connected > self._most:
            self._most, self._since = live.connected, self._clock()
        elif self._clock() - self._since > PATIENCE_S and live.connected < live.wanted:
            raise TimeoutError(
                f"{live.connected:,} of {live.wanted:,} devices were connected, and for {PATIENCE_S:.0f} s "
                f"nobody more ({self._met(live)}). Each takes one of {self._local_ports:,} local ports "
                "(`bench doctor` tells of them), and the server may take no more: lower --users."
            )
        return live.connected >= live.wanted

    def _met(self, live: Live) -> str:
        met = {name.removeprefix(LOST): n for name, n in live.counters.items() if name.startswith(LOST)}
        if not met:
            return "no connection was refused or lost"
        often = max(met, key=lambda name: met[name])
        return f"most met: {often}, {met[often]:,} times"
