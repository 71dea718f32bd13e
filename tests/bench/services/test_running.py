"""A server that somebody else runs: what it is asked before a run, and what each wrong answer is told as."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.server import serve

from bench.options import Target
from bench.population import PopulationOptions, build, user_id
from bench.services.running import RunningServer
from bench.services.stack import ServicesError
from tests.bench.load.scripted import WELCOME, ScriptedServer

POPULATION = build(PopulationOptions(6, seed=3))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """One that holds the population."""
    scripted = ScriptedServer()
    scripted.answers["STATE"] = holding()
    yield scripted
    scripted.stop()


def holding(page: int = 100, **changes: Any) -> Any:
    """STATE as the population says, `page` conversations at a time; `changes` of everybody's first one."""

    def state(server: ScriptedServer, connection: Any, frame: dict[str, Any]) -> dict[str, Any]:
        user = next(user for (user, _), known in server.connections.items() if known is connection)
        mine: list[dict[str, Any]] = [
            {"conversation_id": c.id, "last_seq": c.history, "read_seq": read}
            for c in POPULATION.seed_conversations()
            for number, read in zip(c.members, c.read_seq, strict=True)
            if f"u{number}" == user
        ]
        mine[0].update(changes)
        start = int(frame.get("cursor", 0))
        end = start + page
        more = {"cursor": str(end)} if end < len(mine) else {}
        page_of = {"conversations": mine[start:end], "done": not more, "change_id": 0}
        return {"type": "STATE_RESULT", **page_of, **more}

    return state


def look(server: ScriptedServer, **target: Any) -> dict[str, Any]:
    running = RunningServer(Target(f"{server.url}/ws", **target))
    return running.look(POPULATION, POPULATION.seed_conversations())


@pytest.mark.parametrize("page", [100, 2])
def test_it_says_who_it_is_when_it_holds_the_population(server: ScriptedServer, page: int) -> None:
    server.answers["STATE"] = holding(page)
    assert look(server)["epoch"] == WELCOME["epoch"]
    users = {frame["user_id"] for frame in server.received if frame["type"] == "HELLO"}
    assert user_id(0) in users
    assert user_id(POPULATION.probe_pair(0)[1]) in users


def test_tokens_are_signed_if_their_secret_is_known(server: ScriptedServer) -> None:
    look(server, token_secret="s")
    look(server)
    tokens = [bool(frame["token"]) for frame in server.received if frame["type"] == "HELLO"]
    assert set(tokens[: len(tokens) // 2]) == {True}
    assert set(tokens[len(tokens) // 2 :]) == {False}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"last_seq": 9}, "is at message 9, read up to 5; expected 5 and 5. If it was used"),
        ({"read_seq": 1}, "is at message 5, read up to 1; expected 5 and 5"),
        ({"conversation_id": "d99"}, "conversations 1 are not there (d"),
    ],
)
def test_another_population_is_refused(server: ScriptedServer, changes: dict[str, Any], told: str) -> None:
    server.answers["STATE"] = holding(**changes)
    with pytest.raises(ServicesError) as why:
        look(server)
    assert told in str(why.value)
    assert "--write-population" in str(why.value)


def test_more_conversations_than_the_population_has_are_refused(server: ScriptedServer) -> None:
    more = holding()

    def state(*asked: Any) -> dict[str, Any]:
        page: dict[str, Any] = more(*asked)
        page["conversations"].append({"conversation_id": "d99", "last_seq": 1, "read_seq": 1})
        return page

    server.answers["STATE"] = state
    with pytest.raises(ServicesError, match="1 conversations that are not in it, such as d99"):
        look(server)


@pytest.mark.parametrize(
    ("kind", "answer", "told"),
    [
        ("HELLO", {"type": "ERROR", "code": "UNAUTHENTICATED", "message": "no"}, "--token-secret"),
        ("HELLO", {"type": "HI"}, "answered HELLO with .*HI.*, expected WELCOME"),
        ("STATE", {"type": "ERROR", "code": "INTERNAL"}, "answered STATE with"),
        ("STATE", {"type": "STATE_RESULT", "conversations": [{}]}, "without 'conversation_id'"),
    ],
)
def test_what_it_should_not_say_is_told(server: ScriptedServer, kind: str, answer: Any, told: str) -> None:
    server.answers[kind] = lambda *_: answer
    with pytest.raises(ServicesError, match=told):
        look(server)


def test_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        running = RunningServer(Target(f"ws://127.0.0.1:{taken.getsockname()[1]}/ws"))
        with pytest.raises(ServicesError, match=r"cannot be spoken to.*Is it running there"):
            running.look(POPULATION, POPULATION.seed_conversations())


def test_what_speaks_another_protocol_is_refused() -> None:
    with serve(lambda socket: socket.recv(), "127.0.0.1", 0) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        running = RunningServer(Target(f"ws://127.0.0.1:{other.socket.getsockname()[1]}/ws"))
        with pytest.raises(ServicesError, match=r"did not choose the subprotocol readstate\.v1"):
            running.look(POPULATION, POPULATION.seed_conversations())
        other.shutdown()
        thread.join()


def test_its_processes_are_watched_if_they_are_known() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running = RunningServer(Target("ws://h/ws", pids=(process.pid, os.getpid())))
    assert running.pids() == {"server": [process.pid, os.getpid()]}
    assert running.alive() == []
    process.communicate()
    assert running.alive() == [f"server (pid {process.pid}) is gone"]
    assert RunningServer(Target("ws://h/ws")).pids() == {}
