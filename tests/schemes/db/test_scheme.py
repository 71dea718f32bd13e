"""What happens around a transaction: who is locked, when it is told, and what is refused before any SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from schemes.db import build, open_store
from schemes.db.scheme import Database
from schemes.ports import Caller, Marked, Refused, Trace
from schemes.read_state import DIRECT, GROUP, Advanced, Changes, Conversation, Push, Sent
from schemes.stores.rows import Draft, Marking, Stored

ROOMS = {
    "d": Conversation("d", DIRECT, (1, 2)),
    "e": Conversation("e", DIRECT, (1, 3)),
    "g": Conversation("g", GROUP, (1, 2, 3, 4)),
}


class Hub:
    def __init__(self) -> None:
        self.told: list[Push] = []

    def publish(self, push: Push) -> None:
        self.told.append(push)

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)


class FakeStore:
    """Answers at once, or when `gate` opens; notes what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.gate: asyncio.Event | None = None
        self.seq = 0
        self.duplicate = False

    async def member(self, user: int, conversation_id: str, trace: Trace) -> Conversation:
        return ROOMS[conversation_id]

    async def highest_seq(self, conversation_id: str, message_ids: Sequence[int], trace: Trace) -> int:
        return max(message_ids) % 100

    async def send(self, conversation: Conversation, draft: Draft, trace: Trace, also: None) -> Stored:
        self.calls.append(("begin", draft.client_msg_id))
        if self.gate is not None:
            await self.gate.wait()
        self.seq += 1
        self.calls.append(("commit", draft.client_msg_id))
        sent = Sent(conversation, draft.message_id, self.seq, draft.sender, "c", draft.at, draft.body)
        return Stored(sent, None, self.duplicate)

    async def read(
        self, user: int, wanted: Sequence[tuple[Conversation, int]], at: int, trace: Trace, also: None
    ) -> list[Marking]:
        self.calls.append(("read", [(room.conversation_id, seq) for room, seq in wanted]))
        return [
            Marking(room.conversation_id, seq, 1, 0, at, Advanced(room, user, 0, seq, 1, at, 0, 1, 1))
            for room, seq in wanted
        ]


def _scheme() -> tuple[Database, FakeStore, Hub]:
    store, hub = FakeStore(), Hub()
    return Database(store, hub, node=0, receipt_members=200), store, hub  # type: ignore[arg-type]


def _caller(user: int) -> Caller:
    return Caller(user, "phone", f"s{user}")


async def test_sends_to_one_conversation_are_told_in_the_order_of_their_commits() -> None:
    scheme, store, hub = _scheme()
    await asyncio.gather(*(scheme.send(_caller(1 + n % 2), "d", f"m{n}", "body", Trace()) for n in range(6)))
    assert store.calls == [(step, f"m{n}") for n in range(6) for step in ("begin", "commit")]
    assert [f'"seq":{n}'.encode() in push.frame for n, push in enumerate(hub.told, 1)] == [True] * 6


async def test_people_who_share_no_conversation_do_not_wait_for_each_other() -> None:
    scheme, store, _ = _scheme()
    store.gate = asyncio.Event()
    sending = asyncio.create_task(scheme.send(_caller(2), "d", "m", "body", Trace()))  # locks d, 1 and 2
    await asyncio.sleep(0)
    await asyncio.wait_for(scheme.read(_caller(4), [Marked("g", 1)], Trace()), 1)
    reading = asyncio.create_task(scheme.read(_caller(1), [Marked("g", 1)], Trace()))
    await asyncio.sleep(0.01)
    assert not reading.done()
    store.gate.set()
    await asyncio.gather(sending, reading)


async def test_waiting_for_others_is_told_apart() -> None:
    scheme, store, _ = _scheme()
    store.gate = asyncio.Event()
    first = asyncio.create_task(scheme.send(_caller(1), "d", "m", "body", Trace()))
    await asyncio.sleep(0)
    trace = Trace()
    second = asyncio.create_task(scheme.read(_caller(1), [Marked("d", 1)], trace))
    await asyncio.sleep(0.05)
    store.gate.set()
    await asyncio.gather(first, second)
    assert trace.wait > 40_000_000


async def test_the_rest_of_committed_is_awaited_without_the_locks() -> None:
    class Queued(Database):
        acknowledged: asyncio.Event

        async def committed(self, changes: Changes, trace: Trace) -> Awaitable[None] | None:
            self.held_at_commit = len(self._locks)
            return self.rest()

        async def rest(self) -> None:
            self.held_after = len(self._locks)
            await self.acknowledged.wait()

    scheme = Queued(FakeStore(), Hub(), node=0, receipt_members=200)  # type: ignore[arg-type]
    scheme.acknowledged = asyncio.Event()
    sending = asyncio.create_task(scheme.send(_caller(1), "d", "m", "body", Trace()))
    await asyncio.sleep(0.01)
    assert (scheme.held_at_commit, scheme.held_after) == (3, 0)
    assert not sending.done()
    scheme.acknowledged.set()
    await sending


async def test_a_duplicate_is_told_to_nobody() -> None:
    scheme, store, hub = _scheme()
    store.duplicate = True
    outcome = await scheme.send(_caller(1), "d", "m", "body", Trace())
    assert outcome.duplicate is True
    assert hub.told == []


async def test_items_are_sorted_and_the_highest_of_a_conversation_wins() -> None:
    scheme, store, _ = _scheme()
    items = [Marked("g", 3), Marked("d", None, [207, 203]), Marked("g", 9), Marked("e", 1)]
    outcomes = await scheme.read(_caller(1), items, Trace())
    assert store.calls == [("read", [("d", 7), ("e", 1), ("g", 9)])]
    assert [(o.conversation, o.read_seq) for o in outcomes] == [("g", 9), ("d", 7), ("g", 9), ("e", 1)]


async def test_a_failure_leaves_no_lock_behind() -> None:
    scheme, store, _ = _scheme()

    async def broken(*_: object) -> Stored:
        raise Refused("UNAVAILABLE", "away")

    store.send = broken  # type: ignore[method-assign, assignment]
    for _ in range(2):
        with pytest.raises(Refused):
            await scheme.send(_caller(1), "d", "m", "body", Trace())
    assert len(scheme._locks) == 0


@pytest.mark.parametrize("client_msg_id", ["", "x" * 37, "ü" * 19])
async def test_a_client_msg_id_that_does_not_fit_is_refused(client_msg_id: str) -> None:
    scheme, _, _ = _scheme()
    with pytest.raises(Refused) as why:
        await scheme.send(_caller(1), "d", client_msg_id, "body", Trace())
    assert why.value.code == "BAD_REQUEST"


async def test_there_is_no_cache_to_look_into() -> None:
    scheme, _, _ = _scheme()
    for asked in (scheme.dump("cache", "", 1), scheme.held("cache", 1, "d")):
        with pytest.raises(Refused) as why:
            await asked
        assert why.value.code == "UNSUPPORTED"


def test_options_become_a_store() -> None:
    assert open_store({"mysql-url": "mysql://h/d", "model": "cursor"}).model == "cursor"
    assert isinstance(build({"mysql-url": "mysql://h/d", "node": "3"}, Hub()), Database)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mysql-url": "redis://h"},
        {"mysql-url": "mysql://h/d", "model": "x"},
        {"mysql-url": "mysql://h/d", "mysql-pool": "0"},
        {"mysql-url": "mysql://h/d", "node": "1024"},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"expected|needs|node"):
        build(options, Hub())
