from __future__ import annotations

from typing import Any

import pytest

from bench.compare import Run
from bench.gate import decide
from bench.gate.baseline import Baseline
from bench.gate.tolerances import asked
from bench.results import Json
from tests.bench.gate.made import run, runs

KEPT = Baseline("main", "2026-11-20", tuple(runs("a", 10, 1)))


def checked(
    of: list[Run], fail_if: tuple[str, ...] = (), slo: tuple[str, ...] = (), kept: Baseline = KEPT
) -> Json:
    return decide.check(kept, of, asked(fail_if, slo), command="bench check")


def code(content: Json) -> int:
    return int(content["verdict"]["exit_code"])


def first(content: Json) -> str:
    return str(content["verdict"]["reasons"][0]["message"])


def test_alike_runs_pass() -> None:
    found = checked(runs("b", 10, 2))
    assert found["verdict"] == {
        "status": "VALID", "correctness": "PASS", "outcome": "PASS", "exit_code": 0, "reasons": [],
    }  # fmt: skip


def test_a_regression_is_11_and_named_with_its_interval() -> None:
    found = checked(runs("b", 10, 2, worse=0.5))
    assert (code(found), found["verdict"]["outcome"]) == (11, "REGRESSION")
    assert first(found).startswith("CPU per message +")
    assert "tolerance 10%" in first(found)


def test_a_lag_alone_is_11_and_the_first_reason_names_the_lag() -> None:
    found = checked(runs("b", 10, 2, worse=0.6, only="lag.receipt.p99"))
    assert code(found) == 11
    assert first(found).startswith("receipt lag p99 +")
    assert code(checked(runs("b", 10, 3))) == 0


def test_a_broken_promise_is_12_whatever_the_figures() -> None:
    found = checked([*runs("b", 10, 2), run("bad", violations=3)])
    assert code(found) == 12
    assert first(found) == "the promise 'durable' was broken: 3 violations of acknowledged_reads in bad"
    assert found["verdict"]["correctness"] == "FAIL"
    worse = checked([*runs("b", 10, 2, worse=0.5), run("bad", violations=3)])
    assert code(worse) == 12
    assert {reason["exit_code"] for reason in worse["verdict"]["reasons"]} == {11, 12}


def test_a_promise_broken_in_an_invalid_run_is_broken() -> None:
    assert code(checked([*runs("b", 10, 2), run("bad", status="INVALID", violations=1)])) == 12


def test_only_invalid_runs_are_4_and_none_is_5() -> None:
    assert code(checked([run("x", status="INVALID"), run("y", status="INVALID")])) == 4
    assert code(checked([run("x", status="INCONCLUSIVE")])) == 5
    assert code(checked([])) == 5


def test_an_invalid_run_among_good_ones_is_left_out_and_named() -> None:
    found = checked([*runs("b", 10, 2), run("x", status="INVALID")])
    assert code(found) == 0
    assert found["left_out"][0]["run_id"] == "x"


@pytest.mark.parametrize("n", [1, 5])
def test_too_few_runs_are_5(n: int) -> None:
    found = checked(runs("b", n, 2))
    assert code(found) == 5
    assert "6 are needed" in first(found)


def test_noise_is_5() -> None:
    assert code(checked(runs("b", 10, 2, noise=10.0))) == 5


@pytest.mark.parametrize(
    "what", [{"machine": "other"}, {"seed": 2}, {"plan": "b" * 64}, {"model": "cursor"},
             {"durability": {"asked": "power"}}, {"services": {"mysql": {"engine": "MySQL"}}}]
)  # fmt: skip
def test_an_unlike_baseline_is_5_never_0_or_11(what: dict[str, Any]) -> None:
    for worse in (0.0, 2.0):
        found = checked(runs("b", 10, 2, worse=worse, **what))
        assert code(found) == 5
        assert found["change"] is None
        assert "no comparable baseline" in first(found)


def test_a_figure_that_the_baseline_lacks_is_5() -> None:
    kept = Baseline("main", "", tuple(runs("a", 10, 1, receipt_p99=None)))
    found = checked(runs("b", 10, 2), kept=kept)
    assert code(found) == 5
    assert first(found) == "receipt lag p99: not known of the baseline"


def test_what_cannot_be_told_does_not_hide_what_is_worse() -> None:
    found = checked(runs("b", 10, 2, worse=0.5, receipt_p99=None))
    assert code(found) == 11


def test_an_objective_that_is_missed_is_10() -> None:
    assert code(checked(runs("b", 10, 2), ("READ.p99 > 20ms",))) == 10
    assert code(checked(runs("b", 10, 2), ("READ.p99 > 80ms",))) == 0
    missed = checked(runs("b", 10, 2), (), ("READ.p99 < 20ms",))
    assert code(missed) == 10
    assert first(missed) == "must hold: READ.p99 < 20ms: did not hold in 0 of 10 runs"
    assert code(checked(runs("b", 10, 2), (), ("READ.p99 < 80ms",))) == 0


def test_a_regression_comes_before_a_missed_objective() -> None:
    found = checked(runs("b", 10, 2, worse=0.5), ("READ.p99 > 20ms",))
    assert [reason["exit_code"] for reason in found["verdict"]["reasons"]][-1] == 10
    assert code(found) == 11


def test_an_objective_on_what_was_not_measured_is_5() -> None:
    found = checked(runs("b", 10, 2), ("lag.queue.p99 > 1s",))
    assert code(found) == 5


def test_a_run_that_cannot_say_whether_promises_were_kept_is_5() -> None:
    of = runs("b", 10, 2)
    of[0].summary["verdict"]["correctness"] = "UNKNOWN"
    assert code(checked(of)) == 5


def test_it_says_before_what_it_can_see_and_after_what_it_could_have_missed() -> None:
    found = checked(runs("b", 10, 2))
    assert 0 < found["smallest"]["cpu_s_per_1000_messages"] < found["smallest"]["READ.p99"] < 0.5
    most = {entry["metric"]: entry["most"] for entry in found["missed"]}
    assert 0 < most["READ.p99"] < 0.25
    assert checked(runs("b", 3, 2))["smallest"]["READ.p99"] is None


def test_where_nothing_can_be_compared_it_is_5() -> None:
    assert code(decide.refused("there is none", command="bench check")) == 5
