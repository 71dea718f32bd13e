"""A small live search: the control with a planted service time, whose capacity is known by construction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.capacity import objective
from bench.capacity.climb import STEPS
from bench.capacity.search import Limits
from bench.capacity.study import DRIFT_S, Pace, Study
from bench.metrics.history import History
from bench.options import Places, RunOptions
from bench.results import RunFolder
from bench.services import server
from tests.e2e import small

pytestmark = pytest.mark.services

SERVICE_MS = 10.0
"""One SEND at a time: 100 a second, and no more."""
PACE = Pace(warmup_s=1.0, measure_s=2.5)
USERS = 60


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("capacity")
    patch = pytest.MonkeyPatch()
    patch.setenv("PLANTED_SERVICE_MS", str(SERVICE_MS))
    patch.setattr(server, "MODULE", "tests.e2e.slow_server")
    small.remember()
    options = RunOptions("memory", users=USERS, out=out, places=Places("local"), command="test")
    wanted = objective.parse("SEND.p99<300ms, errors<1%, violations=0")
    limits = Limits(start=60.0, low=50.0, high=400.0, coarse=2.5, blocks=0)
    for _ in range(3):  # a machine that was disturbed has steps that count for nothing; what counts is judged
        made = Study(options, wanted, limits, PACE, say=lambda _: None, show=lambda _: None)
        made.conduct()
        found = made.climbers[0].found()
        if found.held is not None and found.binding != "the load generator":
            break
    patch.undo()
    return made, out


def test_the_bracket_is_around_what_was_planted(study: tuple[Study, Path]) -> None:
    made, _ = study
    (climber,) = made.climbers
    found = climber.found()
    assert not climber.ended
    assert not climber.broken
    assert (found.held, found.failed) == (60.0, 120.0), "one in 10 ms are 100 a second"
    assert found.binding.startswith("SEND p99, at the server")
    assert not small.processes()


def test_each_step_has_a_record_of_its_own_and_they_add_up(study: tuple[Study, Path]) -> None:
    made, out = study
    whole = RunFolder(out / made.control.runs[0])
    steps = [RunFolder(path) for path in sorted((whole.path / STEPS).iterdir())]
    assert len(steps) >= 3
    rows = [folder.table("operations").rows for folder in steps]
    assert min(rows) > 100
    assert sum(rows) <= whole.table("operations").rows
    for number, folder in enumerate(steps):
        summary = folder.summary()
        assert not summary["record"]["problem_count"], summary["record"]
        assert summary["load"]["outcome_complete_share"] == 1.0
        assert summary["load"]["connections_held"] == USERS
        assert summary["load"]["reconnects"] == 0
        assert _guard(summary, "work_ledger")["verdict"] == "ok", _guard(summary, "work_ledger")["message"]
        seconds = DRIFT_S if number == 1 else PACE.measure_s
        assert History(folder).window.seconds == pytest.approx(seconds)
        asked = folder.manifest()["load"]["send_per_s"]
        assert summary["operations"]["SEND"]["count"] == pytest.approx(asked * seconds, rel=0.1)


def test_the_whole_record_is_judged_as_a_runs_is(study: tuple[Study, Path]) -> None:
    made, out = study
    whole = RunFolder(out / made.control.runs[0])
    manifest = whole.manifest()
    assert manifest["ended"]["how"] == "finished"
    assert manifest["steps"] == len(list((whole.path / STEPS).iterdir()))
    operations = whole.table("operations")
    planned = operations["plan"][(operations["plan"] >= 0) & (operations["attempt"] == 0)]
    assert len(set(planned.tolist())) == len(planned) == manifest["load"]["planned"]


def _guard(summary: dict[str, Any], name: str) -> dict[str, Any]:
    return next(guard for guard in summary["guards"] if guard["guard"] == name)
