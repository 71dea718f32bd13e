"""Closed arrivals: one planned operation of a device at a time, intended for when the plan wanted it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.load.closed import Closed
from bench.load.device import Crowd, Device
from bench.load.engine import Engine
from bench.load.pacing import now_ns
from bench.load.recorder import read_rows
from bench.load.shares import share_of
from bench.load.timeline import Timeline
from bench.plan import PlanOptions, make
from bench.population import Population, PopulationOptions, build
from bench.record import Op, Outcome
from tests.bench.load.scripted import ScriptedServer, error, silence
from tests.bench.load.test_device import until

MS = 1_000_000
S = 1_000_000_000
DEADLINE_S = 0.3


@pytest.fixture(scope="module")
def population() -> Population:
    return build(PopulationOptions(6))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture
def engine(server: ScriptedServer, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(server.url, tmp_path, 0, deadline_s=DEADLINE_S, on_fatal=pytest.fail)
    yield engine
    engine.stop()
    assert not [what for what in engine.counters if what.startswith("bug")], engine.counters


@pytest.fixture
def crowd(engine: Engine, population: Population) -> Iterator[Crowd]:
    crowd = Crowd(engine, population, list(range(6)), secret="hush")
    for device in crowd.devices[:2]:
        device.connect()
    until(lambda: crowd.ready == 2)
    yield crowd
    for device in crowd.devices:
        device.close()


def state(due: int, device: Device, number: int) -> int:
    return device.state(due=due, plan=number)


def asked(closed: Closed, crowd: Crowd, *numbers: int, device: int = 0) -> int:
    """These STATEs of the plan fall due now, all at once; when that was."""
    due = now_ns()

    def fall_due(_: int) -> None:
        for number in numbers:
            closed.do(crowd.devices[device], due, number, state, number)

    crowd.engine.pacer.at(due, fall_due)
    return due


def rows(engine: Engine) -> Any:
    operations = read_rows(engine.recorder.paths["operations"])
    return operations[operations["plan"] >= 0]


def test_the_next_is_sent_when_the_last_was_answered(crowd: Crowd, engine: Engine) -> None:
    closed = Closed(engine.tasks)
    due = asked(closed, crowd, 1, 2, 3)
    until(lambda: len(rows(engine)) == 3 and not closed.busy)
    found = rows(engine)
    assert found["plan"].tolist() == [1, 2, 3]
    assert set(found["intended"].tolist()) == {due}
    assert (found["sent"][1:] >= found["acknowledged"][:-1]).all()
    assert (found["acknowledged"][:-1] > 0).all()


def test_devices_do_not_wait_for_each_other(crowd: Crowd, engine: Engine, server: ScriptedServer) -> None:
    closed = Closed(engine.tasks)
    server.answers["STATE"] = silence
    asked(closed, crowd, 1, 2)
    asked(closed, crowd, 11, device=1)
    until(lambda: len(rows(engine)) == 2)
    assert sorted(rows(engine)["plan"].tolist()) == [1, 11]


@pytest.mark.parametrize("answer", [silence, error("UNAVAILABLE")])
def test_who_gets_no_answer_goes_on_after_the_deadline(
    crowd: Crowd, engine: Engine, server: ScriptedServer, answer: Any
) -> None:
    closed = Closed(engine.tasks)
    server.answers["STATE"] = answer
    asked(closed, crowd, 1, 2)
    until(lambda: len(rows(engine)) == 2)
    first, second = rows(engine)
    assert first["outcome"] == Outcome.INFO
    if answer is silence:
        assert second["sent"] - first["sent"] >= DEADLINE_S * S


def test_what_cannot_be_sent_holds_nobody_up(crowd: Crowd, engine: Engine) -> None:
    closed = Closed(engine.tasks)
    crowd.devices[0].close()
    asked(closed, crowd, 1, 2, 3)
    until(lambda: len(rows(engine)) == 3)
    assert set(rows(engine)["outcome"].tolist()) == {Outcome.UNSENT}
    assert not closed.busy


def test_what_never_got_its_turn_is_handed_back_once(
    crowd: Crowd, engine: Engine, server: ScriptedServer
) -> None:
    closed = Closed(engine.tasks)
    server.answers["STATE"] = silence
    due = asked(closed, crowd, 1, 2, 3)
    until(lambda: len(rows(engine)) == 1)
    assert closed.abandoned() == [(crowd.devices[0], due, 2), (crowd.devices[0], due, 3)]
    assert closed.abandoned() == []
    until(lambda: not closed.busy)
    assert rows(engine)["plan"].tolist() == [1]


# --- a whole plan -----------------------------------------------------------------------------------------


def test_every_planned_operation_has_a_row_also_of_those_that_never_got_their_turn(
    crowd: Crowd, engine: Engine, server: ScriptedServer, population: Population
) -> None:
    plan = make(population, PlanOptions(rate_per_s=40.0, warmup_s=0.2, measure_s=0.6, probes=False))
    for kind in ("SEND", "READ", "STATE", "SYNC"):
        server.answers[kind] = silence
    for device in crowd.devices[2:]:
        device.connect()
    timeline = Timeline(crowd, plan, "abc", share_of(population, 0, 1, ()), Closed(engine.tasks))
    timeline.begin(now_ns() + 10 * MS)
    for stream in (timeline.sends(), timeline.seeded_reads(), timeline.openings()):
        engine.pacer.follow(stream)
    until(lambda: now_ns() > timeline.end_ns + 10 * MS)
    assert timeline.busy
    timeline.finish()
    timeline.give_up()
    found = rows(engine)
    first = found[found["attempt"] == 0]
    assert sorted(first["plan"].tolist()) == list(range(plan.count))
    op, _ = plan.operations()
    assert (first["op"] == op[first["plan"]]).all()
    unsent = first[(first["outcome"] == Outcome.UNSENT) & (first["op"] == Op.SEND)]
    assert len(unsent) > 0
    assert (unsent["conversation"] == plan.sends["conversation"][unsent["plan"]]).all()
    assert len(found[found["op"] == Op.SEND]) >= len(plan.sends)
