from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.gate import ranks
from bench.gate.ranks import of_pairs, of_two, signed_ranks

RNG = np.random.default_rng(1)


def by_hand(n: int) -> list[float]:
    """P(W <= t) by trying all signs."""
    sums = [sum(r for r, s in zip(range(1, n + 1), signs, strict=True) if s)
            for signs in itertools.product((0, 1), repeat=n)]  # fmt: skip
    return [sum(s <= t for s in sums) / 2**n for t in range(n * (n + 1) // 2 + 1)]


def test_signed_ranks_are_those_of_all_signs() -> None:
    assert signed_ranks(7) == pytest.approx(by_hand(7))


def test_mann_whitney_is_that_of_all_deals() -> None:
    n, m = 4, 5
    deals = [sum(r - i for i, r in enumerate(deal)) for deal in itertools.combinations(range(n + m), n)]
    expected = [sum(u <= t for u in deals) / len(deals) for t in range(n * m + 1)]
    assert ranks._mann_whitney(n, m) == pytest.approx(expected)
    assert ranks._mann_whitney(m, n) == pytest.approx(expected)


def test_beyond_the_exact_the_normal_goes_on_where_it_ended() -> None:
    exact, normal = ranks._mann_whitney(40, 50), ranks._normal(40, 50)
    assert float(np.abs(exact - normal).max()) < 1e-3


def test_all_of_one_sign_is_the_smallest_p() -> None:
    assert of_pairs([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.05).p == pytest.approx(ranks.smallest_p(6)) == 2 / 64
    shift = of_two([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], 0.05)
    assert shift.p == pytest.approx(ranks.smallest_p_of_two(3, 3)) == pytest.approx(0.1)
    assert (shift.low, shift.high) == (-math.inf, math.inf)  # three against three can never be sure


def test_known_shift_and_direction() -> None:
    ones = list(RNG.normal(0, 1, 12))
    shift = of_two(ones, [one + 3 for one in ones], 0.05)
    assert shift.estimate == pytest.approx(3, abs=0.8)
    assert of_pairs([3.0] * 8, 0.05) == ranks.Shift(3.0, 3.0, 3.0, 2 / 256)


def test_alike_values_are_no_difference() -> None:
    assert of_pairs([0.0] * 8, 0.05) == ranks.Shift(0.0, 0.0, 0.0, 1.0)
    assert of_two([5.0] * 6, [5.0] * 6, 0.05).p == 1.0


@pytest.mark.parametrize("n", [6, 8, 11, 20])
def test_the_interval_leaves_out_zero_exactly_where_p_says_so(n: int) -> None:
    for _ in range(200):
        pairs = of_pairs(RNG.normal(0.5, 1, n), 0.05)
        assert (pairs.p <= 0.05) == (not pairs.low <= 0 <= pairs.high)
        two = of_two(list(RNG.normal(0, 1, n)), list(RNG.normal(0.8, 1, n)), 0.05)
        assert (two.p <= 0.05) == (not two.low <= 0 <= two.high)


DRAWS = {
    "normal": lambda shape: RNG.normal(0, 0.05, shape),
    "heavy": lambda shape: 0.05 * RNG.standard_t(2, shape),
    "two-peaked": lambda shape: RNG.choice([0.0, 0.2], shape) + RNG.normal(0, 0.02, shape),
    "skewed": lambda shape: 0.05 * RNG.exponential(1, shape),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("paired", [True, False])
def test_false_alarms_and_coverage_whatever_the_noise(draw: str, paired: bool) -> None:
    """2,000 comparisons of nothing with nothing: the level is 5 % at most, 1,900 hold the truth (3 sigma)."""
    n, effect, alarms, held = 8, 0.1, 0, 0
    for _ in range(2_000):
        ones, others = DRAWS[draw](n), DRAWS[draw](n)
        nothing = of_pairs(others - ones, 0.05) if paired else of_two(ones, others, 0.05)
        shifted = of_pairs(others + effect - ones, 0.05) if paired else of_two(ones, others + effect, 0.05)
        alarms += nothing.p <= 0.05
        held += shifted.low <= effect <= shifted.high
    assert alarms <= 130
    assert held >= 1_870


def test_power_grows_with_the_runs_and_a_far_run_does_not_take_it() -> None:
    def found(n: int, far: float = 0.0) -> float:
        hits = 0
        for _ in range(400):
            differences = RNG.normal(0.2, 0.1, n)
            differences[0] += far
            hits += of_pairs(differences, 0.01).p <= 0.01
        return hits / 400

    assert found(8) < found(12)
    assert found(12) > 0.95
    assert found(20, far=-3.0) > 0.9  # one run of twenty fell asleep
