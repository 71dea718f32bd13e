"""What a client does, and what the record says of it, against a scripted server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest

from bench.load import device as device_module
from bench.load.config import Fault, LiveCount
from bench.load.device import Crowd, Device
from bench.load.engine import Engine
from bench.load.final_read import FinalRead
from bench.load.pacing import now_ns
from bench.load.recorder import read_rows
from bench.population import Population, PopulationOptions, build, user_id
from bench.record import ERROR_NAMES, MORE, NONE, RESET, Op, Outcome, Phase, PushKind
from schemes.protocol import check_token
from tests.bench.load.scripted import ScriptedServer, close, error, once, silence


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
    engine = Engine(server.url, tmp_path, 0, deadline_s=0.3, on_fatal=pytest.fail)
    yield engine
    engine.stop()
    assert not [what for what in engine.counters if what.startswith("bug")], engine.counters


@pytest.fixture
def crowd(engine: Engine, population: Population, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    monkeypatch.setattr(device_module, "BACKOFF_S", 0.02)
    monkeypatch.setattr(device_module, "HOLE_NS", 50_000_000)
    crowd = Crowd(engine, population, list(range(6)), secret="hush", delivered_window_s=0.05)
    yield crowd
    for device in crowd.devices:
        device.close()


def until(condition: Callable[[], Any], timeout_s: float = 3.0) -> None:
    """Runs the event loop until the condition holds."""
    deadline = now_ns() + round(timeout_s * 1e9)
    while not condition():
        assert now_ns() < deadline, "it did not happen in time"
        gevent.sleep(0.005)


def signed_in(crowd: Crowd) -> Device:
    device = crowd.devices[0]
    device.connect()
    until(lambda: device.is_ready)
    return device


def rows(engine: Engine, op: Op) -> np.ndarray:
    operations = read_rows(engine.recorder.paths["operations"])
    return operations[operations["op"] == op]


def own(population: Population, device: Device) -> int:
    """A conversation of this device's person."""
    return int(population.of_person[population.of_person_start[device.person]])


def message(
    population: Population, conversation: int, seq: int, sender: int, client: str = "x"
) -> dict[str, Any]:
    return {
        "type": "MESSAGE", "conversation_id": population.conversation_id(conversation), "message_id": "1",
        "seq": seq, "sender_id": user_id(sender), "client_msg_id": client, "sent_time": 5, "body": "hi",
    }  # fmt: skip


def other(population: Population, conversation: int, device: Device) -> int:
    return int(next(m for m in population.members_of(conversation) if m != device.person))


def tell(server: ScriptedServer, device: Device, frame: dict[str, Any]) -> None:
    server.push(user_id(device.person), device.device_id, frame)


def test_signing_in_is_hello_sub_state_sync_with_a_good_token(
    server: ScriptedServer, crowd: Crowd, engine: Engine
) -> None:
    device = signed_in(crowd)
    assert [frame["type"] for frame in server.received] == ["HELLO", "SUB", "STATE", "SYNC"]
    hello = server.received[0]
    assert check_token(b"hush", hello["token"], hello["user_id"], hello["device_id"], 0) is None
    assert hello["trace"] is True
    assert "resume" not in hello
    assert server.received[3]["since_change_id"] == 41, "from where STATE answered"
    assert crowd.ready == 1
    device.close()
    connection = read_rows(engine.recorder.paths["connections"])[0]
    times = [int(connection[name]) for name in ("intended", "opened", "welcomed", "subscribed", "closed")]
    assert times == sorted(times)
    assert times[0] > 0
    assert (connection["close_code"], connection["role"]) == (1000, 0)
    operations = read_rows(engine.recorder.paths["operations"])
    assert operations["op"].tolist() == [Op.CONNECT, Op.HELLO, Op.SUB, Op.STATE, Op.SYNC]
    assert (operations["outcome"] == Outcome.OK).all()
    assert (operations["phase"] == Phase.CONNECT).all()
    assert operations["value"].tolist() == [NONE, 40, NONE, 41, 42]


def test_a_state_of_two_pages_is_as_of_the_first(server: ScriptedServer, crowd: Crowd) -> None:
    """What changes between two pages may be in neither: it has to come by SYNC."""
    page = {"type": "STATE_RESULT", "conversations": [], "change_id": 39, "done": False, "cursor": "next"}
    server.answers["STATE"] = once(lambda *_: page, server.answers["STATE"])
    signed_in(crowd)
    assert [frame.get("cursor") for frame in server.of("STATE")] == [None, "next"]
    assert server.of("SYNC")[0]["since_change_id"] == 39


def test_a_sync_says_whether_more_comes_and_whether_it_was_reset(
    server: ScriptedServer, crowd: Crowd, engine: Engine
) -> None:
    last = server.answers["SYNC"]
    page = {"type": "SYNC_RESULT", "changes": [], "next_change_id": 41, "done": False}
    reset = page | {"next_change_id": 7, "done": True, "reset_required": True}
    server.answers["SYNC"] = once(lambda *_: page, once(lambda *_: reset, last))
    device = signed_in(crowd)
    device.sync()
    until(lambda: len(rows(engine, Op.SYNC)) == 3 and rows(engine, Op.SYNC)["outcome"][2])
    syncs = rows(engine, Op.SYNC)
    assert syncs["flags"].tolist() == [MORE, RESET, 0]
    assert syncs["argument"].tolist() == [41, 41, 0]


def test_a_send_is_recorded_with_its_seq_and_stages(
    crowd: Crowd, engine: Engine, population: Population
) -> None:
    device = signed_in(crowd)
    due = now_ns() - 1_000_000
    device.send(own(population, device), "c1", "hello", due, plan=9)
    until(lambda: (rows(engine, Op.SEND)["outcome"] == Outcome.OK).all())
    row = rows(engine, Op.SEND)[0]
    assert (row["intended"], row["plan"], row["value"]) == (due, 9, 101)
    assert row["intended"] < row["sent"] < row["acknowledged"]
    assert [int(row[f"{stage}_us"]) for stage in ("server", "wait", "store", "cache", "queue")] == [
        70,
        10,
        20,
        5,
        1,
    ]


@pytest.mark.parametrize(("answer", "name"), [(error("UNAVAILABLE"), "UNAVAILABLE"), (silence, "DEADLINE")])
def test_a_send_of_unknown_outcome_is_retried_once_under_the_same_name(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population, answer: Any, name: str
) -> None:
    server.answers["SEND"] = once(answer, server.answers["SEND"])
    device = signed_in(crowd)
    device.send(own(population, device), "c1", "hello", plan=9)
    until(lambda: len(rows(engine, Op.SEND)) == 2 and rows(engine, Op.SEND)["outcome"][1])
    first, second = rows(engine, Op.SEND)
    assert (first["outcome"], ERROR_NAMES[first["error"]]) == (Outcome.INFO, name)
    assert (second["outcome"], second["attempt"], second["plan"]) == (Outcome.OK, 1, 9)
    assert [frame["client_msg_id"] for frame in server.of("SEND")] == ["c1", "c1"]


def test_a_send_that_surely_failed_is_not_retried(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    server.answers["SEND"] = error("NOT_MEMBER")
    device = signed_in(crowd)
    device.send(own(population, device), "c1", "hello")
    gevent.sleep(0.1)
    assert len(server.of("SEND")) == 1
    row = rows(engine, Op.SEND)[0]
    assert (row["outcome"], ERROR_NAMES[row["error"]]) == (Outcome.FAIL, "NOT_MEMBER")
    assert row["acknowledged"] > 0


def test_a_close_leaves_what_was_in_flight_unknown_and_the_client_resumes(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    server.answers["SEND"] = once(close, server.answers["SEND"])
    device = signed_in(crowd)
    device.send(own(population, device), "c1", "hello")
    until(lambda: len(rows(engine, Op.SEND)) == 2 and rows(engine, Op.SEND)["outcome"][1])
    assert ERROR_NAMES[rows(engine, Op.SEND)["error"][0]] == "CLOSED"
    assert rows(engine, Op.SEND)["outcome"].tolist() == [Outcome.INFO, Outcome.OK]
    assert server.of("HELLO")[1]["resume"] == {"epoch": 3, "last_change_id": 42}
    assert server.of("SYNC")[1]["since_change_id"] == 42
    first, second = read_rows(engine.recorder.paths["connections"])
    assert first["close_code"] == 1013
    assert first["session"] != second["session"]
    assert crowd.ready == 1


def test_goodbye_says_when_to_come_back(server: ScriptedServer, crowd: Crowd, engine: Engine) -> None:
    device = signed_in(crowd)
    tell(server, device, {"type": "GOODBYE", "code": 1013, "reason": "bus", "retry_ms": 400})
    tell_connection = server.connections[user_id(device.person), device.device_id]
    gevent.sleep(0.02)
    tell_connection.close(1013)
    lost_at = now_ns()
    until(lambda: len(server.of("HELLO")) == 2)
    assert 0.19 < (now_ns() - lost_at) / 1e9 < 0.9, "400 ms, jittered by half"
    assert read_rows(engine.recorder.paths["pushes"])["kind"].tolist() == [PushKind.GOODBYE]


def test_a_refused_sign_in_is_tried_again(server: ScriptedServer, crowd: Crowd) -> None:
    server.answers["HELLO"] = once(error("UNAVAILABLE"), server.answers["HELLO"])
    signed_in(crowd)
    assert len(server.of("HELLO")) == 2
    assert crowd.engine.counters["sign-in: UNAVAILABLE"] == 1


def test_a_server_that_is_not_there_is_a_refused_connect(tmp_path: Path, population: Population) -> None:
    engine = Engine("ws://127.0.0.1:9", tmp_path, 0, on_fatal=pytest.fail)
    crowd = Crowd(engine, population, [0], secret=None)
    crowd.devices[0].connect()
    until(lambda: len(rows(engine, Op.CONNECT)) and rows(engine, Op.CONNECT)["outcome"][0])
    row = rows(engine, Op.CONNECT)[0]
    assert (row["outcome"], ERROR_NAMES[row["error"]]) == (Outcome.FAIL, "REFUSED")
    crowd.devices[0].close()
    engine.stop()


def test_messages_are_recorded_confirmed_in_batches_and_read_once(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    device = signed_in(crowd)
    conversation = own(population, device)
    sender = other(population, conversation, device)
    told: list[tuple[str, int]] = []
    crowd.on_message = lambda _device, client, _cell, conversation, _at: told.append((client, conversation))
    for seq in (6, 7, 8):
        tell(server, device, message(population, conversation, seq, sender, f"m{seq}"))
    until(lambda: len(server.of("DELIVERED")) == 1 and len(told) == 3)
    name = population.conversation_id(conversation)
    assert server.of("DELIVERED")[0]["items"] == [{"conversation_id": name, "up_to_seq": 8}]
    assert told == [(f"m{seq}", conversation) for seq in (6, 7, 8)]
    assert device.read(conversation, plan=4, dependency_us=55) >= 0
    assert device.read(conversation, plan=5) == -1
    until(lambda: rows(engine, Op.READ)["outcome"][0])
    assert server.of("READ")[0]["items"] == [{"conversation_id": name, "up_to_seq": 8}]
    assert len(server.of("READ")) == 1
    sent, known = rows(engine, Op.READ)
    assert (sent["outcome"], sent["argument"], sent["value"], sent["version"], sent["unread"]) == (
        1,
        8,
        8,
        7,
        0,
    )
    assert (sent["dependency_us"], sent["flags"], sent["items"]) == (55, 1, 1)
    assert (known["outcome"], known["plan"], known["sent"]) == (Outcome.ALREADY_READ, 5, 0)
    item = read_rows(engine.recorder.paths["items"])[-1]
    assert (item["op_id"], item["conversation"], item["actor"]) == (
        sent["op_id"],
        conversation,
        device.person,
    )
    pushes = read_rows(engine.recorder.paths["pushes"])
    assert pushes["value"].tolist() == [6, 7, 8]
    assert set(pushes["actor"].tolist()) == {sender}
    assert set(pushes["user"].tolist()) == {device.person}


def test_what_was_read_within_the_window_is_not_confirmed(
    server: ScriptedServer, crowd: Crowd, population: Population
) -> None:
    """A READ says that the message was delivered; one that came after it is confirmed."""
    device = signed_in(crowd)
    first = population.of_person_start[device.person]
    conversation, another = (int(each) for each in population.of_person[first : first + 2])
    sender = other(population, conversation, device)
    tell(server, device, message(population, conversation, 6, sender, "m6"))
    tell(server, device, message(population, another, 6, other(population, another, device), "n6"))
    until(lambda: crowd.seen[device.cell(another)] == 6)
    assert device.read(conversation) >= 0
    until(lambda: len(server.of("DELIVERED")) == 1)
    confirmed = {"conversation_id": population.conversation_id(another), "up_to_seq": 6}
    assert server.of("DELIVERED")[0]["items"] == [confirmed]


def test_what_another_device_read_or_we_said_needs_no_read(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    device = signed_in(crowd)
    conversation = own(population, device)
    sender = other(population, conversation, device)
    name = population.conversation_id(conversation)
    tell(server, device, message(population, conversation, 6, sender))
    tell(server, device, {
        "type": "UPDATE", "key": f"read/{name}/{user_id(device.person)}", "value": {"up_to_seq": 6},
        "version": 2, "at": 9, "origin_device": "device-2", "change_id": 43,
    })  # fmt: skip
    until(lambda: len(read_rows(engine.recorder.paths["pushes"])) == 2)
    assert device.read(conversation) == -1
    tell(server, device, message(population, conversation, 7, device.person))
    until(lambda: len(read_rows(engine.recorder.paths["pushes"])) == 3)
    assert device.read(conversation) == -1
    device.sync()
    until(lambda: len(server.of("SYNC")) == 2)
    assert server.of("SYNC")[1]["since_change_id"] == 43, "the push moved it on"
    update = read_rows(engine.recorder.paths["pushes"])[1]
    assert (update["kind"], update["value"], update["version"]) == (PushKind.READ, 6, 2)
    assert (update["change_id"], update["conversation"], update["actor"]) == (43, conversation, device.person)


def test_a_read_that_failed_is_asked_again(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    server.answers["READ"] = once(error("OVERLOADED"), server.answers["READ"])
    device = signed_in(crowd)
    conversation = own(population, device)
    tell(server, device, message(population, conversation, 6, other(population, conversation, device)))
    until(lambda: len(read_rows(engine.recorder.paths["pushes"])) == 1)
    device.read(conversation)
    until(lambda: rows(engine, Op.READ)["outcome"][0])
    assert len(server.of("READ")) == 1, "never retried by itself"
    assert device.read(conversation) >= 0


def test_a_lasting_hole_is_a_gap_and_a_late_message_is_not(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    device = signed_in(crowd)
    conversation = own(population, device)
    sender = other(population, conversation, device)
    for seq in (5, 7, 6):
        tell(server, device, message(population, conversation, seq, sender))
    gevent.sleep(0.15)
    assert (engine.counters["reordered"], engine.counters["gaps"]) == (1, 0)
    assert not server.of("HISTORY")
    tell(server, device, message(population, conversation, 10, sender))
    until(lambda: server.of("HISTORY"))
    assert server.of("HISTORY")[0]["from_seq"] == 8
    assert engine.counters["gaps"] == 1


def test_a_hole_costs_no_more_however_far_a_server_s_numbers_are_apart(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    device = signed_in(crowd)
    conversation = own(population, device)
    sender = other(population, conversation, device)
    for seq in (5, 2**30):
        tell(server, device, message(population, conversation, seq, sender))
    until(lambda: crowd.holes)
    assert [len(hole) for hole in crowd.holes.values()] == [device_module.HOLE_MAX]
    until(lambda: server.of("HISTORY"))
    assert server.of("HISTORY")[0]["from_seq"] == 6
    assert engine.counters["gaps"] == 1


def test_who_said_nothing_for_a_heartbeat_says_ping(
    server: ScriptedServer, crowd: Crowd, engine: Engine
) -> None:
    device = signed_in(crowd)
    crowd.heartbeat_s = 0.05
    crowd.keep_alive(now_ns(), 10_000_000)
    until(lambda: len(server.of("PING")) >= 2)
    assert set(rows(engine, Op.PING)["device"].tolist()) == {device.number}


def test_the_final_read_asks_for_everything_and_leaves(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    done: list[tuple[int, int]] = []
    names = [population.conversation_id(c) for c in range(2)]
    pages: list[dict[str, Any]] = [
        {
            "type": "STATE_RESULT", "conversations": [_state(name)], "change_id": 5, "done": last,
            "cursor": "next", "total_unread": 10 if last else None,
        }
        for name, last in zip(names, (False, True), strict=True)
    ]  # fmt: skip
    server.answers["STATE"] = lambda *_: pages.pop(0)
    engine.phases.enter(Phase.FINAL, now_ns())
    FinalRead(crowd, [1], lambda read, failed: done.append((read, failed))).start()
    until(lambda: done)
    assert done == [(1, 0)]
    assert [frame["type"] for frame in server.received] == ["HELLO", "STATE", "STATE"]
    assert server.received[0]["device_id"] == "final"
    assert server.received[2]["cursor"] == "next"
    assert set(rows(engine, Op.STATE)["phase"].tolist()) == {Phase.FINAL}
    assert rows(engine, Op.STATE)["unread"].tolist() == [NONE, 10]
    assert rows(engine, Op.HELLO)["version"].tolist() == [3]
    items = read_rows(engine.recorder.paths["items"])
    assert items["conversation"].tolist() == [0, 1]
    assert items["last_seq"].tolist() == [9, 9]
    connection = read_rows(engine.recorder.paths["connections"])[0]
    assert (connection["role"], connection["subscribed"], connection["device"]) == (2, 0, 0xFFFFFFFF)


def test_live_checks_see_what_comes(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    """An answer that shows less than was read, a message twice, and a page that leads back: once each, and
    what is honest beside them is none."""
    device = signed_in(crowd)
    conversation = own(population, device)
    sender, name = other(population, conversation, device), population.conversation_id(conversation)
    for seq in (6, 7, 7):
        tell(server, device, message(population, conversation, seq, sender))
    until(lambda: len(read_rows(engine.recorder.paths["pushes"])) == 3)
    device.read(conversation)
    until(lambda: rows(engine, Op.READ)["outcome"][0])
    for read_seq in (7, 4, 7):
        server.state = [_state(name) | {"read_seq": read_seq}]
        count = len(rows(engine, Op.STATE))
        device.state()
        until(lambda count=count: rows(engine, Op.STATE)["outcome"][count:].any())  # type: ignore[misc]
    back = {"type": "SYNC_RESULT", "changes": [], "next_change_id": 1, "done": True}
    server.answers["SYNC"] = once(lambda *_: back, server.answers["SYNC"])
    for _ in range(2):
        device.sync()
    until(lambda: (rows(engine, Op.SYNC)["outcome"] == Outcome.OK).sum() == 3)
    counts = engine.live.counts
    assert {name: (count.eligible, count.violations) for name, count in counts.items()} == {
        "read_your_writes_session": (3, 1),
        "monotonic_reads_session": (3, 1),
        "push_order": (3, 1),
        "sync_pages": (3, 1),
    }
    stale = rows(engine, Op.STATE)["acknowledged"][-2]
    assert counts["read_your_writes_session"].first == Fault(device.person, conversation, stale)
    assert counts["push_order"].first is not None
    assert counts["push_order"].first.at_ns == read_rows(engine.recorder.paths["pushes"])["received"][2]


def test_a_refused_read_is_no_write_to_the_live_checks(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    server.answers["READ"] = error("OVERLOADED")
    device = signed_in(crowd)
    conversation = own(population, device)
    tell(server, device, message(population, conversation, 6, other(population, conversation, device)))
    until(lambda: len(read_rows(engine.recorder.paths["pushes"])) == 1)
    device.read(conversation)
    until(lambda: rows(engine, Op.READ)["outcome"][0])
    server.state = [_state(population.conversation_id(conversation))]
    device.state()
    until(lambda: rows(engine, Op.STATE)["outcome"][1:].any())
    assert engine.live.counts["read_your_writes_session"].eligible == 0


def test_the_live_checks_forget_a_connection_that_is_gone(
    server: ScriptedServer, crowd: Crowd, engine: Engine, population: Population
) -> None:
    device = signed_in(crowd)
    conversation = own(population, device)
    sender = other(population, conversation, device)
    tell(server, device, message(population, conversation, 6, sender))
    until(lambda: len(read_rows(engine.recorder.paths["pushes"])) == 1)
    session = device.connection.session
    server.connections[user_id(device.person), device.device_id].close(1013)
    until(lambda: len(server.of("SYNC")) == 2 and device.is_ready)
    gevent.sleep(0.15)
    assert not engine.live.heard(session).last_number
    tell(server, device, message(population, conversation, 6, sender))
    until(lambda: len(read_rows(engine.recorder.paths["pushes"])) == 2)
    assert engine.live.counts["push_order"] == LiveCount(2, 0)


def _state(name: str) -> dict[str, Any]:
    return {
        "conversation_id": name, "kind": "direct", "last_seq": 9, "read_seq": 4, "delivered_seq": 5,
        "unread": 5, "version": 2,
    }  # fmt: skip


def test_the_final_read_gives_up_on_who_cannot_sign_in(server: ScriptedServer, crowd: Crowd) -> None:
    server.answers["HELLO"] = error("UNAUTHENTICATED")
    done: list[tuple[int, int]] = []
    FinalRead(crowd, [0, 1], lambda read, failed: done.append((read, failed))).start()
    until(lambda: done)
    assert done == [(0, 2)]


def test_tasks_wait_for_their_answers_one_after_another(
    crowd: Crowd, engine: Engine, population: Population
) -> None:
    device = signed_in(crowd)
    conversation = own(population, device)
    seen: list[int] = []

    def task(_due: int) -> None:
        for number in range(3):
            row = device.send(conversation, f"t{number}", "x")
            answer = engine.tasks.wait_for(row)
            assert answer.reply is not None
            seen.append(answer.reply.seq)

    engine.pacer.at(0, lambda due: engine.tasks.run(due, task))
    until(lambda: len(seen) == 3)
    assert seen == [101, 102, 103]
