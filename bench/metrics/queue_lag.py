"""L7: how far the consumer is behind the log, in events and in time.

Events: produced and not applied, as the server tells each second (`lag_events`, at most 0.2 s old then).

Time: of each event, from when the producer stamped it until the consumer had applied it, both by the host's
wall clock.  The consumer counts ages by class; an age is somewhere in its class (1 ms wide, from 32 ms on
5 %), since a stamp has whole milliseconds.  `quantiles` are the upper ends, `lower` the lower ones.

What was applied from the start of the measured window to the end of the record counts, so that a backlog's
events are in it when they get their turn; what was never applied is censored at an age that it has at least.
Quantiles are Kaplan-Meier's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History
from bench.metrics.quantiles import LEVELS
from bench.metrics.quantiles import summarise as of_samples
from bench.metrics.resources import series
from bench.metrics.survival import Curve, kaplan_meier
from bench.metrics.visible import NO_STORE, Reason
from bench.record import Op
from bench.results import Json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_QUEUE: Final = "no queue"
NOT_TOLD: Final = "the server told no queue lag (LAG, on its control door)"


@dataclass(frozen=True)
class QueueLag:
    """`events`: what was behind, one entry per sample of the measured window.  The others have one entry per
    event: its age in µs when it was applied lies in (above, within]; if it was not, it is at least
    `within`."""

    events: Floats
    above_us: Ints
    within_us: Ints
    applied: Bools

    def curve(self) -> Curve:
        return kaplan_meier(self.within_us, self.applied)

    def lower_curve(self) -> Curve:
        return kaplan_meier(np.where(self.applied, self.above_us, self.within_us), self.applied)


def collect(history: History) -> QueueLag | Reason:
    """Or why there is none."""
    services = history.run.get("services") or {}
    if "kafka" not in services:
        return NO_QUEUE if "mysql" in services else NO_STORE
    window = history.window
    t, behind = series(history).get(("kafka", "lag_events"), (np.empty(0), np.empty(0)))
    above, within, count = _grown(history)
    if not len(t) or not count.sum():
        return NOT_TOLD
    never = int(behind[-1])
    inside = (t >= window.measure / 1e9) & (t <= window.measure_end / 1e9)
    return QueueLag(
        events=behind[inside],
        above_us=np.concatenate([np.repeat(above, count), np.zeros(never, np.int64)]),
        within_us=np.concatenate([np.repeat(within, count), np.full(never, _waited_us(history, t))]),
        applied=np.arange(int(count.sum()) + never) < count.sum(),
    )


def _grown(history: History) -> tuple[Ints, Ints, Ints]:
    """(above, within, events) of each class: its count in the last sample less that in the last one before
    the measured window."""
    ages = history.folder.table("queue_ages")
    before = ages["t"] <= history.window.measure
    classes, place = np.unique(ages["within_us"], return_inverse=True)
    count, above = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    above[place] = ages["above_us"]
    np.maximum.at(count, place, ages["applied"])
    first = np.zeros(len(classes), np.int64)
    np.maximum.at(first, place[before], ages["applied"][before])
    return above, classes, count - first


def _waited_us(history: History, t: Floats) -> int:
    """At least so long an event waits that was not applied at the last sample: nothing was asked for after
    the last answer, so nothing was produced."""
    operations = history.operations
    asked = np.isin(operations["op"], (Op.SEND, Op.READ, Op.DELIVERED, Op.PROBE_SEND, Op.PROBE_READ))
    last = int(operations["acknowledged"][asked].max(initial=0))
    return max(0, round(float(t[-1]) * 1e6) - last // 1000)


def summarise(found: QueueLag) -> Json:
    """`lag.queue` of `summary.json`: an entry as the others, in time; `events` is how many were behind."""
    n, never = len(found.applied), int(np.count_nonzero(~found.applied))
    lower = found.lower_curve().summarise()
    return {
        "count": n,
        "censored": never,
        "undelivered": never,
        "eligible": n,
        "undelivered_share": never / n,
        "quantiles": found.curve().summarise(),
        "lower": {name: lower[name] for name in LEVELS},
        "events": of_samples(found.events),
        "available": True,
        "why_not": None,
    }
