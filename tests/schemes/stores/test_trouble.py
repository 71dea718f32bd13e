"""Deadlocks, lock waits, lost connections, no MySQL at all: tried again, refused in time, and recovered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pymysql
import pytest
import pytest_asyncio

from schemes.ports import Refused, Trace
from schemes.protocol import SeedConversation
from schemes.stores import mysql_connections
from schemes.stores.mysql import MySQL
from schemes.stores.mysql_connections import OPERATION_S
from schemes.stores.rows import Draft
from schemes.stores.times import now_ms

pytestmark = pytest.mark.services
LOCK = "SELECT version FROM conversation_members WHERE user_id = %s AND conversation_id = %s FOR UPDATE"
ROOMS = [SeedConversation(name, "group", [1, 2, 3], 6, [0, 0, 0]) for name in ("a", "b")]
# user 1 has read 4 of 6 in both


@pytest.fixture
async def seeded(store: MySQL) -> MySQL:
    await store.seed(ROOMS, done=True)
    return store


async def _read(store: MySQL, *rooms: str, user: int = 1, seq: int = 6) -> None:
    trace = Trace()
    wanted = [(await store.conversation(room, trace), seq) for room in rooms]
    await store.read(user, wanted, now_ms(), trace)


async def _cursor(store: MySQL, room: str) -> int:
    row = await store.held(1, room)
    assert row is not None
    return row.read_seq


async def _until(connection: pymysql.Connection[Any], waiting: int) -> None:
    """Until that many transactions wait for a lock.  InnoDB renews this table when unread for 0.1 s."""
    sql = "SELECT COUNT(*) AS n FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    for _ in range(25):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
        if row is not None and row["n"] >= waiting:
            return
        await asyncio.sleep(0.15)
    raise AssertionError("nobody waited for the lock")


# --- contention -------------------------------------------------------------------------------------------


async def test_a_deadlock_is_tried_again(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    with admin.cursor() as cursor:
        cursor.execute(
            "UPDATE conversation_members SET version = 7 WHERE user_id = 1 AND conversation_id = 'b'"
        )
        cursor.execute("UPDATE messages SET state = 1 WHERE conversation_id = 'b' AND seq = 1")
        victim = asyncio.create_task(_read(seeded, "a", "b"))  # holds a, waits for b
        await _until(admin, 1)
        await asyncio.to_thread(cursor.execute, LOCK, (1, "a"))  # closes the circle; we changed more rows
        admin.commit()
    await victim
    assert seeded.stats()["deadlocks"] == 1
    assert [await _cursor(seeded, room) for room in ("a", "b")] == [6, 6]


async def test_a_lock_wait_is_tried_again(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    with admin.cursor() as cursor:
        cursor.execute(LOCK, (1, "a"))
        reading = asyncio.create_task(_read(seeded, "a"))
        await asyncio.sleep(1.3)
        admin.commit()
    await reading
    assert seeded.stats()["lock_waits"] == 1
    assert await _cursor(seeded, "a") == 6


async def test_a_lock_that_never_comes_is_a_refusal_before_the_client_gives_up(
    seeded: MySQL, admin: pymysql.Connection[Any]
) -> None:
    began = time.monotonic()
    with admin.cursor() as cursor:
        cursor.execute(LOCK, (1, "a"))
        with pytest.raises(Refused) as why:
            await _read(seeded, "a")
    admin.rollback()
    assert why.value.code == "UNAVAILABLE"
    assert time.monotonic() - began < OPERATION_S + 0.3
    await _read(seeded, "a")
    assert await _cursor(seeded, "a") == 6


async def test_a_refused_transaction_leaves_nothing_behind(seeded: MySQL) -> None:
    with pytest.raises(Refused, match="beyond 6"):
        await _read(seeded, "a", "b", seq=7)
    assert [await _cursor(seeded, room) for room in ("a", "b")] == [4, 4]
    await _read(seeded, "a", "b")  # nothing is locked


async def test_last_seq_is_the_number_of_messages_under_concurrent_retries(
    seeded: MySQL, admin: pymysql.Connection[Any]
) -> None:
    room = await seeded.conversation("a", Trace())

    async def send(number: int) -> int:
        draft = Draft((now_ms() << 22) + number, 1, f"message-{number // 5}", "body", now_ms())
        return (await seeded.send(room, draft, Trace())).sent.seq

    seqs = await asyncio.gather(*(send(number) for number in range(50)))
    assert sorted(set(seqs)) == list(range(7, 17))
    assert all(len(set(seqs[start : start + 5])) == 1 for start in range(0, 50, 5))
    assert seeded.stats()["duplicates"] == 40
    with admin.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) AS n, MAX(seq) AS last FROM messages WHERE conversation_id = 'a'")
        assert cursor.fetchone() == {"n": 16, "last": 16}
    assert (await seeded.heads(["a"], Trace()))["a"].last_seq == 16


async def test_a_cancelled_transaction_is_rolled_back(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    with admin.cursor() as cursor:
        cursor.execute(LOCK, (1, "b"))
        reading = asyncio.create_task(_read(seeded, "a", "b"))
        await _until(admin, 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    admin.rollback()
    await asyncio.sleep(0.1)
    assert [await _cursor(seeded, room) for room in ("a", "b")] == [4, 4]
    await _read(seeded, "a", "b")


# --- the way to MySQL -------------------------------------------------------------------------------------


class Wire:
    """A relay in front of MySQL that can hang up, refuse, and swallow what the server says."""

    def __init__(self, host: str, port: int) -> None:
        self._behind = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.cut_before_answer_to: bytes | None = None
        self.mute = False

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await asyncio.sleep(0.05)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection(*self._behind)
        self._writers |= {writer, upstream}
        answers = asyncio.create_task(self._answers(upstream_reader, writer))
        while data := await reader.read(1 << 16):
            cut = self.cut_before_answer_to is not None and self.cut_before_answer_to in data
            if cut:
                answers.cancel()
            upstream.write(data)
            if cut:
                await upstream_reader.read(1)  # MySQL has done it
                self.hang_up()
        upstream.close()
        answers.cancel()

    async def _answers(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await upstream.read(1 << 16):
            if not self.mute:
                writer.write(data)
        writer.close()


@pytest_asyncio.fixture(params=["mysql+aiomysql", "mysql+asyncmy"])
async def wired(
    request: pytest.FixtureRequest, mysql_url: Callable[[str], str]
) -> AsyncIterator[tuple[MySQL, Wire]]:
    """A seeded store that reaches MySQL through a wire, for each driver."""
    place = urlsplit(mysql_url("wire_tests"))
    wire = Wire(place.hostname or "", place.port or 0)
    await wire.open()
    netloc = f"{place.username}@127.0.0.1:{wire.port}"
    store = MySQL(urlunsplit(place._replace(scheme=request.param, netloc=netloc)), pool_size=3)
    await store.start()
    await store.reset()
    await store.seed(ROOMS, done=True)
    yield store, wire
    await store.close()
    await wire.close()


async def test_idle_connections_that_died_are_replaced_unseen(wired: tuple[MySQL, Wire]) -> None:
    store, wire = wired
    wire.hang_up()
    await asyncio.sleep(0.05)
    await _read(store, "a")
    wire.hang_up()
    await asyncio.sleep(0.05)
    assert await _cursor(store, "a") == 6
    assert store.stats()["unavailable"] == 0


async def test_away_is_refused_at_once_and_back_is_used_at_once(wired: tuple[MySQL, Wire]) -> None:
    store, wire = wired
    await wire.close()
    began = time.monotonic()
    refused = await asyncio.gather(*(_read(store, "a") for _ in range(8)), return_exceptions=True)
    assert [why.code for why in refused if isinstance(why, Refused)] == ["UNAVAILABLE"] * 8
    assert time.monotonic() - began < 1.5
    await wire.open()
    await asyncio.gather(*(_read(store, "a") for _ in range(8)))
    assert await _cursor(store, "a") == 6


async def test_a_connection_lost_in_commit_is_unknown_and_not_tried_again(
    wired: tuple[MySQL, Wire],
) -> None:
    store, wire = wired
    await store.conversation("a", Trace())
    wire.cut_before_answer_to = b"COMMIT"
    with pytest.raises(Refused) as why:
        await _read(store, "a")
    wire.cut_before_answer_to = None
    assert why.value.code == "UNAVAILABLE"
    row = await store.held(1, "a")
    assert row is not None
    assert (row.read_seq, row.version) == (6, 1)  # it happened, once


async def test_a_silent_mysql_is_refused_before_the_client_gives_up(wired: tuple[MySQL, Wire]) -> None:
    store, wire = wired
    await store.conversation("a", Trace())
    wire.mute = True
    began = time.monotonic()
    refused = await asyncio.gather(*(_read(store, "a") for _ in range(5)), return_exceptions=True)
    assert [why.code for why in refused if isinstance(why, Refused)] == ["UNAVAILABLE"] * 5
    assert time.monotonic() - began < OPERATION_S + 0.4
    wire.mute = False
    wire.hang_up()
    await _read(store, "a")
    assert await _cursor(store, "a") == 6


@pytest.mark.parametrize("driver", ["mysql+aiomysql", "mysql+asyncmy"])
async def test_a_wrong_password_is_a_refusal_that_says_so(
    mysql_url: Callable[[str], str], driver: str
) -> None:
    place = urlsplit(mysql_url("wire_tests"))
    netloc = f"nobody:wrong@{place.hostname}:{place.port}"
    store = MySQL(urlunsplit(place._replace(scheme=driver, netloc=netloc)))
    with pytest.raises(Refused, match="Access denied") as why:
        await store.start()
    assert why.value.code == "UNAVAILABLE"


async def test_time_is_told_apart(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    trace = Trace()
    with admin.cursor() as cursor:
        cursor.execute(LOCK, (1, "a"))
        room = await seeded.conversation("a", trace)
        reading = asyncio.create_task(seeded.read(1, [(room, 6)], now_ms(), trace))
        await asyncio.sleep(0.3)
        admin.commit()
    await reading
    assert trace.store > 250_000_000
    assert trace.wait < 50_000_000


async def test_beyond_a_queue_requests_are_refused_at_once(
    seeded: MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than WAITING_MAX waiting for a connection are refused as OVERLOADED, and the others are served."""
    monkeypatch.setattr(mysql_connections, "WAITING_MAX", 3)
    singles = [await seeded._connections._singles.acquire() for _ in range(4)]
    waiting = [asyncio.create_task(seeded.position(1, Trace())) for _ in range(3)]
    await asyncio.sleep(0.01)
    with pytest.raises(Refused) as why:
        await seeded.position(1, Trace())
    assert (why.value.code, why.value.retry_ms > 0) == ("OVERLOADED", True)
    for session in singles:
        seeded._connections._singles.release(session)
    assert len(await asyncio.gather(*waiting)) == 3
    assert seeded.stats()["overloaded"] == 1
