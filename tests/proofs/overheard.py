"""READs of both sides of a `bench check --against`, as they passed on the wire while it ran: in its own
loads, since by how much some work makes a READ longer depends on how busy the server is with all the rest."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import psutil

SERVER: Final = "tests.proofs.planted_server"
PAUSE_S: Final = 1.0
"""Between two loads of a side nobody reads for longer than that, within one never."""
FROM_S, UNTIL_S = 1.0, 5.0
"""Of a load, since its first READ: what is measured."""
WARM: Final = 2
"""Loads of each side that count for nothing."""
POLL_S: Final = 0.5
"""A server is up for longer before somebody reads."""

Answered = Sequence[tuple[int, float]]
"""(ns when it was asked, µs until it was answered), in the order of the answers."""


def ports(check: subprocess.Popen[str]) -> Iterator[int]:
    """Where servers of A and B listen, each as soon as its process is there, until the check has ended: a
    side's first one is given the data, its second one is loaded."""
    known: set[int] = set()
    while check.poll() is None:
        for child in psutil.Process(check.pid).children(recursive=True):
            port = _port(child)
            if port is not None and port not in known:
                known.add(port)
                yield port
        time.sleep(POLL_S)


def _port(process: psutil.Process) -> int | None:
    try:
        given = process.environ().get("READSTATE_PORT") if SERVER in process.cmdline() else None
    except psutil.Error:
        return None
    return None if given is None else int(given)


def pairs(servers: Sequence[Answered], loads: int) -> list[tuple[float, float]]:
    """Medians (µs) of A's and B's n-th load, the warm ones left out.  Of `servers`, in the order in which
    they were begun, two were loaded.  `loads`: how many there must be of each; raises ValueError."""
    medians = [_medians(answered) for answered in servers if answered]
    if [len(side) for side in medians] != [loads, loads]:
        raise ValueError(f"{[len(side) for side in medians]} loads were heard, and not {loads} of two sides")
    return list(zip(medians[0][WARM:], medians[1][WARM:], strict=True))


def _medians(answered: Answered) -> list[float]:
    asked, took = np.array(sorted(answered)).T
    begins = np.flatnonzero(np.diff(asked, prepend=-np.inf) > PAUSE_S * 1e9)
    found = []
    for at, times in zip(np.split(asked, begins[1:]), np.split(took, begins[1:]), strict=True):
        since = (at - at[0]) / 1e9
        found.append(float(np.median(times[(since >= FROM_S) & (since < UNTIL_S)])))
    return found
