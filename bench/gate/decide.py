"""From what was compared to an exit code: what `check.json` holds.  Pure.

12 a promise was broken by the candidate, 4 none of its runs is valid, 5 there is nothing to compare with or
nobody can tell, 11 a figure is worse, 10 an objective is missed, 0 all is well.  All reasons are listed, the
worst first.  A figure that is surely worse is accused even where another cannot be told; nothing passes while
one cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench import alike
from bench.compare import PRECEDENCE, Run
from bench.expressions import UndecidedError
from bench.gate import baseline as baselines
from bench.gate import power, why
from bench.gate.baseline import Baseline
from bench.gate.metrics import METRICS, TOLERANCES
from bench.gate.sequential import ACCUSED, ACQUITTED, BROKEN, Outcome, Seen
from bench.gate.sequential import OPEN as UNDECIDED
from bench.gate.tolerances import Asked, Objective
from bench.gate.verdicts import BETTER, OPEN, PERHAPS_BETTER, SAME, WORSE, Side, judge, side, visible
from bench.guards import (
    EXIT_INCONCLUSIVE,
    EXIT_INVALID,
    EXIT_OK,
    EXIT_THRESHOLD,
    EXIT_VIOLATION,
)
from bench.results import TOOL, Json

SCHEMA_VERSION: Final = 1
MOST_WHYS: Final = 3
"""Reasons in one sentence; `left_out` has each run's."""
EXIT_REGRESSION: Final = 11
OUTCOMES: Final[Mapping[int, str]] = {
    EXIT_OK: "PASS",
    EXIT_THRESHOLD: "FAIL",
    EXIT_REGRESSION: "REGRESSION",
    EXIT_VIOLATION: "VIOLATION",
}


@dataclass
class _Reasons:
    found: list[Json] = field(default_factory=list)

    def add(self, code: int, message: str) -> None:
        self.found.append({"exit_code": code, "message": message})

    def ordered(self) -> list[Json]:
        return sorted(self.found, key=lambda reason: PRECEDENCE.index(reason["exit_code"]))


def check(
    kept: Baseline, runs: Sequence[Run], asked: Asked, *, command: str, ledger: Sequence[Json] = ()
) -> Json:
    """The runs against a stored baseline.  `ledger`: lines of `bench noise` of such machines."""
    reasons = _Reasons()
    candidate, base = side("candidate", runs), side(f"baseline {kept.name}", kept.runs)
    promises = _promises(runs, reasons)
    unlike = [*_itself(kept, runs), *baselines.refusals(kept.runs, runs)]
    for said in unlike:
        reasons.add(EXIT_INCONCLUSIVE, f"no comparable baseline: {said}")
    if not candidate.runs:
        invalid = all(run.summary["verdict"]["status"] == "INVALID" and not _disturbed(run) for run in runs)
        whys = list(dict.fromkeys(why_out for _, why_out in candidate.left_out))
        of = alike.names([run_id for run_id, _ in candidate.left_out])
        said = f"{of} ({'; '.join(whys[:MOST_WHYS])})" if whys else "there is none"
        reasons.add(EXIT_INVALID if invalid and runs else EXIT_INCONCLUSIVE, f"no run to judge: {said}")
    change = None if unlike or not candidate.runs else judge(base, candidate, asked.tolerances)
    if change is not None:
        _compared(change, reasons)
    objectives = [_objective(each, candidate, reasons) for each in asked.objectives]
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": TOOL,
        "kind": "baseline",
        "command": command,
        "scenario": kept.run.get("scenario"),
        "scheme": kept.run.get("scheme"),
        "baseline": {"name": kept.name, "made_at": kept.made_at, "runs": len(kept.runs)},
        "environment": alike.told([*kept.runs[:1], *runs]) if runs else [],
        "smallest": _smallest(kept, len(candidate.runs), asked),
        "alarms": list(power.false_alarms(ledger, asked.tolerances)),
        "change": change,
        "why": [] if change is None else why.explain(change, base, candidate),
        "objectives": objectives,
        "promises": promises,
        "left_out": [{"run_id": run_id, "why": text} for run_id, text in candidate.left_out],
        "missed": missed(change),
        "verdict": _verdict(reasons, runs),
    }


DISTURBANCES: Final = frozenset({"foreign_load", "cpu_steal", "run_queue", "cpu_throttled"})
"""Guards that object to others on the machine: then it is too noisy, and neither the instrument nor the
candidate is at fault."""


def _disturbed(run: Run) -> bool:
    objections = {r["guard"] for r in run.summary["verdict"]["reasons"] if r["verdict"] != "warn"}
    return bool(objections & DISTURBANCES)


def _itself(kept: Baseline, runs: Sequence[Run]) -> list[str]:
    """A candidate that never ran leaves the baseline's own runs as the newest, which are always as good."""
    both = sorted({run.run_id for run in runs} & {run.run_id for run in kept.runs})
    return [f"{', '.join(both)} are the baseline's own"] if both else []


def _smallest(kept: Baseline, runs: int, asked: Asked) -> dict[str, float | None]:
    """The effect that so many new runs could be told apart by, from the spread of the baseline's own."""
    found = {}
    for name in asked.tolerances:
        values = [point.value for run in kept.runs if (point := METRICS[name].of(run)) is not None]
        found[name] = power.detectable_of_two(values, runs, len(asked.tolerances)) if values else None
    return found


def _compared(change: Json, reasons: _Reasons) -> None:
    rows = [row for row in change["rows"] if row["deciding"]]
    worse = [row for row in rows if row["passes"] is False]
    for row in worse:
        reasons.add(EXIT_REGRESSION, f"{row['title']} {told(row)}, tolerance {row['tolerance']:.0%}")
    for row in rows:
        if row["passes"] is None and not worse:
            reasons.add(EXIT_INCONCLUSIVE, f"{row['title']}: {row['why']}")


def told(row: Json) -> str:
    """`+21 % [+17 %, +25 %]`."""
    low, high = (100 * (end - 1) for end in row["interval"])
    return f"{100 * (row['ratio'] - 1):+.1f} % [{low:+.1f} %, {high:+.1f} %]"


def missed(change: Json | None) -> list[Json]:
    """What could be there and was not seen: the figures that decide and are not worse, with the largest harm
    that their interval leaves open (None: anything)."""
    found = []
    for row in change["rows"] if change is not None else ():
        if row["deciding"] and row["verdict"] != "worse":
            ends = row["interval"]
            most = None if ends is None else ends[1] - 1 if row["more_is"] == "worse" else 1 / ends[0] - 1
            if most is None or most > 0:
                found.append({"metric": row["metric"], "title": row["title"], "most": most})
    return found


# --- the candidate alone ----------------------------------------------------------------------------------


def _promises(runs: Sequence[Run], reasons: _Reasons) -> list[Json]:
    """What was promised: {name, promise, violations, runs in which it was broken}; also of runs whose timing
    is not valid."""
    found: dict[str, Json] = {}
    for run in runs:
        for one in run.summary["consistency"]["checks"]:
            if one["promised"]:
                entry = found.setdefault(
                    one["name"],
                    {"name": one["name"], "promise": one.get("promise"), "violations": 0, "broken_in": []},
                )
                if one["verdict"] == "fail":
                    entry["violations"] += one["violations"]
                    entry["broken_in"].append(run.run_id)
    for entry in found.values():
        if entry["broken_in"]:
            where = ", ".join(entry["broken_in"])
            said = f"the promise {entry['promise'] or entry['name']!r} was broken"
            reasons.add(
                EXIT_VIOLATION, f"{said}: {entry['violations']} violations of {entry['name']} in {where}"
            )
    told_of = {run_id for entry in found.values() for run_id in entry["broken_in"]}
    for run in runs:
        if run.summary["verdict"]["correctness"] == "FAIL" and run.run_id not in told_of:
            reasons.add(EXIT_VIOLATION, f"a promise was broken in {run.run_id}")
        elif run.summary["verdict"]["correctness"] == "UNKNOWN":
            reasons.add(EXIT_INCONCLUSIVE, f"{run.run_id} cannot say whether its promises were kept")
    return list(found.values())


def _objective(each: Objective, candidate: Side, reasons: _Reasons) -> Json:
    """By the majority of the valid runs."""
    holds, undecided = 0, ""
    for run in candidate.runs:
        try:
            holds += each.condition.holds(run.summary)
        except UndecidedError as said:
            undecided = str(said)
    n, passes = len(candidate.runs), None
    if n and not undecided:
        passes = (2 * holds > n) if each.slo else (2 * holds < n)
    entry: Json = {"text": each.text, "passes": passes, "holds_in": holds, "runs": n}
    if passes is None:
        reasons.add(EXIT_INCONCLUSIVE, f"{each.text}: {undecided or 'no valid run'}")
    elif not passes:
        reasons.add(
            EXIT_THRESHOLD, f"{each.text}: {'held' if holds else 'did not hold'} in {holds} of {n} runs"
        )
    return entry


def _verdict(reasons: _Reasons, runs: Sequence[Run]) -> Json:
    ordered = reasons.ordered()
    code = ordered[0]["exit_code"] if ordered else EXIT_OK
    codes = {reason["exit_code"] for reason in ordered}
    status = "INVALID" if EXIT_INVALID in codes else "INCONCLUSIVE" if EXIT_INCONCLUSIVE in codes else "VALID"
    return {
        "status": status,
        "correctness": _correctness(codes, runs),
        "outcome": OUTCOMES.get(code, "UNKNOWN"),
        "exit_code": code,
        "reasons": ordered,
    }


def _correctness(codes: set[int], runs: Sequence[Run]) -> str:
    if EXIT_VIOLATION in codes:
        return "FAIL"
    known: list[Any] = [run.summary["verdict"]["correctness"] for run in runs]
    return "PASS" if known and set(known) == {"PASS"} else "UNKNOWN"


# --- two sides that ran at once ---------------------------------------------------------------------------


def against(
    outcome: Outcome,
    labels: tuple[str, str],
    asked: Asked,
    blocks: tuple[Sequence[Run], Sequence[Run]],
    whole: tuple[Run, Run],
    *,
    command: str,
    spent_s: float,
    smallest: Mapping[str, float | None] | None = None,
    ledger: Sequence[Json] = (),
) -> Json:
    """What a sequential test (`sequential.py`) decided, in the form that every output reads.

    `labels`: of the baseline and of the candidate; `blocks`: the runs of load of either that were not
    disturbed; `whole`: the record of each from beginning to end, for what only that can tell; `spent_s`: how
    long both were under load until it was clear; `smallest`: what could be seen before it began
    (`power.detectable`)."""
    reasons = _Reasons()
    code = {BROKEN: EXIT_VIOLATION, ACCUSED: EXIT_REGRESSION, ACQUITTED: EXIT_OK}.get(
        outcome.verdict, EXIT_INCONCLUSIVE
    )
    if code != EXIT_OK:
        reasons.add(code, outcome.reason)
    base, candidate = (Side(label, tuple(runs)) for label, runs in zip(labels, blocks, strict=True))
    promises = _promises(whole[1:], reasons)
    objectives = [_objective(each, Side(labels[1], whole[1:]), reasons) for each in asked.objectives]
    change = _sequential(outcome, judge(base, candidate, asked.tolerances, in_turn=True))
    run = whole[1].manifest.get("run") or whole[1].summary.get("run") or {}
    told = dict.fromkeys((*asked.tolerances, *TOLERANCES))
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": TOOL,
        "kind": "against",
        "command": command,
        "scenario": run.get("scenario"),
        "scheme": run.get("scheme"),
        "baseline": {"name": labels[0], "made_at": None, "runs": outcome.blocks},
        "environment": [],
        "smallest": dict(smallest or {}),
        "alarms": list(power.false_alarms(ledger, asked.tolerances)),
        "change": change,
        "spent_s": round(spent_s, 1),
        "pairs": [_pair(one, other, told) for one, other in zip(*blocks, strict=True)],
        "why": why.explain(change, base, candidate),
        "objectives": objectives,
        "promises": promises,
        "left_out": [
            {"run_id": f"disturbed block {i + 1}", "why": said} for i, said in enumerate(outcome.disturbed)
        ],
        "missed": [
            {"metric": each.figure, "title": METRICS[each.figure].title, "most": each.most}
            for each in outcome.figures
            if not each.accused and (each.most is None or each.most > 0)
        ],
        "verdict": _verdict(reasons, whole[1:]),
    }


def _pair(one: Run, other: Run, names: Iterable[str]) -> dict[str, list[float]]:
    """Figure -> [baseline's, candidate's] of two loads that stood beside each other."""
    found = {name: (METRICS[name].of(one), METRICS[name].of(other)) for name in names}
    return {name: [a.value, b.value] for name, (a, b) in found.items() if a is not None and b is not None}


def _sequential(outcome: Outcome, judged: Json) -> Json:
    """Of the figures that decide the sequential test's words stand, of the others the comparison's."""
    seen = {each.figure: each for each in outcome.figures}
    undecided = outcome.verdict == UNDECIDED
    rows = [
        row | _seen(row, seen[row["metric"]], undecided) if row["metric"] in seen else row
        for row in judged["rows"]
    ]
    return judged | {"paired": True, "looked_at": True, "blocks": outcome.pairs, "rows": rows}


def _seen(row: Json, each: Seen, undecided: bool) -> Json:
    sign = METRICS[each.figure].sign
    ratio = None if each.harm is None else (1 + each.harm) ** sign
    ends = None if each.interval is None else sorted((1 + end) ** sign for end in each.interval)
    return {
        "blocks": [each.pairs, each.pairs],
        "paired": True,
        "ratio": ratio,
        "interval": ends,
        "visible": None if ratio is None or ends is None else visible(ratio, ends, row["resolved"]),
        "p": None,
        "p_holm": None,
        **_verdict_of(each, undecided),
    }


def _verdict_of(each: Seen, undecided: bool) -> Json:
    """`undecided`: too many blocks were disturbed to believe what a figure looks like."""
    if each.accused and undecided:
        return {"verdict": OPEN, "passes": None, "why": "too many blocks were disturbed to accuse it"}
    if each.accused:
        return {"verdict": WORSE, "passes": False, "why": ""}
    if not each.acquitted or each.interval is None or each.harm is None:
        why_not = "neither accused nor acquitted in the time there was"
        return {"verdict": OPEN, "passes": None, "why": why_not}
    least, most = each.interval
    gain = 1 / (1 + each.tolerance) - 1
    if most < 0 and each.harm <= gain:
        return {"verdict": BETTER, "passes": True, "why": ""}
    if least > gain:
        return {"verdict": SAME, "passes": True, "why": ""}
    return {"verdict": OPEN, "passes": True, "why": PERHAPS_BETTER}


def refused(message: str, *, command: str, code: int = EXIT_INCONCLUSIVE) -> Json:
    """Where nothing could be compared at all."""
    reasons = _Reasons()
    reasons.add(code, message)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": TOOL,
        "kind": "baseline",
        "command": command,
        "scenario": None,
        "scheme": None,
        "baseline": None,
        "environment": [],
        "smallest": {},
        "alarms": [0, 0],
        "change": None,
        "why": [],
        "objectives": [],
        "promises": [],
        "left_out": [],
        "missed": [],
        "verdict": _verdict(reasons, ()),
    }
