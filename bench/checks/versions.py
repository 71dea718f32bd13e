"""A version names one state, and a later version no earlier one.  Pure.

    fork      one version of a cursor comes with two values, or one change id with two changes
    regress   a higher version of a cursor comes with a lower value

A message of one's own is never unread, so a cursor that has moved over nothing but messages of its owner is
in the same state, and may keep its version: values are compared without them (`without_own`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.checks.packing import halves, numbered, packed
from bench.metrics.ragged import distinct

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """`eligible` entries could have contradicted another one; entry `first[i]` and entry `second[i]` do."""

    eligible: int
    first: Ints
    second: Ints


@dataclass(frozen=True)
class Suspects:
    """What one fast look at all entries tells: how many could have contradicted another one (by version, and
    by a lower version), and the cursors of those that may."""

    same_version: int
    lower_version: int
    forked: Ints
    back: Ints


def suspects(cursor: Ints, version: Ints, value: Ints) -> Suspects:
    """One sort of plain numbers, without telling which entry is which; numbers too large for that make every
    cursor suspect."""
    whole = packed(*halves(cursor), version, value)
    if whole is None:
        state = distinct(numbered(cursor, version))
        cursors = distinct(cursor)
        return Suspects(len(cursor) - len(state), len(state) - len(cursors), cursors, cursors)
    entry, below = whole
    entry.sort()
    of_cursor, state = entry >> below[1], entry >> below[2]
    seq = entry & ((1 << below[2]) - 1)
    same_cursor, same_state = np.diff(of_cursor) == 0, np.diff(state) == 0
    rises = np.diff(seq)

    def named(where: Bools) -> Ints:
        user_bits = below[0] - below[1]
        number = distinct(of_cursor[1:][where])
        return ((number >> user_bits) << 32) | (number & ((1 << user_bits) - 1))

    states = len(entry) - int(np.count_nonzero(same_state))
    return Suspects(
        same_version=len(entry) - states,
        lower_version=states - (len(entry) - int(np.count_nonzero(same_cursor))),
        forked=named(same_state & (rises != 0)),
        back=named(same_cursor & (rises < 0)),
    )


def forks(name: Ints, value: Ints) -> Pairs:
    """Names (any numbers) that come with more than one value: for each its lowest and its highest."""
    order = np.lexsort((value, name))
    starts, ends = _runs(name[order])
    low, high = order[starts], order[ends]
    wrong = value[low] != value[high]
    return Pairs(len(name) - len(starts), low[wrong], high[wrong])


def regressions(cursor: Ints, version: Ints, value: Ints) -> Pairs:
    """For each (cursor, version), whether its lowest value is below the highest of any lower version, which
    is `first`."""
    number, values = numbered(cursor), distinct(value)
    state = numbered(cursor, version)
    order = np.lexsort((value, state))
    starts, ends = _runs(state[order])
    lowest, highest = order[starts], order[ends]
    own = number[lowest]
    so_far = np.maximum.accumulate((own << 32) | np.searchsorted(values, value[highest]))
    before = np.concatenate([[-1], so_far[:-1]])
    same = before >> 32 == own
    wrong = np.flatnonzero(same & (np.searchsorted(values, value[lowest]) < before & 0xFFFFFFFF))
    top = np.searchsorted(so_far, before[wrong])
    return Pairs(int(np.count_nonzero(same)), highest[top], lowest[wrong])


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
