"""What answers at loads say of the capacity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.capacity.estimate import Answer, estimate


def answers(loads: list[float], capacity: float, block: int = 0) -> list[Answer]:
    return [Answer(load, load > capacity, block) for load in loads]


def test_where_nothing_contradicts_it_lies_between_what_held_and_what_failed() -> None:
    found = estimate(
        [a for b in range(6) for a in answers([88 + b, 96 + b / 2, 104 + b / 2, 112 + b], 100, b)]
    )
    assert 98.5 < found.capacity < 104
    assert 95 < found.low < found.capacity < found.high < 107


def test_more_answers_make_it_narrower() -> None:
    few, many = (
        estimate([a for b in range(n) for a in answers([90, 97, 103, 110], 100, b)]).half_width
        for n in (2, 12)
    )
    assert many < few


def test_contradictions_make_it_wider() -> None:
    clean = [a for b in range(6) for a in answers([90, 97, 103, 110], 100, b)]
    mixed = [
        *clean,
        *(Answer(load, failed, 0) for load, failed in ((90, True), (93, True), (107, False), (110, False))),
    ]
    assert estimate(mixed).half_width > 1.2 * estimate(clean).half_width


def test_a_block_that_says_otherwise_of_all_loads_is_the_blocks_and_not_noise() -> None:
    """The same answers, told apart by block: a machine that was faster for a while."""
    loads = [85.0, 95.0, 105.0, 115.0]
    blocks = [answers(loads, 100, b) for b in range(5)] + [answers(loads, 110, 5)]
    told = estimate([a for block in blocks for a in block])
    mixed = estimate(
        [Answer(a.load, a.failed, i) for i, a in enumerate(a for block in blocks for a in block)]
    )
    assert abs(math.log(told.capacity / 100)) < 0.04
    assert told.capacity == pytest.approx(mixed.capacity, rel=0.05)


def test_one_answer_from_far_away_is_a_lapse() -> None:
    clean = [a for b in range(6) for a in answers([90, 97, 103, 110], 100, b)]
    lapsed = estimate([*clean, Answer(50.0, True, -1)])
    assert lapsed.capacity == pytest.approx(estimate(clean).capacity, rel=0.02)


def test_the_middle_of_a_noisy_server_is_found_wherever_it_was_asked() -> None:
    """Answers of known chance, most of them asked on one side of the capacity."""
    rng = np.random.default_rng(7)
    load = np.exp(rng.normal(math.log(112), 0.1, 400))
    failed = rng.random(400) < 1 / (1 + np.exp(-1.702 * np.log(load / 100) / 0.2))
    found = estimate(
        [Answer(float(at), bool(no), i // 20) for i, (at, no) in enumerate(zip(load, failed, strict=True))]
    )
    assert found.low < 100 < found.high
    assert found.half_width < 0.08


def test_the_unit_of_the_loads_is_no_matter() -> None:
    one = estimate([a for b in range(6) for a in answers([90, 97, 103, 110], 100, b)])
    thousand = estimate([a for b in range(6) for a in answers([90e3, 97e3, 103e3, 110e3], 100e3, b)])
    assert thousand.capacity == pytest.approx(1000 * one.capacity, rel=0.003)
    assert thousand.half_width == pytest.approx(one.half_width, rel=0.1)
