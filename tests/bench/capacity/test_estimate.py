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


def of_a_machine_whose_speed_moves(seed: int, follows: float) -> list[Answer]:
    """10 ms of CPU a message, by up to a quarter more or less; the capacity is 100 at the usual speed."""
    rng, found = np.random.default_rng(seed), []
    for block in range(8):
        for load in (86.0, 94.0, 102.0, 110.0):
            slower = math.exp(rng.normal(0, 0.12))
            found.append(Answer(load, load * slower**follows > 100, block, 0.010 * slower))
    return found


@pytest.mark.parametrize("follows", [0.0, 1.0])
def test_whether_the_capacity_follows_the_machines_speed_is_asked_of_the_answers(follows: float) -> None:
    for seed in range(10):
        made = of_a_machine_whose_speed_moves(seed, follows)
        usual = float(np.median([answer.cost or 0.0 for answer in made]))
        found = estimate(made)
        assert found.follows == pytest.approx(follows, abs=0.25)
        assert found.usual_cost == usual
        assert found.low < 100 * (0.010 / usual) ** follows < found.high
        assert found.half_width < 0.06
        if follows:
            blind = estimate([Answer(a.load, a.failed, a.block) for a in made])
            assert (blind.usual_cost, blind.follows) == (None, 0.0)
            assert blind.half_width > 1.4 * found.half_width


def test_a_cost_that_is_not_known_of_one_answer_is_not_used() -> None:
    made = of_a_machine_whose_speed_moves(1, 1.0)
    assert estimate([*made, Answer(50.0, False, -1)]).usual_cost is None
