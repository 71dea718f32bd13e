"""Does work pile up?  A load is sustained only if it does not: what is not done now is done later, at a cost
that a latency of the first seconds does not show.  Pure.

A series is one of: operations that were sent and not yet answered, those that were due and not yet sent, and
every gauge of work that a server postponed (events in the log, rows in an outbox).  It grows if its last
third lies above its first by more than it varies within them, and by more than a share of what the load
brought in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History
from bench.metrics.resources import series
from bench.record import NONE, Op
from bench.results import Json

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POINTS: Final = 30
SHARE: Final = 0.01
"""Of the operations that came in between the middles of the first and the last third."""
LEAST: Final = 8.0
"""Operations: fewer are nobody's backlog."""
DEVIATIONS: Final = 3.0
POSTPONED: Final = {
    "lag_events": "events wait for the consumer",
    "lag_outbox_events": "rows wait in the outbox",
}
"""Gauges of postponed work, by metric of the time series."""
UNANSWERED, UNSENT = "requests wait for their answer", "operations wait to be sent"


@dataclass(frozen=True)
class Growth:
    """Of one series over the measured window, in its own unit."""

    what: str
    first: float
    last: float
    grows: bool


def growth(what: str, values: Floats, came_in: float) -> Growth:
    """`came_in`: operations over the whole series."""
    if len(values) < 6:
        return Growth(what, 0.0, 0.0, grows=False)
    third = len(values) // 3
    first, last = values[:third], values[-third:]
    spread = float(np.hypot(first.std(), last.std()) / np.sqrt(third))
    least = max(LEAST, SHARE * came_in * 2 / 3, DEVIATIONS * spread)
    return Growth(what, float(first.mean()), float(last.mean()), float(last.mean() - first.mean()) > least)


def look(history: History) -> list[Growth]:
    """Every series of a step."""
    operations, window = history.operations, history.window
    mine = (operations["op"] >= Op.SEND) & (operations["op"] <= Op.SYNC)
    planned = mine & (operations["plan"] != NONE) & history.measured
    at = np.linspace(window.measure, window.measure_end, POINTS, endpoint=False).astype(np.int64)
    sent, answered = operations["sent"][mine], operations["acknowledged"][mine]
    due, left = operations["intended"][planned], operations["sent"][planned]
    came = float(np.count_nonzero(mine & history.measured))
    found = [
        growth(UNANSWERED, _between(sent[sent > 0], _or_never(answered)[sent > 0], at), came),
        growth(UNSENT, _between(due[left > 0], left[left > 0], at), came),
    ]
    return found + _postponed(history, came)


def _or_never(at: Ints) -> Ints:
    return np.where(at > 0, at, np.iinfo(np.int64).max)


def _between(begins: Ints, ends: Ints, at: Ints) -> Floats:
    """How many had begun and not ended, at each of these moments."""
    begun = np.searchsorted(np.sort(begins), at, side="right")
    ended = np.searchsorted(np.sort(ends), at, side="right")
    return (begun - ended).astype(np.float64)


def _postponed(history: History, came: float) -> list[Growth]:
    """The gauges that the servers told, once a second."""
    window, found = history.window, []
    for (_, metric), (t, value) in series(history).items():
        if metric in POSTPONED:
            inside = (t >= window.measure / 1e9) & (t <= window.measure_end / 1e9)
            found.append(growth(POSTPONED[metric], value[inside], came))
    return found


def to_dicts(grown: list[Growth]) -> list[Json]:
    return [vars(one) for one in grown]
