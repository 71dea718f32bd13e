"""The upper bound of a rate, and verdicts that never pass what was not seen."""

from __future__ import annotations

import math

import pytest

from bench.checks.check import Check, upper_bound_95


def poisson_at_most(k: int, mean: float) -> float:
    return sum(math.exp(i * math.log(mean) - mean - math.lgamma(i + 1)) for i in range(k + 1))


@pytest.mark.parametrize(("violations", "mean"), [(0, 2.9957), (1, 4.7439), (2, 6.2958), (10, 16.9622)])
def test_published_upper_limits(violations: int, mean: float) -> None:
    """The one-sided 95 % limits of a Poisson mean, as in every table since Garwood's."""
    assert upper_bound_95(violations, 1_000_000) == pytest.approx(mean / 1e6, rel=1e-4)


@pytest.mark.parametrize("violations", [0, 3, 50, 700])
def test_so_few_happen_in_5_percent_of_cases(violations: int) -> None:
    bound = upper_bound_95(violations, 10**9)
    assert bound is not None
    assert poisson_at_most(violations, bound * 1e9) == pytest.approx(0.05, rel=1e-3)


def test_the_approximation_for_many_joins_the_exact_one() -> None:
    exact, near = upper_bound_95(10_000, 10**9), upper_bound_95(10_001, 10**9)
    assert exact is not None
    assert near is not None
    assert near - exact == pytest.approx(1e-9, rel=0.2)


def test_the_rule_of_three() -> None:
    assert upper_bound_95(0, 1_000) == pytest.approx(3 / 1_000, rel=0.01)
    assert upper_bound_95(0, 0) is None
    assert upper_bound_95(0, 1) == 1


@pytest.mark.parametrize(
    ("violations", "unknown", "verdict"),
    [(0, "", "pass"), (0, "a hole", "unknown"), (1, "", "fail"), (1, "a hole", "fail")],
)
def test_verdicts(violations: int, unknown: str, verdict: str) -> None:
    check = Check("x", "durable", True, 10, violations, unknown=unknown)
    assert check.verdict == check.to_dict()["verdict"] == verdict
