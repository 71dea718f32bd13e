from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bench.compare import Run
from bench.gate import verdicts
from bench.gate.metrics import SHOWN, TOLERANCES
from bench.gate.verdicts import judge, passes, side
from bench.results import Json
from tests.bench.gate.made import run, runs


def judged(a: list[Run], b: list[Run], tolerances: Any = TOLERANCES, shown: Sequence[str] = SHOWN) -> Json:
    return judge(side("A", a), side("B", b), tolerances, shown)


def row(change: Json, metric: str) -> Json:
    return next(each for each in change["rows"] if each["metric"] == metric)


def said(change: Json, metric: str = "READ.p50") -> str:
    return str(row(change, metric)["verdict"])


def test_each_verdict() -> None:
    a = runs("a", 10, 1)
    assert said(judged(a, runs("b", 10, 2, worse=0.5))) == "worse"
    assert said(judged(a, runs("b", 10, 2, worse=-0.5))) == "better"
    assert said(judged(a, runs("b", 10, 2))) == "same"
    assert said(judged(runs("a", 10, 1, noise=10), runs("b", 10, 2, noise=10))) == "?"


def test_the_gate_passes_on_same_and_better_fails_on_worse_and_else_does_neither() -> None:
    a = runs("a", 10, 1)
    assert passes(judged(a, runs("b", 10, 2))) is True
    assert passes(judged(a, runs("b", 10, 2, worse=-0.5))) is True
    assert passes(judged(a, runs("b", 10, 2, worse=0.5))) is False
    assert passes(judged(a, runs("b", 10, 2, noise=10))) is None


def test_a_claim_needs_the_effect_as_well_as_the_significance() -> None:
    a, b = runs("a", 10, 1, noise=0.1), runs("b", 10, 2, noise=0.1, worse=0.05)
    found = row(judged(a, b), "READ.p50")
    assert found["p_holm"] < 0.05
    assert found["verdict"] == "same"  # 5 % of a tolerance of 15 %
    assert said(judged(a, b, {"READ.p50": 0.03})) == "worse"


def test_holm_takes_from_several_what_it_gives_to_one() -> None:
    a, b = runs("a", 8, 1), runs("b", 8, 2)
    found = judged(a, b, {"READ.p50": 0.1, "READ.p99": 0.1, "cpu_s_per_1000_messages": 0.1})
    ordered = sorted((each for each in found["rows"] if each["deciding"]), key=lambda each: each["p"])
    assert ordered[0]["p_holm"] == pytest.approx(min(1.0, 3 * ordered[0]["p"]))
    assert ordered[1]["p_holm"] == pytest.approx(min(1.0, max(ordered[0]["p_holm"], 2 * ordered[1]["p"])))


def test_six_pairs_are_sure_of_one_figure_and_never_of_five() -> None:
    a = runs("a", 6, 1, series="s", side="A")
    b = runs("b", 6, 2, series="s", side="B", worse=1.0)
    alone, of_five = judged(a, b, {"READ.p50": 0.15}), judged(a, b)
    assert said(alone) == "worse"
    assert said(of_five) == "?"
    assert "so few runs" in row(of_five, "READ.p50")["why"]


def test_pairing_is_found_said_and_takes_the_drift_out() -> None:
    drift = list(np.linspace(-0.6, 0.6, 10))
    of = {"drift": drift, "noise": 0.5}
    a = runs("a", 10, 1, series="s", side="A", **of)
    b = runs("b", 10, 2, series="s", side="B", worse=0.2, **of)
    together = judged(a, b)
    assert together["paired"] is True
    assert together["blocks"] == 10
    assert said(together) == "worse"
    apart = judged(runs("a", 10, 1, **of), runs("b", 10, 2, worse=0.2, **of))
    assert apart["paired"] is False
    assert said(apart) == "?"


def test_runs_of_different_blocks_are_no_pairs() -> None:
    a = runs("a", 6, 1, series="one", side="A")
    b = runs("b", 6, 2, series="other", side="B")
    assert judged(a, b)["paired"] is False


@pytest.mark.parametrize("status", ["INVALID", "INCONCLUSIVE"])
def test_runs_that_are_not_valid_are_left_out_and_named(status: str) -> None:
    bad = run("bad", status=status, read_p50=10**6)
    change = judged(runs("a", 8, 1), [*runs("b", 8, 2), bad])
    assert change["sides"][1]["left_out"] == [
        {"run_id": "bad", "why": f"{status}: operations were sent late"}
    ]
    assert row(change, "READ.p50")["blocks"] == [8, 8]
    assert said(change) == "same"


@pytest.mark.parametrize("n", [0, 1, 5])
def test_fewer_than_six_runs_say_nothing(n: int) -> None:
    change = judged(runs("a", 10, 1), runs("b", n, 2, worse=9.0))
    assert {each["verdict"] for each in change["rows"] if each["deciding"]} == {"?"}
    assert passes(change) is None


def test_a_figure_that_one_side_does_not_know_is_open_and_named() -> None:
    change = judged(runs("a", 8, 1, receipt_p99=None), runs("b", 8, 2))
    found = row(change, "lag.receipt.p99")
    assert (found["verdict"], found["passes"], found["why"]) == ("?", None, "not known of the baseline")
    assert passes(change) is None


def test_a_percentile_of_too_few_samples_is_not_known() -> None:
    few = runs("b", 8, 2)
    for each in few:
        each.summary["operations"]["READ"]["latency_us"]["low_n"] = ["p99"]
    assert row(judged(runs("a", 8, 1), few), "READ.p99")["why"] == "not known of the candidate"


def test_what_the_instrument_does_not_resolve_is_neither_worse_nor_same() -> None:
    coarse = {"floor": 2_000.0}  # 5 ms below five times that
    assert said(judged(runs("a", 10, 1, **coarse), runs("b", 10, 2, worse=0.3, **coarse))) == "?"
    found = row(judged(runs("a", 10, 1, **coarse), runs("b", 10, 2, **coarse)), "READ.p50")
    assert found["verdict"] == "?"
    assert "instrument" in found["why"]
    assert said(judged(runs("a", 10, 1, **coarse), runs("b", 10, 2, worse=2.0, **coarse))) == "worse"


def test_a_lower_bound_may_be_accused_and_never_acquitted() -> None:
    def lost(made: list[Run]) -> list[Run]:
        for each in made:
            each.summary["operations"]["READ"]["latency_us"]["at_least"] = ["p99"]
        return made

    a, b = runs("a", 10, 1), runs("b", 10, 2)
    assert said(judged(a, lost(runs("b", 10, 2, worse=1.0))), "READ.p99") == "worse"
    assert said(judged(a, lost(runs("b", 10, 2))), "READ.p99") == "?"
    assert said(judged(lost(runs("a", 10, 1)), runs("b", 10, 2, worse=1.0)), "READ.p99") == "?"
    assert said(judged(lost(runs("a", 10, 1)), runs("b", 10, 2, worse=-0.5)), "READ.p99") == "better"
    assert row(judged(a, lost(b)), "READ.p99")["intervals"][1][1] is None


def test_more_throughput_is_better() -> None:
    a = [run(f"a{i}", throughput=70 + i / 10) for i in range(10)]
    b = [run(f"b{i}", throughput=90 + i / 10) for i in range(10)]
    assert said(judged(a, b), "messages_per_s") == "better"
    assert said(judged(b, a), "messages_per_s") == "worse"


def test_what_does_not_decide_has_no_verdict() -> None:
    change = judged(runs("a", 10, 1), runs("b", 10, 2, worse=3.0), {"messages_per_s": 0.05})
    assert "verdict" not in row(change, "READ.p50")
    assert row(change, "READ.p50")["p"] < 0.001
    assert passes(change) is True


def test_no_errors_on_either_side_is_no_ratio() -> None:
    found = row(judged(runs("a", 8, 1), runs("b", 8, 2)), "errors")
    assert (found["values"], found["ratio"]) == ([0.0, 0.0], None)
    assert "0 in some runs" in found["why"]


# --- simulations --------------------------------------------------------------------------------------------


def simulated(worse: float, many: int, n: int = 10, noise: float = 1.0, paired: bool = True) -> list[Json]:
    series = "s" if paired else None
    return [
        judged(runs("a", n, 2 * i, series=series, side="A", noise=noise),
               runs("b", n, 2 * i + 1, series=series, side="B", worse=worse, noise=noise),
               shown=())
        for i in range(many)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_nothing_is_accused_in_more_than_five_of_a_hundred_families(paired: bool) -> None:
    """Any of five accused or praised, though the tolerance is next to nothing: 5 % of 200, and 3 sigma."""
    tiny = dict.fromkeys(TOLERANCES, 1e-6)
    series = "s" if paired else None
    false = 0
    for i in range(200):
        a, b = (
            runs("a", 10, 2 * i, series=series, side="A"),
            runs("b", 10, 2 * i + 1, series=series, side="B"),
        )
        false += any(each.get("verdict") in ("worse", "better") for each in judged(a, b, tiny, ())["rows"])
    assert false <= 19


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_twenty_percent_of_cpu_and_of_p50_are_found_and_lie_inside_the_interval(paired: bool) -> None:
    changes = simulated(0.2, 60, paired=paired)
    for metric in ("READ.p50", "cpu_s_per_1000_messages"):
        found = [row(change, metric) for change in changes]
        assert sum(each["verdict"] == "worse" for each in found) >= 58
        assert sum(each["interval"][0] <= 1.2 <= each["interval"][1] for each in found) >= 54


@pytest.mark.slow
def test_the_smallest_visible_effect_is_found_in_four_of_five_and_half_of_it_in_less() -> None:
    """For one figure alone, whose claims need no correction."""
    told = float(np.median([row(change, "READ.p99")["visible"] for change in simulated(0.0, 60)]))
    alone = {"READ.p99": 1e-6}

    def found(effect: float) -> float:
        hits = 0
        for i in range(120):
            a = runs("a", 10, 900 + 2 * i, series="s", side="A")
            b = runs("b", 10, 901 + 2 * i, series="s", side="B", worse=effect)
            hits += said(judged(a, b, alone, ()), "READ.p99") == "worse"
        return hits / 120

    assert 0.7 <= found(told) <= 0.97
    assert found(told / 2) < 0.6


def test_ten_runs_a_side_take_less_than_two_seconds_of_cpu() -> None:
    a, b = runs("a", 10, 1), runs("b", 10, 2)
    began = time.process_time()
    judged(a, b)
    assert time.process_time() - began < 2.0


def test_the_smallest_p_follows_the_design() -> None:
    assert verdicts._smallest({"paired": True, "blocks": [6, 6]}) == 2 / 64
    assert verdicts._smallest({"paired": False, "blocks": [6, 6]}) == 2 / 924
