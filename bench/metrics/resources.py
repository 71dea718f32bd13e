"""What each component used: CPU, memory, waiting for a CPU, and the stores' own counters.

From `timeseries.parquet`.  A component may be sampled in parts (`generator/0`, `generator/probe_users`):
parts are added up, and each worker's own CPU is kept, since one busy worker is enough to distort what it
measures.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, Window
from bench.record import Op, Outcome
from bench.results import Json

Floats = NDArray[np.float64]
Series = dict[tuple[str, str], tuple[Floats, Floats]]
"""(component, metric) -> (seconds of CLOCK_MONOTONIC, value)."""

OWN: Final = frozenset({"cpu_s", "runqueue_s", "rss_bytes"})
"""Metrics that every component has; all others are its own counters and gauges."""
GAUGES: Final = frozenset(
    {
        "connections", "lag_events", "lag_ms", "lag_outbox_events", "lag_outbox_ms", "load_1m",
        "Threads_connected", "Threads_running", "used_memory", "connected_clients", "files_open",
        "files_limit", "free_bytes_results", "free_bytes_memory", "free_bytes_data", "slowest_core_khz",
        "tcp_inuse", "tcp_tw", "Innodb_buffer_pool_bytes_dirty", "Innodb_buffer_pool_pages_dirty",
        "Innodb_checkpoint_age",
    }
)  # fmt: skip
"""Values that go up and down: their highest is told, not their growth."""
STATEMENTS: Final = (
    "Com_select", "Com_insert", "Com_insert_select", "Com_update", "Com_update_multi", "Com_delete",
    "Com_delete_multi", "Com_replace",
)  # fmt: skip
SHORTEST_S: Final = 0.5
"""Samples closer together than this say nothing about the CPU used between them."""


def series(history: History) -> Series:
    samples = history.folder.timeseries()
    names = np.char.add(np.char.add(samples["component"].astype(str), "\n"), samples["metric"].astype(str))
    keys, group = np.unique(names, return_inverse=True)
    result: Series = {}
    for i, key in enumerate(keys):
        component, _, metric = str(key).partition("\n")
        rows = np.flatnonzero(group == i)
        rows = rows[np.argsort(samples["t"][rows], kind="stable")]
        result[component, metric] = (samples["t"][rows] / 1e9, samples["value"][rows])
    return result


def summarise_resources(history: History) -> Json:
    """`resources` of `summary.json`, by component; the machine as a whole is among them."""
    all_series, window = series(history), history.window
    messages = int(np.count_nonzero(history.outcome(history.measured_rows(Op.SEND), Outcome.OK)))
    components = sorted({component.partition("/")[0] for component, _ in all_series})
    return {name: _component(all_series, name, window, messages) for name in components}


def _component(all_series: Series, name: str, window: Window, messages: int) -> Json:
    parts = sorted({part for part, _ in all_series if part.partition("/")[0] == name})
    cpu = [growth(*all_series[part, "cpu_s"]) for part in parts if (part, "cpu_s") in all_series]
    figures: Json = _cpu(cpu, window, messages)
    figures["rss_bytes_max"] = _highest(all_series, parts, "rss_bytes")
    figures["runqueue_share"] = _share(all_series, parts, window)
    for name, values in (
        ("counters", _counters(all_series, parts, window)),
        ("gauges_max", _gauges(all_series, parts)),
    ):
        if values:
            figures[name] = values
    return figures


def growth(t: Floats, value: Floats) -> tuple[Floats, Floats]:
    """A cumulative counter from 0: a step back is a restart, not a negative use."""
    return t, np.concatenate([[0.0], np.cumsum(np.maximum(0, np.diff(value)))])


def _between(t: Floats, value: Floats, start_s: float, end_s: float) -> float:
    low, high = np.interp([start_s, end_s], t, value)
    return float(high - low)


def _cpu(cpu: list[tuple[Floats, Floats]], window: Window, messages: int) -> Json:
    if not cpu or window.seconds <= 0:
        return dict.fromkeys(("cpu_cores_mean", "cpu_cores_max", "cpu_s", "cpu_s_per_1000_messages"))
    start, end, drained = (t / 1e9 for t in (window.measure, window.measure_end, window.drain_end))
    used = sum(_between(t, value, start, end) for t, value in cpu)
    with_drain = sum(_between(t, value, start, drained) for t, value in cpu)
    return {
        "cpu_cores_mean": round(used / window.seconds, 4),
        "cpu_cores_max": round(_busiest(cpu, start, end), 4),
        "cpu_s": round(with_drain, 4),
        "cpu_s_per_1000_messages": round(with_drain / messages * 1000, 4) if messages else None,
    }


def _busiest(cpu: list[tuple[Floats, Floats]], start: float, end: float) -> float:
    """Cores used in the busiest second of the window, all parts together."""
    edges = np.arange(start, max(end, start + 1) + 1e-9, 1.0)
    used = sum((np.diff(np.interp(edges, t, value)) for t, value in cpu), np.zeros(len(edges) - 1))
    return float(used.max(initial=0.0))


def _highest(all_series: Series, parts: list[str], metric: str) -> int | None:
    """The sum over the parts of each one's highest value."""
    found = [all_series[part, metric][1] for part in parts if (part, metric) in all_series]
    return round(sum(float(value.max(initial=0.0)) for value in found)) if found else None


def _share(all_series: Series, parts: list[str], window: Window) -> float | None:
    """Seconds per second that runnable threads waited for a CPU."""
    waited = [all_series[part, "runqueue_s"] for part in parts if (part, "runqueue_s") in all_series]
    if not waited or window.seconds <= 0:
        return None
    start, end = window.measure / 1e9, window.measure_end / 1e9
    return round(sum(_between(*growth(t, value), start, end) for t, value in waited) / window.seconds, 4)


def _counters(all_series: Series, parts: list[str], window: Window) -> dict[str, float]:
    """How much each counter of the store itself grew in the measured window."""
    start, end = window.measure / 1e9, window.measure_end / 1e9
    grown: dict[str, float] = {}
    for part, metric in all_series:
        if part in parts and metric not in OWN | GAUGES:
            grown[metric] = grown.get(metric, 0) + _between(*growth(*all_series[part, metric]), start, end)
    return {metric: round(value, 3) for metric, value in sorted(grown.items())}


def _gauges(all_series: Series, parts: list[str]) -> dict[str, int]:
    found = sorted({metric for part, metric in all_series if part in parts and metric in GAUGES})
    highest = {metric: _highest(all_series, parts, metric) for metric in found}
    return {metric: value for metric, value in highest.items() if value is not None}


def by_worker(history: History) -> list[float]:
    """CPU, in cores, of each load worker over the measured window.  Sampled as one, all workers are taken to
    be equally busy."""
    if history.window.seconds <= 0:
        return []
    used = {part: _mean(cpu_s, history.window) for part, cpu_s in _of_generator(history, "cpu_s")}
    workers = int(history.run.get("workers") or 1)
    if "generator" in used:
        return [round(used["generator"] / workers, 4)] * workers
    return [cores for part, cores in used.items() if part.partition("/")[2].isdecimal()]


def cores_of(history: History, part: str) -> float | None:
    """CPU, in cores, of one sampled part over the measured window; None if it was not sampled."""
    sampled = series(history).get((part, "cpu_s"))
    return _mean(sampled, history.window) if sampled is not None and history.window.seconds > 0 else None


def _mean(cpu_s: tuple[Floats, Floats], window: Window) -> float:
    start, end = window.measure / 1e9, window.measure_end / 1e9
    return round(_between(*growth(*cpu_s), start, end) / window.seconds, 4)


def rss_before_connecting(history: History) -> int | None:
    """Bytes that the generator held in the last sample before the first connection; None without one."""
    asked = history.connections["intended"]
    first_s = int(asked[asked > 0].min(initial=np.iinfo(np.int64).max)) / 1e9
    held = [value[t <= first_s][-1:] for _, (t, value) in _of_generator(history, "rss_bytes")]
    return round(sum(float(value[0]) for value in held)) if held and all(map(len, held)) else None


def _of_generator(history: History, metric: str) -> list[tuple[str, tuple[Floats, Floats]]]:
    return [
        (component, values)
        for (component, name), values in sorted(series(history).items())
        if component.partition("/")[0] == "generator" and name == metric
    ]


def store_work(resources: Json, operations: Json, states_read: int) -> Json:
    """What an operation cost the stores: the ratios that travel to other hardware."""
    mysql = (resources.get("mysql") or {}).get("counters") or {}
    redis = (resources.get("redis") or {}).get("counters") or {}
    done = sum(figure["ok"] for figure in operations.values())
    writes = sum(operations[op]["ok"] for op in ("SEND", "READ", "DELIVERED") if op in operations)
    hits, misses = redis.get("keyspace_hits", 0), redis.get("keyspace_misses", 0)
    statements = sum(mysql.get(name, 0) for name in STATEMENTS)
    return {
        "cache_hit_ratio": _ratio(hits, hits + misses),
        "key_reads_per_key_write": _ratio(states_read, writes),
        "mysql_statements_per_operation": _ratio(statements, done) if mysql else None,
        "mysql_commits_per_operation": _ratio(mysql.get("Com_commit", 0), done) if mysql else None,
        "redis_commands_per_operation": _ratio(redis.get("total_commands_processed", 0), done)
        if redis
        else None,
    }


def _ratio(a: float, b: float) -> float | None:
    return round(a / b, 4) if b else None


def states_read(history: History) -> int:
    """Conversation states that measured STATEs returned."""
    rows = history.measured_rows(Op.STATE)
    return int(history.operations["items"][rows].astype(np.int64).sum())
