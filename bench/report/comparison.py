"""A comparison as a document: the table of all arms, what it allows to say, and what it does not.  Pure.

From `comparison.json` alone, so that it can be shown again."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bench import alike, compare, drivers
from bench.blocks import ratio_of
from bench.metrics.headline import PROBES
from bench.report import figures, gate, tables, wording
from bench.report.arms import CONTROL
from bench.report.document import Document, Table
from bench.report.figures import MISSING
from bench.results import Json

SAME_LOAD: Final = (
    "The same load for every arm compares curves, not throughput: how much an arm can carry was not asked "
    "here."
)
CAVEATS: Final = (
    SAME_LOAD,
    "Latencies and rates are this machine's; ratios between arms and counts per message travel further.",
    "Not covered: power loss, replicas, TLS, more than one server node.",
)
LEVELS: Final = ("p50", "p99")
RANKED: Final = {
    "READ.p99": "READ p99",
    "STATE.p99": "STATE p99",
    "lag.receipt.p99": "receipt lag p99",
    "cpu_s_per_1000_messages": "CPU-s per 1,000 messages",
}
HEADLINES: Final = RANKED | {"messages_per_s": "SEND/s"}
"""Figures whose intervals and ratios are on the first screen."""


def comparison_document(content: Json) -> Document:
    verdict = content["verdict"]
    run = content["arms"][0]["summary"]["run"]
    labels = [arm["label"] for arm in content["arms"]]
    return Document(
        title=f"{run['scenario']}: {figures.joined(labels)}",
        first=wording.pin_line(content["arms"][0]["manifest"]),
        load=_load(content),
        verdict=(_verdict(content), *_reasons(content)),
        good=_good(verdict),
        answer=(*_answer(content), *_verdicts(content)),
        tables=(*_changed(content)[:1], _table(content), *_intervals(content)),
        caveats=_caveats(content),
        last=verdict_line(content),
    )


def _verdicts(content: Json) -> tuple[str, ...]:
    """Of two sides; none where there are more."""
    change = content.get("change")
    return gate.of_comparison(change, content["why"]) if change else ()


def _changed(content: Json) -> tuple[Table, ...]:
    change = content.get("change")
    return gate.tables(change) if change else ()


def subtitle(content: Json) -> str:
    arms = content["arms"]
    said = wording.subtitle(
        [arm["summary"] for arm in arms], [arm["manifest"] for arm in arms], blocks=_blocks(content)
    )
    return f"UNLIKE RUNS · {said}" if content["unlike"] else said


def _blocks(content: Json) -> int:
    return min(len(arm["run_ids"]) for arm in content["arms"])


def _load(content: Json) -> tuple[str, ...]:
    first = content["arms"][0]
    unlike = (f"UNLIKE RUNS, compared because you asked: {'; '.join(content['unlike'])}",)
    services: dict[str, None] = {}
    for arm in content["arms"]:
        services |= dict.fromkeys(wording.service_lines(arm["summary"]["run"]))
        services |= dict.fromkeys(wording.terms_line(arm["summary"]["run"]))
    return (
        *(unlike if content["unlike"] else ()),
        wording.load_line(first["summary"], first["manifest"]),
        _blocks_line(content),
        *services,
        wording.causes_line(first["manifest"]),
    )


def _blocks_line(content: Json) -> str:
    blocks = _blocks(content)
    said = f"{blocks} block{'s' if blocks != 1 else ''} per arm"
    in_turn = any(len(block) > 1 for series in content.get("order", ()) for block in series["blocks"])
    return f"{said}, interleaved in a random order" if in_turn else said


def _verdict(content: Json) -> str:
    floor = content["resolution_floor_us"]
    resolution = f"±{figures.duration(floor)}" if floor is not None else "unknown"
    verdict = content["verdict"]
    return (
        f"TIMING {verdict['status']} · CORRECTNESS {verdict['correctness']} · resolution {resolution} "
        f"(the worst of all runs){_drifted(content)}"
    )


def _drifted(content: Json) -> str:
    drift = (content.get("control_drift") or {}).get("value")
    return "" if drift is None else f" · control drift {drift:+.1%}"


def _reasons(content: Json) -> list[str]:
    """Each once per arm, with the number of its runs where they are several."""
    label_of = {run_id: arm["label"] for arm in content["arms"] for run_id in arm["run_ids"]}
    said = Counter(
        f"{label_of[reason['run_id']]}: {wording.reason(reason)}" for reason in content["verdict"]["reasons"]
    )
    return [f"{text} ({n} runs)" if n > 1 else text for text, n in said.items()]


def _good(verdict: Json) -> bool | None:
    if verdict["status"] == "INVALID" or verdict["correctness"] == "FAIL":
        return False
    return True if (verdict["status"], verdict["correctness"]) == ("VALID", "PASS") else None


def _answer(content: Json) -> tuple[str, ...]:
    """Who is lowest in what, with figures; nothing unless the timing is VALID and the runs are alike."""
    classes = alike.classes(content)
    said = []
    for class_, labels in classes.items():
        if len(labels) > 1 or len(classes) == 1:
            among = f" · {wording.class_words(class_)}" if len(classes) > 1 else ""
            said += [f"{line}{among}" for line in _orders(content, labels)]
    if not said:
        return ()
    few = _blocks(content) < compare.BLOCKS_FOR_INTERVAL
    how = "order, not significance: too few blocks for an interval" if few else "[95 % intervals]"
    return (f"ANSWER at this load (≈ not separated; {how})", *said)


def _times(row: Json, groups: Sequence[Sequence[str]], i: int) -> str:
    """How many times as much it is as the first of the group before."""
    ratio = ratio_of(row, groups[i][0], groups[i - 1][0]) if i else None
    return f" ({_ratio(ratio)})" if ratio is not None and ratio["interval"] is not None else ""


def _ratio(ratio: Json) -> str:
    said = f"× {figures.digits(ratio['value'])}"
    both = ratio["interval"]
    return said if both is None else f"{said} {figures.between(both, figures.digits)}"


def _orders(content: Json, labels: Sequence[str]) -> list[str]:
    said = []
    for figure, name in RANKED.items():
        groups = compare.ranking(content, figure, labels)
        if groups:
            row = _row(content, figure)
            named = f"{name}{' in ms' if row['unit'] == 'us' else ''}"
            flipped = _flips(content, row, labels)
            said.append(f"{named}: {_by_driver(content, figure, labels) if flipped else _order(row, groups)}")
    return said


def _order(row: Json, groups: Sequence[Sequence[str]]) -> str:
    return " < ".join(
        " ≈ ".join(f"{label} {_value(row, label)}" for label in group) + _times(row, groups, i)
        for i, group in enumerate(groups)
    )


def _runs(content: Json, labels: Sequence[str]) -> dict[str, Json]:
    return {arm["label"]: arm["summary"]["run"] for arm in content["arms"] if arm["label"] in labels}


def _flips(content: Json, row: Json, labels: Sequence[str]) -> bool:
    """Whether two arms stand one way with one client library, and the other way with another."""
    values, together = row["values"], [set(pair) for pair in row["not_separated"]]

    def below(one: str, other: str) -> bool:
        known = values.get(one) is not None and values.get(other) is not None
        return known and {one, other} not in together and bool(values[one] < values[other])

    return bool(drivers.flips(_runs(content, labels), below))


def _by_driver(content: Json, figure: str, labels: Sequence[str]) -> str:
    runs, row = _runs(content, labels), _row(content, figure)
    orders = (
        f"with {driver} {_order(row, compare.ranking(content, figure, drivers.among(runs, driver)))}"
        for driver in drivers.both(runs)
    )
    return f"depends on the client library: {'; '.join(orders)}"


def _drivers(content: Json) -> tuple[str, ...]:
    """Where both client libraries were measured and no order depends on which it is."""
    labels = [arm["label"] for arm in content["arms"]]
    found = drivers.both(_runs(content, labels))
    ranked = [figure for figure in RANKED if compare.ranking(content, figure, labels)]
    if not found or not ranked or any(_flips(content, _row(content, name), labels) for name in ranked):
        return ()
    return (f"Measured with {figures.joined(found)}: no order given above depends on the client library.",)


def _unfair(content: Json) -> tuple[str, ...]:
    """Arms that are not held to the same are never ranked with each other."""
    classes = alike.classes(content)
    if len(classes) == 1:
        return ()
    who = "; ".join(f"{figures.joined(labels)}: {wording.class_words(c)}" for c, labels in classes.items())
    why = "Not ranked with each other, since an ACK outlives different things"
    return (f"{why}. {who}. --durability process or power holds every store to the same.",)


def _caveats(content: Json) -> tuple[str, ...]:
    blocks = _blocks(content)
    noise = f"{blocks} block{'s' if blocks != 1 else ''} per arm: no interval; a difference may be noise."
    many = (
        f"{blocks} blocks: an interval covers what such runs give on this machine, today, on this plan; each "
        "is 95 % by itself, so that of 20 comparisons of alike arms one is called different."
    )
    few = (noise if blocks < compare.BLOCKS_FOR_INTERVAL else many,)
    unlike = (f"These runs had not the same to do: {'; '.join(content['unlike'])}.",)
    beside = tuple(f"{line}." for line in content.get("environment") or ())
    change = content.get("change")
    told = (*gate.opened(change), *_left_out(change)) if change else ()
    return (
        *(unlike if content["unlike"] else ()),
        *_unfair(content),
        *told,
        *_drivers(content),
        *CAVEATS,
        *beside,
        *few,
    )


def _left_out(change: Json) -> tuple[str, ...]:
    return tuple(line for side in change["sides"] for line in gate.left_out(side["left_out"]))


# --- the table ----------------------------------------------------------------------------------------------


def _row(content: Json, figure: str) -> Json:
    empty = {
        "figure": figure,
        "unit": "number",
        "values": {},
        "ranges": {},
        "intervals": {},
        "ratios": [],
        "at_least": [],
        "not_separated": [],
    }
    return next((row for row in content["figures"] if row["figure"] == figure), empty)


def _plain(row: Json, label: str) -> str:
    value = row["values"].get(label)
    if value is None:
        return MISSING
    return ("≥" if label in row["at_least"] else "") + figures.FORMATS[row["unit"]](value)


def _value(row: Json, label: str, unit: str = "") -> str:
    """With its interval, where it has one: 12.4 ms [11.9, 13.1]."""
    both = (row.get("intervals") or {}).get(label)
    said = f"{_plain(row, label)}{unit}"
    return said if both is None else f"{said} {figures.between(both, figures.FORMATS[row['unit']])}"


def _intervals(content: Json) -> tuple[Table, ...]:
    """The headline figures with their intervals, an arm a line; no table where there is none."""
    rows = [_row(content, figure) for figure in HEADLINES]
    labels = [arm["label"] for arm in content["arms"]]
    if not any(both for row in rows for both in (row.get("intervals") or {}).values()):
        return ()
    cells = tuple(
        (label, *(_value(row, label, " ms" if row["unit"] == "us" else "") for row in rows))
        for label in labels
    )
    note = "Middle block [95 % interval over the blocks]; of ratios and every other figure: report.html."
    return (Table("With intervals", ("", *HEADLINES.values()), cells, note),)


PLAIN: Final = {
    "pushes undelivered": "pushes_undelivered",
    "badge wrong, message-s per user-hour": "badge_error_s_per_user_hour.total",
    "stale reads": "stale_reads",
    "stale at end": "stale_at_end",
    "errors": "errors",
    "SEND/s acknowledged": "messages_per_s",
    "CPU-s per 1,000 msgs, drained": "cpu_s_per_1000_messages",
}
JOINED: Final = {
    "· Python | stores | broker": (
        "cpu_s_per_1000_messages.python",
        "cpu_s_per_1000_messages.stores",
        "cpu_s_per_1000_messages.broker",
    ),
    "per msg: rows written | commits": ("rows_written_per_message", "commits_per_message"),
    "· MySQL | Redis commands": ("mysql_statements_per_message", "redis_commands_per_message"),
    "· round trips | records | pushes": (
        "round_trips_per_message",
        "records_per_message",
        "pushes_per_message",
    ),
    "· fsyncs | log | network bytes": (
        "fsyncs_per_message",
        "log_bytes_per_message",
        "network_bytes_per_message",
    ),
    "processes | memory MiB": ("processes", "memory_bytes"),
}
QUANTILES: Final = {
    "READ p50 | p99 ms": "operations.READ.latency_us",
    "STATE p50 | p99 ms": "operations.STATE.latency_us",
    "SEND p50 | p99 ms": "operations.SEND.latency_us",
    "receipt lag p50 | p99 ms": "lag.receipt.quantiles",
    "own-device lag p50 | p99 ms": "lag.own_device.quantiles",
    "visible lag p50 | p99 ms": "lag.visible.quantiles",
    "cache lag p50 | p99 ms": "lag.cache.quantiles",
    "queue lag p50 | p99 ms": "lag.queue.quantiles",
}
"""Row of the table -> the figure, figures, or Q that it shows."""


def _table(content: Json) -> Table:
    labels = [arm["label"] for arm in content["arms"]]
    acks = [wording.durability(arm["summary"]["run"]) for arm in content["arms"]]
    rows = (
        ("ack of a READ means", *acks),
        *_outlives(content),
        *(_pair(content, title, path) for title, path in QUANTILES.items()),
        *(_joined(content, title, (figure,)) for title, figure in PLAIN.items()),
        *(_joined(content, title, names) for title, names in JOINED.items()),
        _joined(content, "cache hits", ("cache_hit_ratio",)),
    )
    return Table("All arms", ("", *labels), rows, _note(content))


def _outlives(content: Json) -> list[tuple[str, ...]]:
    """The durability class of each arm, where it is known of any."""
    classes = [alike.class_of(arm["summary"]["run"]) for arm in content["arms"]]
    if not any(classes):
        return []
    return [("durability class of it", *(class_ or MISSING for class_ in classes))]


def _pair(content: Json, title: str, path: str) -> tuple[str, ...]:
    """p50 | p99: values of `figures`, marks of the middle block's Q."""
    name = path.replace("operations.", "").replace(".latency_us", "").replace(".quantiles", "")
    floors = {level: _row(content, f"{name}.{level}").get("resolution_floor_us") for level in LEVELS}
    cells = []
    for arm in content["arms"]:
        q: Any = arm["summary"]
        for step in path.split("."):
            q = (q or {}).get(step)
        values = {level: _row(content, f"{name}.{level}")["values"].get(arm["label"]) for level in LEVELS}
        shown: Mapping[str, Any] = {**(q or {}), **values}
        cells.append(" | ".join(tables.quantile(shown, level, floors[level]) for level in LEVELS))
    return (title, *cells)


def _joined(content: Json, title: str, names: Sequence[str]) -> tuple[str, ...]:
    rows = [_row(content, name) for name in names]
    return (title, *(" | ".join(_plain(row, arm["label"]) for row in rows) for arm in content["arms"]))


def _note(content: Json) -> str:
    said = []
    for figure, name in RANKED.items():
        row = _row(content, figure)
        known = sum(value is not None for value in row["values"].values())
        if known > 1 and len(row["not_separated"]) == known * (known - 1) // 2:
            said.append(f"{name} separates none of the arms")
        elif row["not_separated"]:
            pairs = ", ".join(f"{a} and {b}" for a, b in row["not_separated"])
            said.append(f"{name} does not separate {pairs}")
    said += _mixed(content)
    few = f"{tables.RARELY} fewer than 10 samples beyond; {MISSING} too few samples, or not known"
    marks = f"± below 5 × resolution; {few}"
    return "; ".join([*said, marks]) + "."


def _mixed(content: Json) -> list[str]:
    """Figures that are the probe users' in some arms and all users' in others."""
    found = []
    for title, path in QUANTILES.items():
        of, name, _ = path.split(".")
        source = {arm["label"]: _source(arm["summary"], of, name) for arm in content["arms"]}
        probes = [label for label, users in source.items() if users == PROBES]
        if probes and set(source.values()) - {PROBES, None}:
            what = title.partition(" p50")[0]
            found.append(f"{what} is of the probe users in {figures.joined(probes)}, else of all users")
    return found


def _source(summary: Json, of: str, name: str) -> str | None:
    source: str | None = (summary[of].get(name) or {}).get("from")
    return source


def verdict_line(content: Json) -> str:
    """The last line on stdout: `VERDICT <timing> <correctness> <scheme|all> <scenario> key=value…`."""
    verdict, arms = content["verdict"], content["arms"]
    schemes = {arm["summary"]["run"]["scheme"] for arm in arms}
    which = schemes.pop() if len(schemes) == 1 else "all"
    read_p99 = _row(content, "READ.p99")
    known = {label: us for label, us in read_p99["values"].items() if us is not None}
    values = [
        f"arms={len(arms)}",
        f"runs={sum(len(arm['run_ids']) for arm in arms)}",
        *(f"READ.p99[{_word(label)}]{_sign(read_p99, label)}{us / 1000:g}ms" for label, us in known.items()),
        f"exit={verdict['exit_code']}",
        *(["unlike=yes"] if content["unlike"] else []),
    ]
    scenario = arms[0]["summary"]["run"]["scenario"]
    return f"VERDICT {verdict['status']} {verdict['correctness']} {which} {scenario} {' '.join(values)}"


def _sign(row: Json, label: str) -> str:
    return ">=" if label in row["at_least"] else "="


def _word(label: str) -> str:
    return label.replace(" ", ",")


def detail_tables(content: Json) -> tuple[Table, ...]:
    """Every figure with its interval, or of few blocks with its range, and the ratios of the headlines."""
    labels = [arm["label"] for arm in content["arms"]]
    rows = tuple(
        (row["figure"], row["unit"], *(_ranged(row, label) for label in labels)) for row in content["figures"]
    )
    few = _blocks(content) < compare.BLOCKS_FOR_INTERVAL
    span = "lowest, highest" if few else "95 % interval over the blocks"
    every = Table(f"Every figure: middle block [{span}]", ("", "unit", *labels), rows)
    return (*_changed(content)[1:], every, *_ratios(content))


def _ranged(row: Json, label: str) -> str:
    value = row["values"].get(label)
    if value is None:
        return MISSING
    span = row["intervals"].get(label) or row["ranges"].get(label)
    said = _four(value)
    return said if span is None else f"{said} {figures.between(span, _four)}"


def _four(value: float) -> str:
    return figures.digits(value, 4)


def _ratios(content: Json) -> tuple[Table, ...]:
    rows = tuple(
        (
            name,
            " / ".join(ratio["arms"]),
            _ratio(ratio),
            f"{ratio['blocks']}{' pairs' if ratio['paired'] else ''}",
        )
        for figure, name in HEADLINES.items()
        for ratio in _row(content, figure)["ratios"]
    )
    note = (
        f"[95 % interval], from {compare.BLOCKS_FOR_INTERVAL} blocks up. Pairs: block by block, of runs that "
        "stood side by side."
    )
    return (Table("Ratios", ("", "of", "", "blocks"), rows, note),) if rows else ()


def provenance(content: Json) -> tuple[str, ...]:
    return (
        "comparison.json beside this page holds every figure by arm, and which pairs it does not separate.",
        "comparison.csv: the same with every interval, and the ratio of every two arms.",
        *_turns(content),
        *(
            f"{arm['label']}: {', '.join(arm['run_ids'])}; charts show {arm['middle']}"
            for arm in content["arms"]
        ),
        f"The control is {CONTROL}: the same server and protocol, a dict behind it.",
    )


def _turns(content: Json) -> tuple[str, ...]:
    """In which order the runs took their turns, where there was one to choose."""
    return tuple(
        f"Order of the runs: {'; '.join(', '.join(block) for block in series['blocks'])}"
        for series in content.get("order", ())
        if any(len(block) > 1 for block in series["blocks"])
    )


# --- comparison.csv ---------------------------------------------------------------------------------------

COLUMNS: Final = (
    "figure", "unit", "arm", "over", "value", "low", "high", "blocks", "paired", "p", "p_holm", "verdict",
)  # fmt: skip


def to_csv(content: Json) -> str:
    """A row per figure and arm, per ratio of two arms (`arm` over `over`), and of two sides per change, which
    has p and perhaps a verdict.

    `low` and `high` are the 95 % interval; empty below six blocks, `high` also for a lower bound."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in content["figures"]:
        writer.writerows((*line, "", "", "") for line in _lines(row))
    if content.get("change"):
        writer.writerows(_judged(content["change"]))
    return text.getvalue()


def _judged(change: Json) -> Iterator[tuple[Any, ...]]:
    a, b = (side["label"] for side in change["sides"])
    for row in change["rows"]:
        low, high = row["interval"] or (None, None)
        yield (
            row["metric"], "change", b, a, row["ratio"], low, high, min(row["blocks"]), int(change["paired"]),
            row["p"], row.get("p_holm"), row.get("verdict"),
        )  # fmt: skip


def _lines(row: Json) -> Iterator[tuple[Any, ...]]:
    for label, value in row["values"].items():
        low, high = row["intervals"][label] or (None, None)
        yield row["figure"], row["unit"], label, "", value, low, high, row["blocks"][label], ""
    for ratio in row["ratios"]:
        low, high = ratio["interval"] or (None, None)
        paired = int(ratio["paired"])
        yield row["figure"], "ratio", *ratio["arms"], ratio["value"], low, high, ratio["blocks"], paired
