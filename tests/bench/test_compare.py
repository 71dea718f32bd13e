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


def hub_bound(run: Run) -> Run:
    reason = {"guard": "hub_bound", "verdict": "warn", "message": "", "advice": ""}
    run.summary["verdict"]["reasons"].append(reason)
    return run


def test_a_tail_that_is_an_event_loops_is_not_ranked() -> None:
    content = compared(run("a"), hub_bound(run("b", "redis", read_p99=99_000)))
    assert ranking(content, "READ.p99") == []
    assert ranking(content, "READ.p50") == [["a", "b"]]
    assert ranking(content, "SEND.p99") == [["a"], ["b"]]


# --- the control --------------------------------------------------------------------------------------------


def control(run_id: str, at: str, *, cpu: float = 5.0, p50: int = 1_000, status: str = "VALID") -> Run:
    made = run(run_id, "memory", cpu=cpu, status=status)
    made.summary["operations"]["READ"]["latency_us"]["p50"] = p50
    return Run(run_id, made.summary, made.manifest | {"started_at": at})


@pytest.mark.parametrize(
    ("figures", "value", "verdict"),
    [
        ({}, 0.0, "ok"),
        ({"cpu": 5.24}, 0.048, "ok"),
        ({"cpu": 5.26}, 0.052, "inconclusive"),
        ({"cpu": 4.70}, -0.06, "inconclusive"),
        ({"p50": 1_190}, 0.0, "ok"),
        ({"p50": 1_210}, 0.21, "inconclusive"),
    ],
)
def test_a_control_that_drifted_says_that_the_machine_did(
    figures: dict[str, Any], value: float, verdict: str
) -> None:
    content = compared(control("z", "10:00"), run("b", "redis"), control("a", "11:00", **figures))
    drift = content["control_drift"]
    assert (drift["verdict"], drift["value"]) == (verdict, pytest.approx(value))
    noisy = verdict == "inconclusive"
    assert content["verdict"]["status"] == ("INCONCLUSIVE" if noisy else "VALID")
    assert content["verdict"]["exit_code"] == (5 if noisy else 0)
    assert [reason["run_id"] for reason in content["verdict"]["reasons"]] == ["a"] * noisy


def test_the_first_and_the_last_run_of_the_control_are_compared_by_their_time() -> None:
    runs = [control("a", "11:00", cpu=5.5), control("b", "12:00", cpu=9.0), control("c", "10:00")]
    runs.append(control("d", "13:00", cpu=5.1))
    assert compared(*runs, run("e"))["control_drift"]["value"] == pytest.approx(0.02)


def test_one_run_of_the_control_knows_no_drift() -> None:
    content = compared(control("a", "10:00"), run("b", "redis"))
    assert (content["control_drift"]["verdict"], content["control_drift"]["value"]) == ("unknown", None)
    assert content["verdict"]["status"] == "VALID"


def test_a_drift_does_not_make_an_invalid_run_better() -> None:
    content = compared(control("a", "1"), control("b", "2", cpu=9.0, status="INVALID"), run("c"))
    assert content["verdict"]["status"] == "INVALID"
    assert content["verdict"]["exit_code"] == 5


def test_open_and_closed_arrivals_are_unlike() -> None:
    closed = run("b", "redis")
    closed.manifest["load"] = {"arrivals": "closed"}
    assert "arrivals differs" in differences([run("a"), closed])[0]


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


# --- blocks -------------------------------------------------------------------------------------------------


def block(number: int, scheme: str, p99: int, *, series: str = "s", **more: Any) -> Run:
    """A run of a series, with what its samples leave open."""
    made = run(f"{series}{number}-{scheme}", scheme, p99, **more)
    read = made.summary["operations"]["READ"]["latency_us"]
    read["bounds"] = {"p99": [p99 - 200, p99 + 300]}
    repeat = {"series": series, "block": number, "order": ["db", "redis"], "side": None}
    return Run(made.run_id, made.summary, made.manifest | {"repeat": repeat})


def series(name: str = "s", blocks: int = 6, *, faster: float = 0.8) -> list[Run]:
    """Blocks that differ three-fold, in each of which redis takes `faster` of what db takes."""
    took = [10_000 * (1 + 2 * i / max(1, blocks - 1)) for i in range(blocks)]
    pairs = [
        (block(i, "db", round(us), series=name), block(i, "redis", round(us * faster), series=name))
        for i, us in enumerate(took)
    ]
    return [each for pair in pairs for each in pair]


def row_of(content: dict[str, Any], figure: str = "READ.p99") -> dict[str, Any]:
    return next(row for row in content["figures"] if row["figure"] == figure)


def labelled(*runs: Run) -> dict[str, Any]:
    grouped = arms(runs)
    return compare(grouped, [str(arm.middle.summary["run"]["scheme"]) for arm in grouped])


def test_six_blocks_have_intervals_and_five_have_none() -> None:
    row = row_of(labelled(*series(blocks=6)))
    low, high = row["intervals"]["db"]
    assert 9_000 < low < row["values"]["db"] == 18_000 < high < 32_000
    assert row["blocks"] == {"db": 6, "redis": 6}
    fewer = row_of(labelled(*series(blocks=5)))
    assert fewer["intervals"] == {"db": None, "redis": None}
    assert fewer["ratios"][0]["interval"] is None


def test_what_the_samples_of_a_block_leave_open_is_in_the_interval() -> None:
    alike = [block(i, scheme, 10_000) for i in range(6) for scheme in ("db", "redis")]
    low, high = row_of(labelled(*alike))["intervals"]["db"]
    assert 9_600 < low < 10_000 < high < 10_600
    exact = row_of(labelled(*alike), "cpu_s_per_1000_messages")
    assert exact["intervals"]["db"] == [7.0, 7.0]


def test_interleaved_arms_are_told_apart_by_the_ratio_of_their_blocks() -> None:
    content = labelled(*series())
    ratio = row_of(content)["ratios"][0]
    assert (ratio["arms"], ratio["paired"], ratio["blocks"]) == (["db", "redis"], True, 6)
    assert ratio["interval"][0] < 1.25 < ratio["interval"][1] < 1.35
    assert ranking(content, "READ.p99") == [["redis"], ["db"]]


def test_the_same_blocks_apart_in_time_are_not_told_apart() -> None:
    interleaved = series()
    apart = [one for one in interleaved if one.summary["run"]["scheme"] == "db"]
    apart += [each for each in series("later") if each.summary["run"]["scheme"] == "redis"]
    content = labelled(*apart)
    ratio = row_of(content)["ratios"][0]
    assert not ratio["paired"]
    assert ratio["interval"][0] < 1 < ratio["interval"][1]
    assert not separated(content)


def test_a_block_that_one_arm_does_not_have_is_no_pair() -> None:
    content = labelled(*series(blocks=7)[:-1])
    ratio = row_of(content)["ratios"][0]
    assert (ratio["paired"], ratio["blocks"]) == (True, 6)


def test_repeated_runs_of_one_arm_are_one_arm_with_an_interval() -> None:
    mine = [one for one in series() if one.summary["run"]["scheme"] == "db"]
    assert len(arms(mine)) == 1
    assert row_of(labelled(*mine))["intervals"]["db"] is not None


def test_two_series_of_one_arm_are_two_sides() -> None:
    before, after = (
        [one for one in series(name) if one.summary["run"]["scheme"] == "db"] for name in ("old", "new")
    )
    assert [len(arm.runs) for arm in arms([*before, *after])] == [6, 6]


def test_sides_of_the_same_are_arms_of_their_own() -> None:
    apart = [
        Run(f"{i}{side}", one.summary, one.manifest | {"repeat": one.manifest["repeat"] | {"side": side}})
        for i, one in enumerate([block(0, "db", 10_000), block(1, "db", 10_000)])
        for side in "AB"
    ]
    assert [[each.run_id for each in arm.runs] for arm in arms(apart)] == [["0A", "1A"], ["0B", "1B"]]


def test_a_lower_bound_has_no_upper_end_and_no_ratio() -> None:
    runs = series()
    runs[0].summary["operations"]["READ"]["latency_us"]["at_least"] = ["p99"]
    row = row_of(labelled(*runs))
    assert row["at_least"] == ["db"]
    assert row["intervals"]["db"][1] is None
    assert row["ratios"] == []


def test_the_order_of_the_runs_is_kept() -> None:
    content = labelled(*series(blocks=2))
    assert content["order"] == [{"series": "s", "blocks": [["db", "redis"], ["db", "redis"]]}]
    assert labelled(run("a"), run("b", "redis"))["order"] == []
