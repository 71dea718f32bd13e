"""Who answers READs soonest, by state reads per mark and by load: the cells of chart 9.  Pure.

A cell is a load that was carried at one mix; its winner is the arm with the lowest READ p99 of those that
held the objective there.  Arms whose ACK outlives something else than the first one's are left out, and so is
the control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import alike
from bench.capacity import beside
from bench.capacity.search import FAILS, HOLDS
from bench.compare import FLOORS, NOISE
from bench.options import CONTROL
from bench.results import Json

NONE: Final = "none"
"""No arm held the objective."""
MIX: Final = "reads_per_mark"
TOGETHER: Final = "not separated"
LADDER: Final = frozenset({"base", "staircase", "down"})
"""Steps at loads that all arms have in common."""


@dataclass(frozen=True)
class Cell:
    """`winner`: an arm's label, TOGETHER or NONE."""

    mix: float
    load: float
    winner: str


def why_not(content: Json) -> str:
    """Why there is no such chart; empty if there is one."""
    if content["verdict"]["status"] != "VALID":
        return "the study's timing is not VALID, and a map of winners is a ranking"
    if len(_compared(content["arms"])) < 2:
        return "it compares arms, and only one of them may be"
    return "" if cells(content) else "no load was carried by several arms at a known mix"


def cells(content: Json) -> list[Cell]:
    """Of this study and of those beside it that are VALID and differ in the mix alone."""
    return [cell for study in (content, *_alike(content)) for cell in _of_study(study)]


def _of_study(study: Json) -> list[Cell]:
    arms = _compared(study["arms"])
    mix = beside.reads_per_mark(study["arms"], study["base"])
    carried = [{s["load"] for s in arm["steps"] if s["stage"] in LADDER and _told(s)} for arm in arms]
    if mix is None:
        return []
    loads = [load for load in set().union(*carried) if sum(load in each for each in carried) > 1]
    return [Cell(mix, load, _winner(arms, load)) for load in sorted(loads)]


def _alike(content: Json) -> list[Json]:
    """Studies beside this one that differ from it in reads per mark alone, each mix once."""
    found: dict[str, Json] = {}
    for study in content.get("beside") or ():
        same = all(study[name] == content[name] for name in ("objective", "unit"))
        other = beside.differs(content["settings"], study["settings"] | {MIX: content["settings"][MIX]})
        if study["status"] == "VALID" and same and not other:
            found.setdefault(str(study["settings"][MIX]), study)
    found.pop(str(content["settings"][MIX]), None)
    return list(found.values())


def _compared(arms: Sequence[Json]) -> list[Json]:
    """Those that may be ranked with the first."""
    searched = [arm for arm in arms if arm["run"].get("scheme") != CONTROL]
    classes = [alike.class_of(arm["run"]) for arm in searched]
    return [arm for arm, class_ in zip(searched, classes, strict=True) if class_ == classes[0]]


def _told(step: Json) -> bool:
    return step["said"] in (HOLDS, FAILS)


def _winner(arms: Sequence[Json], load: float) -> str:
    held: list[tuple[float, float, float, str]] = []
    floor = 0.0
    for arm in arms:
        steps = [step for step in arm["steps"] if step["load"] == load and step["stage"] in LADDER]
        steps = [step for step in steps if _told(step)]
        if not steps or any(step["said"] != HOLDS for step in steps):
            continue
        floor = max(floor, *(step["figures"]["resolution_floor_us"] or 0.0 for step in steps))
        spans = [span for step in steps if (span := _span(step)) is not None]
        if spans:
            low, values, high = zip(*spans, strict=True)
            held.append((sorted(values)[(len(values) - 1) // 2], min(low), max(high), arm["arm"]))
    if not held:
        return NONE
    best, *others = sorted(held)
    return best[3] if all(_apart(best, other, floor) for other in others) else TOGETHER


def _span(step: Json) -> tuple[float, float, float] | None:
    """READ p99 with what its sample leaves open, µs; without bounds a share of NOISE to either side."""
    told = (step["figures"]["operations"].get("READ") or {}).get("latency_us") or {}
    p99 = told.get("p99")
    if p99 is None:
        return None
    low, high = (told.get("bounds") or {}).get("p99") or (None, None)
    return (
        float(p99 * (1 - NOISE) if low is None else low),
        float(p99),
        float("inf" if high is None and low is not None else p99 * (1 + NOISE) if high is None else high),
    )


def _apart(best: tuple[float, float, float, str], other: tuple[float, float, float, str], f: float) -> bool:
    """The rules of a comparison: above the resolution, and by more than what one step leaves open."""
    return other[0] >= FLOORS * f and other[0] - best[0] >= 2 * f and best[2] < other[1]
