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
from schemes.stores import one_mark
from schemes.stores.driver import Session
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
    if sql.startswith("UPDATE conversation_members m "):
        return "MOVE"
    words = sql.removeprefix("(").split()
    if words[0] != "SELECT":
        return " ".join(word for word in words[:3] if word not in ("INTO", "SET", "FORCE"))
    if sql.endswith("FOR UPDATE"):
        return "LOCK"
    if sql.startswith("SELECT CONCAT_WS"):
        return "LOOK"
    if sql.startswith("SELECT (SELECT COUNT"):
        return "COUNT"
    return f"SELECT {words[words.index('FROM') + 1]}"


async def _send(store: MySQL, room: str, sender: int) -> Stored:
    number = next(_ids)
    conversation = await store.conversation(room, Trace())
    return await store.send(conversation, Draft(number, sender, f"m{number}", "body", now_ms()), Trace())


async def _wanted(store: MySQL, *rooms: str) -> list[tuple[Conversation, int]]:
    heads = await store.heads(rooms, Trace())
    return [(await store.conversation(room, Trace()), heads[room].last_seq) for room in rooms]


_MARKS = {"flags": ["UPDATE message_read_status"], "cursor": ["INSERT read_advances"]}


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
        "LOOK",
        "MOVE",
        *(["INSERT read_advances"] if model == "cursor" else []),
        "INSERT messages",
        *(["INSERT message_read_status"] if model == "flags" else []),
        "INSERT user_change_log",
        "COMMIT",
    ]


@pytest.mark.parametrize("room", ["d0", "g"])
async def test_read(seeded: MySQL, sent: list[str], model: str, room: str) -> None:
    for _ in range(2):
        await _send(seeded, room, PEER)
    ((conversation, seq),) = await _wanted(seeded, room)
    sent.clear()
    (marking,) = await seeded.read(READER, [(conversation, seq - 1)], now_ms(), Trace())
    assert (marking.seq, marking.version, marking.unread) == (7, 1, 1)
    advance = ["INSERT read_advances"] if model == "cursor" else []
    assert sent == ["LOOK", "MOVE", *advance, "INSERT user_change_log", "COMMIT"]
    sent.clear()
    (stale,) = await seeded.read(READER, [(conversation, seq - 1)], now_ms(), Trace())
    assert (stale.advanced, stale.unread, stale.version) == (None, 1, 1)
    assert sent == ["LOOK", "COMMIT"]


SEVERAL = ["d0", "d1", "d2", "g"]


async def test_read_of_several(seeded: MySQL, sent: list[str], model: str) -> None:
    """As many statements as for two."""
    for room in SEVERAL * 2:
        await _send(seeded, room, PEER if room == "g" else PEER + int(room[1]))
    wanted = [(conversation, seq - 1) for conversation, seq in await _wanted(seeded, *SEVERAL)]
    sent.clear()
    markings = await seeded.read(READER, wanted, now_ms(), Trace())
    assert [(m.seq, m.version, m.unread) for m in markings] == [(7, 1, 1)] * len(SEVERAL)
    counts = ["COUNT"] if model == "flags" else []
    found = ["SELECT message_read_status"] if model == "flags" else []
    senders = ["SELECT messages"] if model == "cursor" else []
    logged = ["UPDATE user_sync_heads", "SELECT user_sync_heads", "INSERT user_change_log"]
    moved = [*found, *_MARKS[model], *senders, "UPDATE conversation_members"]
    assert sent == ["LOCK", *moved, *counts, *logged, "COMMIT"]
    sent.clear()
    (stale, *_) = await seeded.read(READER, wanted, now_ms(), Trace())
    assert (stale.advanced, stale.unread, stale.version) == (None, 1, 1)
    assert sent == ["LOCK", *counts, "COMMIT"]


async def test_delivered(seeded: MySQL, sent: list[str]) -> None:
    """The second statement is a transaction by itself."""
    await _send(seeded, "d0", PEER)
    wanted = await _wanted(seeded, "d0")
    sent.clear()
    (marking,) = await seeded.deliver(READER, wanted, now_ms(), Trace())
    assert marking.reached is not None
    assert sent == ["LOOK", "MOVE"]
    sent.clear()
    (marking,) = await seeded.deliver(READER, wanted, now_ms(), Trace())
    assert (marking.reached, marking.seq) == (None, 7)
    assert sent == ["LOOK"]


async def test_delivered_of_several(seeded: MySQL, sent: list[str], model: str) -> None:
    for room in SEVERAL:
        await _send(seeded, room, PEER if room == "g" else PEER + int(room[1]))
    wanted = await _wanted(seeded, *SEVERAL)
    sent.clear()
    await seeded.deliver(READER, wanted, now_ms(), Trace())
    rows = ["SELECT message_read_status", "UPDATE message_read_status"] if model == "flags" else []
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


MOVES = {
    "change id": f"UPDATE user_sync_heads SET change_id = change_id + 3 WHERE user_id = {PEER}",
    "version": f"UPDATE conversation_members SET version = version + 3 WHERE user_id = {READER}",
    "delivered": f"UPDATE conversation_members SET delivered_seq = 7 WHERE user_id = {READER}",
}


@pytest.mark.parametrize("moved", MOVES)
async def test_what_another_server_moved_meanwhile_is_locked_instead(
    seeded: MySQL,
    sent: list[str],
    admin: pymysql.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    moved: str,
) -> None:
    await _send(seeded, "d0", PEER)
    wanted = await _wanted(seeded, "d0")
    monkeypatch.setattr(one_mark, "look_to_read", _overtaken(one_mark.look_to_read, admin, MOVES[moved]))
    sent.clear()
    (marking,) = await seeded.read(READER, wanted, now_ms(), Trace())
    assert marking.advanced is not None
    version, peer_change_id = (4, 1) if moved == "version" else (1, 4 if moved == "change id" else 1)
    found = (marking.version, marking.advanced.change_id, marking.advanced.peer_change_id, marking.unread)
    assert found == (version, 1, peer_change_id, 0)
    assert seeded.stats()["overtaken"] == 1
    assert sent[:4] == ["LOOK", "MOVE", "ROLLBACK", "LOCK"]


async def test_a_delivery_that_another_server_overtook_is_locked_instead(
    seeded: MySQL, sent: list[str], admin: pymysql.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await _send(seeded, "d0", PEER)
    wanted = await _wanted(seeded, "d0")
    look = _overtaken(one_mark.look_to_deliver, admin, MOVES["delivered"])
    monkeypatch.setattr(one_mark, "look_to_deliver", look)
    sent.clear()
    (marking,) = await seeded.deliver(READER, wanted, now_ms(), Trace())
    assert (marking.seq, marking.reached is not None) == (8, True)
    assert seeded.stats()["overtaken"] == 1
    assert sent[:3] == ["LOOK", "MOVE", "LOCK"]


def _overtaken(look: Callable[..., Any], admin: pymysql.Connection[Any], sql: str) -> Callable[..., Any]:
    """The look, after which another server changes something."""

    async def overtaken(*args: Any, **kwargs: Any) -> Any:
        seen = await look(*args, **kwargs)
        with admin.cursor() as cursor:
            cursor.execute(sql)
        admin.commit()
        return seen

    return overtaken


async def test_a_long_span_is_looked_up_by_itself(
    seeded: MySQL, sent: list[str], model: str, admin: pymysql.Connection[Any]
) -> None:
    for _ in range(AHEAD_SEQS + 1):
        await _send(seeded, "d0", PEER)
    wanted = await _wanted(seeded, "d0")
    sent.clear()
    (marking,) = await seeded.read(READER, wanted, now_ms(), Trace())
    assert (marking.seq, marking.unread) == (6 + AHEAD_SEQS + 1, 0)
    assert sent[:2] == ["LOOK", "LOCK"]
    if model == "flags":
        with admin.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) AS n FROM message_read_status WHERE read_status = FALSE")
            assert cursor.fetchone() == {"n": 0}
