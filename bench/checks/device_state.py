"""At the end, does each device know how far everybody has read whom it must know of?  Pure.

What a device knows of a cursor is the highest that it was ever told, in whatever way: a cursor only grows, so
replaying all it was told gives the highest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.ragged import distinct

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """What devices were told of cursors, one entry each, in any order."""

    device: Ints
    cursor: Ints
    value: Ints


@dataclass(frozen=True)
class Due:
    """What a device has to know of a cursor: at least `least`, at most `most`; `start` it knew before."""

    device: Ints
    cursor: Ints
    start: Ints
    least: Ints
    most: Ints


@dataclass(frozen=True)
class Verdict:
    """`knows[i]` is what the device of `Due` i knows in the end; rows of Due that are wrong."""

    knows: Ints
    behind: Ints
    ahead: Ints


def judge(known: Known, due: Due) -> Verdict:
    """O(n log n).  What nobody has to know of is left out."""
    cursors = distinct(due.cursor)
    asked = (due.device << 32) | np.searchsorted(cursors, due.cursor)
    pairs = distinct(asked)
    knows = np.full(len(pairs), -1, np.int64)
    if len(pairs):
        number = np.minimum(np.searchsorted(cursors, known.cursor), len(cursors) - 1)
        told = (known.device << 32) | number
        place = np.minimum(np.searchsorted(pairs, told), len(pairs) - 1)
        ours = (cursors[number] == known.cursor) & (pairs[place] == told)
        np.maximum.at(knows, place[ours], known.value[ours])
    final = np.maximum(knows[np.searchsorted(pairs, asked)], due.start)
    return Verdict(final, np.flatnonzero(final < due.least), np.flatnonzero(final > due.most))
