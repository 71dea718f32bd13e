"""Gathers what every process of a run says of its stalls and its clock, for the table `stalls` and the
manifest.  A process that says nothing is in neither."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from bench.load.watched import Watched
from bench.record import Stall
from bench.results import STALLS, Json

TIMEOUT_S: Final = 5.0
_KINDS: Final = {"loop": Stall.LOOP, "gc": Stall.GC, "clock": Stall.CLOCK, "core": Stall.CORE}
LONGEST_US: Final = (1 << 32) - 1


class Watching:
    """Processes are numbered in the order in which they were heard."""

    def __init__(self) -> None:
        self.watched: list[Json] = []
        self._rows: list[tuple[int, int, int, int]] = []

    def heard(self, process: str, told: Any, asked_ns: int, answered_ns: int) -> None:
        """What a server's STATS or a consumer's `/status` has as `stalls`; anything else says nothing.

        Its clock is ours if what it says the time was lies between question and answer."""
        try:
            now_ns, since_ns = int(told["now_ns"]), int(told["since_ns"])
            found = [(_KINDS[kind], int(at_ns), int(us)) for kind, at_ns, us in told["found"]]
        except (KeyError, TypeError, ValueError):
            return
        apart_ns = max(asked_ns - now_ns, now_ns - answered_ns, 0)
        shift = answered_ns - now_ns if apart_ns else 0
        self._add(process, since_ns + shift, now_ns + shift, apart_ns // 1000)
        self._note((kind, at_ns + shift, us) for kind, at_ns, us in found)

    def load(self, processes: Mapping[str, Watched]) -> None:
        """What the load processes reported."""
        for process, watched in processes.items():
            if watched.until_ns:
                self._add(process, watched.since_ns, watched.until_ns, watched.clock_apart_us)
                self._note(watched.found)

    def rows(self) -> np.ndarray[Any, Any]:
        """The table `stalls`."""
        return np.array(self._rows, STALLS)

    def _add(self, process: str, since_ns: int, until_ns: int, apart_us: int | None) -> None:
        self.watched.append(
            {"process": process, "since": since_ns, "until": until_ns, "clock_apart_us": apart_us}
        )

    def _note(self, found: Iterable[tuple[int, int, int]]) -> None:
        number = len(self.watched) - 1
        self._rows += [(number, int(kind), at_ns, min(us, LONGEST_US)) for kind, at_ns, us in found]


def status(url: str | None) -> tuple[Any, int, int]:
    """`stalls` of a consumer's `/status`, asked and answered at; None where there is none to ask."""
    asked = time.monotonic_ns()
    try:
        if url is not None:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
                return json.load(reply).get("stalls"), asked, time.monotonic_ns()
    except (OSError, ValueError, AttributeError):
        pass
    return None, asked, time.monotonic_ns()
