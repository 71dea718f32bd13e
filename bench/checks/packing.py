"""Several columns as one number, so that one sort does for all of them.  Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BITS: Final = 62
_HALF: Final = (1 << 32) - 1


def halves(of: Ints) -> tuple[Ints, Ints]:
    """The upper and the lower 32 bits: of a cursor, its conversation and its person."""
    return of >> 32, of & _HALF


def packed(*columns: Ints) -> tuple[Ints, list[int]] | None:
    """Rows as one number each, in the order of the columns, and how many bits are below each column.

    None where a column is negative or they do not fit 62 bits together."""
    widths = [int(column.max(initial=0)).bit_length() for column in columns]
    if sum(widths) > _BITS or any(int(column.min(initial=0)) < 0 for column in columns):
        return None
    below = [sum(widths[place + 1 :]) for place in range(len(columns))]
    whole = np.zeros(len(columns[0]), np.int64)
    for column, shift in zip(columns, below, strict=True):
        whole |= column << shift
    return whole, below


def numbered(*columns: Ints) -> Ints:
    """The same small number for rows that are the same in all columns; ascending by the columns."""
    whole = packed(*columns)
    if whole is not None:
        order = np.argsort(whole[0])
        new = np.diff(whole[0][order]) != 0
    else:
        order = np.lexsort(columns[::-1])
        new = np.zeros(max(0, len(order) - 1), np.bool_)
        for column in columns:
            new |= np.diff(column[order]) != 0
    number = np.zeros(len(order), np.int64)
    number[order[1:]] = np.cumsum(new)
    return number


def places(values: Ints, ordered: Ints) -> Ints:
    """`np.searchsorted(ordered, values)`.  Many values in no order are sorted first, so that what they are
    looked up in is gone through once, not here and there."""
    if len(values) < 2 or not (values[1:] < values[:-1]).any():
        return np.searchsorted(ordered, values)
    order = np.argsort(values)
    place = np.empty(len(values), np.int64)
    place[order] = np.searchsorted(ordered, values[order])
    return place


def among(values: Ints, ordered: Ints) -> Bools:
    """Which values are in `ordered`, which ascends.  (`np.isin` sorts the values too.)"""
    place = np.searchsorted(ordered, values)
    found = place < len(ordered)
    found[found] = ordered[place[found]] == values[found]
    return found
