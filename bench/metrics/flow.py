"""READs as a flow: how many were wanted, acknowledged, and known to others by each second.

The vertical gap between two curves is a backlog, the horizontal one a lag.  Only READs that somebody
connected had to be told of are counted, so that the curves end together when nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History
from bench.metrics.lags import Lag
from bench.results import Json

Ints = NDArray[np.int64]
_NEVER = np.iinfo(np.int64).max


def reads(history: History, lags: Sequence[Lag]) -> Json:
    """Cumulative counts at each whole second from the start of the measured window to the end of the drain.

    applied: the first device that had to be told knows; visible: all of them do.  `lags`: own_device,
    receipt."""
    operation = np.concatenate([lag.operation for lag in lags])
    at = history.operations["sent"][operation] + np.concatenate([lag.time for lag in lags])
    at = np.where(np.concatenate([lag.observed for lag in lags]), at, _NEVER)
    rows, write = np.unique(operation, return_inverse=True)
    first, last = np.full(len(rows), _NEVER), np.zeros(len(rows), np.int64)
    np.minimum.at(first, write, at)
    np.maximum.at(last, write, at)
    answered = history.operations["acknowledged"][rows]
    window = history.window
    edges = np.arange(window.measure, window.drain_end + 1_000_000_000, 1_000_000_000)
    curves = {
        "intended": history.operations["intended"][rows],
        "acknowledged": answered[answered > 0],
        "applied": first,
        "visible": last,
    }
    return {
        "operation": "READ",
        "seconds": list(range(len(edges))),
        **{name: _by(times, edges) for name, times in curves.items()},
    }


def _by(times: Ints, edges: Ints) -> list[int]:
    return [int(count) for count in np.searchsorted(np.sort(times), edges, side="right")]
