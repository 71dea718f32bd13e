"""The tables of one run: how fast, how many, how far behind, what was busy.  Pure, from `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.compare import FLOORS
from bench.metrics.headline import ENOUGH, GAP_SHARE, GAP_US, PROBES
from bench.metrics.operations import STAGES
from bench.report import figures
from bench.report.document import Table
from bench.report.figures import MISSING
from bench.report.findings import count_line
from bench.report.wording import LAGS
from bench.results import Json

TOLERATED: Final = 0.01
BESIDE: Final = {"generator": "generator (not under test)", "machine": "machine (everything)"}
APART: Final = "!"
"""Marks a cross-check that is not what the headline says."""
RARELY: Final = "*"
"""Marks a percentile with fewer than ten samples beyond it."""


def quantile(q: Mapping[str, Any] | None, name: str, floor_us: float | None = None) -> str:
    """A figure of a Q in ms.

    `≥` where unanswered or undelivered ones make it a lower bound, RARELY for low n, ± f below 5 f, f
    being the resolution."""
    if q is None or q.get(name) is None:
        return MISSING
    sign = "≥" if name in q.get("at_least", ()) else ""
    blur = f"±{figures.ms(floor_us, 1)}" if floor_us and q[name] < FLOORS * floor_us else ""
    return f"{sign}{figures.ms(q[name])}{blur}{RARELY if name in q.get('low_n', ()) else ''}"


def run_tables(summary: Json, manifest: Json) -> tuple[Table, ...]:
    return (
        how_fast(summary),
        how_many(summary, manifest),
        how_far_behind(summary),
        how_wrong(summary),
        *work_per_message(summary),
        what_was_busy(summary),
        where_time_goes(summary["operations"]),
    )


def how_fast(summary: Json) -> Table:
    rows = []
    for name, figure in summary["operations"].items():
        latency, service, floor = figure["latency_us"], figure["service_us"], figure["resolution_floor_us"]
        errors = ", ".join(f"{n:,} {code}" for code, n in figure["errors"].items())
        rows.append(
            (
                f"{name} (hub-bound)" if figure.get("hub_bound") else name,
                samples(figure["from"], latency),
                *(quantile(latency, level, floor) for level in ("p50", "p99", "p999", "max")),
                quantile(figure.get("wait_us"), "p99"),
                quantile(service, "p99", floor),
                cross_check(figure["cross_check"], "latency_us"),
                errors or "0",
            )
        )
    return Table(
        "How fast (ms)",
        ("", "n", "p50", "p99", "p99.9", "max", "wait p99", "service p99", "others' p99", "errors"),
        tuple(rows),
        f"Response from the intended start: the wait until it was sent, and the service from there. {RARELY} "
        f"fewer than 10 samples beyond; {MISSING} too few; ≥ some unanswered.{_whose(summary)}",
    )


def samples(source: str | None, q: Mapping[str, Any]) -> str:
    """How many samples a headline has, and whose they are."""
    return f"{figures.count(q['n'])}{' probes' if source == PROBES else ''}"


def cross_check(other: Mapping[str, Any] | None, name: str) -> str:
    """The p99 of those who did not give the headline."""
    if other is None:
        return MISSING
    return f"{other['from']} {quantile(other[name], 'p99')}{APART if other['p99_apart'] else ''}"


def _whose(summary: Json) -> str:
    """Who the probe users are, if there are any."""
    probes = summary["probe_users"]
    if not probes:
        return ""
    return (
        f" Of {figures.count(probes['users'])} probe users (a process of their own, kernel receive stamps, "
        f"{figures.percent(probes['load_share'], 2)} of the load) where they have {ENOUGH:,} samples, else "
        f"of all; others: the load users, or the probe users. {APART} more than {GAP_US // 1000} ms and "
        f"{GAP_SHARE:.0%} apart."
    )


def how_many(summary: Json, manifest: Json) -> Table:
    load = summary["load"]
    seconds = _seconds(manifest)
    reads = (summary["operations"].get("READ") or {}).get("ok")
    rows_each = ((manifest.get("load") or {}).get("causes") or {}).get("rows")
    sends = load.get("messages_per_s")
    held = f"{figures.count(load.get('connections_held'))} of {figures.count(load.get('connections_asked'))}"
    rows = [
        ("connections held", held, f"{figures.count(load.get('reconnects'))} reconnects"),
        ("planned operations/s", _of(load, "achieved_per_s", "offered_per_s"), _lateness(load)),
        ("SEND/s", figures.rate(sends), f"asked {figures.rate(load.get('send_per_s_asked'))}"),
        ("READ/s", figures.rate(reads / seconds) if reads is not None and seconds else MISSING, ""),
        (
            "receiver rows/s",
            figures.rate(sends * rows_each) if sends is not None and rows_each else MISSING,
            _receiver_rows(summary["run"], rows_each),
        ),
        ("pushes/s", figures.rate(load.get("pushes_per_s")), _pushes(load)),
    ]
    return Table("How many", ("", "in the window", ""), tuple(rows))


def _receiver_rows(run: Json, rows_each: float | None) -> str:
    if rows_each is None:
        return figures.unavailable("the manifest has no table of causes")
    written = run.get("model") == "flags"
    return "messages x receivers" + ("" if written else "; only the flags model writes them")


def _seconds(manifest: Json) -> float:
    window = manifest.get("window") or {}
    seconds: float = (window.get("measure_end", 0) - window.get("measure", 0)) / 1e9
    return seconds


def _of(load: Json, got: str, wanted: str) -> str:
    return f"{figures.rate(load.get(got))} of {figures.rate(load.get(wanted))}"


def _lateness(load: Json) -> str:
    return f"{figures.count(load.get('dropped'))} dropped, {figures.count(load.get('late'))} late"


def _pushes(load: Json) -> str:
    return ", ".join(f"{n:,} {kind}" for kind, n in (load.get("pushes") or {}).items())


def how_far_behind(summary: Json) -> Table:
    lag = summary["lag"]
    rows: list[tuple[str, ...]] = []
    absent: dict[str, list[str]] = {}
    for name in LAGS:
        entry = lag.get(name)
        if entry is None:
            continue
        if not entry["available"]:
            absent.setdefault(figures.unavailable(entry["why_not"]), []).append(name)
            continue
        q, floor = entry["quantiles"], entry["resolution_floor_us"]
        rows.append(
            (
                LAGS[name].split(":")[0],
                samples(entry.get("from"), q),
                *(_bounded(entry, level, floor) for level in ("p50", "p99", "p999", "max")),
                cross_check(entry.get("cross_check"), "quantiles"),
                f"{figures.count(entry['undelivered'])} of {figures.count(entry['eligible'])}",
                figures.count(entry["censored"]),
            )
        )
    said = [f"{', '.join(names)} {why}" for why, names in absent.items()]
    return Table(
        "How far behind (ms)",
        ("", "n", "p50", "p99", "p99.9", "max", "others' p99", "undelivered", "censored"),
        tuple(rows),
        "; ".join([*_events_behind(lag), *_soon_seen(summary), *said]),
    )


def _bounded(entry: Json, level: str, floor: float | None) -> str:
    """A quantile; `≤` its upper end where the lower one is 0: the polls cannot tell it from nothing."""
    lower, upper = (entry.get(end) or {} for end in ("lower", "upper"))
    if lower.get(level) == 0 and upper.get(level) is not None:
        return f"≤{quantile({**entry['quantiles'], level: upper[level]}, level, floor)}"
    return quantile(entry["quantiles"], level, floor)


def _events_behind(lag: Json) -> list[str]:
    """L7 in events."""
    events = (lag.get("queue") or {}).get("events")
    if not events or not events["n"]:
        return []
    levels = ", ".join(
        f"{level} {figures.count(events[level])}"
        for level in ("p50", "p99", "max")
        if events[level] is not None
    )
    return [f"events behind in {figures.count(events['n'])} samples: {levels}"]


def _soon_seen(summary: Json) -> list[str]:
    """t-visibility at the ages of SOON_US."""
    known = [
        f"{figures.percent(one['share'])} at {figures.ages(one['from_us'], one['to_us'])}"
        for one in (summary.get("t_visibility") or {}).get("bins", ())
        if one["from_us"] in SOON_US and one["n"]
    ]
    return [f"a read shows it: {', '.join(known)} after the ACK"] if known else []


SOON_US: Final = (0, 10_000, 100_000, 1_000_000)


WORK: Final[Mapping[str, str]] = {
    "rows": "rows",
    "commits": "commits",
    "mysql_round_trips": "MySQL trips",
    "redis_round_trips": "Redis trips",
    "redis_commands": "Redis cmds",
    "records": "records",
    "pushes": "pushes",
    "fsyncs": "fsyncs",
    "log_bytes": "log KiB",
    "network_bytes": "network KiB",
}
"""Figures of `ledger.per_message` -> what they are called."""


def work_per_message(summary: Json) -> tuple[Table, ...]:
    """What a message costs the stores: counted, and held against what the scheme declares."""
    ledger = summary.get("ledger") or {}
    if not ledger.get("available") or not ledger["messages"]:
        return ()
    each = ledger["per_message"]
    row = ("per message", *(_work(name, each[name]) for name in WORK))
    return (Table("What a message costs", ("", *WORK.values()), (row,), _ledger_note(ledger)),)


def _work(name: str, value: float | None) -> str:
    if value is None:
        return MISSING
    return figures.digits(value / 1024 if name.endswith("_bytes") else value)


def _ledger_note(ledger: Json) -> str:
    off = max((row["off"] for row in ledger["rows"]), default=0.0)
    measured = ", ".join(WORK[name] for name in ledger["measured_not_declared"])
    return (
        f"{figures.count(ledger['messages'])} messages, READs and all else that they cause. Declared against "
        f"counted: {len(ledger['rows'])} counters, at most {figures.percent(off, 2)} off. "
        f"Measured, not declared: {measured}."
    )


def work_ledger(summary: Json) -> tuple[Table, ...]:
    """Every counter: what the scheme declares for what was recorded, and what the store counted."""
    ledger = summary.get("ledger") or {}
    if not ledger.get("available"):
        return ()
    rows = tuple(
        (
            row["counter"],
            figures.count(row["at_least"]),
            figures.count(row["at_most"]),
            figures.count(row["counted"]),
            figures.percent(row["off"], 2),
        )
        for row in ledger["rows"]
    )
    return (Table("Work ledger", ("", "declared, at least", "at most", "counted", "off"), rows),)


def how_soon(summary: Json) -> tuple[Table, ...]:
    """t-visibility; no table where nobody looked."""
    entry = summary.get("t_visibility") or {}
    if not entry.get("available"):
        return ()
    rows = tuple(
        (
            figures.ages(one["from_us"], one["to_us"]),
            figures.count(one["n"]),
            figures.percent(one["share"]),
            f"{figures.percent(one['low'])} – {figures.percent(one['high'])}" if one["n"] else MISSING,
        )
        for one in entry["bins"]
    )
    unanswered = (
        f"{figures.count(entry['unanswered'])} reads were not answered" if entry["unanswered"] else ""
    )
    return (
        Table("How soon a read shows a mark", ("after its ACK", "n", "show it", "95 %"), rows, unanswered),
    )


def how_badges_are(summary: Json) -> tuple[Table, ...]:
    entry = summary.get("badge") or {}
    if not entry.get("available"):
        return ()
    spent, episodes = entry["error_s_per_user_hour"], entry["episodes"]
    rows = (
        *((BADGE[cause], figures.digits(spent[cause]), figures.count(n)) for cause, n in episodes.items()),
        ("all", figures.digits(spent["total"]), figures.count(sum(episodes.values()))),
    )
    return (
        Table(
            "Badges: |shown - true unread|",
            ("", "message-s per user-hour", "times"),
            rows,
            f"{figures.count(entry['badges'])} badges over {figures.digits(entry['user_hours'])} user-hours; "
            "a user is a connected device",
        ),
    )


BADGE: Final = {
    "late": "late: a push set it right",
    "lost": "lost: no push came",
    "resurrected": "resurrected: what is read came back",
}


def how_wrong(summary: Json) -> Table:
    """What was wrong without anything having to break: promised or not, with what n could have shown.

    Pushes and unread numbers have a row where something was wrong; all checks are in the full report."""
    checks = {check["name"]: check for check in summary["consistency"]["checks"]}
    rows = tuple(
        (
            title,
            figures.count(check["eligible"]),
            figures.count(check["violations"]),
            figures.count(check["episodes"]),
            _at_most(check),
            _age(check["worst"]),
            _kept(check),
        )
        for name, title in (WRONG | WRONG_IF_FOUND).items()
        if (check := checks.get(name)) is not None and (name in WRONG or check["violations"])
    )
    columns = ("", "n", "wrong", "episodes", "95 % at most", "oldest", "promised")
    notes = [text for text in (badge_line(summary), count_line(summary)) if text]
    return Table("How wrong", columns, rows, "; ".join(notes))


def badge_line(summary: Json) -> str:
    """Badge-error seconds by cause."""
    entry = summary.get("badge") or {}
    if not entry.get("available"):
        return f"badges: {figures.unavailable(entry.get('why_not'))}"
    spent = entry["error_s_per_user_hour"]
    causes = ", ".join(f"{cause} {figures.digits(spent[cause])}" for cause in entry["episodes"])
    return f"badges wrong: {figures.digits(spent['total'])} message-s per user-hour ({causes})"


def _at_most(check: Json) -> str:
    bound = check["upper_bound_95"]
    return MISSING if bound is None else f"{bound:.2g}"


def _age(worst: Json | None) -> str:
    age = (worst or {}).get("age_s")
    return MISSING if age is None else figures.duration(age * 1e6)


def _kept(check: Json) -> str:
    if check["verdict"] == "unknown":
        return f"unknown: {check['unknown_because']}"
    return "yes" if check["promised"] else "no"


WRONG: Final = {
    "linearizable": "reads that do not show what was complete",
    "read_your_writes_device": "reads that do not show the device's own write",
    "monotonic_reads_device": "reads that show less than the device saw before",
    "stale_at_end": "cursors stale when nothing was on its way",
}
WRONG_IF_FOUND: Final = {
    "sync_complete": "changes that a SYNC left out",
    "versions": "versions that mean two things",
    "device_state": "cursors that a device does not know at the end",
    "converged": "cursors on which store, cache and API differ",
    "push_gaps": "pushes that never came",
    "push_duplicates": "pushes that came twice",
    "push_order": "pushes that came after a later one",
    "push_regress": "versions below those before a reconnect",
    "receipt_before_message": "messages that came after their receipt",
    "unread": "unread numbers that cannot be true",
    "unread_at_end": "unread numbers wrong when nothing was on its way",
    "total_unread": "totals that are not the sum",
}
"""Shown where something was found: the screen is small, and every check is in `summary.json`."""


def what_was_busy(summary: Json) -> Table:
    rows = [
        (
            BESIDE.get(name, name),
            figures.cores(used.get("cpu_cores_mean")),
            figures.cores(used.get("cpu_cores_max")),
            _optional(used.get("cpu_s_per_1000_messages")),
            figures.percent(used.get("runqueue_share"), 2),
            figures.mebibytes(used.get("rss_bytes_max")),
        )
        for name, used in summary["resources"].items()
    ]
    return Table(
        "What was busy",
        ("", "cores mean", "cores max", "CPU-s per 1,000 msgs", "waits for a core", "memory MiB"),
        tuple(rows),
        work_line(summary),
    )


def _optional(value: float | None) -> str:
    return MISSING if value is None else figures.digits(value)


def work_line(summary: Json) -> str:
    """Hit ratio and what an operation asked of the stores."""
    work: dict[str, Any] = summary.get("stores") or {}
    ratio = work.get("cache_hit_ratio")
    why_not = "its stores are its own" if summary["run"].get("url") else "no cache"
    hits = figures.percent(ratio) if ratio is not None else figures.unavailable(why_not)
    parts = [
        f"cache hits {hits}",
        f"key reads per write {_optional(work.get('key_reads_per_key_write'))}",
        f"MySQL statements per operation {_optional(work.get('mysql_statements_per_operation'))}",
        f"commits {_optional(work.get('mysql_commits_per_operation'))}",
        f"Redis commands {_optional(work.get('redis_commands_per_operation'))}",
    ]
    return "; ".join(part for part in parts if not part.endswith(MISSING))


def where_time_goes(operations: Json) -> Table:
    told = {name: figure["mean_ms"] for name, figure in operations.items() if figure.get("mean_ms")}
    rows = [
        (name, figures.count(mean["n"]), *(_optional(mean[stage]) for stage in STAGES))
        for name, mean in told.items()
    ]
    overlapping = [name for name, mean in told.items() if overlap_ms(mean)]
    note = f"{', '.join(overlapping)}: the server told stages that add up to more than its own time"
    return Table(
        "Where the time goes (mean ms)", ("", "n", *STAGES), tuple(rows), note if overlapping else ""
    )


def overlap_ms(entry: Json) -> float:
    """By how many ms the server's stages exceed its own time; 0 for what rounding to whole µs explains."""
    server = entry["other"] + sum(entry[name] for name in ("wait", "store", "cache", "queue"))
    return float(-entry["other"]) if -entry["other"] > TOLERATED * server + 0.002 else 0.0
