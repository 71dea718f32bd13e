"""The smallest effect that is said to be visible is found when it is planted, and half of it is not."""

from __future__ import annotations

import numpy as np
import pytest

from bench.metrics import noise
from bench.metrics.intervals import Block, ratio
from bench.metrics.noise import Pair

NOISE = 0.05
"""Of one run, as a share."""


def alike(rng: np.random.Generator, n: int, effect: float = 0.0) -> list[Pair]:
    """Blocks of two sides, of which the first takes longer by `effect`; what both meet is in both."""
    met = np.exp(0.3 * rng.standard_normal(n))
    ones, others = (met * np.exp(NOISE * rng.standard_normal(n)) for _ in "ab")
    return [(Block(one * (1 + effect)), Block(other)) for one, other in zip(ones, others, strict=True)]


def seen(pairs: list[Pair]) -> bool:
    """By what every comparison judges."""
    told = ratio([one for one, _ in pairs], [other for _, other in pairs], paired=True)
    assert told is not None
    assert told.interval is not None
    return not told.interval[0] <= 1 <= told.interval[1]


def share_seen(made: list[list[Pair]]) -> float:
    return float(np.mean([seen(pairs) for pairs in made]))


def test_planted_in_new_blocks_it_is_found_and_half_of_it_is_not() -> None:
    """What ten blocks of a machine say, of new blocks of the same machine, over twenty such machines."""
    rng, whole, half = np.random.default_rng(1), [], []
    for _ in range(20):
        visible = noise.smallest_visible(alike(rng, 10), 10)
        assert visible is not None
        whole += [seen(alike(rng, 10, visible)) for _ in range(12)]
        half += [seen(alike(rng, 10, visible / 2)) for _ in range(12)]
    assert np.mean(whole) >= 0.8 - 2 * 0.026
    assert np.mean(half) <= 0.5


@pytest.mark.parametrize("n", [6, 10, 20])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_in_recorded_blocks_it_is_found_and_half_of_it_is_not(n: int, seed: int) -> None:
    """Drawn from the pairs of one machine, with the effect on one side, and judged as any comparison."""
    rng = np.random.default_rng(seed)
    recorded = alike(rng, n)
    visible = noise.smallest_visible(recorded, n)
    assert visible is not None

    def planted(effect: float) -> list[list[Pair]]:
        drawn, _ = noise.experiments(recorded, n, 150, rng)
        return [[(Block(float(one)), Block(1.0)) for one in row] for row in np.exp(drawn) * (1 + effect)]

    assert share_seen(planted(visible)) >= 0.8 - 2 * 0.033
    assert share_seen(planted(visible / 2)) <= 0.5


def test_without_an_effect_one_in_twenty_is_found() -> None:
    rng = np.random.default_rng(2)
    assert share_seen([alike(rng, 8) for _ in range(200)]) <= 0.05 + 2 * 0.016


def test_its_own_arithmetic_agrees() -> None:
    pairs = alike(np.random.default_rng(3), 10)
    visible = noise.smallest_visible(pairs, 10)
    assert visible is not None
    whole, half = noise.found(pairs, 10, visible), noise.found(pairs, 10, visible / 2)
    assert whole is not None
    assert half is not None
    assert 0.8 <= whole < 0.85
    assert half <= 0.5


def test_more_blocks_see_more_and_noise_hides() -> None:
    pairs = alike(np.random.default_rng(4), 12)
    few, many = noise.smallest_visible(pairs, 6), noise.smallest_visible(pairs, 20)
    assert few is not None
    assert many is not None
    assert many < 0.7 * few
    louder = [(Block(one.value**2), Block(other.value**2)) for one, other in pairs]
    assert (noise.smallest_visible(louder, 6) or 0) > 1.5 * few


def test_few_samples_inside_the_blocks_hide_too() -> None:
    pairs = alike(np.random.default_rng(5), 10)
    blurred = [tuple(Block(one.value, one.value * 0.8, one.value * 1.2) for one in pair) for pair in pairs]
    exact, open_ = (noise.smallest_visible(some, 10) for some in (pairs, blurred))  # type: ignore[arg-type]
    assert exact is not None
    assert open_ is not None
    assert open_ > exact


def test_five_pairs_say_nothing_nor_does_nothing() -> None:
    pairs = alike(np.random.default_rng(6), 6)
    assert noise.smallest_visible(pairs, 6) is not None
    assert noise.smallest_visible(pairs[:5], 6) is None
    assert noise.smallest_visible(pairs, 5) is None
    assert noise.smallest_visible([(Block(0.0), Block(1.0))] * 6, 6) is None


def test_a_time_must_also_be_told_apart_by_its_resolution() -> None:
    assert noise.visible_above(0.02, 10_000, 50, 5) == 0.02
    assert noise.visible_above(0.02, 10_000, 500, 5) == pytest.approx(0.1)  # two floors
    assert noise.visible_above(0.02, 1_000, 400, 5) == pytest.approx(1.0)  # above five floors
    assert noise.visible_above(0.02, 10_000, None, 5) == 0.02
