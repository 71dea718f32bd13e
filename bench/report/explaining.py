"""A finding in words: what each record is called, what was promised, what to look at next.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.checks.findings import accused
from bench.checks.sentences import operation
from bench.checks.sentences import span as seconds
from bench.report.stretches import axis, span
from bench.results import Json

PROMISES: Final = {
    "durable": "what was acknowledged is kept, and nothing appears that nobody asked for",
    "convergence": "when nothing is on its way any more, every reader is shown what the store holds",
    "read_your_writes": "who has written something, and was told so, is shown it",
    "monotonic_reads": "who has been shown something is never shown less afterwards",
    "linearizable": "all reads and writes of a cursor happen one after the other, in real time",
}
STORES: Final = {"store": "MySQL", "cache": "Redis", "queue": "Kafka", "wait": "waiting"}
TEXT_WIDTH: Final = 72
GUTTER: Final = 27


# --- records ----------------------------------------------------------------------------------------------


def lane_of(record: Json) -> str:
    """Who it was and on which connection: "u69 · session 0x7f"."""
    if record["op"] == "seed":
        return "before the run · seeded"
    if record["op"] == "store":
        return "the store · after the drain"
    return f"{record['user_id']} · session {record['session']:#x}{_role(record)}"


def _role(record: Json) -> str:
    if record["device"] is not None:
        return ""
    return " (probe)" if record["op"].startswith("PROBE_") else " (final read)"


def label(record: Json, finding: Json) -> str:
    """What it did: "READ up to 6", "STATE shows 5"."""
    name, value, part = operation(record), record["value"], record["part"]
    if record["op"] == "seed":
        words = f"started at {value}"
    elif part == "held":
        words = f"holds {value}"
    elif part == "filler":
        showed = " (asks for its peer's cursor too)" if value is None else f" (shows {value})"
        words = f"{name}{showed}, suspected: read MySQL before the commit, filled the cache after the delete"
    elif part == "read" or name.endswith("STATE"):
        words = f"{name} shows {value}"
    elif part == "push":
        words = f"{name} {value}"
    else:
        words = f"{name} of message {value}" if name.endswith("SEND") else f"{name} up to {value}"
        if any(record["part"] == "filler" for record in finding["records"]):
            words += ": commits, then deletes the cached value"
    if record is accused(finding):
        return f"{words}  ✗ {should_show(finding)}{since(finding)}"
    return words + unanswered(record)


def unanswered(record: Json) -> str:
    return ", never answered" if record.get("sent_s") is not None and not record["acknowledged_s"] else ""


def since(finding: Json) -> str:
    return f" for {seconds(finding['age_s'])} already" if finding.get("age_s") else ""


def should_show(finding: Json) -> str:
    """What the accused record had to show, as far as the others tell."""
    by_part = [record for record in finding["records"] if record["part"] in ("write", "read", "held", "push")]
    values = [
        record["value"]
        for record in by_part
        if record is not accused(finding) and record["value"] is not None
    ]
    shown = accused(finding)["value"]
    if not values or shown is None:
        return str(finding["kind"])
    if max(values) > shown:
        return f"should show {max(values)}"
    if max(values) == shown:
        return str(finding["kind"])
    return f"{finding['kind']}: should show at most {max(values)}"


def stage_words(record: Json) -> str:
    """Where its time went: "server 3.67 ms: MySQL 2.7 ms, Redis 406 µs"."""
    took = record.get("stages_us")
    if not took:
        return ""
    parts = [f"{STORES[name]} {seconds(took[name] / 1e6)}" for name in STORES if took.get(name)]
    return f"server {seconds(took['server'] / 1e6)}" + (f": {', '.join(parts)}" if parts else "")


# --- the whole story as text --------------------------------------------------------------------------------


def story(finding: Json, heading: str, run: Json) -> list[str]:
    """Lines for a terminal.  `run` is the summary's `run`."""
    return [
        heading,
        finding["says"],
        "",
        *_records(finding),
        "",
        *_drawn(finding),
        "",
        _promised(finding, str(run.get("scheme"))),
        *_episode(finding),
        *([f"Also found by {', '.join(finding['also'])}."] if finding["also"] else []),
        "Look at next:",
        *(f"  - {line}" for line in look_next(finding, run)),
    ]


def _records(finding: Json) -> list[str]:
    lines = ["      at s        took  what"]
    for record in finding["records"]:
        one = span(record)
        at = "-" if one is None else f"{one.begin:.6f}"
        took = (
            "never"
            if one and one.open
            else seconds(one.end - one.begin)
            if one and one.end > one.begin
            else ""
        )
        lines.append(f"{at:>10}  {took:>10}  {label(record, finding)}")
        told = [lane_of(record), stage_words(record), _ids(record)]
        lines.append(f"{'':24}{'; '.join(filter(None, told))}")
    return lines


def _ids(record: Json) -> str:
    device = record.get("device")
    ids = [f"op_id {record['op_id']}"] if record["op_id"] is not None else []
    return ", ".join(ids + ([f"device {device}"] if device is not None else []))


def _drawn(finding: Json) -> list[str]:
    """The timeline in characters: [==] whole, [??] suspected, [✗✗] what is wrong, // a pause cut out."""
    timed = [(record, one) for record in finding["records"] if (one := span(record)) is not None]
    if not timed:
        return []
    scale = axis([one for _, one in timed], 0, TEXT_WIDTH, 4)
    cuts = [int(left) + 1 for left, _, _ in scale.pauses()]
    lines = []
    for record, one in timed:
        cells = [" "] * (TEXT_WIDTH + 1)
        for cut in cuts:
            cells[cut : cut + 2] = "//"
        left, right = int(scale.x(one.begin)), int(scale.x(one.end))
        mark = "✗" if record is accused(finding) else "?" if record["part"] == "filler" else "="
        cells[left : right + 1] = mark * (right - left + 1)
        lines.append(f"{lane_of(record).replace(' · session', ''):<{GUTTER}}|{''.join(cells).rstrip()}")
    feet = [" "] * (TEXT_WIDTH + 12)
    for stretch in scale.stretches:
        words, left = f"{stretch.begin:.6g} s", int(stretch.left)
        feet[left : left + len(words)] = words
    return [*lines, f"{'':<{GUTTER}} {''.join(feet).rstrip()}"]


def _promised(finding: Json, scheme: str) -> str:
    means = PROMISES.get(finding["promise"])
    words = f"`{finding['promise']}`" + (f" ({means})" if means else "")
    if finding["promised"]:
        return f"{scheme} promises {words}: this is a violation."
    return f"{scheme} does not promise {words}: this is a measurement, and fails nothing."


def _episode(finding: Json) -> list[str]:
    count, head = finding["in_episode"], finding["episode"]
    if head != finding["id"]:
        return [f"One of {count:,} of one cause; {head} is the worst of them."]
    return [f"The worst of {count:,} of one cause."] if count > 1 else []


def look_next(finding: Json, run: Json) -> list[str]:
    """What would tell more."""
    scheme, kinds = run.get("scheme"), {record["part"] for record in finding["records"]}
    stale = finding["kind"] in ("stale", "read your writes", "monotonic reads")
    advice = []
    if "filler" in kinds:
        ttl = (run.get("options") or {}).get("cache-ttl", "its")
        advice += [
            "the same load with --guard lease, which refuses a fill that a delete has overtaken",
            f"the old value stays until the next write of this cursor, or until its TTL ends ({ttl} s)",
        ]
    elif stale and scheme == "redis":
        advice.append(
            "no recorded read can have filled the cache so: was a delete lost? cache_delete_failed, and "
            "bench logs RUN server"
        )
    elif stale and scheme == "queue":
        advice.append("how far the consumer was behind: the row `queue` of How far behind")
    if finding["promise"] == "durable":
        advice.append("what died or was restarted: `deaths` in summary.json, bench logs RUN")
    ids = [record["op_id"] for record in finding["records"] if record["op_id"] is not None]
    if ids:
        advice.append(f"the rows: op_id in {ids} of operations-*.parquet and items-*.parquet")
    return advice


def listing(findings: Sequence[Json], headings: Sequence[str]) -> list[str]:
    """One episode each: its heading, and what it says."""
    return [
        line
        for finding, heading in zip(findings, headings, strict=True)
        for line in (heading, f"    {finding['says']}")
    ]
