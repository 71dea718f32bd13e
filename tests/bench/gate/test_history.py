from __future__ import annotations

import numpy as np
import pytest

from bench.gate.history import SHORTEST, changes

RNG = np.random.default_rng(11)


def noisy(*levels: tuple[float, int], noise: float = 0.03) -> list[float]:
    return [float(level * np.exp(noise * RNG.standard_normal())) for level, n in levels for _ in range(n)]


def test_a_step_is_found_where_it_is() -> None:
    (found,) = changes(noisy((100, 15), (125, 15)))
    assert abs(found.at - 15) <= 1
    assert found.share == pytest.approx(0.25, abs=0.04)
    assert found.p <= 0.01


def test_two_steps_are_two_also_back_again() -> None:
    found = changes(noisy((100, 15), (140, 15), (100, 15)))
    assert [round(each.at / 15) for each in found] == [1, 2]
    assert found[0].share > 0.3
    assert found[1].share < -0.2


def test_one_run_far_out_is_no_change() -> None:
    values = noisy((100, 30))
    values[14] = 900.0
    assert changes(values) == []


def test_a_sure_change_of_next_to_nothing_is_none() -> None:
    assert changes([100.0 + 0.01 * (i >= 15) for i in range(30)]) == []
    assert len(changes([100.0 + 10 * (i >= 15) for i in range(30)])) == 1


@pytest.mark.parametrize("n", [0, 1, 2 * SHORTEST - 1])
def test_few_runs_have_no_changes(n: int) -> None:
    assert changes([float(i * 100) for i in range(n)]) == []


def test_alike_values_have_none() -> None:
    assert changes([5.0] * 40) == []


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["normal", "heavy"])
def test_false_alarms(shape: str) -> None:
    """1 % of 400 and three sigma."""
    draw = RNG.standard_normal if shape == "normal" else lambda n: RNG.standard_t(2, n)
    false = sum(bool(changes(list(100 * np.exp(0.2 * draw(30))))) for _ in range(400))
    assert false <= 10
