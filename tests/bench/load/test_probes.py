"""What probes ask of whom, when, and what the record says of it, against a scripted server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest

from bench.load.config import ProbeDoor
from bench.load.device import Crowd
from bench.load.engine import Engine
from bench.load.pacing import now_ns
from bench.load.polling import CENSORED_NS, POLL_NS, STEADY_POLLS, next_poll
from bench.load.probes import ProbePair
from bench.load.recorder import read_rows
from bench.population import Population, PopulationOptions, build, user_id
from bench.record import NONE, Op, Outcome
from tests.bench.load.scripted import ScriptedServer, error, once

PLAN = 40


@pytest.fixture(scope="module")
def population() -> Population:
    return build(PopulationOptions(6))


@pytest.fixture
def server(population: Population) -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.answers["AUTH"] = lambda *_: {"type": "OK"}
    server.answers["DURABLE"] = held(101)
    server.answers["CACHED"] = held(101)
    server.answers["STATE"] = shown(population, 101)
    yield server
    server.stop()


@pytest.fixture
def engine(server: ScriptedServer, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(server.url, tmp_path, 0, deadline_s=0.3, on_fatal=pytest.fail)
    yield engine
    engine.stop()
    assert not [what for what in engine.counters if what.startswith("bug")], engine.counters


@pytest.fixture
def pair(engine: Engine, population: Population) -> Iterator[ProbePair]:
    door = ProbeDoor("open sesame", ("DURABLE", "CACHED"))
    pair = ProbePair(Crowd(engine, population, [0], secret="hush", door=door), 0)
    for device in pair.devices:
        device.connect()
    until(lambda: all(device.is_ready for device in pair.devices))
    yield pair
    for device in pair.devices:
        device.close()


def held(seq: int | None) -> Any:
    row = None if seq is None else ["d1", 1, seq, seq, 7, seq]
    found = {"found": seq is not None} | ({} if row is None else {"row": row})
    return lambda _server, _connection, frame: {"type": frame["type"], **found}


def shown(population: Population, seq: int) -> Any:
    name = population.conversation_id(population.probe_pair(0)[2])
    state = {"conversation_id": name, "read_seq": seq, "unread": 0, "last_seq": 101, "version": 3}
    return lambda *_: {"type": "STATE_RESULT", "conversations": [state], "change_id": 41, "done": True}


def until(condition: Any, timeout_s: float = 3.0) -> None:
    deadline = now_ns() + round(timeout_s * 1e9)
    while not condition():
        assert now_ns() < deadline, "it did not happen in time"
        gevent.sleep(0.002)


def rows(engine: Engine, op: Op) -> np.ndarray:
    operations = read_rows(engine.recorder.paths["operations"])
    return operations[operations["op"] == op]


def answered(engine: Engine, op: Op, count: int) -> np.ndarray:
    until(lambda: np.count_nonzero(rows(engine, op)["acknowledged"]) >= count)
    gevent.sleep(0.02)
    return rows(engine, op)


def test_the_door_opens_with_its_secret_on_its_own_path(server: ScriptedServer, pair: ProbePair) -> None:
    (auth,) = server.of("AUTH")
    assert auth["secret"] == "open sesame"
    assert len(pair.devices) == 4
    assert len(server.of("HELLO")) == 3


def test_a_read_is_polled_for_until_it_shows_everywhere(
    server: ScriptedServer, engine: Engine, pair: ProbePair, population: Population
) -> None:
    server.answers["STATE"] = once(shown(population, 100), server.answers["STATE"])
    server.answers["DURABLE"] = once(held(100), held(101))
    server.answers["CACHED"] = once(held(99), held(None))
    pair.probe(now_ns(), PLAN, -1_000)
    states, stored = answered(engine, Op.PROBE_STATE, 2), answered(engine, Op.PROBE_DURABLE, 2)
    cached = answered(engine, Op.PROBE_CACHED, 2)
    (read,) = rows(engine, Op.PROBE_READ)
    assert (read["argument"], read["plan"]) == (101, PLAN + 1)
    for polls in (states, stored, cached):
        assert len(polls) == 2
        assert polls["argument"].tolist() == [101, 101]
        assert polls["intended"][0] == read["acknowledged"]
        assert polls["intended"][1] - polls["sent"][0] >= POLL_NS
        assert (polls["user"] == population.probe_pair(0)[1]).all()
        assert (polls["conversation"] == population.probe_pair(0)[2]).all()
    assert stored["value"].tolist() == [100, 101]
    assert stored["version"].tolist() == [7, 7]
    assert cached["value"].tolist() == [99, NONE]
    asked = {(frame["user"], frame["conversation"]) for frame in server.of("DURABLE")}
    reader, conversation = population.probe_pair(0)[1:]
    assert asked == {(user_id(reader), population.conversation_id(conversation))}


def test_a_look_is_one_state_at_its_age_whatever_it_shows(
    server: ScriptedServer, engine: Engine, pair: ProbePair, population: Population
) -> None:
    server.answers["STATE"] = shown(population, 100)
    pair.probe(now_ns(), PLAN, 40_000_000)
    (look,) = answered(engine, Op.PROBE_ONCE, 1)
    (read,) = rows(engine, Op.PROBE_READ)
    assert look["intended"] == read["acknowledged"] + 40_000_000
    assert look["sent"] >= look["intended"]
    assert (look["argument"], look["items"], look["plan"]) == (101, 1, NONE)
    assert len(rows(engine, Op.PROBE_STATE)) == 0
    items = read_rows(engine.recorder.paths["items"])
    assert items[items["op_id"] == look["op_id"]]["value"].tolist() == [100]
    assert len(rows(engine, Op.PROBE_DURABLE)) == 1


def test_a_store_that_does_not_answer_is_asked_again(
    server: ScriptedServer, engine: Engine, pair: ProbePair
) -> None:
    server.answers["DURABLE"] = once(error("UNAVAILABLE"), held(101))
    pair.probe(now_ns(), PLAN, -1_000)
    polls = answered(engine, Op.PROBE_DURABLE, 2)
    assert polls["outcome"].tolist() == [Outcome.INFO, Outcome.OK]


def test_a_read_that_failed_is_not_looked_for(
    server: ScriptedServer, engine: Engine, pair: ProbePair
) -> None:
    server.answers["READ"] = error("OVERLOADED")
    pair.probe(now_ns(), PLAN, 1_000)
    answered(engine, Op.PROBE_READ, 1)
    assert [len(rows(engine, op)) for op in (Op.PROBE_ONCE, Op.PROBE_DURABLE, Op.PROBE_CACHED)] == [0, 0, 0]


def test_without_a_door_nobody_asks_the_stores(engine: Engine, population: Population) -> None:
    assert len(ProbePair(Crowd(engine, population, [0], secret="hush"), 0).devices) == 3


def test_polls_become_rarer_and_end() -> None:
    def waits(polls: int) -> int:
        return next_poll(0, polls)

    assert [waits(n) for n in (1, STEADY_POLLS)] == [POLL_NS, POLL_NS]
    assert waits(STEADY_POLLS + 2) == pytest.approx(2.25 * POLL_NS)
    total, polls = 0, 0
    while total < CENSORED_NS:
        polls += 1
        total += waits(polls)
    assert polls < 45
