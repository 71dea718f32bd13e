"""Runs beside each other: which may be compared, each figure by arm, which arms a figure tells apart.  Pure.

An arm is a scheme with its options; runs of one arm are its blocks.  A figure of several blocks is the middle
block's (the lower of two) and never averaged; from six blocks up it has an interval, and so has the ratio of
two arms (`bench/metrics/intervals.py`).  A figure does not separate two arms

- when it is a time, and both lie below 5 f or they differ by less than 2 f, f being the resolution,
- when the lower one is only a lower bound,
- when the interval of their ratio holds 1,
- of fewer blocks, when the ranges of their blocks overlap,
- where an arm has one block, so that nobody knows its noise, when they differ by less than NOISE.

The same load for every arm compares curves, not throughput: that ranking needs each arm's own
capacity.  No ranking is given unless every run's timing is VALID and the runs had the same to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench import alike, blocks
from bench.expressions import errors
from bench.guards import EXIT_INCONCLUSIVE
from bench.guards.control import control_drift
from bench.guards.guard import INCONCLUSIVE, Guard
from bench.metrics import intervals
from bench.metrics.intervals import Block
from bench.options import CONTROL
from bench.results import TOOL, Json

SCHEMA_VERSION: Final = 1
FLOORS: Final = 5
"""Below so many resolution floors two times are not separated."""
NOISE: Final = 0.05
BLOCKS_FOR_INTERVAL: Final = intervals.ENOUGH
PRECEDENCE: Final = (130, 3, 1, 12, 4, 5, 11, 10, 0)
"""Exit codes, the worst first."""
IDENTITY: Final = ("scheme", "model", "options", "mysql_driver", "cache", "pinned")
"""What makes two runs runs of one arm."""
PYTHON: Final = ("server", "consumer")
STORES: Final = ("mysql", "redis")
BROKER: Final = ("kafka",)


class UnlikeError(Exception):
    """The runs had not the same to do, or not on the same kind of machine."""


@dataclass(frozen=True)
class Run:
    run_id: str
    summary: Json
    manifest: Json


@dataclass(frozen=True)
class Arm:
    """The runs of one scheme with its options, in the order given."""

    runs: tuple[Run, ...]

    @property
    def middle(self) -> Run:
        """The block whose READ p99 is the middle one: the one that charts show."""
        read_p99 = _time("READ", "p99")
        known = [run for run in self.runs if read_p99(run) is not None] or list(self.runs)
        ordered = sorted(known, key=lambda run: read_p99(run) or 0)
        return ordered[(len(ordered) - 1) // 2]


def arms(runs: Sequence[Run]) -> list[Arm]:
    """Groups the runs.  If all are of one arm, each series of blocks stands for itself, and so does each run
    on its own: an A/A comparison, or an earlier version against a later one."""
    groups = _grouped(runs, _identity)
    if len(groups) == 1:
        groups = _grouped(runs, lambda run: blocks.key(run.manifest, run.run_id)[0])
    return [Arm(tuple(group)) for group in groups]


def _grouped(runs: Sequence[Run], name: Callable[[Run], str]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(name(run), []).append(run)
    return list(groups.values())


def _identity(run: Run) -> str:
    said = run.summary["run"]
    named = {
        name: said.get(name) for name in ("scheme", "model", "options", "mysql_driver", "cache", "pinned")
    }
    side = (run.manifest.get("repeat") or {}).get("side")
    return json.dumps([named | {"side": side}, alike.terms(said)], sort_keys=True)


def differences(runs: Sequence[Run]) -> list[str]:
    """Why these runs are unlike, a sentence each; empty if they may be compared."""
    return alike.differences(runs)


# --- figures ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One figure of a run.  `unit` us, s, bytes, share, count or number; `of` None: not known.

    `bounded`: the figure is a lower bound, since unanswered or undelivered ones are in it.  `floor`: the
    resolution of a time, µs.  `inside`: what the number of samples leaves open of a quantile (low, high)."""

    name: str
    unit: str
    of: Callable[[Run], float | None]
    bounded: Callable[[Run], bool] = lambda _: False
    floor: Callable[[Run], float | None] = lambda _: None
    inside: Callable[[Run], Sequence[float] | None] = lambda _: None

    def block(self, run: Run) -> Block | None:
        value = self.of(run)
        return None if value is None else Block(value, *(self.inside(run) or ()))


def _quantiles(run: Run, *path: str) -> Json:
    found: Any = run.summary
    for step in path:
        found = (found or {}).get(step)
    return found or {}


def _time(operation: str, level: str) -> Callable[[Run], float | None]:
    return lambda run: _quantiles(run, "operations", operation, "latency_us").get(level)


def _lag(name: str, level: str) -> Callable[[Run], float | None]:
    return lambda run: _quantiles(run, "lag", name, "quantiles").get(level)


def _bounded(level: str, *path: str) -> Callable[[Run], bool]:
    return lambda run: level in _quantiles(run, *path).get("at_least", ())


def _inside(level: str, *path: str) -> Callable[[Run], Sequence[float] | None]:
    return lambda run: (_quantiles(run, *path).get("bounds") or {}).get(level)


def _floor(*path: str) -> Callable[[Run], float | None]:
    """Of those who gave the headline."""
    return lambda run: _quantiles(run, *path).get("resolution_floor_us", _floor_of(run))


def _floor_of(run: Run) -> float | None:
    floor: float | None = run.summary["generator"].get("resolution_floor_us")
    return floor


def _undelivered(run: Run) -> float | None:
    known = [run.summary["lag"].get(name) or {} for name in ("own_device", "receipt", "message")]
    told = [entry["undelivered"] for entry in known if entry.get("available")]
    return float(sum(told)) if told else None


def _badge(cause: str) -> Callable[[Run], float | None]:
    return lambda run: _quantiles(run, "badge", "error_s_per_user_hour").get(cause)


def _wrong(name: str) -> Callable[[Run], float | None]:
    """Violations of a check; None where it could not see everything."""

    def wrong(run: Run) -> float | None:
        for check in run.summary["consistency"]["checks"]:
            if check["name"] == name and check["verdict"] != "unknown":
                return float(check["violations"])
        return None

    return wrong


def _cpu(components: Sequence[str]) -> Callable[[Run], float | None]:
    """CPU-s per 1,000 messages, the drain in it; None if none of them was sampled."""

    def of(run: Run) -> float | None:
        used = [run.summary["resources"].get(name) or {} for name in components]
        known = [
            one["cpu_s_per_1000_messages"] for one in used if one.get("cpu_s_per_1000_messages") is not None
        ]
        return float(sum(known)) if known else None

    return of


def _memory(run: Run) -> float | None:
    used = [run.summary["resources"].get(name) or {} for name in (*PYTHON, *STORES, *BROKER)]
    known = [one["rss_bytes_max"] for one in used if one.get("rss_bytes_max") is not None]
    return float(sum(known)) if known else None


def _processes(run: Run) -> float | None:
    under_test = set(run.summary["resources"]) & {*PYTHON, *STORES, *BROKER}
    return float(len(under_test)) if under_test else None


def _per_message(component: str, counters: Sequence[str]) -> Callable[[Run], float | None]:
    """How much the component's own counters grew per acknowledged SEND; 0 where it is not used, None behind a
    server of somebody else's."""

    def of(run: Run) -> float | None:
        messages = _quantiles(run, "operations", "SEND").get("ok")
        used = run.summary["resources"].get(component)
        if not messages:
            return None
        if used is None:
            return None if run.summary["run"].get("url") else 0.0
        grown = used.get("counters") or {}
        known = [grown[name] for name in counters if name in grown]
        return sum(known) / messages if known else None

    return of


def _work(
    name: str, without: Callable[[Run], float | None] = lambda _: None
) -> Callable[[Run], float | None]:
    """What a message cost, from the run's work ledger; what `without` says of a run that has none."""

    def of(run: Run) -> float | None:
        ledger = run.summary.get("ledger") or {}
        if not ledger.get("available"):
            return without(run)
        value: float | None = ledger["per_message"][name]
        return value

    return of


ROWS_WRITTEN: Final = ("Handler_write", "Handler_update", "Handler_delete")
"""Of the server, not of InnoDB: MariaDB has no Innodb_rows_* any more.  MySQL counts rows of its internal
temporary tables in Handler_write too."""
FIGURES: Final = (
    *(
        Figure(
            f"{operation}.{level}",
            "us",
            _time(operation, level),
            _bounded(level, "operations", operation, "latency_us"),
            _floor("operations", operation),
            _inside(level, "operations", operation, "latency_us"),
        )
        for operation in ("READ", "STATE", "SEND", "SYNC")
        for level in ("p50", "p99", "p999")
    ),
    *(
        Figure(
            f"lag.{name}.{level}",
            "us",
            _lag(name, level),
            _bounded(level, "lag", name, "quantiles"),
            _floor("lag", name),
            _inside(level, "lag", name, "quantiles"),
        )
        for name in ("receipt", "own_device", "visible", "message", "durable", "cache", "queue")
        for level in ("p50", "p99")
    ),
    Figure("queue_events_behind", "count", lambda run: _quantiles(run, "lag", "queue", "events").get("max")),
    *(
        Figure(f"badge_error_s_per_user_hour.{cause}", "s", _badge(cause))
        for cause in ("total", "late", "lost", "resurrected")
    ),
    Figure("pushes_undelivered", "count", _undelivered),
    Figure("stale_reads", "count", _wrong("linearizable")),
    Figure("stale_at_end", "count", _wrong("stale_at_end")),
    Figure("errors", "share", lambda run: errors(run.summary)),
    Figure("messages_per_s", "number", lambda run: run.summary["load"].get("messages_per_s")),
    Figure("cpu_s_per_1000_messages", "s", _cpu((*PYTHON, *STORES, *BROKER))),
    Figure("cpu_s_per_1000_messages.python", "s", _cpu(PYTHON)),
    Figure("cpu_s_per_1000_messages.stores", "s", _cpu(STORES)),
    Figure("cpu_s_per_1000_messages.broker", "s", _cpu(BROKER)),
    Figure("rows_written_per_message", "number", _work("rows", _per_message("mysql", ROWS_WRITTEN))),
    Figure("commits_per_message", "number", _work("commits", _per_message("mysql", ("Com_commit",)))),
    Figure(
        "mysql_statements_per_message",
        "number",
        _work("mysql_round_trips", _per_message("mysql", ("Questions",))),
    ),
    Figure(
        "redis_commands_per_message",
        "number",
        _work("redis_commands", _per_message("redis", ("total_commands_processed",))),
    ),
    Figure("redis_round_trips_per_message", "number", _work("redis_round_trips")),
    Figure("round_trips_per_message", "number", _work("round_trips")),
    Figure("records_per_message", "number", _work("records")),
    Figure("pushes_per_message", "number", _work("pushes")),
    Figure("fsyncs_per_message", "number", _work("fsyncs")),
    Figure("log_bytes_per_message", "number", _work("log_bytes")),
    Figure("network_bytes_per_message", "number", _work("network_bytes")),
    Figure("cache_hit_ratio", "share", lambda run: (run.summary.get("stores") or {}).get("cache_hit_ratio")),
    Figure("processes", "count", _processes),
    Figure("memory_bytes", "bytes", _memory),
)


# --- the comparison -----------------------------------------------------------------------------------------


def compare(compared: Sequence[Arm], labels: Sequence[str], *, allow_unlike: bool = False) -> Json:
    """What `comparison.json` holds.  `labels` names the arms.

    Raises UnlikeError unless all runs had the same to do, or `allow_unlike`."""
    runs = [run for arm in compared for run in arm.runs]
    unlike = differences(runs)
    if unlike and not allow_unlike:
        raise UnlikeError(f"These runs are not alike: {'; '.join(unlike)}.")
    rows = [_row(figure, compared, labels) for figure in FIGURES]
    drift = _drift(runs)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": TOOL,
        "unlike": unlike,
        "environment": alike.told(runs),
        "verdict": _with_drift(_verdict(runs), drift, runs),
        "control_drift": asdict(drift),
        "resolution_floor_us": _coarsest([_floor_of(run) for run in runs]),
        "order": _order(runs),
        "arms": [_arm(arm, label) for arm, label in zip(compared, labels, strict=True)],
        "figures": [row for row in rows if any(value is not None for value in row["values"].values())],
    }


def _drift(runs: Sequence[Run]) -> Guard:
    control = [run for run in runs if run.summary["run"]["scheme"] == CONTROL]
    ordered = sorted(control, key=lambda run: str(run.manifest.get("started_at")))
    return control_drift([run.summary for run in ordered])


def _with_drift(verdict: Json, drift: Guard, runs: Sequence[Run]) -> Json:
    """A machine that changed leaves valid timings undecided."""
    if drift.verdict != INCONCLUSIVE:
        return verdict
    codes = {verdict["exit_code"], EXIT_INCONCLUSIVE}
    last = next(run for run in reversed(runs) if run.summary["run"]["scheme"] == CONTROL)
    return verdict | {
        "status": _worst([verdict["status"], "INCONCLUSIVE"], ("INVALID", "INCONCLUSIVE")),
        "exit_code": next(code for code in PRECEDENCE if code in codes),
        "reasons": [*verdict["reasons"], {"run_id": last.run_id, **asdict(drift)}],
    }


def _order(runs: Sequence[Run]) -> list[Json]:
    """In which order the arms of each block ran, by series."""
    found: dict[str, dict[int, list[str]]] = {}
    for run in runs:
        if said := run.manifest.get("repeat"):
            found.setdefault(said["series"], {})[said["block"]] = said["order"]
    return [{"series": series, "blocks": [of[block] for block in sorted(of)]} for series, of in found.items()]


def _coarsest(floors: Sequence[float | None]) -> float | None:
    return max((floor for floor in floors if floor is not None), default=None)


def _verdict(runs: Sequence[Run]) -> Json:
    """The worst of all runs', and every run's reasons."""
    verdicts = [run.summary["verdict"] for run in runs]
    codes = [verdict["exit_code"] for verdict in verdicts]
    return {
        "status": _worst([verdict["status"] for verdict in verdicts], ("INVALID", "INCONCLUSIVE", "VALID")),
        "correctness": _worst([verdict["correctness"] for verdict in verdicts], ("FAIL", "UNKNOWN", "PASS")),
        "exit_code": next((code for code in PRECEDENCE if code in codes), max(codes)),
        "reasons": [
            {"run_id": run.run_id, **reason} for run in runs for reason in run.summary["verdict"]["reasons"]
        ],
    }


def _worst(seen: Sequence[str], order: Sequence[str]) -> str:
    return next(word for word in order if word in seen)


OF_SUMMARY: Final = ("run", "load", "operations", "lag", "verdict", "ended")
OF_MANIFEST: Final = ("run", "load", "window", "plan_sha256", "label")


def _arm(arm: Arm, label: str) -> Json:
    """An arm with what tables and headings need of its middle block."""
    run = arm.middle
    return {
        "label": label,
        "run_ids": [each.run_id for each in arm.runs],
        "middle": run.run_id,
        "summary": {
            name: run.summary.get(name)
            for name in (
                "run",
                "load",
                "operations",
                "lag",
                "generator",
                "resources",
                "stores",
                "verdict",
                "ended",
            )
        },
        "manifest": {
            name: run.manifest.get(name) for name in ("run", "load", "window", "plan_sha256", "label")
        },
    }


def _row(figure: Figure, compared: Sequence[Arm], labels: Sequence[str]) -> Json:
    of = {label: _blocks(figure, arm) for arm, label in zip(compared, labels, strict=True)}
    at_least = [
        label
        for arm, label in zip(compared, labels, strict=True)
        if any(figure.bounded(run) for run in arm.runs)
    ]
    row: Json = {
        "figure": figure.name,
        "unit": figure.unit,
        "values": blocks.middles(of),
        "blocks": {label: len(known) for label, known in of.items()},
        "ranges": blocks.ranges(of),
        "intervals": blocks.told(of, at_least),
        "ratios": blocks.ratios(of, at_least),
        "at_least": at_least,
        "resolution_floor_us": _coarsest([figure.floor(run) for arm in compared for run in arm.runs]),
    }
    row["not_separated"] = _not_separated(row, row["resolution_floor_us"])
    return row


def _blocks(figure: Figure, arm: Arm) -> dict[blocks.Key, Block]:
    known = {blocks.key(run.manifest, run.run_id): figure.block(run) for run in arm.runs}
    return {key: block for key, block in known.items() if block is not None}


def _not_separated(row: Json, floor: float | None) -> list[list[str]]:
    """Pairs of arms that this figure does not tell apart."""
    known = [label for label, value in row["values"].items() if value is not None]
    pairs = [(a, b) for i, a in enumerate(known) for b in known[i + 1 :]]
    return [[a, b] for a, b in pairs if not _separated(row, a, b, floor)]


def _separated(row: Json, a: str, b: str, floor: float | None) -> bool:
    one, other = row["values"][a], row["values"][b]
    apart = abs(one - other)
    blurred = (
        row["unit"] == "us" and floor is not None and (max(one, other) < FLOORS * floor or apart < 2 * floor)
    )
    lower = a if one <= other else b
    if blurred or apart == 0 or lower in row["at_least"]:
        return False
    apart_by_interval = blocks.apart(row, a, b)
    if apart_by_interval is not None:
        return apart_by_interval
    first, second = row["ranges"][a], row["ranges"][b]
    if first is None or second is None:
        return bool(row["unit"] == "count" or apart >= NOISE * max(abs(one), abs(other)))
    return bool(first[1] < second[0] or second[1] < first[0])


HUB_BOUND: Final = ("READ.p99", "READ.p999")


def ranking(content: Json, figure: str, among: Collection[str] | None = None) -> list[list[str]]:
    """Labels from the lowest value up; those that are not separated from the first of a group stand with it.

    `among`: these arms alone.  Empty unless every run's timing is VALID, the runs are alike, the figure is
    known, and an ACK of each arm outlives the same; and where the tail of READ is an event loop's in any."""
    row = next((row for row in content["figures"] if row["figure"] == figure), None)
    if row is None or content["verdict"]["status"] != "VALID" or content["unlike"]:
        return []
    if figure in HUB_BOUND and any(r["guard"] == "hub_bound" for r in content["verdict"]["reasons"]):
        return []
    ranked = {label for labels in alike.classes(content).values() for label in labels}
    ranked = ranked if among is None else ranked & set(among)
    if sum(bool(ranked & set(labels)) for labels in alike.classes(content).values()) > 1:
        return []
    known = sorted(
        (value, label) for label, value in row["values"].items() if value is not None and label in ranked
    )
    groups: list[list[str]] = []
    for _, label in known:
        together = groups and any({groups[-1][0], label} == set(pair) for pair in row["not_separated"])
        if together:
            groups[-1].append(label)
        else:
            groups.append([label])
    return groups


def to_json(content: Json) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
