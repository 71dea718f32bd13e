"""The smallest effect that a machine can see, from runs of the same against itself.  Pure.

Two sides that are alike run interleaved, so that the ratio of each block should be 1; what it is instead is
noise.  An experiment of n blocks is drawn from the recorded pairs, with replacement and either side in the
numerator (they are the same thing).  It is smoothed and shrunk, since few pairs do not show how far such
pairs can lie apart (B. W. Silverman and G. A. Young, "The bootstrap: to smooth or not to smooth?", Biometrika
74, 1987, 469-479; the bandwidth is Silverman's rule, and the variance is made n / (n - 2) times the pairs':
that of the next one, of which n have been seen, by Student's t).
It is judged as every comparison is: by whether the interval of the median ratio (`intervals.py`) holds 1.  An
effect multiplies each ratio and therefore moves the whole interval by its logarithm, so that the smallest
effect which 80 % of the experiments would see is the 80 % quantile of how far their intervals reach beyond 1.
The test is two-sided at 5 %.

It is itself known from these pairs only: its standard error is about 1 / sqrt(2 n) of it, a fifth from ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics import intervals
from bench.metrics.intervals import Block

Pair = tuple[Block, Block]
Floats = NDArray[np.float64]

POWER: Final = 0.8
EXPERIMENTS: Final = 500
SEED: Final = 5


def smallest_visible(pairs: Sequence[Pair], blocks: int) -> float | None:
    """The share by which one side of `blocks` blocks must differ for it to be seen in 80 % of the cases.

    None below `intervals.ENOUGH` pairs or blocks, or where a figure is not above 0."""
    reach = _reach(pairs, blocks)
    if reach is None:
        return None
    surely = POWER + math.sqrt(POWER * (1 - POWER) / EXPERIMENTS)
    return math.expm1(max(0.0, float(np.quantile(reach, surely, method="inverted_cdf"))))


def found(pairs: Sequence[Pair], blocks: int, effect: float) -> float | None:
    """In which share of the experiments an effect would be seen."""
    reach = _reach(pairs, blocks)
    return None if reach is None else float(np.mean(reach < math.log1p(effect)))


def visible_above(visible: float, value: float, floor: float | None, floors: int) -> float:
    """The same of a time, which must also differ by two resolution floors and lie above so many `floors`."""
    if floor is None or not value:
        return visible
    return max(visible, 2 * floor / value, floors * floor / value - 1)


def _reach(pairs: Sequence[Pair], blocks: int) -> Floats | None:
    """How far the intervals of drawn experiments reach beyond no effect, as logarithms: both ends of each."""
    if min(len(pairs), blocks) < intervals.ENOUGH or min(one.value for pair in pairs for one in pair) <= 0:
        return None
    rng = np.random.default_rng((SEED, len(pairs), blocks))
    low, high = intervals.of_experiments(*experiments(pairs, blocks, EXPERIMENTS, rng))
    return np.concatenate([-low, high])


def experiments(
    pairs: Sequence[Pair], blocks: int, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Logarithms of the ratios of drawn experiments, and half of their own 95 % bounds: experiment, block."""
    ratio = np.array([math.log(one.value / other.value) for one, other in pairs])
    inside = np.array([math.hypot(_inside(one), _inside(other)) for one, other in pairs])
    which = rng.integers(0, len(pairs), (count, blocks))
    sign = rng.choice([-1.0, 1.0], (count, blocks))
    n, deviation = len(pairs), math.sqrt(float(np.mean(ratio**2)))
    bandwidth = 1.06 * n**-0.2
    smooth = sign * ratio[which] + bandwidth * deviation * rng.standard_normal((count, blocks))
    return smooth * math.sqrt(n / (n - 2) / (1 + bandwidth**2)), inside[which]


def _inside(block: Block) -> float:
    """Half of a block's own 95 % bounds, as a share of its value."""
    if block.low is None or block.high is None:
        return 0.0
    return (block.high - block.low) / 2 / block.value
