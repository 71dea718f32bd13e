"""Intervals of few blocks cover what they say, whatever the blocks' distribution."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from bench.metrics import intervals
from bench.metrics.intervals import ENOUGH, Block, Interval, interval, ratio, student_t
from bench.metrics.quantiles import bounds, quantile

TRIES = 200
COVERED = 0.92
"""95 % less two standard errors of TRIES tries (3 %)."""
Draw = Callable[[np.random.Generator, int], np.ndarray]
BETWEEN: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "heavy tails": lambda rng, n: rng.standard_t(2, n),
    "skewed": lambda rng, n: rng.exponential(1, n) - np.log(2),
    "two levels": lambda rng, n: np.where(rng.random(n) < 0.5, -1, 1) + 0.05 * rng.standard_normal(n),
}
"""Deviations of blocks whose median is 0."""


def covered(found: list[Interval | None], truth: float) -> float:
    return float(np.mean([both is not None and both[0] <= truth <= both[1] for both in found]))


@pytest.mark.parametrize("n", [6, 8, 9, 10])
@pytest.mark.parametrize("name", BETWEEN)
def test_intervals_of_few_blocks_cover_their_median(name: str, n: int) -> None:
    rng = np.random.default_rng(n)
    made = [[Block(10 * np.exp(0.1 * z)) for z in BETWEEN[name](rng, n)] for _ in range(TRIES)]
    assert covered([interval(blocks) for blocks in made], 10.0) >= COVERED


@pytest.mark.parametrize("n", [6, 10])
def test_few_samples_inside_the_blocks_are_covered_too(n: int) -> None:
    """p99 of 1,000 samples each: what is inside a block alone moves it by 10 %."""
    rng, truth = np.random.default_rng(n), 1_000 * -np.log(0.01)
    made = []
    for _ in range(150):
        runs = [rng.exponential(1_000, 1_000) for _ in range(n)]
        made.append([Block(quantile(run, 0.99), *bounds(run, 0.99)) for run in runs])
    assert covered([interval(blocks) for blocks in made], truth) >= COVERED


@pytest.mark.parametrize("level", [0.5, 0.99])
def test_drawing_between_order_statistics_is_like_drawing_every_sample_again(level: float) -> None:
    """The same bootstrap, by brute force, of 8 blocks with samples by the thousand."""
    rng, n = np.random.default_rng(7), 8
    runs = [np.sort(rng.exponential(1_000 * np.exp(0.1 * z), 4_000)) for z in rng.standard_normal(n)]
    found = interval([Block(quantile(run, level), *bounds(run, level)) for run in runs])
    assert found is not None
    drawn = []
    for _ in range(2_000):
        again = sorted(quantile(runs[i][rng.integers(0, 4_000, 4_000)], level) for i in rng.integers(0, n, n))
        drawn.append(again[(n - 1 + int(rng.integers(0, 2))) // 2])
    for mine, brute in zip(found, np.quantile(drawn, intervals._ends(n, len(drawn))), strict=True):
        assert mine == pytest.approx(brute, rel=0.03)


@pytest.mark.parametrize("n", [6, 10])
def test_ratios_of_the_same_cover_one(n: int) -> None:
    rng = np.random.default_rng(n)
    paired, alone = [], []
    for _ in range(TRIES):
        ones, others = ([Block(value) for value in 10 * np.exp(0.1 * rng.standard_normal(n))] for _ in "ab")
        for found, together in ((paired, True), (alone, False)):
            told = ratio(ones, others, paired=together)
            assert told is not None
            found.append(told.interval)
    assert covered(paired, 1.0) >= COVERED
    assert covered(alone, 1.0) >= COVERED


def test_what_both_arms_of_a_block_met_cancels_out_of_a_paired_ratio() -> None:
    rng = np.random.default_rng(3)
    met = np.exp(0.5 * rng.standard_normal(10))
    ones = [Block(value) for value in 12 * met * np.exp(0.01 * rng.standard_normal(10))]
    others = [Block(value) for value in 10 * met * np.exp(0.01 * rng.standard_normal(10))]
    paired, alone = ratio(ones, others, paired=True), ratio(ones, others, paired=False)
    assert paired is not None
    assert alone is not None
    assert paired.interval is not None
    assert alone.interval is not None
    assert 1.15 < paired.interval[0] < paired.value < paired.interval[1] < 1.25
    assert alone.interval[0] < 1 < alone.interval[1]


def test_below_six_blocks_there_is_none() -> None:
    five = [Block(float(value)) for value in range(1, 6)]
    assert interval(five) is None
    told = ratio(five, five, paired=True)
    assert told is not None
    assert (told.value, told.interval, told.blocks) == (1.0, None, 5)
    assert interval([*five, Block(6.0)]) is not None
    assert ENOUGH == 6


def test_an_interval_holds_its_figure_and_is_the_same_each_time() -> None:
    blocks = [Block(float(value), value - 0.5, value + 2) for value in (12, 10, 11, 17, 13, 14)]
    both = interval(blocks)
    assert both is not None
    assert both[0] < intervals.middle([block.value for block in blocks]) == 12 < both[1]
    assert interval(blocks) == interval(list(blocks)) == both


def test_blocks_that_agree_leave_nothing_open() -> None:
    assert interval([Block(5.0)] * 6) == (5.0, 5.0)


def test_there_is_no_ratio_of_nothing() -> None:
    assert ratio([Block(0.0)] * 6, [Block(1.0)] * 6, paired=True) is None
    assert ratio([], [Block(1.0)], paired=False) is None


def test_student_s_t_is_the_tables() -> None:
    for freedom, known in ((5, 2.5706), (6, 2.4469), (9, 2.2622), (30, 2.0423)):
        assert student_t(freedom) == pytest.approx(known, abs=3e-3)


def test_many_experiments_at_once_are_each_as_one() -> None:
    rng = np.random.default_rng(5)
    values = np.exp(0.1 * rng.standard_normal((40, 8)))
    low, high = intervals.of_experiments(values, np.zeros_like(values))
    for row, *both in zip(values, low, high, strict=True):
        alone = interval([Block(float(value)) for value in row])
        assert alone is not None
        assert both == pytest.approx(alone, rel=0.1)


@pytest.mark.speed
def test_ten_blocks_a_side_take_two_seconds() -> None:
    """60 figures of two arms: their intervals and ratios, as a comparison has them."""
    rng = np.random.default_rng(1)
    began = time.process_time()
    for _ in range(60):
        ones, others = ([Block(v, v * 0.9, v * 1.1) for v in rng.lognormal(0, 0.1, 10)] for _ in "ab")
        interval(ones), interval(others), ratio(ones, others, paired=True)
    assert time.process_time() - began <= 2
