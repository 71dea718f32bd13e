"""How far a figure of several blocks can be trusted: intervals from a hierarchical bootstrap.  Pure.

A block is one run of an arm.  Its quantiles are of all its samples, and never averaged; the arm's figure is
the middle block's (of an even number the lower of the two).  What varies from run to run (caches, threads,
neighbours) is larger than what the number of samples leaves open, so that blocks are drawn first and what is
inside of them second (A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application", 1997, 3.8;
T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013):

1. as many blocks as there are, with replacement;
2. inside each block its quantile again, between the order statistics that bound it (`Block.low`, `high`): a
   normal deviate on either side, which is what drawing all its samples again comes to when they are many;
3. their median, of an even number either of the two middle ones with the same chance.

The interval is cut at the expanded percentiles (T. C. Hesterberg, "What teachers should know about the
bootstrap", The American Statistician 69, 2015, 371-386): plain percentiles of few blocks are too narrow,
since n blocks drawn from themselves vary too little, by (n - 1) / n, and since n is small, as Student's t
knows.

What is honest of so few blocks: from 6 to 8 the interval is about the range of all blocks, from 9 about that
without the outermost two; it covers the median of what such blocks give, whatever their distribution, at 96 %
to 99 % (that of the sign test), and more where samples inside the blocks are few.  It knows nothing of what
did not vary: another machine, another day, another plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ENOUGH: Final = 6
"""Blocks from which on there is an interval."""
LEVEL: Final = 0.95
DRAWS: Final = 4_000
SEED: Final = 20_150_401
"""The draws are the same each time: the same blocks give the same interval."""
AT_ONCE: Final = 64
"""Experiments: what is drawn of them fits into the processor's cache."""
LOWEST: Final = 1e-3
"""Of its value: a time is never drawn below."""
_Z95: Final = NormalDist().inv_cdf(0.975)

Interval = tuple[float, float]


@dataclass(frozen=True)
class Block:
    """A figure of one run; `low` and `high` are its own 95 % bounds where it is a quantile of samples."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Ratio:
    """One arm's figure over another's.  `paired`: block by block, since their runs stood side by side.

    `interval` None: fewer than ENOUGH blocks (or pairs)."""

    value: float
    interval: Interval | None
    paired: bool
    blocks: int


def middle(values: Sequence[float]) -> float:
    """The middle one; of an even number the lower of the two."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def interval(blocks: Sequence[Block]) -> Interval | None:
    """95 % interval of the median block; None below ENOUGH blocks."""
    if len(blocks) < ENOUGH:
        return None
    drawing = _drawing(len(blocks), 0)
    return _cut(_medians(_values(blocks, drawing.which, drawing), drawing.place), len(blocks))


def ratio(ones: Sequence[Block], others: Sequence[Block], *, paired: bool) -> Ratio | None:
    """Of `ones` over `others`, which stand block by block side by side if `paired`; None unless all are
    above 0."""
    if not ones or not others or min(block.value for block in (*ones, *others)) <= 0:
        return None
    if paired:
        return _of_pairs(ones, others)
    value = middle([block.value for block in ones]) / middle([block.value for block in others])
    fewest = min(len(ones), len(others))
    if fewest < ENOUGH:
        return Ratio(value, None, paired=False, blocks=fewest)
    above, below = _drawing(len(ones), 0), _drawing(len(others), 1)
    drawn = _medians(_values(ones, above.which, above), above.place)
    drawn /= _medians(_values(others, below.which, below), below.place)
    return Ratio(value, _cut(drawn, fewest), paired=False, blocks=fewest)


def _of_pairs(ones: Sequence[Block], others: Sequence[Block]) -> Ratio:
    n = len(ones)
    value = middle([one.value / other.value for one, other in zip(ones, others, strict=True)])
    if n < ENOUGH:
        return Ratio(value, None, paired=True, blocks=n)
    pairs, inside = _drawing(n, 0), _drawing(n, 1)
    drawn = _values(ones, pairs.which, pairs) / _values(others, pairs.which, inside)
    return Ratio(value, _cut(_medians(drawn, pairs.place), n), paired=True, blocks=n)


def of_experiments(values: Floats, spread: Floats, draws: int = 2_000) -> tuple[Floats, Floats]:
    """Lower and upper ends of the intervals of many experiments at once.  `values`: experiment, block;
    `spread`: half of the 95 % bounds inside, the same on both sides."""
    experiments, n = values.shape
    rng = np.random.default_rng((SEED, n))
    which = rng.integers(0, n, (draws, n))
    deviate, place = rng.standard_normal((draws, n)) / _Z95, _places(rng, n, draws)
    ends = []
    for start in range(0, experiments, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        drawn = np.sort(values[part][:, which] + spread[part][:, which] * deviate, axis=2)
        medians = np.take_along_axis(drawn, place[None, :, None], axis=2)[:, :, 0]
        ends.append(np.quantile(medians, _ends(n, draws), axis=1, method="inverted_cdf"))
    low, high = np.concatenate(ends, axis=1)
    return low, high


# --- drawing ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drawing:
    """`which` block, and which `deviate` inside of it (in 95 % bounds): draw, block.  `place` of the median
    among the sorted: draw."""

    which: Ints
    deviate: Floats
    place: Ints


@lru_cache(maxsize=64)
def _drawing(n: int, arm: int) -> _Drawing:
    """What is drawn of n blocks; arms that have nothing to do with each other are drawn apart."""
    rng = np.random.default_rng((SEED, n, arm))
    return _Drawing(
        rng.integers(0, n, (DRAWS, n)), rng.standard_normal((DRAWS, n)) / _Z95, _places(rng, n, DRAWS)
    )


def _places(rng: np.random.Generator, n: int, draws: int) -> Ints:
    return (n - 1 + (n % 2 == 0) * rng.integers(0, 2, draws)) // 2


def _values(blocks: Sequence[Block], which: Ints, inside: _Drawing) -> Floats:
    """The drawn blocks' figures, each drawn again inside of its block: draw, block."""
    value = np.array([block.value for block in blocks], np.float64)[which]
    below = np.array([_spread(block.value, block.low) for block in blocks])
    above = np.array([_spread(block.high, block.value) for block in blocks])
    if not (below.any() or above.any()):
        return value
    spread = np.where(inside.deviate > 0, above[which], below[which])
    return np.maximum(value + inside.deviate * spread, value * LOWEST)


def _spread(upper: float | None, lower: float | None) -> float:
    return 0.0 if upper is None or lower is None else max(0.0, upper - lower)


def _medians(drawn: Floats, place: Ints) -> Floats:
    """One per draw."""
    return np.take_along_axis(np.sort(drawn, axis=1), place[:, None], axis=1)[:, 0]


def _cut(drawn: Floats, n: int) -> Interval:
    low, high = np.quantile(drawn, _ends(n, len(drawn)), method="inverted_cdf")
    return float(low), float(high)


@lru_cache(maxsize=64)
def _ends(n: int, draws: int) -> tuple[float, float]:
    """The expanded percentiles of n blocks, Phi(+-sqrt(n / (n - 1)) t), further out by two standard errors of
    the drawing: an interval must not be narrower for want of draws."""
    outside = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student_t(n - 1))
    outside = max(0.0, outside - 2 * math.sqrt(outside / draws))
    return outside, 1 - outside


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t from five degrees of freedom up (M. Abramowitz and I. A. Stegun,
    "Handbook of Mathematical Functions", 26.7.5)."""
    z, v = _Z95, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
