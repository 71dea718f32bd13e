"""Where a difference sits: in which stage of an operation, in whose CPU, and what the stores did more
of.  Pure.

A quantile has no parts.  So the mean times of the stages stand for it, of all operations for a median, of the
slow ones (those around the p99) for a p99, as the summaries have them; the share of a stage is its difference
over that of all stages.  Counters of the stores are per message, and named if both sides are surely apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bench import blocks
from bench.compare import Run
from bench.gate import ranks
from bench.gate.metrics import told_in
from bench.gate.verdicts import LEVEL, Side
from bench.metrics import intervals
from bench.results import Json

STAGES: Final[Mapping[str, str]] = {
    "client": "the generator",
    "network": "the network and both event loops",
    "other": "the server's own code",
    "wait": "waiting inside the server (locks, pool, loop)",
    "store": "the store stage (MySQL)",
    "cache": "the cache stage (Redis)",
    "queue": "the queue stage (Kafka)",
}
COMPONENTS: Final = ("server", "consumer", "mysql", "redis", "kafka")
COUNTERS: Final[Mapping[str, str]] = {
    "Innodb_row_lock_waits": "MySQL row-lock waits",
    "Innodb_row_lock_time": "MySQL time in row locks",
    "Innodb_buffer_pool_reads": "MySQL reads from the disk",
    "Innodb_data_fsyncs": "MySQL fsyncs",
    "Innodb_os_log_written": "MySQL redo log",
    "Questions": "MySQL statements",
    "Com_commit": "MySQL commits",
    "Com_select": "MySQL SELECTs",
    "Com_update": "MySQL UPDATEs",
    "Com_insert": "MySQL INSERTs",
    "keyspace_misses": "Redis misses",
    "total_commands_processed": "Redis commands",
}
"""Counter -> what it is called; others go by their own name."""
APART: Final = 1.3
MOST: Final = 3
SMALL: Final = 0.05
"""A stage or component with a smaller share is not named."""


def explain(change: Json, a: Side, b: Side) -> list[Json]:
    """For each figure that decides and is better or worse: {metric, text, parts: [{name, by, share}],
    counters: [{name, ratio}]}, `by` in ms or CPU-s per 1,000 messages."""
    return [
        _explained(row, a, b)
        for row in change["rows"]
        if row.get("verdict") in ("worse", "better") and row["difference"] is not None
    ]


def _explained(row: Json, a: Side, b: Side) -> Json:
    parts = _parts(row["metric"], a, b)
    counted = counters(a, b)
    said = [f"{row['title']} {_moved(row)}", *_where(parts), *(_times(each) for each in counted)]
    return {"metric": row["metric"], "text": "; ".join(said), "parts": parts, "counters": counted}


def _moved(row: Json) -> str:
    """+18 ms [15, 21]."""
    scale = {"us": 1e-3, "bytes": 2**-20}.get(row["unit"], 1.0)
    middle, low, high = (scale * value for value in row["difference"])
    unit = told_in(row["metric"], row["unit"])
    return f"{middle:+.3g} {unit}".rstrip() + f" [{low:.3g}, {high:.3g}]"


def _where(parts: Sequence[Json]) -> list[str]:
    """The two largest, in the direction of the whole."""
    told = sorted((part for part in parts if part["share"] >= SMALL), key=lambda part: -float(part["share"]))
    return [f"{part['share']:.0%} of it in {part['name']}" for part in told[:2]]


def _times(counted: Json) -> str:
    return f"{counted['name']} {counted['ratio']:.2g}x"


# --- parts ------------------------------------------------------------------------------------------------


def _parts(metric: str, a: Side, b: Side) -> list[Json]:
    if metric.startswith("cpu_s_per_1000_messages"):
        return _apart({name: _cpu(name) for name in COMPONENTS}, a, b)
    kind, _, rest = metric.partition(".")
    if kind == "lag":
        return _of_lag(rest.partition(".")[0], a, b)
    slow = "mean_ms_slow" if metric.endswith(("p99", "p999", "p90", "max")) else "mean_ms"
    return _apart({said: _stage(kind, slow, name) for name, said in STAGES.items()}, a, b)


def _of_lag(lag: str, a: Side, b: Side) -> list[Json]:
    """A push follows the write: what the READ itself took, and what came after it."""

    def before(run: Run) -> float | None:
        return _ms(_at(run, "operations", "READ", "latency_us", "mean"))

    def after(run: Run) -> float | None:
        whole, first = _ms(_at(run, "lag", lag, "quantiles", "mean")), before(run)
        return None if whole is None or first is None else whole - first

    return _apart({"the READ itself": before, "queue, consumer and push after it": after}, a, b)


def _ms(us: float | None) -> float | None:
    return None if us is None else us / 1000


def _stage(operation: str, means: str, stage: str) -> Callable[[Run], float | None]:
    return lambda run: _at(run, "operations", operation, means, stage)


def _cpu(component: str) -> Callable[[Run], float | None]:
    return lambda run: _at(run, "resources", component, "cpu_s_per_1000_messages")


def _at(run: Run, *path: str) -> float | None:
    found: Any = run.summary
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return None if found is None else float(found)


def _apart(parts: Mapping[str, Callable[[Run], float | None]], a: Side, b: Side) -> list[Json]:
    """By how much each part differs, and its share of the sum; parts that a side does not know are left
    out."""
    by = {name: _by(of, a, b) for name, of in parts.items()}
    known = {name: moved for name, moved in by.items() if moved is not None}
    whole = sum(known.values())
    return [
        {"name": name, "by": moved, "share": moved / whole if whole else 0.0} for name, moved in known.items()
    ]


def _by(of: Callable[[Run], float | None], a: Side, b: Side) -> float | None:
    means = []
    for side in (a, b):
        values = [value for run in side.runs if (value := of(run)) is not None]
        if not values:
            return None
        means.append(sum(values) / len(values))
    return means[1] - means[0]


# --- counters ---------------------------------------------------------------------------------------------


def counters(a: Side, b: Side) -> list[Json]:
    """The store counters per message that are surely apart, the furthest first."""
    names = {
        (component, name)
        for run in (*a.runs, *b.runs)
        for component in ("mysql", "redis", "kafka")
        for name in (run.summary["resources"].get(component) or {}).get("counters") or ()
    }
    found: list[Json] = []
    for component, name in sorted(names):
        ratio = _ratio(component, name, a, b)
        if ratio is not None and not 1 / APART < ratio < APART:
            found.append({"name": COUNTERS.get(name, f"{component} {name}"), "ratio": ratio})
    return sorted(found, key=_far)[:MOST]


def _far(counted: Json) -> float:
    return -abs(math.log(counted["ratio"]))


def _ratio(component: str, name: str, a: Side, b: Side) -> float | None:
    ones, others = (_counted(component, name, side) for side in (a, b))
    both = [key for key in ones if key in others]
    if min(len(ones), len(others)) < intervals.ENOUGH:
        return None
    if len(both) == min(len(ones), len(others)):
        shift = ranks.of_pairs([others[key] - ones[key] for key in both], LEVEL)
    else:
        shift = ranks.of_two(list(ones.values()), list(others.values()), LEVEL)
    return math.exp(shift.estimate) if shift.p <= LEVEL else None


def _counted(component: str, name: str, side: Side) -> dict[blocks.Key, float]:
    """Logarithms per message, by block; 0 has none."""
    found = {}
    for run in side.runs:
        messages = _at(run, "operations", "SEND", "ok")
        count = _at(run, "resources", component, "counters", name)
        if messages and count and count > 0:
            found[blocks.key(run.manifest, run.run_id)] = math.log(count / messages)
    return found
