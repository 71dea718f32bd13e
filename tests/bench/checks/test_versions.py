"""Versions and change ids against plain loops."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest

from bench.checks.packing import numbered
from bench.checks.versions import forks, regressions, suspects, without_own

Seen = tuple[int, int, int]
"""cursor, version, value."""


def columns(rows: list[Seen]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [np.array([row[i] for row in rows], np.int64) for i in range(3)]


def plain_forks(rows: list[Seen]) -> set[tuple[int, int]]:
    values: dict[tuple[int, int], set[int]] = defaultdict(set)
    for cursor, version, value in rows:
        values[cursor, version].add(value)
    return {state for state, found in values.items() if len(found) > 1}


def plain_regressions(rows: list[Seen]) -> set[tuple[int, int]]:
    return {
        (cursor, version)
        for cursor, version, value in rows
        if any(c == cursor and v < version and higher > value for c, v, higher in rows)
    }


def at_random(chance: random.Random, cursor: int) -> list[Seen]:
    return [(cursor, chance.randint(0, 3), chance.randint(0, 3)) for _ in range(chance.randint(0, 6))]


@pytest.mark.parametrize("width", [1, 1 << 50], ids=["fits", "too wide to pack"])
def test_all_are_those_of_plain_loops(width: int) -> None:
    chance = random.Random(3)
    parts = [at_random(chance, cursor << 32 | cursor % 7) for cursor in range(10_000)]
    rows = [(cursor, version, value * width) for part in parts for cursor, version, value in part]
    cursor, version, value = columns(rows)
    split, back = forks(numbered(cursor, version), value), regressions(cursor, version, value)
    found = suspects(cursor, version, value)
    wrong, lower = (set().union(*map(of, parts)) for of in (plain_forks, plain_regressions))
    assert {rows[i][:2] for i in split.first} == wrong
    assert {rows[i][:2] for i in back.second} == lower
    for first, second in zip(split.first, split.second, strict=True):
        assert rows[first][:2] == rows[second][:2]
        assert rows[first][2] < rows[second][2]
    for first, second in zip(back.first, back.second, strict=True):
        assert rows[first][0] == rows[second][0]
        assert rows[first][1] < rows[second][1]
        assert rows[first][2] > rows[second][2]
    assert found.same_version == split.eligible == len(rows) - len({row[:2] for row in rows})
    assert found.lower_version == back.eligible
    assert back.eligible == len({row[:2] for row in rows}) - len({row[0] for row in rows})
    if width == 1:
        assert set(found.forked.tolist()) == {cursor for cursor, _ in wrong}
        assert set(found.back.tolist()) == {cursor for cursor, _ in lower}
    else:
        assert found.forked.tolist() == found.back.tolist() == sorted({row[0] for row in rows})


def test_nothing_contradicts_nothing() -> None:
    cursor, version, value = columns([])
    assert forks(numbered(cursor, version), value).eligible == 0
    assert regressions(cursor, version, value).eligible == 0
    assert len(suspects(cursor, version, value).forked) == 0


@pytest.mark.parametrize("large", [2, 1 << 61])
def test_rows_that_are_the_same_have_the_same_number(large: int) -> None:
    number = numbered(np.array([5, 1, 5, 5]), np.array([large, 9, large, large + 1]))
    assert number.tolist() == [1, 0, 1, 2]


def test_own_messages_do_not_count() -> None:
    own = {(1, 6), (1, 7), (1, 9), (3, 1)}
    asked = [(c, v) for c in range(5) for v in range(12)]
    found = without_own(*columns([(c, v, 0) for c, v in asked])[:2], *columns([(*o, 0) for o in own])[:2])

    def plain(cursor: int, value: int) -> int:
        while (cursor, value) in own:
            value -= 1
        return value

    assert found.tolist() == [plain(*one) for one in asked]
    nothing = np.empty(0, np.int64)
    assert without_own(np.array([1]), np.array([6]), nothing, nothing).tolist() == [6]
