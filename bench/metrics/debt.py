"""What was postponed: work that a load caused and that was not done when its measured window ended.

A store that answers now and works later looks fast for as long as somebody measures.  So every backlog is
told when the window began, when it ended and after the drain, with its slope inside the window: one that
grows says that the load is above what can be sustained, however good the latencies are."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, Window
from bench.metrics.resources import series
from bench.results import Json

Floats = NDArray[np.float64]

BACKLOGS: Final = {
    "queue_events": ("kafka", "lag_events", "events"),
    "outbox_rows": ("kafka", "lag_outbox_events", "rows"),
    "dirty_bytes": ("mysql", "Innodb_buffer_pool_bytes_dirty", "bytes"),
    "redo_age_bytes": ("mysql", "Innodb_checkpoint_age", "bytes"),
}
"""Name -> (component, gauge in the time series, unit).  The redo age is what a crash would have to be
recovered from."""
PENDING: Final = ("kafka_waiting", "cache_deletes_pending", "lag_outbox_events")
"""What a server of ours holds that is still to be done, by its own counters at the end of the window."""
SLOPE_SAMPLES: Final = 5


def summarise(history: History) -> Json:
    """`debt` of `summary.json`; a backlog that nobody told of is not in it."""
    sampled, window = series(history), history.window
    told = {
        name: _backlog(*sampled[component, gauge], window, unit)
        for name, (component, gauge, unit) in BACKLOGS.items()
        if (component, gauge) in sampled
    }
    said = history.manifest.get("server") or {}
    pending = {name: int(said[name]) for name in PENDING if isinstance(said.get(name), int | float)}
    return {
        "backlogs": told,
        "pending_at_end": pending,
        "drain_s": round((window.drain_end - window.measure_end) / 1e9, 3),
        "drained": history.manifest.get("drained"),
    }


def _backlog(t: Floats, value: Floats, window: Window, unit: str) -> Json:
    """`before` and `at_end` are the last samples by then, None before the first; `after_drain` is the first
    one since, for the drain ends between two."""
    start, end, drained = (at / 1e9 for at in (window.measure, window.measure_end, window.drain_end))
    inside = (t >= start) & (t <= end)
    return {
        "unit": unit,
        "before": _last(t, value, start),
        "at_end": _last(t, value, end),
        "after_drain": _next(t, value, drained),
        "max": round(float(value[inside].max())) if inside.any() else None,
        "per_s": _slope(t[inside], value[inside]),
    }


def _last(t: Floats, value: Floats, at: float) -> int | None:
    earlier = value[t <= at]
    return round(float(earlier[-1])) if len(earlier) else None


def _next(t: Floats, value: Floats, at: float) -> int | None:
    later = value[t >= at]
    return round(float(later[0])) if len(later) else _last(t, value, at)


def _slope(t: Floats, value: Floats) -> float | None:
    """By how much it grew each second: the median of all pairs' slopes, which one peak does not move."""
    if len(t) < SLOPE_SAMPLES:
        return None
    first, second = np.triu_indices(len(t), 1)
    apart = t[second] - t[first]
    rising = (value[second] - value[first])[apart > 0] / apart[apart > 0]
    return round(float(np.median(rising)), 3) if len(rising) else None


def pool(run: Json, resources: Json) -> Json | None:
    """InnoDB's buffer pool against the data, and how often a page was not in it; None without a MySQL of our
    own."""
    agreed = run.get("pool")
    counters = (resources.get("mysql") or {}).get("counters") or {}
    if not agreed or agreed.get("pool_bytes") is None:
        return None
    asked, missed = counters.get("Innodb_buffer_pool_read_requests"), counters.get("Innodb_buffer_pool_reads")
    told: Json = agreed | {
        "read_requests": asked,
        "misses": missed,
        "miss_share": round(missed / asked, 6) if asked and missed is not None else None,
    }
    return told
