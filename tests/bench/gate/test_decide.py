from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from bench.compare import Run
from bench.gate import decide, sequential
from bench.gate.baseline import Baseline
from bench.gate.tolerances import asked
from bench.report import ci, effects, gate
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
    found = checked([run(name, status="INVALID") for name in "uvwxy"])
    assert code(found) == 4
    assert first(found) == "no run to judge: u, v, w and 2 more (INVALID: operations were sent late)"
    assert code(checked([run("x", status="INCONCLUSIVE")])) == 5
    assert code(checked([])) == 5


@pytest.mark.parametrize("worse", [0.0, 2.0])
def test_while_a_core_burns_it_is_5_never_0_or_11(worse: float) -> None:
    burning = runs("b", 10, 2, worse=worse, status="INVALID")
    for each in burning:
        reason = each.summary["verdict"]["reasons"][0]
        each.summary["verdict"]["reasons"] = [reason, reason | {"guard": "foreign_load"}]
    assert code(checked(burning)) == 5
    for each in burning:
        each.summary["verdict"]["reasons"][1]["verdict"] = "warn"
    assert code(checked(burning)) == 4


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


def test_a_baseline_is_not_held_against_its_own_runs() -> None:
    found = checked(list(KEPT.runs))
    assert code(found) == 5
    assert "are the baseline's own" in first(found)


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


def test_the_ledger_s_false_alarms_are_told() -> None:
    pair = [[[100.0, None, None], [100.0 + i, None, None]] for i in range(10)]
    line = {"metrics": {"READ.p50": {"pairs": pair}}}
    found = decide.check(KEPT, runs("b", 10, 2), asked(["READ.p50 > +10%"]), command="", ledger=[line] * 3)
    assert found["alarms"] == [3, 3]


# --- what a sequential test decided -------------------------------------------------------------------------

ASKED = {"READ.p50": 0.15, "messages_per_s": 0.05}


def live(
    ratio: float,
    messages: float = 1.0,
    *,
    blocks: int = 25,
    violations: int = 0,
    correctness: str = "PASS",
    slo: str = "",
    disturbed: bool = False,
    **of: str,
) -> Json:
    """Two sides that took turns, READs of the second longer by `ratio`; `disturbed`: every second block."""
    noise = np.random.default_rng(1)
    sides: tuple[list[Run], list[Run]] = ([], [])

    def block(number: int) -> sequential.Block | None:
        if number >= blocks:
            return None
        if disturbed and number % 2 == 0:
            return sequential.Block((), "others used the machine")
        pairs = []
        for place in (2 * number, 2 * number + 1):
            a, b = 100 * np.exp(0.02 * noise.standard_normal(2))
            pairs.append(sequential.Pair({"READ.p50": (a, ratio * b), "messages_per_s": (a, messages * b)}))
            for side, p50 in zip(sides, (a, ratio * b), strict=True):
                side.append(run(f"{place}", read_p50=p50, series=("interleaved", place)))
        return sequential.Block(tuple(pairs), **of)

    outcome = sequential.decide(block, sequential.plan(blocks, 2), ASKED)
    whole = run("a"), run("b", violations=violations)
    if correctness != "PASS":
        whole[1].summary["verdict"]["correctness"] = correctness
    asked_of = asked(slo=[slo] if slo else [], default=ASKED)
    return decide.against(
        outcome, ("origin/main", "HEAD"), asked_of, sides, whole, command="bench check --against main",
        spent_s=144.0,
    )  # fmt: skip


def row(content: Json, metric: str) -> Json:
    return next(each for each in content["change"]["rows"] if each["metric"] == metric)


def test_the_codes_of_a_sequential_test() -> None:
    assert code(live(1.0)) == 0
    assert code(live(1.3)) == 11
    assert code(live(1.0, blocks=2)) == 5
    assert code(live(1.0, correctness="UNKNOWN")) == 5
    assert code(live(1.0, broken="durable: a READ was lost")) == 12
    assert code(live(1.3, violations=3)) == 12, "what only the whole record can tell comes first"
    assert code(live(1.0, slo="READ.p99 < 50ms")) == 0
    assert code(live(1.0, slo="READ.p99 < 30ms")) == 10
    assert first(live(1.0, broken="durable: a READ was lost")) == "durable: a READ was lost"


def test_ratios_are_the_candidate_s_over_the_baseline_s_whichever_way_is_worse() -> None:
    found = live(1.3, messages=0.8)
    assert row(found, "READ.p50")["ratio"] == pytest.approx(1.3, rel=0.03)
    less = row(found, "messages_per_s")
    assert less["ratio"] == pytest.approx(0.8, rel=0.03)
    assert less["interval"][0] < less["ratio"] < less["interval"][1]
    assert less["verdict"] == "worse"


@pytest.mark.parametrize(("ratio", "verdict"), [(0.7, "better"), (1.0, "same"), (0.88, "?"), (1.3, "worse")])
def test_an_acquitted_figure_is_the_same_only_where_it_is_no_better(ratio: float, verdict: str) -> None:
    found = row(live(ratio), "READ.p50")
    assert found["verdict"] == verdict
    assert found["passes"] is (verdict != "worse")


def test_what_too_many_disturbed_blocks_leave_open_is_not_called_worse() -> None:
    found = live(1.3, disturbed=True)
    assert code(found) == 5
    assert (row(found, "READ.p50")["verdict"], row(found, "READ.p50")["passes"]) == ("?", None)
    assert "disturbed" in row(found, "READ.p50")["why"]


def test_what_could_be_seen_of_a_median_is_told_by_its_interval_and_of_a_tail_by_the_resolution_too() -> None:
    """A resolution of 50 us, where a READ takes 100 in the median, and 40,000 at p99 in each block."""
    found = live(1.0)
    median, tail = row(found, "READ.p50"), row(found, "READ.p99")
    assert max(median["interval"]) / median["ratio"] - 1 < median["visible"] < 0.15
    assert tail["visible"] == pytest.approx(2 * 50 / 40_000)


def test_what_was_seen_is_kept_pair_by_pair_and_where_it_sits_is_told() -> None:
    found = live(1.3)
    pairs = found["pairs"]
    assert len(pairs) == row(found, "READ.p50")["blocks"][0]
    assert all(other > one for one, other in (pair["READ.p50"] for pair in pairs))
    assert [entry["metric"] for entry in found["why"]] == ["READ.p50"]


@pytest.mark.parametrize("ratio", [1.0, 1.3])
def test_every_output_reads_it(ratio: float) -> None:
    found = live(ratio)
    document = gate.check_document(found)
    assert "HEAD against origin/main; paired" in document.load[0]
    assert document.load[0].endswith("decided after 2.4 min of load")
    assert "p (Holm)" not in document.tables[0].columns
    assert "Looked at after each block" in document.tables[0].note
    assert {len(cells) for cells in document.tables[0].rows} == {len(document.tables[0].columns)}
    assert ("<failure" in ci.junit(found, datetime.now(UTC), "here")) == (ratio > 1)
    assert ci.bencher(found)["steady_chat/redis"]["read-p50-ms"]["value"] > 0
    assert effects.finding(found["change"])
