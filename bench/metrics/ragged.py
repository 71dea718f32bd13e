"""Lists of unequal length as flat numpy arrays: grouping, and one row per member of a group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Groups:
    """Rows by the group they are in: group number -> the numbers of its rows, in their order."""

    def __init__(self, group: NDArray[Any], groups: int) -> None:
        """`group[i]` is the group of row i, 0 <= group < groups."""
        counts = np.bincount(group, minlength=groups)
        self.start: Ints = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.row: Ints = np.argsort(group, kind="stable").astype(np.int64)

    def size(self, group: NDArray[Any]) -> Ints:
        size: Ints = self.start[group.astype(np.int64) + 1] - self.start[group]
        return size

    def expand(self, group: NDArray[Any]) -> tuple[Ints, Ints]:
        """For each asked group, all its rows: (which question, which row), flat."""
        asked, place = spread(self.start[group], self.size(group))
        return asked, self.row[place]


def spread(start: Ints, size: Ints) -> tuple[Ints, Ints]:
    """start[i], start[i] + 1, … (size[i] of them) for each i, flat: (i, number)."""
    which = np.repeat(np.arange(len(size), dtype=np.int64), size)
    before = np.cumsum(size) - size
    return which, np.arange(len(which), dtype=np.int64) + (start - before)[which]


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The different values, ascending.  (By sorting: the hash table of numpy's own takes ten times as
    long.)"""
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def last_before(group: Ints, time: Ints, asked: Ints, before: Ints) -> Ints:
    """For each question, the last entry of group `asked` with time < `before`; -1 if there is none.

    Entries are in order of (group, time); groups are small numbers from 0."""
    if not len(group):
        return np.full(len(asked), -1, np.int64)
    moment = distinct(np.concatenate([time, before]))
    bits = len(moment).bit_length() + 1
    packed = (group << bits) | np.searchsorted(moment, time)
    place = np.searchsorted(packed, (asked << bits) | np.searchsorted(moment, before)) - 1
    same = (place >= 0) & (group[np.maximum(place, 0)] == asked)
    return np.where(same, place, -1)
