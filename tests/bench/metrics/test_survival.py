"""Kaplan-Meier and Turnbull against published answers, simulated truths and plain reasoning."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.metrics.survival import kaplan_meier, turnbull

# Remission of 21 leukaemia patients on 6-MP, weeks: Freireich et al. 1963, the textbook example.
WEEKS = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
SEEN = [True] * 9 + [False] * 12
PUBLISHED = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
PUBLISHED_ERROR_AT_23 = 0.135


def test_kaplan_meier_gives_the_published_curve() -> None:
    curve = kaplan_meier(np.array(WEEKS, float), np.array(SEEN))
    assert curve.time.tolist() == list(PUBLISHED)
    assert curve.survival == pytest.approx(list(PUBLISHED.values()), abs=6e-4)
    assert curve.at_risk.tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert curve.quantile(0.5) == 23
    assert curve.quantile(0.9) is None


def test_the_band_is_greenwoods_on_the_log_log_scale() -> None:
    curve = kaplan_meier(np.array(WEEKS, float), np.array(SEEN))
    last = float(curve.survival[-1])
    reach = math.exp(1.96 * PUBLISHED_ERROR_AT_23 / last / abs(math.log(last)))
    assert curve.low[-1] == pytest.approx(last**reach, abs=3e-3)
    assert curve.high[-1] == pytest.approx(last ** (1 / reach), abs=3e-3)


def test_without_censoring_it_is_the_empirical_distribution() -> None:
    times = np.array([5.0, 1.0, 4.0, 2.0, 3.0, -1.0])
    curve = kaplan_meier(times, np.ones(6, bool))
    assert curve.survival == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])
    assert curve.mean() == pytest.approx(times.mean())
    assert curve.summarise()["at_least"] == []


def test_what_never_came_stays_in_the_denominator() -> None:
    """2 % lost: p99 is not known, though all that arrived took 1 ms."""
    times = np.concatenate([np.full(980, 1_000.0), np.full(20, 60_000_000.0)])
    figures = kaplan_meier(times, np.arange(1000) < 980).summarise()
    assert (figures["p50"], figures["p90"], figures["p99"]) == (1_000, 1_000, None)
    assert figures["n"] == 1_000
    assert figures["at_least"] == ["mean", "max"]


def test_kaplan_meier_finds_the_truth_behind_random_censoring() -> None:
    rng = np.random.default_rng(3)
    truth = rng.exponential(10.0, 40_000)
    until = rng.exponential(30.0, 40_000)
    curve = kaplan_meier(np.minimum(truth, until), truth <= until)
    assert curve.quantile(0.5) == pytest.approx(10 * math.log(2), rel=0.03)
    assert curve.quantile(0.9) == pytest.approx(10 * math.log(10), rel=0.03)


def test_nothing_at_all() -> None:
    empty = kaplan_meier(np.empty(0), np.empty(0, bool))
    assert empty.summarise()["p50"] is None
    assert empty.mean() is None
    never = kaplan_meier(np.array([7.0, 8.0]), np.zeros(2, bool))
    assert never.quantile(0.5) is None
    assert never.mean() == pytest.approx(8.0)


# --- interval-censored ------------------------------------------------------------------------------------


def polled(truth: np.ndarray, every: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(last poll before, first poll after) with a phase of its own for each."""
    phase = rng.uniform(0, every, len(truth))
    polls = np.ceil((truth - phase) / every)
    right = phase + polls * every
    return np.maximum(0, right - every), right


@pytest.mark.slow
def test_polling_every_200_ms_still_finds_a_lag_of_8_ms() -> None:
    """First-seen times would say 100 ms too much, last-absent ones almost nothing (consistency under
    polling)."""
    rng = np.random.default_rng(5)
    truth = rng.lognormal(math.log(7.8), 1.344, 20_000)
    left, right = polled(truth, 200.0, rng)
    found = turnbull(left, right)
    assert right.mean() - truth.mean() == pytest.approx(100, abs=5)
    p50, p99 = found.quantile(0.5)[1], found.quantile(0.99)[1]
    assert p50 is not None
    assert p99 is not None
    assert p50 == pytest.approx(np.quantile(truth, 0.5), abs=2.5)
    assert p99 == pytest.approx(np.quantile(truth, 0.99), rel=0.25)


def test_turnbull_of_exact_times_is_the_empirical_distribution() -> None:
    times = np.array([3.0, 1.0, 2.0, 2.0])
    found = turnbull(times, times)
    assert found.right.tolist() == [1.0, 2.0, 3.0]
    assert found.mass == pytest.approx([0.25, 0.5, 0.25])


def test_turnbull_of_right_censored_times_is_kaplan_meier() -> None:
    rng = np.random.default_rng(2)
    times = rng.integers(1, 40, 300).astype(float)
    seen = rng.random(300) < 0.7
    curve = kaplan_meier(times, seen)
    found = turnbull(times, np.where(seen, times, np.inf))
    share = np.array([found.mass[found.right <= t].sum() for t in curve.time])
    assert 1 - share == pytest.approx(curve.survival, abs=1e-4)


def test_a_quantile_comes_with_both_ends_of_its_interval() -> None:
    found = turnbull(np.array([0.0, 0.0, 0.0, 10.0]), np.array([10.0, 10.0, 10.0, np.inf]))
    assert found.quantile(0.5) == (0.0, pytest.approx(20 / 3), 10.0)
    assert found.quantile(0.9) == (10.0, None, None)


def test_turnbull_solves_a_case_by_hand() -> None:
    """(0,2] (1,3] (2,4]: innermost (1,2] and (2,3]; by symmetry between the outer two, half each."""
    found = turnbull(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 4.0]))
    assert list(zip(found.left, found.right, strict=True)) == [(1.0, 2.0), (2.0, 3.0)]
    assert found.mass == pytest.approx([0.5, 0.5], abs=1e-6)


def test_no_intervals() -> None:
    estimate, lower, upper = turnbull(np.empty(0), np.empty(0)).summarise()
    assert estimate["n"] == 0
    assert estimate["p50"] is lower["p50"] is upper["p50"] is None
