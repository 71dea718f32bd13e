"""Batches from a queue: sorted, forward only, and the same once or twice."""

from __future__ import annotations

import random
from typing import Any

import pymysql
import pytest

from schemes.ports import Refused, SyncFrom, Trace
from schemes.protocol import SeedConversation
from schemes.stores.mysql import MySQL
from schemes.stores.rows import QueuedMark

pytestmark = pytest.mark.services
AT = 1_800_000_000_000

ROOMS = [
    SeedConversation("d1", "direct", [1, 2], 6, [0, 0]),
    SeedConversation("d2", "direct", [1, 3], 6, [0, 0]),
    SeedConversation("g", "group", [1, 2, 3, 4], 8, [0, 0, 0, 0]),
]
# direct: 1 has read 5 and the peer 6; group: 1..4 have read 5, 6, 7, 8


@pytest.fixture
async def seeded(store: MySQL) -> MySQL:
    await store.seed(ROOMS, done=True)
    return store


async def test_a_batch_in_any_order_moves_each_cursor_as_if_one_by_one(seeded: MySQL) -> None:
    marks = [
        QueuedMark(3, "g", 8, AT + 3),
        QueuedMark(1, "g", 6, AT),
        QueuedMark(1, "d2", 6, AT + 1),
        QueuedMark(1, "g", 8, AT + 2),
        QueuedMark(1, "g", 7, AT + 4),  # stale by then
    ]
    moved = await seeded.apply_reads(marks, Trace())
    told = [(m.user, m.conversation.conversation_id, m.from_seq, m.up_to_seq, m.version) for m in moved]
    assert told == [(1, "d2", 5, 6, 1), (1, "g", 5, 6, 1), (1, "g", 6, 8, 2), (3, "g", 7, 8, 1)]
    assert [m.at for m in moved] == [AT + 1, AT, AT + 2, AT + 3]
    assert [m.unread for m in moved] == [0, 2, 0, 0]
    changes = [(m.change_id, m.peer_change_id) for m in moved]
    assert changes == [(1, 1), (2, None), (3, None), (2, None)]
    assert [list(m.senders) for m in moved] == [[], [2], [3, 4], [4]]


async def test_applying_it_again_changes_nothing(seeded: MySQL) -> None:
    marks = [QueuedMark(1, "g", 8, AT), QueuedMark(2, "g", 8, AT)]
    assert len(await seeded.apply_reads(marks, Trace())) == 2
    before = await seeded.dump("", 100)
    assert await seeded.apply_reads(marks, Trace()) == []
    assert await seeded.dump("", 100) == before
    assert (await seeded.position(1, Trace()))[1] == 1


async def test_first_read_times_of_a_batch_are_those_of_each_mark(
    seeded: MySQL, admin: pymysql.Connection[Any]
) -> None:
    marks = [QueuedMark(1, "g", 6, AT), QueuedMark(1, "g", 8, AT + 5000)]
    await seeded.apply_reads(marks, Trace())
    page = await seeded.sync(1, SyncFrom(0, None), 500, messages=True, trace=Trace())
    assert [message.read_time for message in page.messages] == [AT, AT + 5000, AT + 5000]
    table = "message_read_status" if seeded.model == "flags" else "v_message_read_status"
    with admin.cursor() as cursor:
        cursor.execute(
            f"SELECT seq, CAST(UNIX_TIMESTAMP(read_time) * 1000 AS UNSIGNED) AS at FROM {table}"
            " WHERE conversation_id = 'g' AND receiver_id = 1 AND seq > 5 ORDER BY seq"
        )
        found = {row["seq"]: row["at"] for row in cursor.fetchall()}
    assert found == {6: AT, 7: AT + 5000, 8: AT + 5000}


async def test_deliveries_move_forward_and_are_not_logged(seeded: MySQL) -> None:
    marks = [QueuedMark(1, "g", 7, AT), QueuedMark(1, "g", 6, AT), QueuedMark(2, "g", 8, AT)]
    reached = await seeded.apply_delivered(marks, Trace())
    assert [(r.user, r.delivered_seq) for r in reached] == [(1, 7), (2, 8)]
    held = await seeded.held(1, "g")
    assert held is not None
    assert (held.read_seq, held.delivered_seq) == (5, 7)
    assert await seeded.apply_delivered(marks, Trace()) == []
    assert (await seeded.position(1, Trace()))[1] == 0


async def test_a_stranger_in_a_batch_is_refused_and_nothing_moves(seeded: MySQL) -> None:
    with pytest.raises(Refused) as why:
        await seeded.apply_reads([QueuedMark(1, "g", 8, AT), QueuedMark(9, "g", 8, AT)], Trace())
    assert why.value.code == "NOT_MEMBER"
    held = await seeded.held(1, "g")
    assert held is not None
    assert held.read_seq == 5


async def test_random_batches_end_where_the_highest_marks_are(store: MySQL) -> None:
    rng = random.Random(11)
    users = list(range(1, 21))
    await store.seed([SeedConversation("g", "group", users, 200, [0] * 20)], done=True)
    start = {row.user_id: row.read_seq for row in (await store.dump("", 100))[0]}
    highest, versions = dict(start), dict.fromkeys(users, 0)
    for _ in range(8):
        batch = [QueuedMark(rng.choice(users), "g", rng.randint(150, 200), AT) for _ in range(60)]
        for advance in await store.apply_reads(batch, Trace()):
            assert advance.from_seq == highest[advance.user] < advance.up_to_seq
            assert advance.change_id == advance.version == versions[advance.user] + 1
            highest[advance.user], versions[advance.user] = advance.up_to_seq, advance.version
            assert advance.unread == 200 - advance.up_to_seq
    rows = (await store.dump("", 100))[0]
    assert {row.user_id: (row.read_seq, row.version) for row in rows} == {
        user: (highest[user], versions[user]) for user in users
    }
