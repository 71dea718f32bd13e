from __future__ import annotations

import math

import numpy as np
import pytest

from bench.gate import power
from bench.gate.sequential import Block as Load
from bench.gate.sequential import Pair as Loads
from bench.gate.sequential import decide, plan
from bench.metrics.intervals import Block
from bench.metrics.noise import Pair

ONE = {"READ.p50": 0.05}


def alike(n: int, deviation: float, seed: int = 1) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [(Block(100.0), Block(100 * math.exp(deviation * rng.standard_normal()))) for _ in range(n)]


def entry(pairs: list[Pair]) -> dict[str, object]:
    told = [[[one.value, one.low, one.high] for one in pair] for pair in pairs]
    return {"metrics": {"READ.p50": {"pairs": told}}}


def test_more_noise_hides_more_and_more_blocks_show_more() -> None:
    quiet = power.detectable(alike(20, 0.02), plan(20, 1), 1e-6)
    loud = power.detectable(alike(20, 0.2), plan(20, 1), 1e-6)
    short = power.detectable(alike(20, 0.2), plan(5, 1), 1e-6)
    assert quiet is not None
    assert loud is not None
    assert short is not None
    assert quiet < loud < short


def test_nothing_below_the_tolerance_is_ever_detectable() -> None:
    found = power.detectable(alike(20, 0.001), plan(20, 1), 0.1)
    assert found == pytest.approx(0.1, abs=0.002)


def test_too_few_pairs_know_nothing() -> None:
    assert power.detectable(alike(5, 0.1), plan(20, 1), 0.1) is None
    assert power.pairs_for([], plan(20, 1), 0.1, 0.2) is None
    assert power.detectable(alike(20, 0.1), plan(2, 5), 0.1) is None  # four pairs can never be sure


@pytest.mark.slow
def test_the_detectable_effect_is_detected_in_about_four_of_five() -> None:
    deviation, planned = 0.1, plan(10, 1)
    told = power.detectable(alike(200, deviation), planned, 1e-6)
    assert told is not None
    rng = np.random.default_rng(8)

    def gate(effect: float) -> bool:
        def block(_number: int) -> Load:
            harms = math.log1p(effect) + deviation * rng.standard_normal(2)
            return Load(tuple(Loads({"READ.p50": (100.0, 100 * math.exp(harm))}) for harm in harms))

        return decide(block, planned, {"READ.p50": 1e-6}).verdict == "accused"

    assert 0.7 <= sum(gate(told) for _ in range(200)) / 200 <= 0.92
    assert sum(gate(told / 2) for _ in range(100)) / 100 < 0.6


def test_a_larger_effect_takes_fewer_pairs() -> None:
    pairs, planned = alike(30, 0.1), plan(25, 5)
    large = power.pairs_for(pairs, planned, 0.05, 0.5)
    small = power.pairs_for(pairs, planned, 0.05, 0.12)
    assert large is not None
    assert small is not None
    assert large < small
    assert power.pairs_for(pairs, planned, 0.05, 0.01) is None


def test_the_effect_that_a_stored_side_shows_follows_its_own_spread() -> None:
    rng = np.random.default_rng(4)
    calm, wild = (list(100 * np.exp(deviation * rng.standard_normal(10))) for deviation in (0.01, 0.1))
    few, many = power.detectable_of_two(wild, 6, 1), power.detectable_of_two(wild, 20, 1)
    quiet = power.detectable_of_two(calm, 10, 1)
    assert few is not None
    assert many is not None
    assert quiet is not None
    assert quiet < many < few
    assert power.detectable_of_two(calm, 5, 1) is None


def test_false_alarms_of_a_ledger_are_counted() -> None:
    good, bad = alike(10, 0.05), [(Block(100.0), Block(130.0 + i)) for i in range(10)]
    assert power.false_alarms([entry(good)] * 3 + [entry(bad)], ONE) == (1, 4)
    assert power.false_alarms([entry(good[:3])], ONE) == (0, 0)
    assert power.pairs_of([entry(bad)], "READ.p50") == bad
