"""Two sides and a verdict as a document: `change` of a comparison, and a check with its exit code.  Pure.

From `comparison.json` or `check.json` alone, so that it can be shown again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from bench import alike
from bench.gate.metrics import METRICS, told_in
from bench.report import figures, markdown
from bench.report.document import Document, Table
from bench.report.figures import MISSING
from bench.results import Json

MARKS: Final[Mapping[str, str]] = {
    "worse": "✗ worse",
    "better": "✓ better",
    "same": "✓ same",
    "?": "? can't tell",
}
CLAIM: Final = (
    "worse and better need p ≤ 5 % after Holm's correction over what decides, and the tolerance; same has "
    "its interval inside of the tolerance. visible: the smallest effect that 80 % of such comparisons find."
)
LOOKED_AT: Final = (
    "Looked at after each block; intervals are repeated ones, 95 %. worse: surely, at the look's share of 5 %"
    " over all figures, and beyond the tolerance; better and same by the interval. visible: the smallest "
    "effect that 80 % of such comparisons find."
)
NOTHING: Final = (
    "These decide nothing: of so many figures some look different where nothing is. p is uncorrected."
)
DRIFT: Final = (
    "Unpaired: what drifted on this machine between the two sides is in the ratio. Sides that take turns "
    "(bench run --repeat, bench noise) are compared pair by pair."
)


def how(change: Json) -> str:
    """Paired or not, and of how many."""
    if change["paired"]:
        return f"paired: {change['blocks']} blocks in which both sides took turns"
    a, b = (len(side["runs"]) for side in change["sides"])
    return f"unpaired: {a} runs against {b}, not interleaved"


def sides(change: Json) -> str:
    a, b = (side["label"] for side in change["sides"])
    return f"{b} against {a}"


def tables(change: Json) -> tuple[Table, ...]:
    """What decides, and what else was looked at."""
    a, b = (side["label"] for side in change["sides"])
    deciding = [row for row in change["rows"] if row["deciding"]]
    others = [row for row in change["rows"] if not row["deciding"] and row["ratio"] is not None]
    looked_at = change.get("looked_at", False)
    columns = ("", a, b, "ratio", *(() if looked_at else ("p (Holm)",)), "tolerance", "visible", "verdict")
    rows = tuple(_deciding(row, with_p=not looked_at) for row in deciding)
    claim = LOOKED_AT if looked_at else CLAIM
    first = Table("Verdicts", columns, rows, f"{_capital(how(change))}. {claim}")
    if not others:
        return (first,)
    also = Table(ALSO, ("", a, b, "ratio", "p", "visible"), tuple(map(_other, others)), NOTHING)
    return first, also


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _deciding(row: Json, *, with_p: bool) -> tuple[str, ...]:
    return (
        title(row),
        value(row, 0),
        value(row, 1),
        ratio(row),
        *((p_of(row["p_holm"]),) if with_p else ()),
        f"±{figures.percent(row['tolerance'], 2)}",
        share(row["visible"]),
        MARKS[row["verdict"]],
    )


def _other(row: Json) -> tuple[str, ...]:
    return (title(row), value(row, 0), value(row, 1), ratio(row), p_of(row["p"]), share(row["visible"]))


def title(row: Json) -> str:
    unit = told_in(row["metric"], row["unit"])
    return f"{row['title']}, {unit}" if unit else str(row["title"])


def value(row: Json, side: int) -> str:
    """12.4 [11.9, 13.1]."""
    known, both = row["values"][side], row["intervals"][side]
    if known is None:
        return MISSING
    write = figures.FORMATS[row["unit"]]
    said = ("≥" if row["at_least"][side] else "") + write(known)
    return said if both is None else f"{said} {figures.between(both, write)}"


def ratio(row: Json) -> str:
    """× 1.21 [1.17, 1.25]."""
    if row["ratio"] is None:
        return MISSING
    said = f"× {row['ratio']:.3f}"
    return said if row["interval"] is None else f"{said} {figures.between(row['interval'], _three)}"


def _three(value_: float) -> str:
    return f"{value_:.3f}"


def p_of(p: float | None) -> str:
    return MISSING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(of: float | None) -> str:
    return MISSING if of is None else figures.percent(of, 2)


def opened(change: Json) -> tuple[str, ...]:
    """Why what decides cannot be told, a line each."""
    return tuple(
        f"{row['title']}: {row['why']}"
        for row in change["rows"]
        if row["deciding"] and row["verdict"] == "?" and row["why"]
    )


def left_out(entries: Sequence[Json]) -> tuple[str, ...]:
    by_why: dict[str, list[str]] = {}
    for entry in entries:
        by_why.setdefault(entry["why"], []).append(entry["run_id"])
    return tuple(f"Left out: {alike.names(runs)} ({why})" for why, runs in by_why.items())


def of_comparison(change: Json, why: Sequence[Json]) -> tuple[str, ...]:
    """What a comparison of two sides allows to say: a line per verdict, and where it sits."""
    decided: dict[str, list[str]] = {}
    for row in change["rows"]:
        if row["deciding"]:
            decided.setdefault(row["verdict"], []).append(row["title"])
    said = (f"{MARKS[verdict]}: {figures.joined(names)}" for verdict, names in decided.items())
    return (f"VERDICTS of {sides(change)} ({how(change)})", *said, *(entry["text"] for entry in why))


# --- a check ----------------------------------------------------------------------------------------------

WORDS: Final[Mapping[str, str]] = {
    "PASS": "PASS: no worse than the tolerances",
    "REGRESSION": "REGRESSION",
    "FAIL": "FAIL: an objective was missed",
    "VIOLATION": "VIOLATION: a promise was broken",
    "UNKNOWN": "CAN'T TELL",
}


def check_document(content: Json) -> Document:
    verdict, change = content["verdict"], content["change"]
    return Document(
        title=_title(content),
        first=_first(content),
        load=() if change is None else (f"{sides(change)}; {how(change)}{_spent(content)}",),
        verdict=(_headline(verdict), *(f"exit {r['exit_code']}: {r['message']}" for r in verdict["reasons"])),
        good={"PASS": True, "UNKNOWN": None}.get(verdict["outcome"], False),
        answer=tuple(entry["text"] for entry in content["why"]),
        tables=(*(tables(change) if change is not None else ()), *_asked(content)),
        caveats=_caveats(content),
        last=verdict_line(content),
    )


def _spent(content: Json) -> str:
    spent_s = content.get("spent_s")
    return "" if spent_s is None else f"; decided after {spent_s / 60:.1f} min of load"


ALSO: Final = "Also compared"


def apart(content: Json) -> tuple[Document, tuple[Table, ...]]:
    """The document without what decides nothing, and that."""
    document = check_document(content)
    shown = tuple(table for table in document.tables if table.title != ALSO)
    aside = tuple(table for table in document.tables if table.title == ALSO)
    return replace(document, tables=shown), aside


def comment(content: Json) -> str:
    """The check for a pull request, in Markdown: what decides nothing is folded."""
    document, aside = apart(content)
    return "\n".join([markdown.markdown(document, (), ()), *map(markdown.folded, aside)])


def _headline(verdict: Json) -> str:
    said = "INVALID" if verdict["status"] == "INVALID" else WORDS[verdict["outcome"]]
    kinds = f"TIMING {verdict['status']} · CORRECTNESS {verdict['correctness']}"
    return f"{said} · {kinds} · exit {verdict['exit_code']}"


def _title(content: Json) -> str:
    if content["baseline"] is None:
        return "bench check: nothing to compare with"
    return f"{content['scenario']}, {content['scheme']}: check against baseline {content['baseline']['name']}"


def _first(content: Json) -> str:
    """The smallest effect that it could see, before anything is said of what it saw."""
    unknown = "not known (bench noise)" if content["kind"] == "against" else "none with so few runs"
    known = [
        f"{METRICS[name].title} {unknown if effect is None else share(effect)}"
        for name, effect in content["smallest"].items()
    ]
    return f"Smallest effect that could be seen: {', '.join(known)}" if known else "Nothing could be seen"


def _asked(content: Json) -> tuple[Table, ...]:
    said = {True: "✓", False: "✗", None: "?"}
    rows = tuple(
        (each["text"], said[each["passes"]], f"{each['holds_in']} of {each['runs']} runs")
        for each in content["objectives"]
    )
    return (Table("Objectives", ("", "passes", "held in"), rows),) if rows else ()


def _caveats(content: Json) -> tuple[str, ...]:
    change = content["change"]
    lost = tuple(f"Not seen, and could be there: {_lost(entry)}" for entry in content["missed"])
    drift = (DRIFT,) if change is not None and not change["paired"] else ()
    beside = tuple(f"{line}." for line in content["environment"])
    return (
        *left_out(content["left_out"]),
        *lost,
        *drift,
        *_alarms(content["alarms"]),
        *beside,
        f"Again: {content['command']}",
    )


def _alarms(found: Sequence[int]) -> tuple[str, ...]:
    """What the ledger says of gates like this one, where there is one."""
    wrong, able = found
    if not able:
        return ()
    return (f"Of {able} comparisons of alike sides on such machines (bench noise) {wrong} looked different.",)


def _lost(entry: Json) -> str:
    most = "by anything" if entry["most"] is None else f"by up to {share(max(entry['most'], 0.0))}"
    return f"{entry['title']} worse {most}"


def verdict_line(content: Json) -> str:
    """`VERDICT <timing> <correctness> <scheme> <scenario> check=<outcome> … exit=…`."""
    verdict, change = content["verdict"], content["change"]
    rows = [row for row in change["rows"] if row["deciding"]] if change is not None else []
    told = [f"{row['metric']}={_word(row)}" for row in rows]
    words = [f"check={verdict['outcome']}", *told, f"exit={verdict['exit_code']}"]
    of = (content["scheme"] or "-", content["scenario"] or "-")
    return " ".join(("VERDICT", verdict["status"], verdict["correctness"], *of, *words))


def _word(row: Json) -> str:
    moved = "" if row["ratio"] is None else f"({row['ratio'] - 1:+.1%})"
    return f"{row['verdict']}{moved}"
