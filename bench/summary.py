"""From a result folder to `summary.json`, `summary.csv` and `findings.jsonl`: one pass over what was
recorded.

Everything here can be computed again from the folder (`bench report RUN`).  Times are whole µs.  The figures
themselves are made in `bench/metrics/` and `bench/checks/`; whether to believe them in `bench/guards.py`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from bench import guards
from bench.checks import all_checks
from bench.checks.check import Check, Judgement
from bench.checks.findings import causes
from bench.expressions import parse
from bench.guards import processes
from bench.metrics import (
    badge,
    ceilings,
    debt,
    disturbances,
    flow,
    headline,
    lags,
    ledger,
    live,
    load,
    operations,
    probe_users,
    queue_lag,
    resources,
    stalls,
    steady,
    t_visibility,
    visible,
    whole,
)  # fmt: skip
from bench.metrics.history import History
from bench.results import Json, RunFolder, write_text

SCHEMA_VERSION: Final = 1
COLUMNS: Final = ("name", "unit", "value", "n")


def summarize(folder: RunFolder) -> Json:
    """`summary.json` of a run.  Raises ResultsError for a damaged folder, ExpressionError for a bad
    fail_if."""
    return _compute(folder)[0]


def of_a_step(folder: RunFolder, checks: Sequence[Check]) -> Json:
    """The same of one of many loads that one fleet carried (`bench/capacity/climb.py`), with the `checks`
    that were counted while it ran: the others, and badges, follow from all that was before it."""
    return _compute(folder, Judgement([*checks], []))[0]


def write(folder: RunFolder) -> Json:
    """Computes the figures of a run and writes them into its folder; returns the summary."""
    summary, findings = _compute(folder)
    folder.write_findings(findings)
    folder.write_summary(summary)
    write_text(folder.path / "summary.csv", to_csv(summary))
    return summary


def _compute(folder: RunFolder, counted: Judgement | None = None) -> tuple[Json, list[Json]]:
    history = History(folder)
    manifest, window = history.manifest, history.window
    conditions = [parse(text) for text in manifest.get("fail_if") or ()]
    record = whole.look(history)
    told = lags.collect(history)
    used, done = resources.summarise_resources(history), operations.summarise_all(history)
    judged = counted or all_checks.judge(history, whole.why_not(record))
    generator, probes = _generator(history, used), probe_users.summarise_probe_users(history)
    near = ceilings.near(manifest.get("ceilings"), done, used, history.run, window.seconds)
    generator["ceiling_per_s"] = near["near"]["generator_mixed"]["ceiling_per_s"] if near else None
    lag = lags.summarise(told, visible.collect(history), queue_lag.collect(history))
    summary: Json = {
        "schema_version": SCHEMA_VERSION,
        **{name: manifest.get(name) for name in ("tool_version", "run_id", "command", "started_at")},
        "duration_s": round(window.seconds, 3),
        "verdict": {},
        "run": history.run,
        "load": load.summarise_load(history),
        "operations": _with_floors(done, generator, probes),
        "lag": _with_floors(lag, generator, probes),
        "t_visibility": t_visibility.summarise(t_visibility.looks(history)),
        "badge": badge.summarise(badge.badge(history)) if counted is None else None,
        "consistency": {
            "checks": [check.to_dict() for check in judged.checks],
            "causes": len(causes(judged.findings)),
        },
        "live": live.compare(manifest.get("live") or {}, judged.checks),
        "generator": generator,
        "probe_users": probes,
        "resources": used,
        "processes": stalls.summarise(history),
        "hub": stalls.hub(history),
        "disturbances": disturbances.summarise(history),
        "warmup": steady.warm_up(history),
        "little": steady.little(history),
        "stores": resources.store_work(used, done, resources.states_read(history)),
        "ledger": ledger.summarise(history),
        "ceilings": near,
        "debt": debt.summarise(history),
        "pool": debt.pool(history.run, used),
        "flow": flow.reads(history, [told["own_device"], told["receipt"]]),
        "record": record,
        "ended": manifest.get("ended") or {"how": "finished", "phase": "", "message": ""},
        "deaths": manifest.get("deaths") or [],
        "drained": manifest.get("drained"),
        "not_available": manifest.get("not_available") or {},
        "plan_sha256": manifest.get("plan_sha256"),
    }
    if "READ" in summary["operations"]:
        summary["operations"]["READ"]["hub_bound"] = processes.hub_bound(summary)
    seen = guards.look(summary)
    summary["guards"] = [guard.__dict__ for guard in seen]
    summary["verdict"] = guards.verdict(summary, seen, conditions)
    return summary, judged.findings


def _generator(history: History, used: Json) -> Json:
    """`generator`: how late it was, what it used, and what that leaves undecided."""
    figures, said = used.get("generator") or {}, history.manifest.get("generator") or {}
    lag = load.send_lag(history)
    sent = int(np.count_nonzero(history.measured & (history.operations["sent"] > 0)))
    cores, rss = figures.get("cpu_cores_mean"), figures.get("rss_bytes_max")
    return {
        **lag,
        "resolution_floor_us": load.floor_us(lag["send_lag_us"], int(said.get("receive_error_us") or 0)),
        "cpu_cores": cores,
        "cpu_cores_by_worker": resources.by_worker(history),
        "cpu_us_per_operation": round(cores * history.window.seconds * 1e6 / sent, 2)
        if cores and sent
        else None,
        "rss_bytes": rss,
        "bytes_per_user": _bytes_per_user(history, rss),
        "gc_pauses": said.get("gc_pauses"),
    }


def _with_floors(figures: Json, generator: Json, probes: Json | None) -> Json:
    """Adds to each entry the resolution of those who gave its headline."""
    floor = generator["resolution_floor_us"]
    of_probes = (probes or {}).get("resolution_floor_us")
    best = floor if of_probes is None else of_probes
    return {
        name: entry | {"resolution_floor_us": best if entry.get("from") == headline.PROBES else floor}
        for name, entry in figures.items()
    }


def _bytes_per_user(history: History, rss: int | None) -> int | None:
    """What the generator grew by since it began to connect, per user."""
    users = history.run.get("users")
    first = resources.rss_before_connecting(history)
    return round((rss - first) / users) if rss is not None and first is not None and users else None


# --- summary.csv ------------------------------------------------------------------------------------------


def to_csv(summary: Json) -> str:
    """One row per figure: name, unit, value, n (samples behind it, where there are any)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_figures(summary))
    return text.getvalue()


def _figures(summary: Json) -> Iterator[tuple[str, str, Any, int | None]]:
    for field in ("offered_per_s", "achieved_per_s", "messages_per_s", "pushes_per_s"):
        yield f"load.{field}", "1/s", summary["load"][field], None
    for field in ("dropped", "late", "already_read", "connections_asked", "connections_held", "reconnects"):
        yield f"load.{field}", "", summary["load"][field], None
    for name, operation in summary["operations"].items():
        for field in ("count", "ok", "fail", "info"):
            yield f"{name}.{field}", "", operation[field], None
        yield from _quantiles(f"{name}.latency", operation["latency_us"])
        yield from _quantiles(f"{name}.service", operation["service_us"])
        yield from _quantiles(f"{name}.wait", operation["wait_us"])
        yield from _others(f"{name}.latency", operation["cross_check"], "latency_us")
    yield from _behind(summary)
    for check in summary["consistency"]["checks"]:
        yield f"violations.{check['name']}", "", check["violations"], check["eligible"]
    yield from _quantiles("generator.send_lag", summary["generator"]["send_lag_us"])
    for name, used in summary["resources"].items():
        yield f"{name}.cpu_cores_mean", "cores", used["cpu_cores_mean"], None
        yield f"{name}.cpu_s_per_1000_messages", "s", used["cpu_s_per_1000_messages"], None
        yield f"{name}.rss_bytes_max", "bytes", used["rss_bytes_max"], None


def _others(name: str, cross_check: Json | None, of: str) -> Iterator[tuple[str, str, Any, int]]:
    if cross_check is not None:
        yield from _quantiles(f"{name}.of_{cross_check['from']}", cross_check[of])


def _behind(summary: Json) -> Iterator[tuple[str, str, Any, int | None]]:
    """Lags, t-visibility, badges."""
    for name, lag in summary["lag"].items():
        if lag["available"]:
            yield f"lag.{name}.undelivered", "", lag["undelivered"], lag["eligible"]
            yield from _quantiles(f"lag.{name}", lag["quantiles"])
            yield from _others(f"lag.{name}", lag.get("cross_check"), "quantiles")
    for one in summary["t_visibility"]["bins"]:
        yield f"t_visibility.{one['from_us']}", "share", one["share"], one["n"]
    if summary["badge"]["available"]:
        for cause, value in summary["badge"]["error_s_per_user_hour"].items():
            yield f"badge.error_s_per_user_hour.{cause}", "s", value, None


def _quantiles(name: str, figures: Json) -> Iterator[tuple[str, str, Any, int]]:
    for field in ("mean", "p50", "p90", "p99", "p999", "max"):
        yield f"{name}.{field}", "us", figures[field], figures["n"]
