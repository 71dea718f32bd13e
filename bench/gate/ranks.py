"""By how much two samples are apart, and how sure that is: exact rank tests and the intervals they
imply.  Pure.

Paired: F. Wilcoxon's signed ranks ("Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945,
80-83); unpaired: H. B. Mann and D. R. Whitney ("On a test of whether one of two random variables is
stochastically larger than the other", Annals of Mathematical Statistics 18, 1947, 50-60), as benchstat does.
The estimate is J. L. Hodges and E. L. Lehmann's ("Estimates of location based on rank tests", ibid. 34, 1963,
598-611): the median of all means of two differences, or of all differences of two values.  The interval holds
every shift that the test would not reject, so that it leaves out 0 exactly where p says so.

Why ranks: runs of a benchmark now and then lie far out, and a mean follows them.  Under no change the level
is exact whatever the distribution, since the sides of a pair could be exchanged (paired) or all runs be
dealt again (unpaired; the sides' spreads must be alike).  The price is that few runs can never be sure: the
smallest p of n pairs is 2 / 2^n.  Ties are counted against a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EXACT: Final = 60
"""Up to so many runs on the smaller side the unpaired distribution is exact; beyond, normal."""


@dataclass(frozen=True)
class Shift:
    """How much the second lies above the first.  An end is infinite where so few runs leave it open."""

    estimate: float
    low: float
    high: float
    p: float


def of_pairs(differences: Sequence[float] | Floats, level: float) -> Shift:
    """Of at least one pair; `level` is two-sided, 0.05 for a 95 % interval."""
    means = walsh(np.asarray(differences, np.float64))
    return _shift(means, signed_ranks(len(differences)), level)


def of_two(ones: Sequence[float], others: Sequence[float], level: float) -> Shift:
    """`others` over `ones`."""
    apart = np.subtract.outer(np.asarray(others, np.float64), np.asarray(ones, np.float64)).ravel()
    return _shift(np.sort(apart), _mann_whitney(len(ones), len(others)), level)


def smallest_p(pairs: int) -> float:
    """Of so many pairs that all say the same."""
    return min(1.0, 2.0 ** (1 - pairs))


def smallest_p_of_two(ones: int, others: int) -> float:
    return min(1.0, 2.0 / math.comb(ones + others, ones))


def walsh(differences: Floats) -> Floats:
    """All means of two of them, themselves included, sorted."""
    i, j = np.triu_indices(len(differences))
    return np.sort((differences[i] + differences[j]) / 2)


def _shift(ordered: Floats, chances: Floats, level: float) -> Shift:
    """`chances[t]`: that as few as t of these lie on one side of the truth."""
    beyond = min(int((ordered <= 0).sum()), int((ordered >= 0).sum()))
    p = min(1.0, 2 * float(chances[beyond]))
    low, high = ends(ordered, chances, level / 2)
    return Shift(float(np.median(ordered)), low, high, p)


def ends(ordered: Floats, chances: Floats, tail: float) -> tuple[float, float]:
    """Below and above which the truth lies with a chance of at most `tail` each."""
    cut = int(np.searchsorted(chances, tail * (1 + 1e-12), side="right")) - 1
    if cut < 0:
        return -math.inf, math.inf
    return float(ordered[cut]), float(ordered[-1 - cut])


@lru_cache(maxsize=512)
def signed_ranks(n: int) -> Floats:
    """P(sum of the positive ranks of n <= t), t from 0, under no difference."""
    chance = np.zeros(n * (n + 1) // 2 + 1)
    chance[0] = 1.0
    for rank in range(1, n + 1):
        moved = np.zeros_like(chance)
        moved[rank:] = chance[:-rank]
        chance = (chance + moved) / 2
    return np.minimum(np.cumsum(chance), 1.0)


@lru_cache(maxsize=256)
def _mann_whitney(n: int, m: int) -> Floats:
    """P(U <= t) under no difference: U of n and m, from 0 to n m."""
    if min(n, m) > EXACT:
        return _normal(n, m)
    n, m = min(n, m), max(n, m)
    ways = [1] + [0] * (n * m)  # coefficients of the Gaussian binomial: product of (1 - q^(m+i)) / (1 - q^i)
    for i in range(1, n + 1):
        for t in range(n * m, m + i - 1, -1):
            ways[t] -= ways[t - m - i]
        for t in range(i, n * m + 1):
            ways[t] += ways[t - i]
    total, summed, found = math.comb(n + m, n), 0, []
    for way in ways:
        summed += way
        found.append(summed / total)
    return np.array(found)


def _normal(n: int, m: int) -> Floats:
    deviation = math.sqrt(n * m * (n + m + 1) / 12)
    z = (np.arange(n * m + 1) + 0.5 - n * m / 2) / (deviation * math.sqrt(2))
    return np.array([0.5 * math.erfc(-each) for each in z])
