"""Exact quantiles: the nearest rank, shown only where enough samples carry them."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.quantiles import LEVELS, low_n, quantile, summarise


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), st.sampled_from(sorted(LEVELS.values())))
def test_a_quantile_is_the_smallest_sample_that_a_share_p_does_not_exceed(
    values: list[int], p: float
) -> None:
    found = quantile(np.array(values), p)
    assert found in values
    assert sum(value <= found for value in values) >= round(p * len(values), 6)
    assert sum(value < found for value in values) < round(p * len(values), 6)


def test_known_answers() -> None:
    values = list(range(1, 10_001))
    random.Random(1).shuffle(values)
    figures = summarise(np.array(values))
    assert (figures["p50"], figures["p90"], figures["p99"], figures["p999"]) == (5000, 9000, 9900, 9990)
    assert (figures["n"], figures["mean"], figures["max"]) == (10_000, 5000, 10_000)
    assert figures["low_n"] == []


@pytest.mark.parametrize(
    ("n", "shown", "low"),
    [
        (1, [], []),
        (2, ["p50"], ["p50"]),
        (9, ["p50"], ["p50"]),
        (10, ["p50", "p90"], ["p50", "p90"]),
        (99, ["p50", "p90"], ["p90"]),
        (100, ["p50", "p90", "p99"], ["p99"]),
        (999, ["p50", "p90", "p99"], ["p99"]),
        (1_000, ["p50", "p90", "p99", "p999"], ["p999"]),
        (10_000, ["p50", "p90", "p99", "p999"], []),
    ],
)
def test_a_percentile_needs_a_sample_beyond_it_and_ten_to_be_compared(
    n: int, shown: list[str], low: list[str]
) -> None:
    figures = summarise(np.arange(n))
    assert [name for name in LEVELS if figures[name] is not None] == shown
    assert figures["low_n"] == low_n(n) == low


def test_no_samples_are_no_figures() -> None:
    figures = summarise(np.empty(0))
    assert figures["n"] == 0
    assert all(figures[name] is None for name in ("mean", "max", *LEVELS))


def test_unanswered_operations_are_lower_bounds_where_they_reach() -> None:
    values = np.concatenate([np.full(980, 1_000.0), np.full(20, 5_000_000.0)])
    figures = summarise(values, at_least_us=5_000_000)
    assert (figures["p50"], figures["p99"]) == (1_000, 5_000_000)
    assert figures["at_least"] == ["mean", "p99", "p999", "max"]
    assert summarise(values[:980], at_least_us=5_000_000)["at_least"] == []


def test_figures_are_whole_numbers() -> None:
    figures = summarise(np.array([1.4, 2.6, math.pi]))
    assert all(isinstance(figures[name], int) for name in ("mean", "p50", "max"))
