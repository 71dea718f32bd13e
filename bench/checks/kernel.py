"""For each question, the highest value of its key that was complete before a moment: one sort, one pass.

The same question is behind staleness, read-your-writes, monotonic reads and superseded writes; they differ in
what a key is and in which operations complete."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_BITS: Final = 62
"""Of a non-negative int64 with room for one carry."""


class Steps:
    """The running maximum of `value` per `key`, as operations complete at `time`.

    Keys are small numbers from 0 on, times and values are not negative.  O(n log n) to build, O(log n) for
    each question.  Raises ValueError where key and time, or key and value, do not fit 62 bits together."""

    def __init__(self, key: Ints, time: Ints, value: Ints) -> None:
        self._time_bits = _room(key, time)
        self._value_bits = _room(key, value)
        packed = (key << self._time_bits) | time
        order = np.argsort(packed, kind="stable")
        self._packed: Ints = packed[order]
        self._highest: Ints = np.maximum.accumulate((key[order] << self._value_bits) | value[order])
        self._row = order

    def before(self, key: Ints, time: Ints) -> Ints:
        """Which step was the last to complete strictly before `time`; -1 where none of the key had."""
        if not len(self._packed):
            return np.full(len(key), -1, np.int64)
        asked = (key << self._time_bits) | np.minimum(time, (1 << self._time_bits) - 1)
        place = np.searchsorted(self._packed, asked, side="left") - 1
        same = (place >= 0) & (self._packed[np.maximum(place, 0)] >> self._time_bits == key)
        return np.where(same, place, -1)

    def highest(self, step: Ints) -> Ints:
        """The running maximum at a step of `before`; 0 at -1."""
        if not len(self._highest):
            return np.zeros(len(step), np.int64)
        at = self._highest[np.maximum(step, 0)] & ((1 << self._value_bits) - 1)
        return np.where(step >= 0, at, 0)

    def first_above(self, key: Ints, value: Ints) -> Ints:
        """The step at which the running maximum of the key first exceeded `value`; -1 if it never did."""
        if not len(self._highest):
            return np.full(len(key), -1, np.int64)
        most = (1 << self._value_bits) - 1
        asked = (key << self._value_bits) | np.minimum(value, most)
        place = np.searchsorted(self._highest, asked, side="right")
        inside = place < len(self._highest)
        place = np.where(inside, place, 0)
        return np.where(inside & (self._packed[place] >> self._time_bits == key), place, -1)

    def time(self, step: Ints) -> Ints:
        """When a step completed."""
        when: Ints = self._packed[step] & ((1 << self._time_bits) - 1)
        return when

    def row(self, step: Ints) -> Ints:
        """Which of the given operations a step is."""
        row: Ints = self._row[step]
        return row


def _room(key: Ints, beside: Ints) -> int:
    bits = int(beside.max(initial=0)).bit_length() + 1
    if int(key.max(initial=0)).bit_length() + bits > _BITS or int(beside.min(initial=0)) < 0:
        raise ValueError(f"{int(key.max(initial=0)) + 1} keys do not fit beside {bits} bits")
    return bits
