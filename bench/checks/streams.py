"""Numbers that only grow, as they came to connections: which came twice, late, lower, never.  Pure.

A stream is what one connection hears of one thing: the messages of a conversation by their seq, somebody's
read cursor by its version, a person's change log by its change ids.  Its pushes are in the order in which
they came.

    duplicate   the same number came before in its stream
    late        a higher number came before (RFC 4737, Packet Reordering Metrics, section 3); its extent is
                how many others came since the first of those (section 4.2.1), duplicates left out
    regressed   a higher number came on an earlier connection of the same device
    overtaken   a message came after a receipt that covers it

What never came is told by what is known to exist: between two numbers that came (`skipped`), or because it
had to be told (`untold`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.checks.kernel import Steps
from bench.metrics.ragged import distinct, spread

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Broken:
    """`rows` of the pushes that are wrong, and for each the push that shows it."""

    rows: Ints
    witness: Ints


@dataclass(frozen=True)
class Late(Broken):
    """`extent` in pushes of the same stream."""

    extent: Ints


@dataclass(frozen=True)
class Overtaken(Broken):
    """`rows` of the messages, `witness` of the receipts, `eligible` messages that a receipt covers."""

    eligible: int


@dataclass(frozen=True)
class Skipped:
    """Which stream, which of the known numbers (its place), and the next higher push that did come."""

    stream: Ints
    known: Ints
    next: Ints


class Streams:
    """Pushes in the order in which they came: `stream`, a small number from 0, and `number`, not negative."""

    def __init__(self, stream: Ints, number: Ints) -> None:
        self.stream = stream
        self.number = number
        self._bits = int(number.max(initial=0)).bit_length() + 1

    @cached_property
    def _steps(self) -> Steps:
        return Steps(self.stream, np.arange(len(self.stream), dtype=np.int64), self.number)

    @cached_property
    def _sorted(self) -> tuple[Ints, Ints]:
        """(stream and number in one, row), ascending, the first to come first."""
        packed = (self.stream << self._bits) | self.number
        row = np.argsort(packed, kind="stable")
        return packed[row], row

    @cached_property
    def _first(self) -> Bools:
        """Which of `_sorted` are no duplicate."""
        packed, _ = self._sorted
        first = np.ones(len(packed), np.bool_)
        first[1:] = packed[1:] != packed[:-1]
        return first

    def duplicates(self) -> Broken:
        _, row = self._sorted
        again = np.flatnonzero(~self._first)
        before = np.flatnonzero(self._first)
        original = before[np.searchsorted(before, again) - 1] if len(again) else again
        return Broken(row[again], row[original])

    def late(self) -> Late:
        """Without duplicates."""
        once = np.sort(self._sorted[1][self._first])
        stream, number = self.stream[once], self.number[once]
        place = _places(stream)
        steps = Steps(stream, place, number)
        late = np.flatnonzero(steps.highest(steps.before(stream, place)) > number)
        first = steps.row(steps.first_above(stream[late], number[late]))
        return Late(once[late], once[first], place[late] - place[first])

    def came(self, stream: Ints, number: Ints) -> Bools:
        """Whether this number ever came in that stream; a stream of -1 is none."""
        packed, _ = self._sorted
        if not len(packed):
            return np.zeros(len(stream), np.bool_)
        fits = (stream >= 0) & (number < 1 << self._bits)
        asked = np.where(fits, (stream << self._bits) | number, -1)
        place = np.minimum(np.searchsorted(packed, asked), len(packed) - 1)
        came: Bools = packed[place] == asked
        return came

    def first_above(self, stream: Ints, number: Ints) -> Ints:
        """The first push to come with a higher number in that stream; -1 if none did."""
        if not len(self.stream):
            return np.full(len(stream), -1, np.int64)
        step = self._steps.first_above(np.maximum(stream, 0), number)
        found = (stream >= 0) & (step >= 0)
        return np.where(found, self._steps.row(np.maximum(step, 0)), -1)

    def skipped(self, address: Ints, known_address: Ints, known_number: Ints) -> Skipped:
        """The known numbers that did not come, though a lower and a higher one of their stream did.

        `address[stream]` is what the stream is about; `known_*`: which numbers there are of it, ascending by
        both and each once."""
        row = self._sorted[1][self._first]
        stream, number = self.stream[row], self.number[row]
        bits = max(self._bits, int(known_number.max(initial=0)).bit_length() + 1)
        known = (known_address << bits) | known_number
        place = np.searchsorted(known, (address[stream] << bits) | number)
        same = stream[1:] == stream[:-1]
        there = _at(known, place[:-1]) == (address[stream[:-1]] << bits) | number[:-1]
        start = place[:-1] + there
        size = np.where(same, place[1:] - start, 0)
        which, found = spread(start, size)
        return Skipped(stream[1:][which], found, row[1:][which])


def regressed(line: Ints, turn: Ints, number: Ints) -> Broken:
    """`line`: the same stream over all connections of a device; `turn`: which of its connections."""
    steps = Steps(line, turn, number)
    rows = np.flatnonzero(steps.highest(steps.before(line, turn)) > number)
    return Broken(rows, steps.row(steps.first_above(line[rows], number[rows])))


def overtaken(messages: tuple[Ints, Ints, Ints], receipts: tuple[Ints, Ints, Ints], came: int) -> Overtaken:
    """Both as (key: connection and conversation, row of the push, seq); there are `came` pushes in all."""
    key, row, seq = messages
    receipt_key, receipt_row, up_to = receipts
    keys = distinct(np.concatenate([key, receipt_key]))
    key = np.searchsorted(keys, key)
    steps = Steps(np.searchsorted(keys, receipt_key), receipt_row, up_to)
    covered = steps.highest(steps.before(key, np.full(len(key), came, np.int64))) >= seq
    wrong = np.flatnonzero(covered & (steps.highest(steps.before(key, row)) >= seq))
    first = steps.row(steps.first_above(key[wrong], seq[wrong] - 1))
    return Overtaken(row[wrong], receipt_row[first], int(np.count_nonzero(covered)))


def _places(stream: Ints) -> Ints:
    """How many came before in the same stream."""
    order = np.argsort(stream, kind="stable")
    ordered = stream[order]
    starts = np.searchsorted(ordered, ordered)
    place = np.empty(len(stream), np.int64)
    place[order] = np.arange(len(stream)) - starts
    return place


def _at(values: Ints, place: Ints) -> Ints:
    """values[place], -1 beyond the end."""
    if not len(values):
        return np.full(len(place), -1, np.int64)
    return np.where(place < len(values), values[np.minimum(place, len(values) - 1)], -1)
