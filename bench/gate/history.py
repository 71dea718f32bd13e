"""When a figure changed: change points in a series of runs.  Pure.

As A. N. Pettitt did ("A non-parametric approach to the change-point problem", Applied Statistics 28, 1979,
126-135): a place splits a stretch so that the *ranks* before and after it are most apart, which a single
run far out does not move.  A level that came and went shows on no split of the whole, so that the largest is
sought over many stretches (S. Kovacs, P. Buehlmann, H. Li and A. Munk, "Seeded binary segmentation",
Biometrika 110, 2023, 249-256), and both sides of what was found are searched again.  Its chance is that of
shuffling the whole (fixed seed), so that no distribution is assumed.  A point is kept if the shuffles reach
it in 1 % of the cases at most *and* the medians before and after are further apart than `SMALLEST`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVEL: Final = 0.01
SHUFFLES: Final = 999
SHORTEST: Final = 5
"""Runs on either side of a point."""
SMALLEST: Final = 0.03
SEED: Final = 7


@dataclass(frozen=True)
class Change:
    """`at`: index of the first run of the new level.  `before`, `after`: medians of the stretches that meet
    there."""

    at: int
    before: float
    after: float
    p: float

    @property
    def share(self) -> float:
        return self.after / self.before - 1 if self.before else math.inf


def changes(values: Sequence[float]) -> list[Change]:
    """The change points of a series in the order of time, earliest first."""
    found: dict[int, float] = {}
    _split(np.asarray(values, np.float64), 0, found, np.random.default_rng(SEED))
    bounds = [0, *_kept(values, sorted(found)), len(values)]
    made = []
    for i in range(1, len(bounds) - 1):
        before, after = (float(np.median(values[bounds[j] : bounds[j + 1]])) for j in (i - 1, i))
        made.append(Change(bounds[i], before, after, found[bounds[i]]))
    return made


def _split(values: Floats, offset: int, found: dict[int, float], rng: np.random.Generator) -> None:
    n = len(values)
    if n < 2 * SHORTEST:
        return
    ranks, stretches = _ranks(values), _stretches(n)
    (reached,), (place,) = _farthest(ranks[None, :], stretches)
    drawn = rng.permuted(np.tile(ranks, (SHUFFLES, 1)), axis=1)
    p = (1 + int((_farthest(drawn, stretches)[0] >= reached).sum())) / (SHUFFLES + 1)
    if p > LEVEL:
        return
    found[offset + int(place)] = p
    _split(values[:place], offset, found, rng)
    _split(values[place:], offset + int(place), found, rng)


def _stretches(n: int) -> list[tuple[int, int]]:
    """The whole, and ever shorter stretches that overlap by half."""
    found, length = [(0, n)], n / math.sqrt(2)
    while length >= 2 * SHORTEST:
        count = 2 * math.ceil(n / length) - 1
        for i in range(count):
            begin = round(i * (n - length) / max(1, count - 1))
            found.append((begin, min(n, begin + math.ceil(length))))
        length /= math.sqrt(2)
    return found


def _ranks(values: Floats) -> Floats:
    """Midranks: ties share."""
    below = (values[:, None] > values[None, :]).sum(axis=1)
    same = (values[:, None] == values[None, :]).sum(axis=1)
    return np.asarray(below + (same + 1) / 2, np.float64)


def _farthest(ranks: Floats, stretches: Sequence[tuple[int, int]]) -> tuple[Floats, Ints]:
    """Per row: how far the ranks before and after the best place lie apart, in standard deviations times a
    constant; and where the second part begins."""
    summed = np.pad(np.cumsum(ranks, axis=1), ((0, 0), (1, 0)))
    most, where = np.full(len(ranks), -1.0), np.zeros(len(ranks), np.int64)
    for begin, end in stretches:
        split = np.arange(begin + SHORTEST, end - SHORTEST + 1)
        first, n = split - begin, end - begin
        whole = summed[:, [end]] - summed[:, [begin]]
        apart = np.abs(summed[:, split] - summed[:, [begin]] - whole * first / n)
        apart = apart / np.sqrt(first * (n - first) / n)
        best = apart.argmax(axis=1)
        reached = apart[np.arange(len(ranks)), best]
        further = reached > most
        most[further], where[further] = reached[further], split[best[further]]
    return most, where


def _kept(values: Sequence[float], places: Sequence[int]) -> list[int]:
    """Without the points where the medians on either side are next to each other, the nearest first."""
    kept = list(places)
    while kept:
        bounds = [0, *kept, len(values)]
        medians = [float(np.median(values[a:b])) for a, b in pairwise(bounds)]
        apart = [abs(now - was) / abs(was) if was else math.inf for was, now in pairwise(medians)]
        nearest = int(np.argmin(apart))
        if apart[nearest] > SMALLEST:
            break
        del kept[nearest]
    return kept
