"""What one step says: held, failed and by what, the generator's fault, or nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bench import guards
from bench.capacity import objective
from bench.capacity.objective import STOLEN
from bench.capacity.search import DISTURBED, FAILS, GENERATOR, HOLDS, UNKNOWN
from bench.expressions import ExpressionError
from bench.guards import GUARDS
from bench.results import Json
from bench.summary import summarize
from tests.bench.synthetic import build

WANTED = objective.parse("READ.p99<50s, lag.receipt.p99<500s, errors<1%, violations=0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Json:
    folder, _ = build(tmp_path_factory.mktemp("run"), send_per_s=60)
    return summarize(folder) | {"backlog": []}


@pytest.fixture
def summary(made: Json) -> Json:
    return copy.deepcopy(made)


def judged(summary: Json, wanted: objective.Objective = WANTED) -> Any:
    summary["guards"] = [guard.__dict__ for guard in guards.look(summary)]
    return objective.judge(wanted, summary)


def test_all_conditions_hold(summary: Json) -> None:
    seen = judged(summary)
    assert (seen.said, seen.binding) == (HOLDS, "")
    assert 0 < seen.share < 1


def test_the_condition_that_failed_by_most_binds(summary: Json) -> None:
    summary["operations"]["READ"]["latency_us"]["p99"] = 60_000_000
    summary["lag"]["receipt"]["quantiles"]["p99"] = 5_000_000_000
    seen = judged(summary)
    assert (seen.said, seen.share) == (FAILS, 10)
    assert seen.binding.startswith("receipt lag p99, ")


@pytest.mark.parametrize(
    ("component", "said"), [("server", "at the server (CPU)"), ("mysql", "in MySQL (CPU)")]
)
def test_whoever_uses_a_core_is_where_it_was(summary: Json, component: str, said: str) -> None:
    summary["operations"]["READ"]["latency_us"]["p99"] = 60_000_000
    summary["resources"].setdefault(component, {})["cpu_cores_mean"] = 0.97
    assert judged(summary).binding == f"READ p99, {said}"


def test_a_receipt_waits_at_the_consumer_if_the_queue_does(summary: Json) -> None:
    summary["lag"]["receipt"]["quantiles"]["p99"] = 900_000_000
    summary["lag"]["queue"] = {"available": True, "quantiles": {"p99": 800_000_000}}
    assert judged(summary).binding == "receipt lag p99, at the consumer"
    summary["lag"]["queue"]["quantiles"]["p99"] = 1_000
    assert "consumer" not in judged(summary).binding


def test_without_a_busy_core_the_longest_stage_is_where_it_was(summary: Json) -> None:
    summary["operations"]["READ"]["latency_us"]["p99"] = 60_000_000
    stages = dict.fromkeys(objective.STAGES, 1.0)
    summary["operations"]["READ"]["mean_ms_slow"] = stages | {"store": 40.0}
    assert judged(summary).binding == "READ p99, in MySQL"
    summary["operations"]["READ"]["mean_ms_slow"] = None
    summary["operations"]["READ"]["mean_ms"] = stages | {"wait": 40.0}
    assert judged(summary).binding == "READ p99, at the server (locks and pool)"


def test_a_backlog_that_grows_is_not_sustained(summary: Json) -> None:
    summary["backlog"] = [{"what": "events wait for the consumer", "grows": True}]
    seen = judged(summary)
    assert (seen.said, seen.binding) == (FAILS, "a backlog: events wait for the consumer")


def test_a_load_that_was_not_sent_says_nothing_of_the_system(summary: Json) -> None:
    summary["operations"]["READ"]["latency_us"]["p99"] = 60_000_000
    summary["generator"]["resolution_floor_us"] = 9_000
    seen = judged(summary)
    assert seen.said == GENERATOR
    assert "9.00 ms" in seen.why


def test_a_generator_that_was_kept_from_its_core_is_not_at_its_limit(summary: Json) -> None:
    summary["generator"] |= {"resolution_floor_us": 9_000, "cpu_cores_by_worker": [0.2]}
    ours = sum(each["cpu_cores_mean"] for name, each in summary["resources"].items() if name != "machine")
    summary["resources"]["machine"] = {"cpu_cores_mean": ours + 0.1, "counters": {}}
    assert judged(summary).said == GENERATOR
    summary["resources"]["machine"]["cpu_cores_mean"] = ours + 0.9
    seen = judged(summary)
    assert seen.said == UNKNOWN
    assert "something else used 0.90 cores" in seen.why
    summary["generator"]["cpu_cores_by_worker"] = [0.2, 0.95]
    assert judged(summary).said == GENERATOR


def stolen(summary: Json, cores: float) -> None:
    ours = sum(each["cpu_cores_mean"] for name, each in summary["resources"].items() if name != "machine")
    counters = {"steal_s": cores * summary["duration_s"]}
    summary["resources"]["machine"] = {"cpu_cores_mean": ours, "counters": counters}


def test_a_generator_that_its_host_kept_from_its_core_is_not_at_its_limit(summary: Json) -> None:
    summary["generator"] |= {"resolution_floor_us": 9_000, "cpu_cores_by_worker": [0.2]}
    stolen(summary, 0.04)
    assert judged(summary).said == GENERATOR
    stolen(summary, 0.2)
    seen = judged(summary)
    assert seen.said == DISTURBED
    assert "other machines on this host took 0.20 cores" in seen.why


@pytest.mark.parametrize(("p99_us", "otherwise"), [(60_000_000, FAILS), (6_000, HOLDS)])
def test_times_of_a_host_that_is_busy_with_others_say_nothing(
    summary: Json, p99_us: int, otherwise: str
) -> None:
    """Held or not: the ones that are left would hold too often."""
    summary["operations"]["READ"]["latency_us"]["p99"] = p99_us
    stolen(summary, STOLEN - 0.0005)
    assert judged(summary).said == otherwise
    stolen(summary, STOLEN + 0.001)
    seen = judged(summary)
    assert (seen.said, seen.why) == (
        DISTURBED,
        "other machines on this host took 0.6% of a core, more than 0.5%",
    )


def test_a_host_that_is_always_a_little_busy_is_what_is_measured(summary: Json) -> None:
    stolen(summary, 0.029)
    assert judged(summary).said == DISTURBED
    assert objective.judge(WANTED, summary, usual=0.01).said == HOLDS
    stolen(summary, 0.031)
    assert objective.judge(WANTED, summary, usual=0.01).said == DISTURBED


def test_what_is_no_matter_of_time_is_not_the_hosts(summary: Json) -> None:
    stolen(summary, 0.6)
    assert judged(summary).said == DISTURBED
    assert judged(summary, objective.parse("errors<0.1%, violations=0")).said != DISTURBED
    summary["operations"]["READ"]["fail"] = summary["operations"]["READ"]["count"]
    assert judged(summary).said == FAILS, "errors are no matter of time"


def test_operations_that_nobody_answers_fail(summary: Json) -> None:
    wanted = objective.parse("READ.p99<50s")
    summary["operations"]["SEND"]["info"] = summary["operations"]["SEND"]["count"]
    seen = judged(summary, wanted)
    assert (seen.said, seen.binding) == (FAILS, "operations refused or never answered")


def test_errors_are_named_by_the_most_frequent(summary: Json) -> None:
    send = summary["operations"]["SEND"]
    send["info"], send["errors"] = send["count"], {"DEADLINE": send["count"] - 1, "CLOSED": 1}
    assert judged(summary).binding == "errors, mostly SEND DEADLINE"


def test_a_broken_promise_is_named(summary: Json) -> None:
    check = next(c for c in summary["consistency"]["checks"] if c["promised"])
    check["violations"] = 3
    assert judged(summary).binding == f"violations, {check['name']}"


def test_one_step_may_show_what_it_could_not_carry_alone(summary: Json) -> None:
    summary["operations"]["READ"]["latency_us"]["low_n"] = ["p99"]
    assert judged(summary).said == HOLDS
    summary["operations"]["READ"]["latency_us"]["p99"] = None
    seen = judged(summary)
    assert seen.said == UNKNOWN
    assert "READ" in seen.why


def test_a_damaged_record_says_nothing(summary: Json) -> None:
    summary["record"] |= {"problem_count": 1, "problems": ["a row is missing"]}
    seen = judged(summary)
    assert (seen.said, seen.why) == (UNKNOWN, "a row is missing")


def test_the_guards_that_are_named_are_there(summary: Json) -> None:
    known = {guard(summary).guard for guard in GUARDS}
    assert known >= objective.OF_THE_GENERATOR
    assert objective.OF_THE_SYSTEM.keys() <= known
    assert known >= objective.NOT_OF_A_STEP


@pytest.mark.parametrize(
    ("text", "said", "at"),
    [
        ("READ.p99<50ms, lag.reciept.p99<500ms", "Did you mean lag.receipt.p99", "lag.reciept"),
        ("READ.p99<50ms, errors<0.1ms", "errors takes % or no unit", "ms"),
        ("READ.p99 50ms", "is no condition", "50ms"),
        ("READ.p99<50ms,,violations=0", "is no condition", ",violations"),
        ("READ.p99<fast", "is no condition", "fast"),
        ("Read.p99<5ms", "Did you mean READ.p99", "Read"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, said: str, at: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        objective.parse(text)
    message, shown, mark = str(raised.value).splitlines()
    assert said in message
    assert shown == f"  {text}"
    assert mark == " " * (2 + text.rindex(at)) + "^"


@pytest.mark.parametrize("text", ["READ.p99>50ms", "errors>=1%", "SEND.mean<0ms", ""])
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(ExpressionError):
        objective.parse(text)
