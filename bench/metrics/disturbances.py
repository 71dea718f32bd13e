"""What disturbed the run from outside: load of others, throttling, swapping, full places, restarted services.

From `timeseries.parquet` and the manifest.  What was not sampled is None: not known.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, Window
from bench.metrics.resources import Series, growth, series
from bench.results import Json

Floats = NDArray[np.float64]
MACHINE: Final = "machine"
HARNESS: Final = "harness"
STARTED: Final = "started_s"
STARTED_TOLERANCE_S: Final = 2.5
"""A start that is told in whole seconds is known this well."""
PLACES: Final = ("results", "memory", "data")


def summarise(history: History) -> Json:
    """`disturbances` of `summary.json`."""
    told, window = series(history), history.window
    return {
        "foreign_cores": _foreign(history, told),
        "runqueue_share": _waits(told, window),
        "throttled_share": _rate(told, "throttled_s", window),
        "too_hot": _grown(told, "too_hot", window),
        "slowest_khz_share": _slowest(told, window),
        "swapped_bytes": _grown(told, "swapped_bytes", window),
        "clock_steps_us": _microseconds(_grown(told, "clock_steps_s", window)),
        "free_bytes": {place: _lowest(told, f"free_bytes_{place}") for place in PLACES},
        "files": _files(told),
        "ports": _ports(history, told),
        "harness_cores": _rate(told, "cpu_s", window, HARNESS),
        "services": services(history.manifest),
    }


def _grown(told: Series, metric: str, window: Window, component: str = MACHINE) -> float | None:
    """How much a counter grew in the measured window."""
    if (component, metric) not in told or not window.seconds:
        return None
    t, value = growth(*told[component, metric])
    low, high = np.interp([window.measure / 1e9, window.measure_end / 1e9], t, value)
    return round(float(high - low), 6)


def _rate(told: Series, metric: str, window: Window, component: str = MACHINE) -> float | None:
    """The same for each second."""
    grown = _grown(told, metric, window, component)
    return None if grown is None else round(grown / window.seconds, 6)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _lowest(told: Series, metric: str) -> int | None:
    """Over the whole run."""
    values = told.get((MACHINE, metric), ((), np.empty(0)))[1]
    return round(float(values.min())) if len(values) else None


def _inside(told: Series, component: str, metric: str, window: Window) -> Floats:
    t, value = told.get((component, metric), (np.empty(0), np.empty(0)))
    return value[(t >= window.measure / 1e9) & (t <= window.measure_end / 1e9)]


# --- load of others -------------------------------------------------------------------------------------


def _foreign(history: History, told: Series) -> float | None:
    """Cores used by nobody of this run; None where not all of its processes were sampled."""
    if not _needed(history) <= {
        component.partition("/")[0] for component, metric in told if metric == "cpu_s"
    }:
        return None
    used = {c: _rate(told, "cpu_s", history.window, c) for c, metric in told if metric == "cpu_s"}
    known = {c: cores for c, cores in used.items() if cores is not None}
    if MACHINE not in known:
        return None
    return round(max(0.0, known.pop(MACHINE) - sum(known.values())), 4)


def _needed(history: History) -> set[str]:
    """Components whose CPU must be known before what is left is somebody else's."""
    kinds = set(history.run.get("services") or {})
    return {MACHINE, HARNESS, "server", "generator"} | kinds | ({"consumer"} if "kafka" in kinds else set())


def _waits(told: Series, window: Window) -> float | None:
    """Seconds per second that the generator's threads were ready and had no core; of the worst process."""
    parts = [c for c, metric in told if metric == "runqueue_s" and c.partition("/")[0] == "generator"]
    waits = [_rate(told, "runqueue_s", window, part) for part in parts]
    return max((wait for wait in waits if wait is not None), default=None)


def _slowest(told: Series, window: Window) -> float | None:
    """The lowest frequency in the window, as a share of the highest."""
    khz = _inside(told, MACHINE, "slowest_core_khz", window)
    return round(float(khz.min() / khz.max()), 4) if len(khz) and khz.max() > 0 else None


# --- head-room ------------------------------------------------------------------------------------------


def _files(told: Series) -> Json:
    """By component the most files that were open, and how many may be."""
    found = {}
    for component, metric in told:
        if metric == "files_open" and (component, "files_limit") in told:
            limit = float(told[component, "files_limit"][1].min())
            used = int(told[component, metric][1].max())
            found[component] = {"open": used, "limit": int(limit) if limit > 0 else None}
    return dict(sorted(found.items()))


def _ports(history: History, told: Series) -> Json:
    """Local ports that connections to one server use, and those that wait for their time to pass."""
    most = _most_open(history.connections["opened"], history.connections["closed"])
    of = (history.manifest.get("limits") or {}).get("ports")
    waiting = told.get((MACHINE, "tcp_tw"), ((), np.empty(0)))[1]
    used = int(most + waiting.max()) if most and of and len(waiting) else None
    return {"used": used, "of": of}


def _most_open(opened: np.ndarray, closed: np.ndarray) -> int:
    """Connections that were open at the same time: of devices, probes and the final read."""
    times = np.concatenate([opened[opened > 0], closed[(opened > 0) & (closed > 0)]])
    changes = np.repeat((1, -1), (np.count_nonzero(opened > 0), times.size - np.count_nonzero(opened > 0)))
    order = np.argsort(times, kind="stable")
    return int(np.cumsum(changes[order]).max(initial=0))


# --- services -------------------------------------------------------------------------------------------


def services(manifest: Json) -> Json:
    """By service `same`: True, False, or None where nothing of it is known; and what is different."""
    seen = manifest.get("services_seen") or {}
    before, after = seen.get("before") or {}, seen.get("after") or {}
    names = dict.fromkeys((*((manifest.get("run") or {}).get("services") or {}), *before))
    return {name: _same(before.get(name), after.get(name)) for name in names}


def _same(before: Json | None, after: Json | None) -> Json:
    if not before or not after:
        return {"same": None, "differs": []}
    differs = [
        f"{what}: {before.get(what)} when the load began, {after.get(what)} when it was over"
        for what in dict.fromkeys((*before, *after))
        if not _alike(what, before.get(what), after.get(what))
    ]
    return {"same": not differs, "differs": differs}


def _alike(what: str, one: object, other: object) -> bool:
    if what == STARTED and isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= STARTED_TOLERANCE_S
    return one == other
