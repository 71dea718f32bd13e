"""One run as a document: the lines, tables and caveats that terminal, Markdown and HTML show alike.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.guards import GUARDS, INCONCLUSIVE, INVALID, OK, UNKNOWN, WARN
from bench.report import arms, ceilings, figures, tables, wording
from bench.report.document import Document, Table
from bench.results import Json

CAVEATS_OF_ONE_RUN = (
    "Latencies and rates are this machine's; ratios between arms and counts per message travel further.",
    "One block: no interval can be given, and a difference to another run may be noise.",
    "Not covered: power loss, replicas, TLS, more than one server node.",
)


def run_document(summary: Json, manifest: Json) -> Document:
    """Raises KeyError for a summary of another version."""
    run = summary["run"]
    label = arms.arms([run])[0].label
    return Document(
        title=f"{label} · {run['scenario']}",
        first=wording.pin_line(manifest),
        load=(
            wording.load_line(summary, manifest),
            *wording.server_line(run),
            wording.ack_line(run),
            *wording.service_lines(run),
            *wording.terms_line(run),
            *wording.debt_line(summary),
            *ceilings.near_line(summary),
            wording.causes_line(manifest),
            *wording.not_available_lines(summary),
        ),
        verdict=(verdict_words(summary), *reason_lines(summary)),
        good=good([summary]),
        answer=(),
        tables=tables.run_tables(summary, manifest),
        caveats=CAVEATS_OF_ONE_RUN,
        last=verdict_line(summary),
        certificate=certificate(summary),
    )


def certificate(summary: Json) -> Table:
    """Every guard with its value, threshold and verdict; those that object first, then what is not known."""
    order = (INVALID, INCONCLUSIVE, WARN, UNKNOWN, OK)
    said = sorted(summary["guards"], key=lambda guard: order.index(guard["verdict"]))
    rows = tuple(
        (
            guard["guard"],
            "not known" if guard["verdict"] == UNKNOWN else guard["verdict"],
            *(_number(guard[name]) for name in ("value", "threshold")),
            guard["message"],
        )
        for guard in said
    )
    return Table(f"Certificate: {_counted(summary)}", ("", "verdict", "value", "threshold", ""), rows)


def _number(value: float | None) -> str:
    if value is None:
        return figures.MISSING
    return figures.count(round(value)) if value == round(value) else figures.digits(value, 4)


def _counted(summary: Json) -> str:
    """`30/33 guards, 2 not known`"""
    objects = sum(reason["guard"] != "fail_if" for reason in summary["verdict"]["reasons"])
    silent = sum(guard["verdict"] == UNKNOWN for guard in summary["guards"])
    passed = len(GUARDS) - objects - silent
    return f"{passed}/{len(GUARDS)} guards" + (f", {silent} not known" if silent else "")


def good(summaries: Sequence[Json]) -> bool | None:
    timing, correctness = wording.worst_timing(summaries), wording.worst_correctness(summaries)
    if timing == "INVALID" or correctness == "FAIL":
        return False
    return True if timing == "VALID" and correctness == "PASS" else None


def verdict_words(summary: Json) -> str:
    verdict = summary["verdict"]
    floor = summary["generator"].get("resolution_floor_us")
    resolution = f"±{figures.duration(floor)}" if floor is not None else "unknown"
    how = summary["ended"]["how"]
    return (
        f"TIMING {verdict['status']} · CORRECTNESS {wording.correctness(summary)} · "
        f"{_counted(summary)} · resolution {resolution}" + ("" if how == "finished" else f" · PARTIAL: {how}")
    )


def reason_lines(summary: Json) -> list[str]:
    """What a guard, a check or a --fail-if objects to, and what to do about it."""
    return [f"{wording.reason(reason)}. {reason['advice']}" for reason in summary["verdict"]["reasons"]]


def verdict_line(summary: Json) -> str:
    """The last line on stdout: `VERDICT <timing> <correctness> <scheme> <scenario> key=value…`."""
    run, load = summary["run"], summary["load"]
    values = {
        "send_per_s": load.get("messages_per_s"),
        "pushes_per_s": load.get("pushes_per_s"),
        "connections": f"{load.get('connections_held')}/{load.get('connections_asked')}",
        "exit": summary["verdict"]["exit_code"],
        "run": summary["run_id"],
    }
    said = " ".join([*_percentiles(summary), *(f"{name}={v}" for name, v in values.items() if v is not None)])
    status = summary["verdict"]["status"]
    return f"VERDICT {status} {wording.correctness(summary)} {run['scheme']} {run['scenario']} {said}"


def _percentiles(summary: Json) -> list[str]:
    """`READ.p99=12.4ms`; `>=` where unanswered or undelivered ones make it a lower bound."""
    receipt = (summary["lag"].get("receipt") or {}).get("quantiles")
    of: dict[str, Json | None] = {
        name: (summary["operations"].get(name) or {}).get("latency_us") for name in ("READ", "SEND", "STATE")
    }
    found = []
    for name, q in {**of, "lag.receipt": receipt}.items():
        if q is not None and q["p99"] is not None:
            sign = ">=" if "p99" in q["at_least"] else "="
            found.append(f"{name}.p99{sign}{q['p99'] / 1000:g}ms")
    return found


def detail_tables(summary: Json) -> tuple[Table, ...]:
    """For after the charts: t-visibility, badges, each check and each promise."""
    rows = tuple(
        (
            check["name"],
            "promised" if check["promised"] else "not promised",
            figures.count(check["eligible"]),
            figures.count(check["violations"]),
            figures.count(check["episodes"]),
            check["verdict"],
            check.get("unknown_because") or "",
        )
        for check in summary["consistency"]["checks"]
    )
    columns = ("check", "", "eligible", "violations", "episodes", "verdict", "why unknown")
    checks = Table("Correctness: what was checked", columns, rows)
    return (
        *tables.how_soon(summary),
        *tables.how_badges_are(summary),
        checks,
        *tables.work_ledger(summary),
    )


def provenance(manifest: Json) -> tuple[str, ...]:
    """Where the figures come from."""
    machine = manifest.get("machine") or {}
    names = ("cores", "kernel", "governor", "virtual", "clock_source", "python", "git")
    told = [f"{name.replace('_', ' ')} {machine.get(name)}" for name in names if machine.get(name)]
    told += ["with changes that are not committed"] if machine.get("git_dirty") else []
    tool = f"{manifest.get('tool')} {manifest.get('tool_version')}"
    return (
        f"{tool}, {manifest.get('started_at')}: {manifest.get('command')}",
        f"{machine.get('cpu', 'CPU unknown')}, {', '.join(told) or 'machine not recorded'}",
        *wording.disk_line(machine),
        f"Plan sha256 {manifest.get('plan_sha256')}",
        "Every figure comes from the Parquet files beside this page; bench report RUN makes it again.",
    )
