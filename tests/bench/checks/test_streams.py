"""Streams of pushes against plain loops, on thousands of small histories, each with streams of its own."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np

from bench.checks import streams
from bench.checks.streams import Streams

HISTORIES = 10_000
Row = tuple[int, int]
"""stream, number."""


@cache
def histories(seed: int) -> list[list[Row]]:
    """Of up to ten pushes on two streams: mostly in order, some again, some late, some left out."""
    rng = np.random.default_rng(seed)
    found = []
    for size in rng.integers(0, 11, HISTORIES):
        numbers = np.sort(rng.integers(1, 9, size)) if rng.random() < 0.5 else rng.integers(1, 9, size)
        found.append(list(zip(rng.integers(0, 2, size).tolist(), numbers.tolist(), strict=True)))
    return found


def together(parts: list[list[Row]]) -> tuple[Streams, list[int]]:
    """All in one, each with streams of its own, and where each begins."""
    rows = [(2 * number + stream, value) for number, part in enumerate(parts) for stream, value in part]
    columns = np.array(rows, np.int64).reshape(-1, 2)
    starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    return Streams(columns[:, 0].copy(), columns[:, 1].copy()), starts


def split(rows: np.ndarray, starts: list[int]) -> dict[int, list[int]]:  # type: ignore[type-arg]
    """By history, the rows within it."""
    by: dict[int, list[int]] = defaultdict(list)
    for row, part in zip(
        rows.tolist(), (np.searchsorted(starts, rows, side="right") - 1).tolist(), strict=True
    ):
        by[part].append(row - starts[part])
    return by


def test_duplicates_are_those_of_a_plain_loop() -> None:
    parts = histories(1)
    every, starts = together(parts)
    found = every.duplicates()
    by = split(found.rows, starts)
    for number, part in enumerate(parts):
        again = [i for i, row in enumerate(part) if row in part[:i]]
        assert sorted(by[number]) == again
    first = {}
    for i, row in enumerate(zip(every.stream.tolist(), every.number.tolist(), strict=True)):
        first.setdefault(row, i)
    for row, witness in zip(found.rows.tolist(), found.witness.tolist(), strict=True):
        assert witness == first[int(every.stream[row]), int(every.number[row])] < row


def test_late_ones_and_their_extent_are_those_of_the_definition() -> None:
    """RFC 4737, section 4.2.1: e = i - j for the smallest j such that s[j] > s[i], in one stream."""
    parts = histories(1)
    every, starts = together(parts)
    found = every.late()
    extents = dict(zip(found.rows.tolist(), found.extent.tolist(), strict=True))
    witnesses = dict(zip(found.rows.tolist(), found.witness.tolist(), strict=True))
    for start, part in zip(starts, parts, strict=False):
        for stream in (0, 1):
            seen: list[tuple[int, int]] = []
            for i, (of, value) in enumerate(part):
                if of != stream or value in [v for _, v in seen]:
                    continue
                larger = [j for j, (_, before) in enumerate(seen) if before > value]
                assert extents.pop(start + i, None) == (len(seen) - larger[0] if larger else None)
                assert witnesses.get(start + i) == (start + seen[larger[0]][0] if larger else None)
                seen.append((i, value))
    assert not extents


def test_what_was_skipped_is_known_and_between_two_that_came() -> None:
    rng = np.random.default_rng(3)
    parts = histories(1)
    every, starts = together(parts)
    known = [sorted(set(rng.integers(1, 9, 5).tolist())) for _ in parts]
    address = np.repeat(np.arange(len(parts)), 2)  # both streams of a history are about the same
    pairs = [(number, value) for number, values in enumerate(known) for value in values]
    columns = np.array(pairs, np.int64)
    found = every.skipped(address[: int(every.stream.max()) + 1], columns[:, 0], columns[:, 1])
    told = set()
    for stream, place, after in zip(
        found.stream.tolist(), found.known.tolist(), found.next.tolist(), strict=True
    ):
        told.add((stream, pairs[place]))
        assert every.stream[after] == stream
        assert every.number[after] > pairs[place][1]
    for number, (part, values) in enumerate(zip(parts, known, strict=True)):
        for stream in (0, 1):
            came = [value for of, value in part if of == stream]
            plain = [
                v for v in values if v not in came and any(c < v for c in came) and any(c > v for c in came)
            ]
            assert [v for v in values if (2 * number + stream, (number, v)) in told] == plain
    assert len(told) == len(found.stream) > 1_000
    assert starts[-1] == len(every.stream)


def test_what_came_and_what_came_after_it() -> None:
    parts = histories(1)
    every, _ = together(parts)
    asked = [(s, v) for s in range(2_000) for v in (1, 4, 8, 40)]
    stream, number = (np.array(column, np.int64) for column in zip(*asked, strict=True))
    came, above = every.came(stream, number).tolist(), every.first_above(stream, number).tolist()
    rows: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, (s, v) in enumerate(zip(every.stream.tolist(), every.number.tolist(), strict=True)):
        rows[s].append((i, v))
    for (s, v), is_there, first in zip(asked, came, above, strict=True):
        assert is_there == any(value == v for _, value in rows[s])
        assert first == next((i for i, value in rows[s] if value > v), -1)
    assert not every.came(np.array([-1]), np.array([1])).any()
    assert every.first_above(np.array([-1]), np.array([1])).tolist() == [-1]


def test_regressed_is_lower_than_on_an_earlier_connection() -> None:
    rng = np.random.default_rng(5)
    size = 4 * HISTORIES
    line, turn = np.repeat(np.arange(HISTORIES), 4), rng.integers(0, 3, size)
    number = rng.integers(1, 6, size)
    found = streams.regressed(line, turn, number)
    wrong = dict(zip(found.rows.tolist(), found.witness.tolist(), strict=True))
    for i in range(size):
        mine = range(i - i % 4, i - i % 4 + 4)
        earlier = [j for j in mine if turn[j] < turn[i] and number[j] > number[i]]
        assert (i in wrong) == bool(earlier)
        assert not earlier or wrong[i] in earlier


def test_overtaken_is_a_message_after_a_receipt_that_covers_it() -> None:
    rng = np.random.default_rng(6)
    size = 6 * HISTORIES
    key, seq = np.repeat(np.arange(HISTORIES), 6), rng.integers(1, 6, size)
    is_message = rng.random(size) < 0.6
    rows = np.arange(size)
    messages, receipts = ((key[which], rows[which], seq[which]) for which in (is_message, ~is_message))
    found = streams.overtaken(messages, receipts, size)
    wrong = dict(zip(found.rows.tolist(), found.witness.tolist(), strict=True))
    eligible = 0
    for i in np.flatnonzero(is_message).tolist():
        mine = [j for j in range(i - i % 6, i - i % 6 + 6) if not is_message[j] and seq[j] >= seq[i]]
        eligible += bool(mine)
        before = [j for j in mine if j < i]
        assert wrong.get(i) == (before[0] if before else None)
    assert found.eligible == eligible


def test_nothing_is_no_violation() -> None:
    nothing = np.empty(0, np.int64)
    empty = Streams(nothing, nothing)
    assert not len(empty.duplicates().rows)
    assert not len(empty.late().rows)
    assert not len(empty.skipped(nothing, nothing, nothing).stream)
    assert not len(streams.regressed(nothing, nothing, nothing).rows)
    assert streams.overtaken((nothing,) * 3, (nothing,) * 3, 0).eligible == 0  # type: ignore[arg-type]
