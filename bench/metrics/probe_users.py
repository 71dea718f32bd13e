"""The probe users: how many there were, how much of the load was theirs, how idle their process was, and how
well it knew when something came."""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.cores import PROBE_USERS
from bench.metrics import load, resources
from bench.metrics.history import History
from bench.metrics.quantiles import summarise
from bench.record import Op, Rx
from bench.results import Json

STAMP_ERROR_US: Final = 5
"""A kernel's stamp is known this well on CLOCK_MONOTONIC (`bench/load/stamps.py`)."""
CLEAN_SHARE: Final = 0.99
"""From here on the p99 of the receive error is that of clean stamps."""


def summarise_probe_users(history: History) -> Json | None:
    """`probe_users` of `summary.json`; None if there were none."""
    if history.probe_worker is None:
        return None
    operations = history.operations
    sent = history.measured & (operations["sent"] > 0) & (operations["op"] >= Op.SEND)
    users = sent & (operations["op"] <= Op.PING)
    own = sent & history.by_probes
    replied = np.flatnonzero(own & (operations["acknowledged"] > 0))
    stamps = np.bincount(operations["rx"][replied], minlength=len(Rx))
    late = operations["rx_late_us"][replied[operations["rx"][replied] == Rx.CLEAN]]
    error = _receive_error_us(stamps[Rx.CLEAN], len(replied), summarise(late)["p99"])
    lag = load.send_lag(history, history.by_probes)["send_lag_us"]
    said = history.run["probe_users"]
    everybody = int(np.count_nonzero(users))
    return {
        "users": said["users"],
        "planned_share": said["planned_share"],
        "load_share": round(int(np.count_nonzero(users & own)) / everybody, 6) if everybody else None,
        "operations": int(np.count_nonzero(own)),
        "cpu_cores": resources.cores_of(history, PROBE_USERS),
        "send_lag_us": lag,
        "stamps": {rx.name.lower(): int(stamps[rx]) for rx in Rx},
        "user_space_late_us": summarise(late),
        "receive_error_us": error,
        "resolution_floor_us": load.floor_us(lag, error) if error is not None else None,
    }


def _receive_error_us(clean: int, replies: int, late_p99: int | None) -> int | None:
    """p99 of how wrong the time of a reply is.  What has no stamp of its own is as late as those that have
    one would have been without; None where too few have one to say so."""
    if not clean:
        return None
    return STAMP_ERROR_US if clean >= CLEAN_SHARE * replies else late_p99
