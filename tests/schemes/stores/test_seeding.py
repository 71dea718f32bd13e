"""A seeded database is as if it had grown: both models, small and in bulk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from schemes.ports import Refused, Trace
from schemes.protocol import SeedConversation
from schemes.read_state import seeded_read_seq
from schemes.stores import seeding, tables
from schemes.stores.driver import Target, connect
from schemes.stores.mysql import MySQL
from schemes.stores.rows import Draft
from schemes.stores.times import now_ms
from tests.schemes.stores.support import population

pytestmark = pytest.mark.services
KEYS = (
    "SELECT table_name AS t, index_name AS i FROM information_schema.statistics"
    " WHERE table_schema = 'store_tests' AND seq_in_index = 1"
)


def _keys(admin: pymysql.Connection[Any]) -> set[tuple[str, str]]:
    with admin.cursor() as cursor:
        cursor.execute(KEYS)
        found = {(row["t"], row["i"]) for row in cursor.fetchall()}
    admin.rollback()
    return found


async def _everything(store: MySQL) -> dict[tuple[int, str], tuple[int, int, int]]:
    found: dict[tuple[int, str], tuple[int, int, int]] = {}
    after: str | None = ""
    while after is not None:
        rows, after = await store.dump(after, 1000)
        found |= {
            (row.user_id, row.conversation_id): (row.read_seq, row.version, row.last_seq) for row in rows
        }
    return found


@pytest.mark.parametrize("chunk_bytes", [seeding.CHUNK_BYTES, 10_000], ids=["small", "bulk"])
async def test_what_was_asked_for_is_there(
    store: MySQL, admin: pymysql.Connection[Any], monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(seeding, "CHUNK_BYTES", chunk_bytes)
    before = _keys(admin)
    rooms = population(100)
    for start in range(0, len(rooms), 100):
        await store.seed(rooms[start : start + 100], done=False)
    if chunk_bytes == 10_000:
        assert ("messages", "uk_client") not in _keys(admin), "a bulk load keeps the keys off"
    await store.seed([], done=True)
    assert _keys(admin) == before
    expected = {
        (user, room.id): (
            seeded_read_seq(room.members, index, room.history, room.read_seq[index]),
            0,
            room.history,
        )
        for room in rooms
        for index, user in enumerate(room.members)
    }
    assert await _everything(store) == expected


async def test_unread_of_the_rows_is_that_of_the_cursors(store: MySQL) -> None:
    await store.seed(population(60), done=True)
    for user in range(1, 61):
        _, states = await store.states(user, None, Trace(), counted=True)
        assert states
        assert [state.unread for state in states] == [state.last_seq - state.read_seq for state in states]
        assert await store.total_unread(user, Trace()) == sum(state.unread or 0 for state in states)


async def test_the_view_agrees_with_the_flags(store: MySQL, admin: pymysql.Connection[Any]) -> None:
    await store.seed(population(60), done=True)
    sql = (
        "SELECT COUNT(*) AS n FROM message_read_status f JOIN v_message_read_status v"
        " ON v.message_id = f.message_id AND v.receiver_id = f.receiver_id"
        " WHERE v.read_status = f.read_status AND v.delivered = f.delivered"
    )
    with admin.cursor() as cursor:
        cursor.execute(sql)
        agreeing = cursor.fetchone()
        cursor.execute("SELECT COUNT(*) AS n FROM v_message_read_status")
        receivers = cursor.fetchone()
    assert receivers is not None
    assert receivers["n"] > 1000
    assert agreeing == (receivers if store.model == "flags" else {"n": 0})


async def test_live_messages_follow_seeded_ones(store: MySQL) -> None:
    await store.seed([SeedConversation("d", "direct", [1, 2], 5, [5, 5])], done=True)
    room = await store.conversation("d", Trace())
    stored = await store.send(room, Draft(now_ms() << 22, 1, "live", "body", now_ms()), Trace())
    assert stored.sent.seq == 6
    history = await store.history("d", 1, 10, Trace())
    assert [message.seq for message in history] == [1, 2, 3, 4, 5, 6]
    assert [message.sent_time for message in history] == sorted(message.sent_time for message in history)
    assert int(history[4].message_id) < int(history[5].message_id)


async def test_a_second_load_goes_on_where_the_first_ended(
    store: MySQL, mysql_url: Callable[[str], str]
) -> None:
    await store.seed([SeedConversation("a", "direct", [1, 2], 5, [0, 0])], done=True)
    again = MySQL(mysql_url("store_tests"), model=store.model, pool_size=1)
    await again.start()
    await again.seed([SeedConversation("b", "direct", [2, 1], 5, [0, 0])], done=True)
    await again.close()
    ids = [message.message_id for room in ("a", "b") for message in await store.history(room, 1, 10, Trace())]
    assert len(set(ids)) == 10


async def test_the_same_conversation_twice_is_refused(store: MySQL) -> None:
    room = SeedConversation("a", "direct", [1, 2], 5, [0, 0])
    await store.seed([room], done=True)
    with pytest.raises(Refused, match="Duplicate entry"):
        await store.seed([room], done=True)


async def test_a_server_without_local_infile_is_told_what_to_do(
    store: MySQL, admin: pymysql.Connection[Any]
) -> None:
    with admin.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = OFF")
        try:
            with pytest.raises(Refused, match="--local-infile=ON"):
                await store.seed([SeedConversation("a", "direct", [1, 2], 5, [0, 0])], done=True)
        finally:
            cursor.execute("SET GLOBAL local_infile = ON")
    await store.seed([SeedConversation("b", "direct", [1, 2], 5, [0, 0])], done=True)


async def test_reset_empties_everything_and_puts_missing_keys_back(
    store: MySQL, admin: pymysql.Connection[Any], mysql_url: Callable[[str], str]
) -> None:
    before = _keys(admin)
    await store.seed(population(60), done=True)
    session = await connect(Target.parse(mysql_url("store_tests")))
    for table in tables.NAMES:
        await tables.drop_keys(session, table)
    session.close()
    assert _keys(admin) != before
    await store.reset()
    assert _keys(admin) == before
    with admin.cursor() as cursor:
        for table in tables.NAMES:
            cursor.execute(f"SELECT COUNT(*) AS n FROM {table}")
            assert cursor.fetchone() == {"n": 0}, table
    with pytest.raises(Refused):
        await store.conversation("d0", Trace())
