"""Each guard with figures that make it fire and figures that do not; verdicts and exit codes in their
order."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bench import guards
from bench.expressions import parse
from bench.guards import GUARDS, Guard
from bench.guards.guard import OK
from bench.metrics.ledger import SLACK, compared
from bench.results import Json
from bench.summary import summarize
from tests.bench import guards_cases
from tests.bench.synthetic import build


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Json:
    folder, _ = build(tmp_path_factory.mktemp("run"), send_per_s=60, warmup_s=12)
    return summarize(folder)


@pytest.fixture
def summary(made: Json) -> Json:
    """Figures of a good run, to spoil."""
    return copy.deepcopy(made)


def spoil(summary: Json, path: str, value: Any) -> Json:
    *steps, last = path.split("/")
    place = summary
    for step in steps:
        place = place[step]
    assert last in place, path
    place[last] = value
    return summary


def said(summary: Json, name: str) -> Guard:
    return next(guard for guard in guards.look(summary) if guard.guard == name)


def step(achieved: int) -> Json:
    return {"at_s": 10, "offered": 1000, "achieved": achieved, "achieved_share": achieved / 1000}


def died() -> list[Json]:
    return [
        {
            "component": "server",
            "at_s": 12.25,
            "phase": "measure",
            "message": "server: killed by signal 9 at 12.2 s",
        }
    ]


def check(verdict: str, *, promised: bool = True, violations: int = 0) -> Json:
    return {
        "name": "acknowledged_reads",
        "promised": promised,
        "verdict": verdict,
        "violations": violations,
        "eligible": 10,
        "unknown_because": "a hole" if verdict == "unknown" else None,
    }


def probes(**figures: Any) -> Json:
    stamps = {"none": 0, "clean": 900, "coalesced": 5}
    return {
        "users": 20,
        "load_share": 0.0987,
        "operations": 905,
        "cpu_cores": 0.01,
        "stamps": stamps,
    } | figures


def other(*, apart: bool | None, gap_us: float = -5_001) -> Json:
    return {"from": "load", "p99_gap_us": gap_us, "p99_apart": apart, "maybe_chance": False}


def ceiling(share: float) -> Json:
    return {"near": {"generator_mixed": {"share": share, "used_per_s": 700.0, "ceiling_per_s": 1000.0}}}


def counted(live: int, offline: int, agrees: bool | None) -> list[Json]:
    return [
        {
            "check": "sync_pages",
            "live": {"eligible": 10, "violations": live},
            "offline": {"eligible": 10, "violations": offline},
            "agrees": agrees,
        }
    ]


def worked(*, declared: tuple[float, float], counted: float) -> Json:
    return {"available": True, "rows": [compared("mysql.Com_update", declared, counted)]}


def late(p99: list[int | None], p50: tuple[int, int, int] = (200, 300, 500)) -> Json:
    return {"p50": list(p50), "p99": p99}


FIRES = [
    ("finished", "ended", {"how": "failed", "phase": "measure", "message": "it broke"}, "invalid"),
    ("finished", "ended", {"how": "interrupted", "phase": "measure", "message": ""}, "inconclusive"),
    ("everything_alive", "deaths", died(), "invalid"),
    ("something_measured", "operations", {}, "invalid"),
    ("connections_held", "load/connections_held", 59, "invalid"),
    ("connections_held", "load/connections_asked", 0, "invalid"),
    ("offered_achieved", "load/worst_step", step(989), "invalid"),
    ("load_carried", "load/never_due", 400, "inconclusive"),
    ("load_carried", "load/never_due", 100, "warn"),
    ("load_carried", "operations/SEND/info", 100, "warn"),
    ("load_carried", "operations/SEND/fail", 500, "inconclusive"),
    ("outcomes_complete", "load/outcome_complete_share", 0.9989, "invalid"),
    ("record_complete", "record/problem_count", 1, "invalid"),
    ("live_agrees", "live", counted(1, 0, False), "invalid"),
    ("send_lag", "generator/resolution_floor_us", 5_001, "invalid"),
    ("send_lag_steady", "generator/send_lag_by_third_us", late([900, 1_500, 2_000]), "invalid"),
    ("generator_cpu", "generator/cpu_cores_by_worker", [0.2, 0.9], "invalid"),
    ("generator_cpu", "generator/cpu_cores_by_worker", [0.7, 0.2], "warn"),
    ("generator_ceiling", "ceilings", ceiling(0.901), "invalid"),
    ("generator_ceiling", "ceilings", ceiling(0.701), "warn"),
    ("probe_users", "probe_users", probes(cpu_cores=0.21), "warn"),
    ("probe_users", "probe_users", probes(stamps={"none": 3, "clean": 0, "coalesced": 0}), "warn"),
    ("probe_users_agree", "operations/READ/cross_check", other(apart=True), "warn"),
    ("probe_users_agree", "lag/receipt/cross_check", other(apart=True), "warn"),
    ("internal_errors", "operations/READ/errors", {"INTERNAL": 1}, "invalid"),
    ("drained", "drained", False, "warn"),
    ("final_read", "consistency/checks", [check("fail", violations=1)], "warn"),
    ("final_read", "consistency/checks", [check("unknown")], "warn"),
    ("work_ledger", "ledger", worked(declared=(1000, 1010), counted=1021), "invalid"),
    ("work_ledger", "ledger", worked(declared=(1000, 1010), counted=989), "invalid"),
    ("enough_samples", "operations/READ/latency_us", {"n": 99}, "inconclusive"),
    ("enough_samples", "operations/SEND/latency_us", {"n": 999}, "warn"),
    *guards_cases.FIRES,
]
SILENT = [
    ("connections_held", "load/connections_held", 60),
    ("offered_achieved", "load/worst_step", step(990)),
    ("offered_achieved", "load/worst_step", None),
    ("load_carried", "load/never_due", 20),
    ("load_carried", "operations/SEND/info", 20),
    ("outcomes_complete", "load/outcome_complete_share", 0.999),
    ("outcomes_complete", "load/outcome_complete_share", None),
    ("live_agrees", "live", counted(1, 1, True)),
    ("live_agrees", "live", counted(1, 0, None)),
    ("send_lag", "generator/resolution_floor_us", 5_000),
    ("send_lag_steady", "generator/send_lag_by_third_us", late([900, 2_500, 2_000])),
    ("send_lag_steady", "generator/send_lag_by_third_us", late([100, 300, 900])),
    ("send_lag_steady", "generator/send_lag_by_third_us", late([1_501, 3_512, 3_606])),
    ("send_lag_steady", "generator/send_lag_by_third_us", late([900, 1_500, 2_000], (200, 210, 390))),
    ("send_lag_steady", "generator/send_lag_by_third_us", late([4_000, 4_500, 4_900])),
    ("send_lag_steady", "generator/send_lag_by_third_us", late([None, 9_000, 90_000])),
    ("generator_cpu", "generator/cpu_cores_by_worker", [0.69]),
    ("generator_cpu", "generator/cpu_cores_by_worker", []),
    ("generator_ceiling", "ceilings", ceiling(0.7)),
    ("generator_ceiling", "ceilings", None),
    ("probe_users", "probe_users", probes(cpu_cores=0.20)),
    ("probe_users", "probe_users", probes(cpu_cores=None, load_share=None)),
    ("probe_users", "probe_users", probes(operations=0, stamps={"none": 0, "clean": 0, "coalesced": 0})),
    ("probe_users_agree", "operations/READ/cross_check", other(apart=False)),
    ("probe_users_agree", "operations/READ/cross_check", other(apart=None)),
    ("probe_users_agree", "operations/READ/cross_check", other(apart=True, gap_us=-5_000)),
    ("internal_errors", "operations/READ/errors", {"NOT_MEMBER": 5}),
    ("drained", "drained", None),
    ("final_read", "consistency/checks", [check("fail", promised=False, violations=9)]),
    ("work_ledger", "ledger", worked(declared=(1000, 1010), counted=1020)),
    ("work_ledger", "ledger", worked(declared=(1000, 1010), counted=990)),
    ("work_ledger", "ledger", worked(declared=(0, 0), counted=SLACK)),
    ("work_ledger", "ledger", {"available": False, "why_not": "nothing was counted"}),
    ("enough_samples", "operations/READ/latency_us", {"n": 1_000}),
    *guards_cases.SILENT,
]


def test_a_good_run_pleases_every_guard(summary: Json) -> None:
    assert {guard.guard: guard.verdict for guard in guards.look(summary)} == {
        guard.guard: "ok" for guard in guards.look(summary)
    }
    assert summary["verdict"]["reasons"] == []
    assert summary["verdict"]["exit_code"] == 0


@pytest.mark.parametrize(("name", "path", "value", "verdict"), FIRES)
def test_it_fires(summary: Json, name: str, path: str, value: Any, verdict: str) -> None:
    summary["resources"].setdefault("machine", {})
    guard = said(spoil(summary, path, value), name)
    assert guard.verdict == verdict
    assert guard.message
    assert guard.advice
    others = {g.guard for g in guards.look(summary) if g.verdict != "ok"} - {name}
    assert others <= {"something_measured", "enough_samples"}


@pytest.mark.parametrize(("name", "path", "value"), SILENT)
def test_it_does_not(summary: Json, name: str, path: str, value: Any) -> None:
    summary["resources"].setdefault("machine", {})
    assert said(spoil(summary, path, value), name).verdict == "ok"


@pytest.mark.parametrize(("name", "path", "value"), guards_cases.UNKNOWN)
def test_what_was_not_recorded_is_not_known(summary: Json, name: str, path: str, value: Any) -> None:
    guard = said(spoil(summary, path, value), name)
    assert (guard.verdict, guard.value) == ("unknown", None)
    assert "not known" in guard.message
    assert verdict(summary)["status"] == "VALID"
    assert name not in {reason["guard"] for reason in verdict(summary)["reasons"]}


def test_a_folder_of_an_older_version_is_neither_refused_nor_passed(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, send_per_s=60, warmup_s=12, watched=False)
    old = summarize(folder)
    silent = {guard["guard"] for guard in old["guards"] if guard["verdict"] == "unknown"}
    assert silent == {name for name, *_ in guards_cases.UNKNOWN} - {"warm_up", "littles_law", "run_queue"}
    assert old["verdict"]["status"] == "VALID"


def test_what_could_not_be_asked_is_said_to_be_unknown(summary: Json) -> None:
    summary |= {"drained": None, "not_available": {"DRAIN": "no secret", "DUMP": "no secret"}}
    assert said(summary, "drained").message.endswith("is not known (DRAIN: no secret)")
    assert said(summary, "final_read").message == "the API shows what was acknowledged"


def test_every_guard_is_made_to_fire() -> None:
    assert len({name for name, *_ in FIRES}) == len(GUARDS)


def test_a_gap_is_told_with_both_figures_and_whether_chance_could_do_it(summary: Json) -> None:
    spoil(
        summary, "operations/READ/latency_us", {**summary["operations"]["READ"]["latency_us"], "p99": 12_340}
    )
    spoil(summary, "operations/READ/cross_check", other(apart=True) | {"maybe_chance": True})
    told = said(summary, "probe_users_agree")
    assert "READ 12.34 ms (all), 17.34 ms (load, may be chance)" in told.message
    assert told.verdict == OK, "what may be chance is told, and speaks against nothing"


def test_how_many_probe_users_there_were_is_always_said(summary: Json) -> None:
    assert "no probe users" in said(summary, "probe_users").message
    told = said(spoil(summary, "probe_users", probes()), "probe_users").message
    assert told == "20 probe users in a process of their own, 9.9% of the load: it used 1% of a core"


def test_where_the_system_held_the_load_back_that_is_said(summary: Json) -> None:
    spoil(summary, "load/held_back", {"count": 57, "us_max": 2_010_000})
    guard = said(summary, "offered_achieved")
    assert guard.verdict == "ok"
    assert "57 waited up to 2.01 s for an answer" in guard.message
    assert "the system was the limit" in guard.message


def test_a_death_names_victim_and_second(summary: Json) -> None:
    guard = said(spoil(summary, "deaths", died()), "everything_alive")
    assert guard.message == "server: killed by signal 9 at 12.2 s"


@pytest.mark.parametrize(
    "spoilt",
    [("record/problem_count", 1), ("ended", {"how": "failed", "phase": "measure", "message": "it broke"})],
)
def test_live_counts_are_compared_on_a_whole_record_only(summary: Json, spoilt: tuple[str, Any]) -> None:
    spoil(summary, "live", counted(1, 0, False))
    assert "1 of 10 while it ran, 0 of 10 in the record" in said(summary, "live_agrees").message
    spoil(summary, *spoilt)
    assert said(summary, "live_agrees").verdict == "ok"


# --- verdicts ---------------------------------------------------------------------------------------------


def verdict(summary: Json, *conditions: str) -> Json:
    return guards.verdict(summary, guards.look(summary), [parse(text) for text in conditions])


LOST = ("consistency/checks", [check("fail", violations=1)])
UNKNOWN = ("consistency/checks", [check("unknown")])
UNPROMISED = ("consistency/checks", [check("pass", promised=False)])
VOID = ("record/problem_count", 1)
THIN = ("operations/READ/latency_us", {"n": 5})
TRUE = "messages_per_s > 1"


@pytest.mark.parametrize(
    ("spoilt", "conditions", "code", "outcome"),
    [
        ([], [], 0, "PASS"),
        ([], ["messages_per_s < 1"], 0, "PASS"),
        ([], [TRUE], 10, "FAIL"),
        ([THIN], [TRUE], 5, "UNKNOWN"),
        ([UNKNOWN], [TRUE], 5, "UNKNOWN"),
        ([UNPROMISED], [TRUE], 5, "UNKNOWN"),
        ([VOID, THIN], [TRUE], 4, "UNKNOWN"),
        ([LOST, VOID, THIN], [TRUE], 12, "VIOLATION"),
        (
            [LOST, ("ended", {"how": "internal_error", "phase": "measure", "message": "x"})],
            [TRUE],
            1,
            "UNKNOWN",
        ),
        ([LOST, ("ended", {"how": "not_started", "phase": "setup", "message": "x"})], [TRUE], 3, "UNKNOWN"),
        (
            [LOST, VOID, ("ended", {"how": "interrupted", "phase": "drain", "message": ""})],
            [TRUE],
            130,
            "UNKNOWN",
        ),
        ([("ended", {"how": "failed", "phase": "measure", "message": "x"})], [TRUE], 4, "UNKNOWN"),
        ([("ended", {"how": "failed", "phase": "drain", "message": "x"})], [TRUE], 4, "UNKNOWN"),
        ([("ended", {"how": "failed", "phase": "warmup", "message": "x"})], [TRUE], 3, "UNKNOWN"),
        ([LOST, ("ended", {"how": "failed", "phase": "connect", "message": "x"})], [TRUE], 3, "UNKNOWN"),
        ([VOID, ("ended", {"how": "violation", "phase": "warmup", "message": "x"})], [TRUE], 12, "VIOLATION"),
    ],
)
def test_exit_codes_in_their_order(
    summary: Json, spoilt: list[tuple[str, Any]], conditions: list[str], code: int, outcome: str
) -> None:
    for path, value in spoilt:
        spoil(summary, path, value)
    found = verdict(summary, *conditions)
    assert (found["exit_code"], found["outcome"]) == (code, outcome)


def test_all_reasons_are_listed_worst_first(summary: Json) -> None:
    for path, value in (LOST, VOID, THIN, ("drained", False)):
        spoil(summary, path, value)
    found = verdict(summary, TRUE)
    names = [reason["guard"] for reason in found["reasons"]]
    assert names == ["record_complete", "enough_samples", "drained", "final_read", "fail_if"]
    assert all(reason["message"] and reason["advice"] for reason in found["reasons"])


@pytest.mark.parametrize(
    ("checks", "correctness"),
    [
        ([check("pass")], "PASS"),
        ([check("pass"), check("fail", promised=False, violations=3)], "PASS"),
        ([check("pass"), check("unknown")], "UNKNOWN"),
        ([check("unknown", promised=False)], "UNKNOWN"),
        ([check("unknown"), check("fail", violations=1)], "FAIL"),
        ([], "UNKNOWN"),
    ],
)
def test_correctness_is_a_verdict_of_its_own(summary: Json, checks: list[Json], correctness: str) -> None:
    found = verdict(spoil(summary, "consistency/checks", checks))
    assert (found["status"], found["correctness"]) == ("VALID", correctness)


def test_a_condition_that_nobody_can_decide_is_inconclusive(summary: Json) -> None:
    found = verdict(summary, "SEND.p999 > 1ms")
    assert (found["status"], found["exit_code"]) == ("INCONCLUSIVE", 5)
    assert found["thresholds"][0]["holds"] is None
    assert "not enough samples" in found["reasons"][0]["message"]


def test_conditions_come_with_their_value(summary: Json) -> None:
    held, other = verdict(summary, TRUE, "errors > 50%")["thresholds"]
    assert (held["holds"], held["value"]) == (True, 60.0)
    assert (other["holds"], other["value"]) == (False, 0.0)
