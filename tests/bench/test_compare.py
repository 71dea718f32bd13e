from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from bench.compare import FLOORS, Arm, Run, UnlikeError, arms, compare, differences, ranking, to_json

EMPTY_Q: dict[str, Any] = {
    "n": 0,
    "mean": None,
    "p50": None,
    "p90": None,
    "p99": None,
    "p999": None,
    "max": None,
}


def run(
    run_id: str,
    scheme: str = "db",
    read_p99: int | None = 10_000,
    *,
    status: str = "VALID",
    correctness: str = "PASS",
    code: int = 0,
    floor: int | None = 100,
    plan: str = "a" * 64,
    machine: str = "box",
    cpu: float | None = 5.0,
    model: str = "flags",
    durability: str | None = None,
) -> Run:
    read = {**EMPTY_Q, "n": 5_000, "p50": 1_000, "p99": read_p99}
    operation = {"count": 5_000, "ok": 5_000, "fail": 5, "info": 0, "latency_us": read}
    summary = {
        "run_id": run_id,
        "run": {
            "scheme": scheme,
            "model": model,
            "scenario": "steady_chat",
            "options": {},
            "durability": {"class": durability},
        },
        "load": {"messages_per_s": 50.0},
        "operations": {"READ": operation, "SEND": copy.deepcopy(operation)},
        "lag": {
            "receipt": {"available": True, "undelivered": 2, "quantiles": read},
            "own_device": {"available": True, "undelivered": 1, "quantiles": read},
            "visible": {"available": False, "undelivered": 0, "quantiles": None},
        },
        "consistency": {"checks": [{"name": "stale_at_end", "verdict": "pass", "violations": 0}]},
        "generator": {"resolution_floor_us": floor},
        "resources": {
            "server": {"cpu_s_per_1000_messages": cpu, "rss_bytes_max": 100, "counters": {}},
            "mysql": {
                "cpu_s_per_1000_messages": 2.0,
                "rss_bytes_max": 200,
                "counters": {
                    "Com_commit": 10_000,
                    "Handler_write": 5_000,
                    "Handler_update": 15_000,
                },
            },
            "generator": {"cpu_s_per_1000_messages": 99.0, "rss_bytes_max": 10**9},
        },
        "stores": {"cache_hit_ratio": None},
        "verdict": {"status": status, "correctness": correctness, "exit_code": code, "reasons": []},
        "ended": {"how": "finished"},
    }
    return Run(run_id, summary, {"plan_sha256": plan, "machine": {"class": machine}})


def values(content: dict[str, Any], figure: str) -> dict[str, Any]:
    return next(row["values"] for row in content["figures"] if row["figure"] == figure)


def compared(*runs: Run, allow_unlike: bool = False) -> dict[str, Any]:
    grouped = arms(runs)
    labels = [arm.middle.run_id for arm in grouped]
    return compare(grouped, labels, allow_unlike=allow_unlike)


# --- which may be compared ----------------------------------------------------------------------------------


def test_runs_with_the_same_to_do_are_alike() -> None:
    assert differences([run("a"), run("b", "redis")]) == []


@pytest.mark.parametrize(
    ("what", "named"), [({"plan": "b" * 64}, "plan_sha256"), ({"machine": "other"}, "machine class")]
)
def test_unlike_runs_are_refused_with_the_reason(what: dict[str, str], named: str) -> None:
    with pytest.raises(UnlikeError, match=named):
        compared(run("a"), run("b", "redis", **what))  # type: ignore[arg-type]
    content = compared(run("a"), run("b", "redis", **what), allow_unlike=True)  # type: ignore[arg-type]
    assert named in content["unlike"][0]
    assert ranking(content, "READ.p99") == []


def test_runs_of_one_scheme_are_blocks_and_runs_of_one_arm_alone_are_an_a_a_comparison() -> None:
    mixed = arms([run("a"), run("b", "redis"), run("c")])
    assert [[each.run_id for each in arm.runs] for arm in mixed] == [["a", "c"], ["b"]]
    assert len(arms([run("a"), run("b")])) == 2


def test_runs_under_other_terms_are_no_blocks_of_one_arm() -> None:
    one, other = run("a"), run("b")
    one.summary["run"]["durability"]["asked"], other.summary["run"]["durability"]["asked"] = (
        "power",
        "process",
    )
    assert len(arms([one, other, run("c", "redis")])) == 3


def test_the_middle_block_has_the_middle_read_p99() -> None:
    blocks = Arm((run("slow", read_p99=90), run("fast", read_p99=10), run("mid", read_p99=50)))
    assert blocks.middle.run_id == "mid"
    assert Arm((run("none", read_p99=None), run("some", read_p99=50))).middle.run_id == "some"


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_are_the_summaries_never_averages() -> None:
    content = compared(
        run("a", read_p99=10_000), run("b", "redis"), run("c", read_p99=30_000), run("d", read_p99=20_000)
    )
    row = next(row for row in content["figures"] if row["figure"] == "READ.p99")
    assert row["values"]["d"] == 20_000
    assert row["ranges"] == {"d": [10_000, 30_000], "b": None}


def test_of_two_blocks_the_lower_one_stands_for_both() -> None:
    content = compared(run("low", read_p99=10_000), run("b", "redis"), run("high", read_p99=30_000))
    assert content["arms"][0]["middle"] == "low"
    assert values(content, "READ.p99")["low"] == 10_000


def test_cpu_and_memory_are_of_what_is_tested_without_the_generator() -> None:
    content = compared(run("a"), run("b", "redis"))
    assert values(content, "cpu_s_per_1000_messages")["a"] == 7.0
    assert values(content, "cpu_s_per_1000_messages.python")["a"] == 5.0
    assert values(content, "cpu_s_per_1000_messages.stores")["a"] == 2.0
    assert values(content, "memory_bytes")["a"] == 300
    assert values(content, "processes")["a"] == 2


def test_counters_are_per_message() -> None:
    content = compared(run("a"), run("b", "redis"))
    assert values(content, "rows_written_per_message")["a"] == 4
    assert values(content, "commits_per_message")["a"] == 2
    assert values(content, "redis_commands_per_message")["a"] == 0  # it has no Redis


def test_nothing_is_known_of_the_stores_behind_a_server_of_somebody_else_s() -> None:
    foreign = run("b", "go")
    foreign.summary["run"]["url"] = "ws://h/ws"
    foreign.summary["resources"].clear()
    content = compared(run("a"), foreign)
    of = {row["figure"]: row["values"] for row in content["figures"]}
    assert of["rows_written_per_message"] == {"a": 4, "b": None}
    assert of["redis_commands_per_message"] == {"a": 0, "b": None}


def test_undelivered_are_added_up_and_what_is_not_known_is_left_out() -> None:
    content = compared(run("a"), run("b", "redis"))
    assert values(content, "pushes_undelivered")["a"] == 3
    assert "lag.visible.p99" not in [row["figure"] for row in content["figures"]]
    assert values(content, "errors")["a"] == pytest.approx(0.001)


# --- telling apart ------------------------------------------------------------------------------------------


def separated(content: dict[str, Any], figure: str = "READ.p99") -> bool:
    return not next(row["not_separated"] for row in content["figures"] if row["figure"] == figure)


def test_two_times_below_five_floors_are_not_separated() -> None:
    low, high = FLOORS * 100 - 1, FLOORS * 100 + 1
    assert not separated(compared(run("a", read_p99=low // 5), run("b", "redis", read_p99=low)))
    assert separated(compared(run("a", read_p99=low // 5), run("b", "redis", read_p99=high)))


def test_times_closer_than_the_resolution_of_both_are_not_separated() -> None:
    assert not separated(compared(run("a", read_p99=1_000), run("b", "redis", read_p99=1_199)))
    assert separated(compared(run("a", read_p99=1_000), run("b", "redis", read_p99=1_201)))


def test_a_lower_bound_is_never_called_the_lower() -> None:
    lost = run("a", read_p99=5_000_000)
    lost.summary["operations"]["READ"]["latency_us"]["at_least"] = ["p99"]
    assert separated(compared(lost, run("b", "redis", read_p99=9_000)))  # the other is lower for certain
    content = compared(lost, run("b", "redis", read_p99=9_000_000))
    assert not separated(content)
    assert next(row for row in content["figures"] if row["figure"] == "READ.p99")["at_least"] == ["a"]


def test_one_block_separates_nothing_closer_than_its_unknown_noise() -> None:
    assert not separated(compared(run("a", cpu=5.0), run("b", "redis", cpu=5.2)), "cpu_s_per_1000_messages")
    assert separated(compared(run("a", cpu=5.0), run("b", "redis", cpu=5.8)), "cpu_s_per_1000_messages")


def test_blocks_that_overlap_are_not_separated() -> None:
    apart = (run("a", read_p99=10_000), run("b", read_p99=12_000), run("c", "redis", read_p99=13_000))
    assert separated(compared(*apart, run("d", "redis", read_p99=15_000)))
    assert not separated(compared(*apart, run("d", "redis", read_p99=11_000)))


def test_the_ranking_puts_those_together_that_are_not_separated() -> None:
    runs = (run("a", read_p99=9_000), run("b", "redis", read_p99=3_000), run("c", "queue", read_p99=3_050))
    assert ranking(compared(*runs), "READ.p99") == [["b", "c"], ["a"]]


def test_arms_of_unlike_durability_are_never_ranked_with_each_other() -> None:
    runs = (
        run("a", read_p99=9_000, durability="power"),
        run("b", "redis", read_p99=3_000, durability="power"),
        run("c", "queue", read_p99=1_000, durability="process"),
    )
    content = compared(*runs)
    assert ranking(content, "READ.p99") == []
    assert ranking(content, "READ.p99", ["a", "b"]) == [["b"], ["a"]]
    assert ranking(content, "READ.p99", ["b", "c"]) == []


@pytest.mark.parametrize("status", ["INVALID", "INCONCLUSIVE"])
def test_no_ranking_unless_every_timing_is_valid(status: str) -> None:
    content = compared(run("a"), run("b", "redis", read_p99=99_000, status=status))
    assert content["verdict"]["status"] == status
    assert ranking(content, "READ.p99") == []


# --- verdict ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "worst"),
    [((0, 10), 10), ((4, 12), 12), ((5, 4), 4), ((12, 130), 130), ((1, 3), 3), ((0, 0), 0)],
)
def test_the_exit_code_is_the_worst_run_s(codes: tuple[int, int], worst: int) -> None:
    content = compared(run("a", code=codes[0]), run("b", "redis", code=codes[1]))
    assert content["verdict"]["exit_code"] == worst


def test_one_wrong_run_makes_the_comparison_wrong() -> None:
    verdict = compared(run("a", correctness="UNKNOWN"), run("b", "redis", correctness="FAIL"))["verdict"]
    assert (verdict["status"], verdict["correctness"]) == ("VALID", "FAIL")


def test_the_coarsest_resolution_counts() -> None:
    assert compared(run("a", floor=50), run("b", "redis", floor=700))["resolution_floor_us"] == 700
    assert compared(run("a", floor=None), run("b", "redis", floor=None))["resolution_floor_us"] is None


def test_what_is_written_can_be_read_again() -> None:
    content = compared(run("a"), run("b", "redis"))
    assert json.loads(to_json(content)) == content
