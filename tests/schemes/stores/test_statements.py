"""How many statements each transaction sends: every one costs a round trip and the driver's CPU, so a new one
must be somebody's decision."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pymysql
import pytest

from schemes.ports import Trace
from schemes.protocol import SeedConversation
from schemes.read_state import Conversation
from schemes.stores import transactions
from schemes.stores.driver import Session
from schemes.stores.members import lock_ahead
from schemes.stores.mysql import MySQL
from schemes.stores.rows import AHEAD_SEQS, Draft, Stored
from schemes.stores.times import now_ms

pytestmark = pytest.mark.services

READER, PEER = 1, 2
ROOMS = [
    *(SeedConversation(f"d{number}", "direct", [READER, PEER + number], 6, [6, 6]) for number in range(3)),
    SeedConversation("g", "group", [1, 2, 3], 6, [6, 6, 6]),
]
_ids = itertools.count(now_ms() << 22)


@pytest.fixture
async def seeded(store: MySQL) -> MySQL:
    await store.seed(ROOMS, done=True)
    for room in ROOMS:
        await store.conversation(room.id, Trace())
    return store


@pytest.fixture
def sent(seeded: MySQL, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement from now on: its verb and its table."""
    heard: list[str] = []
    for name in ("rows", "write"):
        monkeypatch.setattr(Session, name, _heard(heard, getattr(Session, name)))
    return heard


def _heard(heard: list[str], send: Callable[..., Any]) -> Callable[..., Any]:
    async def heard_by(self: Session, sql: str, args: Sequence[Any] = ()) -> Any:
        heard.append(_told(sql))
        return await send(self, sql, args)

    return heard_by


def _told(sql: str) -> str:
    words = sql.split()
    if words[0] != "SELECT":
        return " ".join(word for word in words[:3] if word not in ("INTO", "SET", "FORCE"))
    return "LOCK" if sql.endswith("FOR UPDATE") else f"SELECT {words[words.index('FROM') + 1]}"


async def _send(store: MySQL, room: str, sender: int) -> Stored:
    number = next(_ids)
    conversation = await store.conversation(room, Trace())
    return await store.send(conversation, Draft(number, sender, f"m{number}", "body", now_ms()), Trace())


async def _wanted(store: MySQL, *rooms: str) -> list[tuple[Conversation, int]]:
    heads = await store.heads(rooms, Trace())
    return [(await store.conversation(room, Trace()), heads[room].last_seq) for room in rooms]


_MARKS = {"flags": ["UPDATE message_read_status"], "cursor": ["INSERT read_advances"]}
_LOGGED = ["UPDATE user_sync_heads", "INSERT user_change_log"]


async def test_send(seeded: MySQL, sent: list[str], model: str) -> None:
    assert (await _send(seeded, "d0", PEER)).advanced is None
    rows = ["INSERT message_read_status"] if model == "flags" else []
    assert sent == [
        "UPDATE conversations",
        "UPDATE conversation_members",
        "INSERT messages",
        *rows,
        "COMMIT",
    ]


async def test_send_that_implies_reading(seeded: MySQL, sent: list[str], model: str) -> None:
    await _send(seeded, "d0", PEER)
    sent.clear()
    stored = await _send(seeded, "d0", READER)
    assert stored.advanced is not None
    assert (stored.advanced.from_seq, stored.advanced.up_to_seq, stored.advanced.unread) == (6, 8, 0)
    assert sent == [
        "UPDATE conversations",
        "UPDATE conversation_members",
        "LOCK",
        "INSERT messages",
        *_MARKS[model],
        "UPDATE conversation_members",
        *(["INSERT message_read_status"] if model == "flags" else []),
        *_LOGGED,
        "COMMIT",
    ]


@pytest.mark.parametrize("rooms", [["d0"], ["g"], ["d0", "d1", "d2", "g"]], ids="-".join)
async def test_read(seeded: MySQL, sent: list[str], model: str, rooms: list[str]) -> None:
    """Whether of one conversation or of several."""
    for room in rooms * 2:
        await _send(seeded, room, PEER if room == "g" else PEER + int(room[1]))
    wanted = [(conversation, seq - 1) for conversation, seq in await _wanted(seeded, *rooms)]
    sent.clear()
    markings = await seeded.read(READER, wanted, now_ms(), Trace())
    assert [(m.seq, m.version, m.unread) for m in markings] == [(7, 1, 1)] * len(rooms)
    assert sent == ["LOCK", *_MARKS[model], "UPDATE conversation_members", *_LOGGED, "COMMIT"]
    sent.clear()
    (stale, *_) = await seeded.read(READER, wanted, now_ms(), Trace())
    assert (stale.advanced, stale.unread, stale.version) == (None, 1, 1)
    counts = ["SELECT message_read_status"] * len(rooms) if model == "flags" else []
    assert sent == ["LOCK", *counts, "COMMIT"]


@pytest.mark.parametrize("rooms", [["d0"], ["d0", "d1", "d2", "g"]], ids="-".join)
async def test_delivered(seeded: MySQL, sent: list[str], model: str, rooms: list[str]) -> None:
    for room in rooms:
        await _send(seeded, room, PEER if room == "g" else PEER + int(room[1]))
    wanted = await _wanted(seeded, *rooms)
    sent.clear()
    await seeded.deliver(READER, wanted, now_ms(), Trace())
    rows = _MARKS["flags"] if model == "flags" else []
    assert sent == ["LOCK", *rows, "UPDATE conversation_members", "COMMIT"]
    sent.clear()
    await seeded.deliver(READER, wanted, now_ms(), Trace())
    assert sent == ["LOCK", "COMMIT"]


async def test_a_snapshot_older_than_the_lock_is_taken_again(
    seeded: MySQL, sent: list[str], admin: pymysql.Connection[Any]
) -> None:
    """A READ waits for the second of its rows while another server reads it, after one more message came."""
    for room in ("d0", "d1"):
        for _ in range(2):
            await _send(seeded, room, PEER + int(room[1]))
    wanted = await _wanted(seeded, "d0", "d1")
    with admin.cursor() as cursor:
        cursor.execute(
            "UPDATE conversation_members SET read_seq = 8, version = 1"
            " WHERE user_id = %s AND conversation_id = 'd1'",
            (READER,),
        )
        sent.clear()
        reading = asyncio.create_task(seeded.read(READER, wanted, now_ms(), Trace()))
        await _until_one_waits(admin)
        await _send(seeded, "d1", PEER + 1)
        admin.commit()
    read, stale = await reading
    assert (read.seq, read.version, read.unread) == (8, 1, 0)
    assert (stale.advanced, stale.seq, stale.version, stale.unread) == (None, 8, 1, 1)
    assert sent.count("LOCK") == 2


async def _until_one_waits(connection: pymysql.Connection[Any]) -> None:
    """InnoDB renews this table when unread for 0.1 s."""
    sql = "SELECT COUNT(*) AS n FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    for _ in range(6):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.fetchone() == {"n": 1}:
                return
        await asyncio.sleep(0.11)
    raise AssertionError("nobody waited for the lock")


async def test_change_ids_that_another_server_moved_are_taken_without_looking_ahead(
    seeded: MySQL, sent: list[str], admin: pymysql.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await _send(seeded, "d0", PEER)
    wanted = await _wanted(seeded, "d0")
    move = "UPDATE user_sync_heads SET change_id = change_id + 3 WHERE user_id = %s"

    async def overtaken(*args: Any, **kwargs: Any) -> Any:
        members = await lock_ahead(*args, **kwargs)
        with admin.cursor() as cursor:
            cursor.execute(move, (PEER,))
        admin.commit()
        return members

    monkeypatch.setattr(transactions, "lock_ahead", overtaken)
    sent.clear()
    (marking,) = await seeded.read(READER, wanted, now_ms(), Trace())
    assert marking.advanced is not None
    assert (marking.version, marking.advanced.change_id, marking.advanced.peer_change_id) == (1, 1, 7)
    assert seeded.stats()["heads_moved"] == 1
    assert sent[sent.index("ROLLBACK") - 1] == "UPDATE user_sync_heads"
    assert sent[-4:] == [
        "UPDATE user_sync_heads",
        "SELECT user_sync_heads",
        "INSERT user_change_log",
        "COMMIT",
    ]


async def test_a_long_span_is_looked_up_by_itself(
    seeded: MySQL, sent: list[str], model: str, admin: pymysql.Connection[Any]
) -> None:
    for _ in range(AHEAD_SEQS + 1):
        await _send(seeded, "d0", PEER)
    wanted = await _wanted(seeded, "d0")
    sent.clear()
    (marking,) = await seeded.read(READER, wanted, now_ms(), Trace())
    assert (marking.seq, marking.unread) == (6 + AHEAD_SEQS + 1, 0)
    found = ["SELECT message_read_status"] if model == "flags" else []
    assert sent == ["LOCK", *found, *_MARKS[model], "UPDATE conversation_members", *_LOGGED, "COMMIT"]
    if model == "flags":
        with admin.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) AS n FROM message_read_status WHERE read_status = FALSE")
            assert cursor.fetchone() == {"n": 0}
