"""Is the candidate better, worse, the same, or can nobody tell?  Pure.

Per figure the values of both sides with intervals, their ratio with its own, p (`ranks.py`, on logarithms, so
that +100 % and -50 % are as far) and, of those that decide, a verdict:

- **worse**, **better**: p after Holm's correction over all that decide is below 5 % *and* the estimated ratio
  is beyond the tolerance (S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
  Journal of Statistics 6, 1979, 65-70);
- **same**: the 95 % interval of the ratio lies inside the tolerance, and the instrument resolves that;
- **?**: anything else, with the reason.

`passes`: better, same, or certainly no worse than the tolerance; None where that cannot be told.

Paired where both sides ran side by side, block by block, in one command (`bench/turns.py`); otherwise
unpaired, and then whatever drifted between the two is in the ratio.  Runs whose timing is not VALID are left
out and named; what they say of correctness is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

from bench import blocks
from bench.compare import FLOORS, Run
from bench.gate import ranks
from bench.gate.metrics import METRICS, SHOWN, TAILS, Metric, Point
from bench.metrics import intervals
from bench.metrics.intervals import Block
from bench.metrics.noise import POWER
from bench.results import Json

LEVEL: Final = 0.05
BETTER, WORSE, SAME, OPEN = "better", "worse", "same", "?"
PERHAPS_BETTER: Final = "perhaps better; certainly no worse than the tolerance"


@dataclass(frozen=True)
class Side:
    label: str
    runs: tuple[Run, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """(run, why)."""


def side(label: str, runs: Sequence[Run]) -> Side:
    """Without those whose timing is not VALID."""
    good = tuple(run for run in runs if run.summary["verdict"]["status"] == "VALID")
    return Side(label, good, tuple((run.run_id, _why_out(run)) for run in runs if run not in good))


def _why_out(run: Run) -> str:
    verdict = run.summary["verdict"]
    first = next((reason["message"] for reason in verdict["reasons"]), "no reason is given")
    return f"{verdict['status']}: {first}"


@dataclass(frozen=True)
class _Matched:
    """Points of both sides, in the same order where they are pairs."""

    ones: list[Point]
    others: list[Point]
    paired: bool


def paired(a: Side, b: Side) -> bool:
    """Whether every run of the smaller side stood beside one of the other."""
    ones, others = ({blocks.key(run.manifest, run.run_id) for run in each.runs} for each in (a, b))
    return bool(ones & others) and len(ones & others) == min(len(a.runs), len(b.runs))


def judge(
    a: Side, b: Side, tolerances: Mapping[str, float], shown: Sequence[str] = SHOWN, *, in_turn: bool = False
) -> Json:
    """`b` against `a`: what `comparison.json` holds under `change`, and check.json under the same.

    `tolerances`: the figures that decide; `shown`: those that are told besides; `in_turn`: sides took
    turns in short blocks, whose resolution, of the latest hundredth sent, is not held against medians."""
    pairs = paired(a, b)
    names = [*tolerances, *(name for name in shown if name not in tolerances)]
    rows = [_row(METRICS[name], a, b, pairs, tolerances.get(name), in_turn) for name in names]
    deciding = [row for row in rows if row["deciding"]]
    _holm(deciding)
    for row in deciding:
        row |= _verdict(row)
    return {
        "sides": [_side(a), _side(b)],
        "paired": pairs,
        "blocks": _count(a, b, pairs),
        "level": LEVEL,
        "deciding": list(tolerances),
        "rows": [row for row in rows if row["deciding"] or _something(row)],
    }


def _side(each: Side) -> Json:
    return {
        "label": each.label,
        "runs": [run.run_id for run in each.runs],
        "left_out": [{"run_id": run_id, "why": why} for run_id, why in each.left_out],
    }


def _count(a: Side, b: Side, pairs: bool) -> int:
    if pairs:
        return len({blocks.key(r.manifest, r.run_id) for r in a.runs}
                   & {blocks.key(r.manifest, r.run_id) for r in b.runs})  # fmt: skip
    return min(len(a.runs), len(b.runs))


def _something(row: Json) -> bool:
    return any(value is not None for value in row["values"])


# --- one figure -------------------------------------------------------------------------------------------


def _row(metric: Metric, a: Side, b: Side, pairs: bool, tolerance: float | None, in_turn: bool) -> Json:
    found = _matched(metric, a, b, pairs)
    shift, why = _shift(found, LEVEL)
    floor = max((p.floor for p in (*found.ones, *found.others) if p.floor is not None), default=None)
    if in_turn and not metric.name.endswith(TAILS):
        floor = None
    values = [_middle(found.ones), _middle(found.others)]
    resolved = _resolved(metric, values, floor)
    row: Json = {
        "metric": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "more_is": "worse" if metric.sign > 0 else "better",
        "deciding": tolerance is not None,
        "values": values,
        "intervals": [_interval(found.ones), _interval(found.others)],
        "at_least": [_bounded(found.ones), _bounded(found.others)],
        "blocks": [len(found.ones), len(found.others)],
        "paired": found.paired,
        "ratio": None,
        "interval": None,
        "p": None,
        "difference": None,
        "visible": None,
        "why": why,
    }
    if shift is not None:
        row |= {"ratio": math.exp(shift.estimate), "p": shift.p, "difference": _difference(found)}
        if math.isfinite(shift.low):
            ends = [math.exp(shift.low), math.exp(shift.high)]
            row |= {"interval": ends, "visible": visible(row["ratio"], ends, resolved)}
    if tolerance is not None:
        row |= {"tolerance": tolerance, "resolved": resolved, "floor_us": floor}
    return row


def _matched(metric: Metric, a: Side, b: Side, pairs: bool) -> _Matched:
    ones, others = (
        {blocks.key(run.manifest, run.run_id): point for run in each.runs if (point := metric.of(run))}
        for each in (a, b)
    )
    if not pairs:
        return _Matched(list(ones.values()), list(others.values()), paired=False)
    both = sorted(set(ones) & set(others))
    return _Matched([ones[key] for key in both], [others[key] for key in both], paired=True)


def _shift(found: _Matched, level: float) -> tuple[ranks.Shift | None, str]:
    """Of the logarithms; or why there is none."""
    points = (*found.ones, *found.others)
    if not found.ones or not found.others:
        which = "both sides" if not points else "the baseline" if not found.ones else "the candidate"
        return None, f"not known of {which}"
    if min(point.value for point in points) <= 0:
        return None, "it is 0 in some runs, which have no ratio"
    ones, others = ([math.log(point.value) for point in each] for each in (found.ones, found.others))
    if found.paired:
        differences = [other - one for one, other in zip(ones, others, strict=True)]
        return ranks.of_pairs(differences, level), ""
    return ranks.of_two(ones, others, level), ""


def _difference(found: _Matched) -> list[float] | None:
    """[estimate, low, high] in the figure's unit."""
    ones, others = ([point.value for point in each] for each in (found.ones, found.others))
    if found.paired:
        differences = [other - one for one, other in zip(ones, others, strict=True)]
        shift = ranks.of_pairs(differences, LEVEL)
    else:
        shift = ranks.of_two(ones, others, LEVEL)
    return [shift.estimate, shift.low, shift.high] if math.isfinite(shift.low) else None


def _middle(points: Sequence[Point]) -> float | None:
    return intervals.middle([point.value for point in points]) if points else None


def _interval(points: Sequence[Point]) -> list[float | None] | None:
    both = intervals.interval([Block(point.value, point.low, point.high) for point in points])
    return None if both is None else [both[0], None if _bounded(points) else both[1]]


def _bounded(points: Sequence[Point]) -> bool:
    return any(point.at_least for point in points)


_Z: Final = NormalDist().inv_cdf(1 - LEVEL / 2)
_REACH: Final = 1 + NormalDist().inv_cdf(POWER) / _Z


def visible(ratio: float, interval: Sequence[float], resolved: float) -> float:
    """The smallest effect that 80 % of such comparisons would find, from how wide this one's interval is;
    none below what is `resolved`."""
    reach = max(abs(math.log(end / ratio)) for end in interval) * _REACH
    return max(math.expm1(min(reach, 20.0)), resolved)


def _resolved(metric: Metric, values: Sequence[float | None], floor: float | None) -> float:
    """The smallest share that the instrument itself can tell apart: two times below five resolutions, or
    nearer than two, are not separated."""
    value = values[0]
    if metric.unit != "us" or floor is None or not value:
        return 0.0
    return max(2 * floor / value, FLOORS * floor / value - 1)


# --- all that decide together -----------------------------------------------------------------------------


def _holm(rows: Sequence[Json]) -> None:
    """Sets `p_holm`; a figure that is not known counts as one that says nothing."""
    ordered = sorted(rows, key=lambda row: 1.0 if row["p"] is None else float(row["p"]))
    reached = 0.0
    for place, row in enumerate(ordered):
        p = 1.0 if row["p"] is None else row["p"]
        reached = max(reached, min(1.0, (len(ordered) - place) * p))
        row["p_holm"] = None if row["p"] is None else reached
    for row in rows:
        row["too_few"] = _too_few(row, len(rows))


def _too_few(row: Json, deciding: int) -> bool:
    """Whether not even runs that all say the same could be sure."""
    return bool(row["p"] is not None and deciding * _smallest(row) > LEVEL)


def _smallest(row: Json) -> float:
    ones, others = row["blocks"]
    return ranks.smallest_p(ones) if row["paired"] else ranks.smallest_p_of_two(ones, others)


def _verdict(row: Json) -> Json:
    if row["ratio"] is None or row["interval"] is None or min(row["blocks"]) < intervals.ENOUGH:
        return {"verdict": OPEN, "passes": None, "why": row["why"] or _few(row)}
    sign = 1 if row["more_is"] == "worse" else -1
    harm = sign * math.log(row["ratio"])
    low, high = sorted(sign * math.log(end) for end in row["interval"])
    beyond = math.log1p(row["tolerance"])
    bounded_a, bounded_b = row["at_least"]
    told = row["p_holm"] <= LEVEL and row["resolved"] <= math.expm1(abs(harm))
    if told and harm >= beyond and not bounded_a:
        return {"verdict": WORSE, "passes": False}
    if told and harm <= -beyond and not bounded_b:
        return {"verdict": BETTER, "passes": True}
    if bounded_a or bounded_b:
        return {"verdict": OPEN, "passes": None, "why": "some operations were never answered: a lower bound"}
    if row["resolved"] > row["tolerance"]:
        said = f"the instrument tells no less than {row['resolved']:.0%} apart here"
        return {"verdict": OPEN, "passes": None, "why": said}
    if low > -beyond and high < beyond:
        return {"verdict": SAME, "passes": True}
    passes = True if high < beyond else None
    return {"verdict": OPEN, "passes": passes, "why": _open(row, high, beyond)}


def _few(row: Json) -> str:
    n = min(row["blocks"])
    return f"{n} {'run' if n == 1 else 'runs'} per side; {intervals.ENOUGH} are needed to say anything"


def _open(row: Json, high: float, beyond: float) -> str:
    if high < beyond:
        return PERHAPS_BETTER
    if row["too_few"]:
        return "so few runs cannot be sure after the correction: repeat it with more"
    return f"it could be up to {math.expm1(high):+.1%} worse, and the tolerance is {row['tolerance']:.0%}"


def passes(change: Json) -> bool | None:
    """Of all that decide: False if any is worse, None if any cannot be told, True otherwise."""
    said: list[Any] = [row["passes"] for row in change["rows"] if row["deciding"]]
    if False in said:
        return False
    return True if said and all(said) else None
