"""Who is visited when, how a search ends in words, and what a study comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.capacity import content, words
from bench.capacity.search import (
    DISTURBED,
    EVERY,
    FAILS,
    FOUND,
    GENERATOR,
    HOLDS,
    NOISY,
    NONE,
    TOO_SMALL,
    UNFINISHED,
    UNKNOWN,
    Ask,
    Bracket,
    Check,
    Found,
    Limits,
    Search,
    Seen,
)
from bench.capacity.study import CHECKS_BEFORE, Climber, said_of, visits
from bench.options import Arm
from bench.results import Json

SLO = "READ.p99<50ms"
GOOD = Found(
    FOUND, 141.0, (134.0, 149.0), 0.057, "READ p99, in MySQL", 145.0, 139.0, "", (Bracket(1, 2),) * 6
)


def climbers(*names: str) -> list[Climber]:
    return [Climber(Arm(name, {}), Search(Limits())) for name in names]


def told(made: list[Climber], control: Climber, rounds: int) -> list[tuple[str, int | None]]:
    return [(v.climber.arm.scheme, v.blocks) for v in visits(made, control, rounds, 6)]


def test_one_scheme_has_the_control_around_it() -> None:
    made, (control,) = climbers("redis"), climbers("memory")
    assert told(made, control, 1) == [("memory", 0), ("redis", None), ("memory", 0)]


def test_the_control_alone_is_searched_and_looked_at_again() -> None:
    made = climbers("memory")
    assert told(made, made[0], 1) == [("memory", None), ("memory", 0)]


def test_all_arms_are_visited_in_rotated_order() -> None:
    made = climbers("memory", "db", "redis", "queue", "other")
    found = told(made, made[0], 3)
    assert found[0] == ("memory", 3)
    assert found[-1] == ("memory", None)
    rounds = [found[1:5], found[5:9], found[10:14]]
    assert found[9] == ("memory", None)
    assert [[blocks for _, blocks in one] for one in rounds] == [[3] * 4, [None] * 4, [None] * 4]
    assert [one[0][0] for one in rounds] == ["db", "redis", "queue"]
    assert [{name for name, _ in one} for one in rounds] == [{"db", "redis", "queue", "other"}] * 3


def test_the_last_round_is_for_confirming() -> None:
    made = climbers("memory", "db")
    of_db = [v for v in visits(made, made[0], 3, 6) if v.climber is made[1]]
    assert [(v.blocks, v.checks) for v in of_db] == [(3, CHECKS_BEFORE), (None, CHECKS_BEFORE), (None, None)]
    (only,) = [v for v in visits(made[1:], made[0], 1, 6) if v.climber is made[1]]
    assert (only.blocks, only.checks) == (None, None)


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (
            GOOD,
            0,
            "is READ p99, in MySQL (6 blocks, 95% interval; not confirmed by more steps at shares of it).",
        ),
        (
            replace(GOOD, checks=(Check(0.9, 3, 3),)),
            0,
            "redis carries 141 [134, 149] msg/s inside READ.p99<50ms; what stops it is READ p99, in MySQL (6",
        ),
        (
            Found(NONE, failed=5, binding="READ p99"),
            10,
            "No load can meet READ.p99<50ms with redis: it failed at 5",
        ),
        (Found(EVERY, held=5000), 5, "Every load that was tried meets READ.p99<50ms with redis, up to 5,000"),
        (Found(GENERATOR, held=900, why="late"), 4, "The generator binds before redis does: late. It held"),
        (Found(TOO_SMALL, why="late"), 3, "This machine is too small"),
        (Found(NOISY, held=50, why="a backup"), 5, "too noisy to say what redis carries"),
        (
            Found(UNFINISHED, held=50, failed=60),
            5,
            "held READ.p99<50ms at 50.00 msg/s and failed at 60.00 msg/s. That is a bracket, not a figure.",
        ),
        (
            Found(UNFINISHED, held=2000, failed=1891),
            5,
            "held READ.p99<50ms at 2,000 msg/s and failed at 1,891 msg/s. The two overlap: around it, chance",
        ),
        (Found(UNFINISHED), 5, "did not get as far as an answer"),
        (Found(words.FAILED, why="the server died"), 4, "could not be carried out: the server died."),
    ],
    ids=lambda value: getattr(value, "how", None),
)
def test_each_end_is_a_sentence_and_an_exit_code(found: Found, code: int, said: str) -> None:
    text = words.sentence(found, "redis", SLO, "msg/s")
    assert said in text
    assert text.endswith(".")
    assert words.EXIT_CODES[found.how] == code
    if found.how != FOUND:
        assert "[" not in text


def test_a_step_is_told_in_the_unit_of_the_search() -> None:
    told = said_of(Ask(2828.4, "staircase"), Seen(FAILS, "READ p99", 3.2), "users")
    assert told == "2,828 users: fails (3.20 of the limit): READ p99"


def verdict(*found: Found, drift: float | None = 0.01, **more: Any) -> Json:
    arms = []
    for number, one in enumerate(found):
        arm = content.arm(f"arm{number}", {"scheme": "redis"}, ["r"], one, [], more.get("broken", ()))
        arms.append(arm | {"sentence": f"{one.how}."})
    control = {"drift": drift, "disturbed": more.get("disturbed", [])}
    return content.verdict(arms, control, interrupted=more.get("interrupted", False))


def test_found_and_quiet_is_valid() -> None:
    said = verdict(GOOD, GOOD)
    assert (said["status"], said["correctness"], said["exit_code"], said["reasons"]) == (
        "VALID",
        "PASS",
        0,
        [],
    )


@pytest.mark.parametrize(
    ("found", "more", "status", "code"),
    [
        (GOOD, {"drift": 0.08}, "INCONCLUSIVE", 5),
        (GOOD, {"drift": None, "disturbed": ["c2"]}, "INCONCLUSIVE", 5),
        (GOOD, {"interrupted": True}, "INCONCLUSIVE", 130),
        (GOOD, {"broken": [{"name": "unread", "violations": 1, "eligible": 9}]}, "VALID", 12),
        (Found(GENERATOR), {}, "INVALID", 4),
        (Found(UNFINISHED), {}, "INCONCLUSIVE", 5),
        (Found(NONE), {}, "VALID", 10),
    ],
)
def test_what_a_study_comes_to(found: Found, more: Json, status: str, code: int) -> None:
    said = verdict(GOOD, found, **more)
    assert (said["status"], said["exit_code"]) == (status, code)
    assert bool(said["reasons"]) == (found.how != NONE)


@pytest.mark.parametrize(("others", "noisy"), [(0.1, False), (0.9, True)])
def test_what_else_ran_on_the_machine_is_a_reason(others: float, noisy: bool) -> None:
    steps = [{"figures": {"foreign_cores": cores}} for cores in (0.0, others, others, others, 2.0)]
    arm = content.arm("redis", {"scheme": "redis"}, ["r"], GOOD, steps, []) | {"sentence": "."}
    said = content.verdict([arm], {"drift": 0.0, "disturbed": []}, interrupted=False)
    assert said["status"] == ("INCONCLUSIVE" if noisy else "VALID")
    assert any("something else" in reason for reason in said["reasons"]) == noisy


def test_a_figure_that_does_not_hold_when_it_is_measured_once_more() -> None:
    fine = (Check(0.9, 3, 4, "READ p99"), Check(1.15, 0, 2, "READ p99"))
    assert not words.disagreements(Found(FOUND, 100.0, (95, 105), checks=fine))
    off = Found(FOUND, 100.0, (95, 105), checks=(Check(0.9, 1, 4, "READ p99"), Check(1.15, 2, 2)))
    assert words.disagreements(off) == [
        "at 90% of the figure the objective held in 1 of 4 steps (READ p99)",
        "at 115% of the figure the objective still held in 2 of 2 steps",
    ]
    assert verdict(off)["status"] == "INCONCLUSIVE"


def drift_step(run_id: str, used: float, said: str = HOLDS) -> Json:
    return {"run_id": run_id, "said": said, "figures": {"cpu_s_per_1000_messages": {"server": used}}}


def test_the_control_tells_the_drift_of_the_machine() -> None:
    steps = [drift_step("a", 2.0), drift_step("b", 2.1)]
    assert content.control(["a", "b"], steps)["drift"] == 0.05
    assert content.control(["a"], steps[:1])["drift"] is None


def test_a_disturbed_step_tells_of_others_and_of_no_drift() -> None:
    taken = [drift_step("a", 2.0), drift_step("b", 2.9, DISTURBED), drift_step("b", 2.5, UNKNOWN)]
    never = content.control(["a", "b"], taken)
    assert (never["drift"], never["disturbed"]) == (None, ["b"])
    repeated = content.control(["a", "b"], [*taken, drift_step("b", 2.02)])
    assert (repeated["drift"], repeated["disturbed"]) == (0.01, [])
