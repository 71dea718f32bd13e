"""The search for the highest load that holds an objective, as a sequence of questions.  Pure.

    search = Search(Limits())
    while (ask := search.ask) is not None:
        search.tell(measure(ask.load))
    search.found()

A question is a load, an answer whether the objective held there; near the limit that is a matter of luck.
Three stages:

staircase  multiplies the load by `factor` until it fails twice (or divides it until it holds); with `down`
           the last one that held is asked once more after that: does an overload leave anything behind?
bisection  narrows that to a factor of `coarse`;
blocks     at least six, each of them a search of its own around what is known: from below and from above in
           turn, by strides of `resolution`, at loads that no other block used, until the highest load that
           holds and the lowest that fails are one stride apart.

A block brackets the capacity as it was then, [holds, fails].  The figure and its interval are of the answers
of all steps (`bench.capacity.estimate`).  Below six blocks there is none, and where the interval comes out
wider than `wanted`, more blocks are asked for: docs/decisions/capacity.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench.capacity.estimate import Answer, Estimate, estimate

HOLDS, FAILS, GENERATOR, UNKNOWN, DISTURBED = "holds", "fails", "generator", "unknown", "disturbed"
"""Of a step: the objective held, it did not, the load was not what it should be, nobody can say, others on
the host had a part in it."""
FOUND, NONE, EVERY, TOO_SMALL, NOISY, UNFINISHED = (
    "found", "no_load", "every_load", "too_small", "noisy", "unfinished"
)  # fmt: skip
"""How a search ends; GENERATOR too."""
STAIRCASE, DOWN, BISECTION, BLOCK, CHECK = "staircase", "down", "bisection", "block", "check"
BLOCKS_FOR_INTERVAL: Final = 6
GENERATOR_BLOCKS: Final = 2
"""So many blocks that end at what the generator can do, and the search is over."""
BATCHES: Final = 0.28
"""A load generator that is busier does more at a time: its CPU time for a message falls with this power of
the load (docs/decisions/capacity.md)."""
GOLDEN: Final = (math.sqrt(5) - 1) / 2
"""Its multiples modulo 1 are spread evenly, however many they are."""


@dataclass(frozen=True)
class Limits:
    """Loads in one unit of the caller's.  Ratios are above 1."""

    start: float = 20.0
    low: float = 1.0
    high: float = 100_000.0
    factor: float = 2.0
    down: bool = False
    coarse: float = 1.25
    resolution: float = 1.04
    blocks: int = BLOCKS_FOR_INTERVAL
    most_blocks: int = 15
    wanted: float = 0.10
    """Half the interval's width, relative to the estimate."""
    again: int = 3
    """How often a step that says nothing is repeated,"""
    again_disturbed: int = 20
    """and one that was disturbed: others come and go."""
    checks: tuple[float, ...] = (0.90, 1.15)
    """Shares of the estimate that are measured once more at the end."""
    check_lead: int = 3
    """Each of them until one answer leads by so many,"""
    most_checks: int = 15
    """or after so many steps; odd."""
    check_within: float = 1.04
    """They count if they were as heavy as that share, within this factor; others are made again,"""
    check_again: int = 30
    """so many in all."""


@dataclass(frozen=True)
class Ask:
    """Measure this load.  `block` counts from 0, and so do the steps at one share of the figure
    (`of_figure`); else -1."""

    load: float
    stage: str
    block: int = -1
    of_figure: float | None = None


@dataclass(frozen=True)
class Seen:
    """What a step said.  `binding`: the part of the objective that failed, and where; `share`: its value by
    its limit, the worst part's where all held; `cores`: CPU that all of the run used, `generator`: that the
    load generator did; None: not known."""

    said: str
    binding: str = ""
    share: float | None = None
    why: str = ""
    cores: float | None = None
    generator: float | None = None


@dataclass(frozen=True)
class Step:
    ask: Ask
    seen: Seen

    @property
    def cost(self) -> float | None:
        """What a unit of load cost the generator, without what of it is the load's doing.  Its work is the
        same whoever serves it, so that this is the machine's speed and no scheme's."""
        used = self.seen.generator
        return used / self.ask.load ** (1 - BATCHES) if used else None


@dataclass(frozen=True)
class Bracket:
    """One block: the highest load that held, the lowest that did not, and what stopped it there."""

    holds: float
    fails: float
    by: str = FAILS
    binding: str = ""


@dataclass(frozen=True)
class Check:
    """Steps at a share of the capacity, of which so many held; `binding`: of the last that did not."""

    share: float
    held: int
    steps: int
    binding: str = ""

    @property
    def agrees(self) -> bool:
        """At less than the capacity most of them hold, at more most of them do not."""
        return (2 * self.held > self.steps) == (self.share < 1)


@dataclass(frozen=True)
class Found:
    """`capacity`, `interval`, `half_width` (relative, longer side) and `binding` only where `how` is FOUND.

    `cores`: CPU that all of the run uses at the capacity; None: not known.  `follows`: how much of a change
    of the machine's speed is one of the capacity, 0 to 1 (`bench.capacity.estimate`).

    `held` and `failed`: the highest load that held and the lowest that did not, of all steps; None: none
    did.  `why`: of what the last step said."""

    how: str
    capacity: float | None = None
    interval: tuple[float, float] | None = None
    half_width: float | None = None
    binding: str = ""
    held: float | None = None
    failed: float | None = None
    why: str = ""
    blocks: tuple[Bracket, ...] = ()
    checks: tuple[Check, ...] = ()
    cores: float | None = None
    follows: float = 0.0


class _Over(Exception):
    """The search ends here, for this reason."""

    def __init__(self, how: str, why: str = "") -> None:
        super().__init__(how)
        self.how = how
        self.why = why


Questions = Generator[Ask, Seen, float]


@dataclass
class Search:
    """`ask` is the question that waits for its answer; None when there is nothing more to ask."""

    limits: Limits = field(default_factory=Limits)
    steps: list[Step] = field(default_factory=list)
    blocks: list[Bracket] = field(default_factory=list)
    ask: Ask | None = None
    _how: str = UNFINISHED
    _why: str = ""
    _of_generator: int = 0
    _estimated: tuple[int, Estimate | None] = (0, None)

    def __post_init__(self) -> None:
        self._asking = self._go()
        self.ask = next(self._asking)

    def tell(self, seen: Seen) -> None:
        assert self.ask is not None, "nothing was asked"
        self.steps.append(Step(self.ask, seen))
        try:
            self.ask = self._asking.send(seen)
        except StopIteration:
            self.ask = None

    def found(self) -> Found:
        """What is known by now, also in the middle of the search."""
        held = [s.ask.load for s in self.steps if s.seen.said == HOLDS]
        failed = [s.ask.load for s in self.steps if s.seen.said == FAILS]
        about = {
            "held": max(held, default=None),
            "failed": min(failed, default=None),
            "why": self._why,
            "blocks": tuple(self.blocks),
            "binding": self._binding(),
        }
        if self._how not in (FOUND, UNFINISHED) or len(self.blocks) < BLOCKS_FOR_INTERVAL:
            return Found(UNFINISHED if self._how == FOUND else self._how, **about)  # type: ignore[arg-type]
        known = self._estimate()
        return Found(
            FOUND,
            known.capacity,
            (known.low, known.high),
            known.half_width,
            cores=self._cores(known.capacity),
            follows=known.follows,
            checks=self._checks(),
            **about,  # type: ignore[arg-type]
        )

    def _cores(self, capacity: float) -> float | None:
        """At the capacity, by what a unit of load costs near it."""
        near = [s.seen.cores / s.ask.load for s in self.steps if s.ask.stage == BLOCK and s.seen.cores]
        return capacity * median(near) if near else None

    def _binding(self) -> str:
        """What failed most often at the ends of blocks; before there are any, at the lowest failing load."""
        named = Counter(block.binding for block in self.blocks if block.binding)
        if named:
            return named.most_common(1)[0][0]
        failed = [step for step in self.steps if step.seen.said in (FAILS, GENERATOR)]
        return min(failed, key=lambda step: step.ask.load).seen.binding if failed else ""

    def _estimate(self) -> Estimate:
        """Of all that was said until now; once more only where more was said."""
        said = [s for s in self.steps if s.ask.stage != CHECK and s.seen.said in (HOLDS, FAILS)]
        if len(said) != self._estimated[0]:
            answers = [Answer(s.ask.load, s.seen.said == FAILS, s.ask.block, s.cost) for s in said]
            self._estimated = (len(said), estimate(answers))
        assert self._estimated[1] is not None
        return self._estimated[1]

    def _checks(self) -> tuple[Check, ...]:
        """Those that were finished, or have an answer."""
        found = []
        for share in self.limits.checks:
            asked = [s for s in self.steps if s.ask.stage == CHECK and s.ask.of_figure == share]
            said = [s.seen for s in asked if self._counts(s)]
            if said:
                failed = [seen.binding for seen in said if seen.said != HOLDS]
                held = len(said) - len(failed)
                found.append(Check(share, held, len(said), failed[-1] if failed else ""))
        return tuple(found)

    # --- the questions ------------------------------------------------------------------------------------

    def _go(self) -> Generator[Ask, Seen, None]:
        limits = self.limits
        try:
            holds, fails = yield from self._staircase()
            if limits.down:
                yield from self._measure(Ask(holds, DOWN))
            while fails / holds > limits.coarse:
                middle = math.sqrt(holds * fails)
                seen = yield from self._measure(Ask(middle, BISECTION))
                holds, fails = (middle, fails) if seen.said == HOLDS else (holds, middle)
            number = 0
            while self._wants_another_block():
                yield from self._block(number, math.sqrt(holds * fails))
                number += 1
            self._how = FOUND
            if self.blocks:
                yield from self._confirm()
        except _Over as over:
            if self._how != FOUND:
                self._how, self._why = over.how, over.why

    def _confirm(self) -> Generator[Ask, Seen, None]:
        """What holds every second time at the capacity does not hold every time a little below it.  Shares
        take turns, so that each is of all the time that it takes."""
        limits, capacity = self.limits, self._estimate().capacity
        leads = dict.fromkeys(limits.checks, 0)
        left = dict.fromkeys(limits.checks, limits.check_again)
        for number in range(limits.most_checks):
            for share in limits.checks:
                while abs(leads[share]) < limits.check_lead and left[share]:
                    left[share] -= 1
                    load = share * capacity / self._heavier(self.steps[-1])
                    seen = yield from self._measure(Ask(load, CHECK, number, share))
                    if self._counts(self.steps[-1]):
                        leads[share] += 1 if seen.said == HOLDS else -1
                        break

    def _heavier(self, step: Step) -> float:
        """How many times heavier than usual this step's load was on a machine as fast as it was then."""
        known = self._estimate()
        if step.cost is None or known.usual_cost is None:
            return 1.0
        return float((step.cost / known.usual_cost) ** known.follows)

    def _counts(self, step: Step) -> bool:
        """Whether a step that confirms said something, of the load that it was to be of."""
        assert step.ask.of_figure is not None
        heavy = step.ask.load * self._heavier(step) / (step.ask.of_figure * self._estimate().capacity)
        told = step.seen.said not in (UNKNOWN, DISTURBED)
        return told and abs(math.log(heavy)) <= math.log(self.limits.check_within)

    def _wants_another_block(self) -> bool:
        limits, count = self.limits, len(self.blocks)
        if count < limits.blocks:
            return True
        if count < BLOCKS_FOR_INTERVAL or count >= limits.most_blocks:
            return False
        return self._estimate().half_width > limits.wanted

    def _measure(self, ask: Ask) -> Generator[Ask, Seen, Seen]:
        """Asks again where nothing was said, and once more before the generator is blamed."""
        accused, unknown, disturbed = False, 0, 0
        while unknown <= self.limits.again and disturbed <= self.limits.again_disturbed:
            seen = yield ask
            if seen.said in (HOLDS, FAILS) or (seen.said == GENERATOR and accused):
                return seen
            accused = seen.said == GENERATOR
            disturbed += seen.said == DISTURBED
            unknown += seen.said != DISTURBED
        if accused:
            return seen
        raise _Over(NOISY, seen.why)

    def _staircase(self) -> Generator[Ask, Seen, tuple[float, float]]:
        """(a load that holds, one that does not)."""
        limits = self.limits
        load = min(max(limits.start, limits.low), limits.high)
        seen = yield from self._twice(load)
        up = seen.said == HOLDS
        while True:
            last, load = load, self._next(load, limits.factor if up else 1 / limits.factor, seen)
            seen = yield from self._twice(load)
            if (seen.said == HOLDS) != up:
                return (last, load) if up else (load, last)

    def _twice(self, load: float) -> Generator[Ask, Seen, Seen]:
        """A rung that fails is asked once more: what disturbs a step makes it fail, and seldom hold."""
        seen = yield from self._measure(Ask(load, STAIRCASE))
        if seen.said == FAILS:
            seen = yield from self._measure(Ask(load, STAIRCASE))
        return seen

    def _next(self, load: float, factor: float, seen: Seen) -> float:
        """The next load in this direction, not beyond the limits; the end where it is there already."""
        limits = self.limits
        end = limits.high if factor > 1 else limits.low
        if load == end:
            if factor > 1:
                raise _Over(EVERY)
            raise _Over(TOO_SMALL if seen.said == GENERATOR else NONE, seen.why)
        return min(load * factor, end) if factor > 1 else max(load * factor, end)

    def _block(self, number: int, coarse: float) -> Generator[Ask, Seen, None]:
        """One search around what is known.  Even blocks come from below, odd ones from above."""
        limits = self.limits
        middle = self._estimate().capacity if self.blocks else coarse
        side = -0.5 if number % 2 == 0 else 0.5
        offset = (number + 1) * GOLDEN % 1 - 0.5
        load = middle * limits.resolution ** (side + offset)
        load = min(max(load, limits.low), limits.high)
        holds = fails = None
        stride, stopped = limits.resolution, Seen(FAILS)
        while True:
            seen = yield from self._measure(Ask(load, BLOCK, number))
            if seen.said == HOLDS:
                holds = load
            else:
                fails, stopped = load, seen
            if holds is None or fails is None:
                load, stride = self._next(load, stride if fails is None else 1 / stride, seen), stride**2
            elif fails / holds <= limits.resolution * (1 + 1e-9):
                break
            else:
                load = math.sqrt(holds * fails)
        self._keep(Bracket(holds, fails, stopped.said, stopped.binding), stopped)

    def _keep(self, block: Bracket, stopped: Seen) -> None:
        """A block that ended at what the generator can do brackets nothing; two such end the search."""
        if block.by != GENERATOR:
            self.blocks.append(block)
            return
        self._of_generator += 1
        if self._of_generator >= GENERATOR_BLOCKS:
            raise _Over(GENERATOR, stopped.why)
