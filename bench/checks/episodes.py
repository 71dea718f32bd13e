"""Violations of one cause, grouped: one stale cache entry can be read a thousand times.  Pure.

An episode is a run of wrong reads of one cursor.  It ends where a read shows the cursor right and the next
wrong one is accused by another operation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Episodes:
    """`of[i]` is the episode of the i-th violation, `size[e]` how many violations episode e has; `told` are
    the violations in the order in which to tell them: the worst of each episode, the worst episode first,
    then all others, the worst first."""

    of: Ints
    size: Ints
    told: Ints

    @property
    def count(self) -> int:
        return len(self.size)


def group(
    cursor: Ints, invoked: Ints, judged: Ints, wrong: Ints, witness: Ints, badness: NDArray[np.generic]
) -> Episodes:
    """Entries of `judged` and `wrong` are rows of `cursor` (small numbers) and `invoked`; every wrong row was
    judged, once.  For each wrong row, `witness` is what accuses it and `badness` how bad it is.

    Sorts the reads of the cursors concerned alone: O(n) where nothing is wrong."""
    concerned = np.zeros(int(cursor.max(initial=-1)) + 1, np.bool_)
    concerned[cursor[wrong]] = True
    judged = judged[concerned[cursor[judged]]]
    order = judged[np.lexsort((invoked[judged], cursor[judged]))]
    is_wrong = np.zeros(len(cursor), np.bool_)
    is_wrong[wrong] = True
    accused = np.full(len(cursor), -1, np.int64)
    accused[wrong] = witness
    right = np.cumsum(~is_wrong[order])
    sorted_wrong, right_before = order[is_wrong[order]], right[is_wrong[order]]
    new = np.ones(len(sorted_wrong), np.bool_)
    interrupted = np.diff(right_before) > 0
    other = np.diff(accused[sorted_wrong]) != 0
    new[1:] = (np.diff(cursor[sorted_wrong]) != 0) | (interrupted & other)
    number = np.full(len(cursor), -1, np.int64)
    number[sorted_wrong] = np.cumsum(new) - 1
    of = number[wrong]
    return Episodes(of, np.bincount(of), _worst_first(of, badness))


def _worst_first(of: Ints, badness: NDArray[np.generic]) -> Ints:
    by_badness = np.lexsort((np.arange(len(of)), -badness.astype(np.float64)))
    _, first = np.unique(of[by_badness], return_index=True)
    rest = np.ones(len(of), np.bool_)
    rest[first] = False
    return np.concatenate([by_badness[np.sort(first)], by_badness[rest]]).astype(np.int64)
