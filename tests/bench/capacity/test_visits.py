"""A whole study of several arms, with servers of known capacity in place of what is measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.capacity import objective, study
from bench.capacity.climb import Measured
from bench.capacity.search import BLOCK, CHECK, DISTURBED, FAILS, FOUND, HOLDS, NOISY, Ask, Limits, Seen
from bench.capacity.study import BASE, DRIFT, DRIFT_AGAIN, MORE_TURNS, PATIENCE, USUAL_AFTER, Pace, Study
from bench.options import RunOptions
from bench.results import RunFolder

CAPACITY = {"memory": 900.0, "db": 70.0, "redis": 120.0, "queue": 45.0}
LIMITS = Limits(start=25.0, factor=1.6, down=True)


class Machine:
    """Carries out visits at once; each step takes `step_s` of the clock."""

    def __init__(self, step_s: float = 12.0) -> None:
        self.now, self.step_s = 0.0, step_s
        self.visited: list[str] = []
        self.arm = ""
        self.stolen: list[float] = []
        """CPU, in cores, that others on the host take in each of the next steps."""
        self.usual: list[float] = []
        self.busy: Iterator[bool] = itertools.repeat(False)
        """Whether others on the host disturb each of the next steps of redis,"""
        self.busy_drifts: Iterator[bool] = itertools.repeat(False)
        """and each of the next ones that tell the drift."""

    def climb(self, arm: Any, load: Any, options: Any, folder: RunFolder, **told: Any) -> None:
        self.arm = arm.scheme
        self.visited.append(arm.name)
        while (wanted := told["wanted"]()) is not None:
            self.now += self.step_s
            stolen = self.stolen.pop(0) if self.stolen else 0.0
            summary = {"load": wanted.rate_per_s, "stolen": stolen, "resources": {}}
            told["tell"](Measured(wanted, RunFolder(folder.path / "steps" / "000"), summary))
        ended = {"how": "finished", "phase": "final", "message": ""}
        folder.write_manifest({"run": {"scheme": arm.scheme}, "ended": ended})

    def judge(self, _: Any, summary: Any, usual: float) -> Seen:
        self.usual.append(usual)
        if self.arm == "redis" and next(self.busy, False):
            return Seen(DISTURBED, why="others")
        if self.arm == "memory" and summary["load"] == 160.0 and next(self.busy_drifts, False):
            return Seen(DISTURBED, why="others")
        held = summary["load"] < CAPACITY[self.arm]
        return Seen(HOLDS if held else FAILS, "" if held else "READ p99, in MySQL")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(study, "climb", made.climb)
    monkeypatch.setattr(study.objectives, "judge", made.judge)
    monkeypatch.setattr(study.objectives, "stolen_cores", lambda summary: summary["stolen"])
    monkeypatch.setattr(study.objectives, "own_cores", lambda summary: 0.01 * summary["load"])
    monkeypatch.setattr(study.objectives, "shares", lambda *_: [])
    monkeypatch.setattr(study, "digest", lambda _: {"cpu_s_per_1000_messages": {}, "foreign_cores": 0.0})
    monkeypatch.setattr(study.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(Study, "_broken_promises", lambda *_: [])
    return made


def conducted(scheme: str, out: Path, pace: Pace, limits: Limits = LIMITS) -> Study:
    options = RunOptions(scheme, users=30, out=out, command="test")
    made = Study(
        options, objective.parse("READ.p99<50ms"), limits, pace, say=lambda _: None, show=lambda _: None
    )
    made.conduct()
    return made


def test_all_arms_are_found_and_confirmed_in_three_rounds_on_one_ladder(
    machine: Machine, tmp_path: Path
) -> None:
    made = conducted("all", tmp_path, Pace(rounds=3))
    assert machine.visited[0] == machine.visited[-1] == "memory"
    assert len(machine.visited) == 15
    assert machine.visited[1:5] != machine.visited[5:9]
    for climber in made.climbers:
        found, true = climber.found(), CAPACITY[climber.arm.scheme]
        assert found.how == FOUND
        assert found.interval is not None
        assert found.interval[0] <= true <= found.interval[1]
        bases = [step for step in climber.steps if step.ask.load == LIMITS.start]
        assert [step.ask.stage for step in bases] == ["staircase", BASE, BASE]
        by_run = [
            [(step.ask.block, step.ask.stage) for step in climber.steps if step.run_id == run]
            for run in climber.runs
        ]
        blocks = [{block for block, stage in asked if stage == BLOCK} for asked in by_run]
        assert blocks == [{0, 1, 2}, {3, 4, 5}, set()]
        confirmed = [[block for block, stage in asked if stage == CHECK] for asked in by_run]
        assert confirmed == [[], [0, 0, 1, 1], [2, 2]]
        checks = [step for step in climber.steps if step.ask.stage == CHECK]
        assert [step.seen.said for step in checks] == [HOLDS, FAILS] * 3
        assert {step.wanted.measure_s for step in checks} == {8.0}
    assert made.content()["arms"][0]["arm"] == "control"


def test_a_search_that_is_over_is_not_visited_again(machine: Machine, tmp_path: Path) -> None:
    """All arms carry the most that may be asked for."""
    conducted("all", tmp_path, Pace(rounds=3), replace(LIMITS, high=26.0))
    assert len(machine.visited) == 6
    assert machine.visited[0] == machine.visited[-1] == "memory"


@pytest.mark.parametrize("scheme", ["all", "redis", "memory"])
def test_the_control_tells_of_the_drift_first_and_last(machine: Machine, tmp_path: Path, scheme: str) -> None:
    """At a load that is worth measuring, in the second step of both visits."""
    made = conducted(scheme, tmp_path, Pace(rounds=2))
    steps = [(step.run_id, step.ask) for step in made.control.steps if step.ask.stage == DRIFT]
    assert [run for run, _ in steps] == [made.control.runs[0], made.control.runs[-1]]
    assert {ask for _, ask in steps} == {Ask(160.0, DRIFT)}


def test_a_step_that_tells_the_drift_is_repeated_while_others_disturb_it(
    machine: Machine, tmp_path: Path
) -> None:
    """Twice in the first visit, and in the last one each time."""
    machine.busy_drifts = itertools.chain([True, True, False], itertools.repeat(True))
    made = conducted("redis", tmp_path, Pace())
    first, last = ([s for s in made.control.steps if s.run_id == run] for run in made.control.runs)
    said = [step.seen.said for step in first if step.ask.stage == DRIFT]
    assert said == [DISTURBED, DISTURBED, HOLDS]
    assert [step.ask.stage for step in last] == [BASE] + [DRIFT] * (1 + DRIFT_AGAIN)
    control = made.content()["control"]
    assert (control["drift"], control["disturbed"]) == (None, [made.control.runs[-1]])
    assert made.content()["verdict"]["exit_code"] == 5


def test_a_step_that_tells_the_drift_is_not_repeated_beyond_the_budget(
    machine: Machine, tmp_path: Path
) -> None:
    machine.busy_drifts = itertools.repeat(True)
    made = conducted("redis", tmp_path, Pace(budget_s=400.0))
    assert machine.now <= 400
    assert machine.visited[-1] == "memory"
    assert len(made.control.runs) == 2


def test_the_budget_ends_it_in_time_with_what_is_known(machine: Machine, tmp_path: Path) -> None:
    made = conducted("redis", tmp_path, Pace(budget_s=480.0), Limits(start=20.0))
    assert machine.visited == ["memory", "redis", "memory"]
    assert machine.now <= 480
    assert made.climbers[0].found().how == FOUND, "steps of 12 s leave time for six blocks"


def test_too_small_a_budget_is_a_bracket(machine: Machine, tmp_path: Path) -> None:
    made = conducted("redis", tmp_path, Pace(budget_s=180.0), Limits(start=20.0))
    found = made.climbers[0].found()
    assert found.how == "unfinished"
    assert found.held is not None
    assert found.held < 120 <= (found.failed or 0)
    assert machine.now <= 180
    assert made.content()["verdict"]["exit_code"] == 5


def test_a_step_is_told_what_others_on_the_host_usually_take(machine: Machine, tmp_path: Path) -> None:
    """The quarter of the steps that were quietest, of all arms together, once there are some."""
    machine.stolen = [0.2, 0.3, 0.01, 0.03, *[0.02] * 20]
    conducted("redis", tmp_path, Pace())
    assert machine.usual[: USUAL_AFTER - 1] == [0.0] * (USUAL_AFTER - 1)
    assert machine.usual[USUAL_AFTER - 1] == 0.02
    assert machine.usual[-1] == 0.0


def test_an_arm_that_meets_a_busy_host_is_left_and_visited_again(machine: Machine, tmp_path: Path) -> None:
    """The host is busy from the tenth step on, until the arm has been left in its round and once after it."""
    machine.busy = iter([*[False] * 10, *[True] * 2 * PATIENCE])
    made = conducted("redis", tmp_path, Pace())
    (climber,) = made.climbers
    assert machine.visited == ["memory", *["redis"] * 3, "memory"]
    assert climber.found().how == FOUND
    assert {check.share: check.held for check in climber.found().checks} == {0.9: 3, 1.15: 0}
    ends = [[s.seen.said for s in climber.steps if s.run_id == run][-PATIENCE:] for run in climber.runs]
    assert ends[0] == ends[1] == [DISTURBED] * PATIENCE
    assert DISTURBED not in ends[2]


def test_in_rounds_its_turn_comes_anyway(machine: Machine, tmp_path: Path) -> None:
    machine.busy = iter([*[False] * 10, *[True] * PATIENCE])
    made = conducted("all", tmp_path, Pace(rounds=3))
    assert [climber.found().how for climber in made.climbers] == [FOUND] * 5
    assert len(machine.visited) == 15, "no visit more than without it"


def test_a_host_that_stays_busy_is_said_to_be(machine: Machine, tmp_path: Path) -> None:
    machine.busy = itertools.chain([False] * 10, itertools.repeat(True))
    made = conducted("redis", tmp_path, Pace())
    (climber,) = made.climbers
    assert machine.visited.count("redis") == 1 + MORE_TURNS
    assert climber.found().how == NOISY
    assert climber.found().capacity is None
    assert made.content()["verdict"]["exit_code"] == 5


def test_no_turn_is_taken_again_beyond_the_budget(machine: Machine, tmp_path: Path) -> None:
    machine.busy = itertools.chain([False] * 10, itertools.repeat(True))
    conducted("redis", tmp_path, Pace(budget_s=300.0))
    assert machine.visited == ["memory", "redis", "memory"]
    assert machine.now <= 300
