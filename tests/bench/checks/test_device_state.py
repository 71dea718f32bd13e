"""What devices know at the end, against plain loops."""

from __future__ import annotations

import random

import numpy as np

from bench.checks.device_state import Due, Known, judge


def of(kind: type, rows: list[tuple[int, ...]], width: int) -> np.ndarray:
    return kind(*(np.array([row[i] for row in rows], np.int64) for i in range(width)))


def test_the_verdict_is_that_of_plain_loops() -> None:
    chance = random.Random(4)
    for _ in range(20):
        size = chance.randint(0, 2_000)
        known = [tuple(chance.randint(0, 25) for _ in range(3)) for _ in range(size // 2)]
        due = []
        for _ in range(size):
            least = chance.randint(0, 25)
            pair = (chance.randint(0, 27), chance.randint(0, 27))
            due.append((*pair, chance.randint(0, 25), least, least + chance.randint(0, 5)))
        verdict = judge(of(Known, known, 3), of(Due, due, 5))
        told: dict[tuple[int, int], list[int]] = {}
        for device, cursor, value in known:
            told.setdefault((device, cursor), []).append(value)
        knows = [max([start, *told.get((device, cursor), [])]) for device, cursor, start, _, _ in due]
        assert verdict.knows.tolist() == knows
        assert verdict.behind.tolist() == [i for i, row in enumerate(due) if knows[i] < row[3]]
        assert verdict.ahead.tolist() == [i for i, row in enumerate(due) if knows[i] > row[4]]


def test_a_device_knows_the_most_that_it_was_told() -> None:
    known = of(Known, [(1, 8, 5), (1, 8, 7), (1, 8, 6), (2, 8, 9)], 3)
    due = of(Due, [(1, 8, 0, 7, 7), (1, 9, 3, 3, 3), (2, 8, 0, 8, 8), (3, 8, 0, 1, 1)], 5)
    verdict = judge(known, due)
    assert verdict.knows.tolist() == [7, 3, 9, 0]
    assert (verdict.behind.tolist(), verdict.ahead.tolist()) == ([3], [2])
