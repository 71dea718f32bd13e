"""A gate that looks while pairs of blocks still come in, and stops as soon as it may.  Pure.

Both sides run in turn, A B B A, so that each block of load gives two pairs and what drifts evenly favours
none. After every such block each figure that decides is looked at.  Looking often finds by chance what is
not there, so each look is stricter: what may go wrong is *spent* in proportion to the pairs seen (K. K. G.
Lan and D. L. DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70, 1983, 659-663;
linear, as K. Kim and DeMets, ibid. 74, 1987, 149-154).  The chance to have stopped before is integrated as
P. Armitage, C. K. McPherson and B. C. Rowe did ("Repeated significance tests on accumulating data", Journal
of the Royal Statistical Society A 132, 1969, 235-244), and the level that it leaves for a look is asked of
the exact test of signed ranks (`ranks.py`): the significance-level approach of C. Jennison and B. W.
Turnbull ("Group Sequential Methods", 2000, 3.8).  What a discrete test cannot spend at one look is kept for
the next.

- **accused**: a figure is worse than nothing at its share of 5 % (one-sided, divided by the number of figures
  that decide), *and* the estimated ratio is beyond the tolerance.  A gate of two alike sides accuses in 5 of
  100 cases at most.
- **acquitted**: every figure is below its tolerance, at 5 % each.  A change of exactly the tolerance passes
  in 5 of 100 cases at most.
- **open**: neither, and no time is left, or too many blocks were disturbed.

Intervals are repeated 95 % intervals: they hold the truth however early one stops.  Nothing is said of a
figure before there is one, so that whoever is accused is told by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.gate import ranks
from bench.gate.metrics import METRICS
from bench.metrics.intervals import middle

Floats = NDArray[np.float64]
FALSE_ALARMS: Final = 0.05
"""The chance that a gate accuses what did not change, over all figures and looks."""
MISSES: Final = 0.05
"""The chance, by figure, that a change of the tolerance is acquitted."""
SHOWN: Final = 0.025
PAIRS: Final = 2
"""Of a block A B B A."""
DISTURBED: Final = 1 / 3
"""A larger share of blocks that a guard objects to leaves the gate open."""
ACCUSED, ACQUITTED, OPEN, BROKEN = "accused", "acquitted", "open", "broken"


@dataclass(frozen=True)
class Pair:
    """One run of load on either side: (baseline's, candidate's) figure by name; what is not known is left
    out."""

    figures: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Block:
    """A B B A.  `disturbed`: why it is not to be believed; `broken`: which promise the candidate broke."""

    pairs: tuple[Pair, ...]
    disturbed: str = ""
    broken: str = ""


Source = Callable[[int], Block | None]
"""Number of the block, from 0 -> the block; None: no time is left."""


# --- the plan ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """`looks`: pairs seen at each look.  Levels are one-sided and by look; 0 where nothing may be said
    yet."""

    looks: tuple[int, ...]
    figures: int
    accuse: tuple[float, ...]
    acquit: tuple[float, ...]
    show: tuple[float, ...]


def plan(blocks: int, figures: int) -> Plan:
    """For at most so many blocks A B B A, and so many figures that decide."""
    looks = tuple(PAIRS * (1 + block) for block in range(blocks))
    return Plan(
        looks,
        figures,
        levels(looks, FALSE_ALARMS / figures),
        levels(looks, MISSES),
        levels(looks, SHOWN),
    )


@lru_cache(maxsize=64)
def levels(looks: tuple[int, ...], whole: float) -> tuple[float, ...]:
    """The level of each look, so that under no change all of them together go wrong in `whole` of the
    cases."""
    found, spent, process = [], 0.0, _Process()
    for pairs in looks:
        time = pairs / looks[-1]
        process.go_on_to(time)
        wanted = process.level_for(whole * time - spent)
        level = _reachable(pairs, wanted)
        spent += process.stop_above(level)
        found.append(level)
    return tuple(found)


def _reachable(pairs: int, wanted: float) -> float:
    """The largest level up to `wanted` that so many pairs can have; 0 if none."""
    chances = ranks.signed_ranks(pairs)
    place = int(np.searchsorted(chances, wanted, side="right")) - 1
    return float(chances[place]) if place >= 0 else 0.0


_NORMAL: Final = NormalDist()
_GRID: Final = 1_201
_WIDE: Final = 9.0


class _Process:
    """A Brownian motion that has not crossed yet: its density on a grid, over the values at `time`."""

    def __init__(self) -> None:
        self._time = 0.0
        self._at = np.zeros(1)
        self._mass = np.ones(1)

    def go_on_to(self, time: float) -> None:
        spread = math.sqrt(time - self._time)
        at = np.linspace(-_WIDE, _WIDE, _GRID) * math.sqrt(time)
        step = at[1] - at[0]
        density = np.exp(-0.5 * ((at[:, None] - self._at[None, :]) / spread) ** 2)
        self._mass = density @ self._mass * (step / (spread * math.sqrt(2 * math.pi)))
        self._at, self._time = at, time

    def level_for(self, chance: float) -> float:
        """The one-sided level of a look that stops in `chance` of all cases."""
        if chance <= 0:
            return 0.0
        above = np.cumsum(self._mass[::-1])[::-1]
        if above[0] <= chance:
            return 1.0
        place = int(np.argmax(above <= chance))
        share = (above[place - 1] - chance) / (above[place - 1] - above[place])
        bound = self._at[place - 1] + share * (self._at[place] - self._at[place - 1])
        return float(1 - _NORMAL.cdf(bound / math.sqrt(self._time)))

    def stop_above(self, level: float) -> float:
        """Takes out what stops at this look; how much it was."""
        if level <= 0:
            return 0.0
        stops = self._at >= _NORMAL.inv_cdf(1 - level) * math.sqrt(self._time)
        stopped = float(self._mass[stops].sum())
        self._mass = np.where(stops, 0.0, self._mass)
        return stopped


# --- looking ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One figure at a look.  Ratios of candidate over baseline as harm: 0.2 is 20 % worse, whichever way that
    is.  None: not known yet.  `most`: a larger harm would not have been acquitted."""

    figure: str
    pairs: int
    harm: float | None
    interval: tuple[float, float] | None
    most: float | None
    tolerance: float
    accused: bool
    acquitted: bool
    values: tuple[float, float] | None = None
    """The middle block's on either side."""


@dataclass(frozen=True)
class Outcome:
    verdict: str
    reason: str
    blocks: int
    pairs: int
    figures: tuple[Seen, ...]
    disturbed: tuple[str, ...] = ()


@dataclass
class _Gate:
    plan: Plan
    tolerances: Mapping[str, float]
    harms: dict[str, list[float]] = field(default_factory=dict)
    """Logarithms by figure, one per pair."""
    values: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        for pair in block.pairs:
            for name, (one, other) in pair.figures.items():
                if name in self.tolerances and one > 0 and other > 0:
                    harm = METRICS[name].sign * math.log(other / one)
                    self.harms.setdefault(name, []).append(harm)
                    self.values.setdefault(name, []).append((one, other))

    def look(self, number: int) -> tuple[Seen, ...]:
        return tuple(self._seen(name, number) for name in self.tolerances)

    def _seen(self, name: str, number: int) -> Seen:
        harms, tolerance = np.array(self.harms.get(name, ())), self.tolerances[name]
        if not len(harms):
            return Seen(name, 0, None, None, None, tolerance, accused=False, acquitted=False)
        means, chances = ranks.walsh(harms), ranks.signed_ranks(len(harms))
        worst_of = {
            what: _ends(means, chances, levels[number])
            for what, levels in (
                ("accuse", self.plan.accuse),
                ("acquit", self.plan.acquit),
                ("show", self.plan.show),
            )
        }
        harm, beyond = float(np.median(means)), math.log1p(tolerance)
        low, high = worst_of["show"]
        most = worst_of["acquit"][1]
        return Seen(
            name,
            len(harms),
            math.expm1(harm),
            (math.expm1(low), math.expm1(high)) if math.isfinite(low) else None,
            math.expm1(most) if math.isfinite(most) else None,
            tolerance,
            accused=worst_of["accuse"][0] > 0 and harm >= beyond and math.isfinite(low),
            acquitted=most < beyond and math.isfinite(low),
            values=_middles(self.values[name]),
        )


def _middles(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    ones, others = zip(*pairs, strict=True)
    return middle(ones), middle(others)


def _ends(means: Floats, chances: Floats, level: float) -> tuple[float, float]:
    return ranks.ends(means, chances, level) if level > 0 else (-math.inf, math.inf)


def decide(
    source: Source,
    planned: Plan,
    tolerances: Mapping[str, float],
    show: Callable[[int, Sequence[Seen]], None] = lambda _number, _seen: None,
) -> Outcome:
    """Asks for blocks until it is clear, or until there are no more.  `tolerances`: figure -> the harm that
    matters; as many as `planned` is for.  `show` is told what each look saw."""
    if len(tolerances) != planned.figures:
        raise ValueError(f"the plan is for {planned.figures} figures, and {len(tolerances)} are to decide")
    gate, good, asked = _Gate(planned, tolerances), 0, 0
    disturbed: list[str] = []
    seen: tuple[Seen, ...] = gate.look(0)
    while good < len(planned.looks) and (block := source(asked)) is not None:
        asked += 1
        if block.broken:
            return Outcome(BROKEN, block.broken, asked, PAIRS * good, seen, tuple(disturbed))
        if block.disturbed:
            disturbed.append(block.disturbed)
            continue
        gate.add(block)
        seen, good = gate.look(good), good + 1
        show(good, seen)
        verdict = _verdict(seen) if len(disturbed) <= DISTURBED * asked else OPEN
        if verdict != OPEN:
            return Outcome(verdict, _reason(verdict, seen), asked, PAIRS * good, seen, tuple(disturbed))
    return Outcome(OPEN, _open(seen, disturbed, asked), asked, PAIRS * good, seen, tuple(disturbed))


def _verdict(seen: Sequence[Seen]) -> str:
    if any(each.accused for each in seen):
        return ACCUSED
    return ACQUITTED if all(each.acquitted for each in seen) else OPEN


def _reason(verdict: str, seen: Sequence[Seen]) -> str:
    if verdict == ACQUITTED:
        return "every figure that decides is within its tolerance"
    return "; ".join(_worse(each) for each in seen if each.accused)


def _worse(each: Seen) -> str:
    within = "" if each.interval is None else f" [{each.interval[0]:+.1%}, {each.interval[1]:+.1%}]"
    return f"{METRICS[each.figure].title} is {each.harm:+.1%}{within} worse, tolerance {each.tolerance:.0%}"


def _open(seen: Sequence[Seen], disturbed: Sequence[str], asked: int) -> str:
    if disturbed and len(disturbed) > DISTURBED * asked:
        return f"{len(disturbed)} of {asked} blocks were disturbed: {disturbed[0]}"
    said = "; ".join(_missed(each) for each in seen if not each.acquitted)
    return f"time is over, and this could have been missed: {said}"


def _missed(each: Seen) -> str:
    title = METRICS[each.figure].title
    if each.most is None:
        return f"{title}: anything ({each.pairs} pairs)"
    return f"{title}: up to {each.most:+.1%}"
