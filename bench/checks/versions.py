"""A version names one state, and a later version no earlier one.  Pure.

    fork      one version of a cursor comes with two values, or one change id with two changes
    regress   a higher version of a cursor comes with a lower value

A message of one's own is never unread, so a cursor that has moved over nothing but messages of its owner is
in the same state, and may keep its version: values are compared without them (`without_own`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.ragged import distinct

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """`eligible` entries could have contradicted another one; entry `first[i]` and entry `second[i]` do."""

    eligible: int
    first: Ints
    second: Ints


def forks(name: Ints, value: Ints) -> Pairs:
    """Names (any numbers) that come with more than one value: for each its lowest and its highest."""
    order = np.lexsort((value, name))
    starts, ends = _runs(name[order])
    low, high = order[starts], order[ends]
    wrong = value[low] != value[high]
    return Pairs(len(name) - len(starts), low[wrong], high[wrong])


def regressions(cursor: Ints, version: Ints, value: Ints) -> Pairs:
    """For each (cursor, version), whether its lowest value is below the highest of any lower version, which
    is `first`.  `cursor` is a small number."""
    order = np.lexsort((value, version, cursor))
    state = numbered(cursor, version)
    starts, ends = _runs(state[order])
    lowest, highest = order[starts], order[ends]
    own = cursor[lowest]
    values = distinct(value)
    so_far = np.maximum.accumulate((own << 32) | np.searchsorted(values, value[highest]))
    before = np.concatenate([[-1], so_far[:-1]])
    same = before >> 32 == own
    wrong = np.flatnonzero(same & (np.searchsorted(values, value[lowest]) < before & 0xFFFFFFFF))
    top = np.searchsorted(so_far, before[wrong])
    return Pairs(int(np.count_nonzero(same)), highest[top], lowest[wrong])


def numbered(*columns: Ints) -> Ints:
    """The same small number for rows that are the same in all columns; ascending by the columns."""
    order = np.lexsort(columns[::-1])
    new = np.zeros(max(0, len(order) - 1), np.bool_)
    for column in columns:
        new |= np.diff(column[order]) != 0
    number = np.zeros(len(order), np.int64)
    number[order[1:]] = np.cumsum(new)
    return number


def without_own(cursor: Ints, value: Ints, own_cursor: Ints, own_seq: Ints) -> Ints:
    """Values without the messages of their owner that they end in: the last message of others, or of nobody
    knows whom.  `own_cursor` and `own_seq` say which messages are those of a cursor's owner."""
    if not len(own_seq):
        return value
    cursors = distinct(own_cursor)
    packed = distinct((np.searchsorted(cursors, own_cursor) << 32) | own_seq)
    starts = np.diff(packed, prepend=-2) != 1
    first = packed[np.flatnonzero(starts)][np.cumsum(starts) - 1] & 0xFFFFFFFF
    number = np.minimum(np.searchsorted(cursors, cursor), len(cursors) - 1)
    asked = (number << 32) | value
    place = np.minimum(np.searchsorted(packed, asked), len(packed) - 1)
    own = (cursors[number] == cursor) & (packed[place] == asked)
    return np.where(own, first[place] - 1, value)


def _runs(ordered: Ints) -> tuple[Ints, Ints]:
    """First and last place of each run of equal numbers."""
    new = np.flatnonzero(np.diff(ordered)) + 1
    if not len(ordered):
        return new, new
    return np.concatenate([[0], new]), np.concatenate([new - 1, [len(ordered) - 1]])
