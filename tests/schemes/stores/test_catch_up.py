"""SYNC at the size of a page, and at both ends of the log."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from schemes.ports import SyncFrom, SyncPage, Trace
from schemes.protocol import SeedConversation
from schemes.stores.mysql import MySQL
from schemes.stores.rows import QueuedMark

pytestmark = pytest.mark.services
AT = 1_800_000_000_000
READER = 100
"""The hundredth of 101 members who send in turn: seqs 100, 201, 302, … are their own."""


@pytest.fixture
async def seeded(store: MySQL) -> MySQL:
    members = list(range(1, 101))
    rooms = [
        SeedConversation("small", "group", [READER, 2], 1, [0, 0]),
        SeedConversation("big", "group", [*members, 101], 1900, [0] * 101),
    ]
    await store.seed(rooms, done=True)
    return store


async def _sync(
    store: MySQL, since: int | None, *, at: int | None = None, limit: int = 500, messages: bool = True
) -> SyncPage:
    return await store.sync(READER, SyncFrom(since, at), limit, messages, Trace())


async def _rewind(store: MySQL, admin: pymysql.Connection[Any]) -> None:
    """The reader has read nothing of the big group, as if they had never sent."""
    with admin.cursor() as cursor:
        cursor.execute("UPDATE conversation_members SET read_seq = 0 WHERE user_id = %s", (READER,))
        cursor.execute("UPDATE message_read_status SET read_status = 0 WHERE receiver_id = %s", (READER,))
    admin.commit()


async def _read(store: MySQL, *seqs: int) -> None:
    await store.apply_reads([QueuedMark(READER, "big", seq, AT + seq) for seq in seqs], Trace())


async def test_pages_join_without_gap_or_overlap(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    await _rewind(seeded, admin)
    await _read(seeded, *range(10, 101, 10))
    seen, since, pages = [], 0, 0
    while True:
        page = await _sync(seeded, since, limit=3)
        seen += [change.change_id for change in page.changes]
        assert page.next_change_id == seen[-1]
        since, pages = page.next_change_id, pages + 1
        assert (page.total_unread is not None) == page.done
        if page.done:
            break
    assert (seen, pages) == (list(range(1, 11)), 4)


async def test_a_page_of_messages_ends_before_the_change_that_does_not_fit(
    seeded: MySQL, admin: pymysql.Connection[Any]
) -> None:
    await _rewind(seeded, admin)
    await _read(seeded, 300, 600, 700)
    page = await _sync(seeded, 0)
    assert [change.up_to_seq for change in page.changes] == [300]
    assert len(page.messages) == 298  # 100 and 201 are the reader's own
    assert page.done is False
    page = await _sync(seeded, page.next_change_id)
    assert [change.up_to_seq for change in page.changes] == [600, 700]
    assert page.done is True
    assert not any(change.truncated for change in page.changes)


async def test_a_change_larger_than_a_page_stays_a_cursor(
    seeded: MySQL, admin: pymysql.Connection[Any]
) -> None:
    await _rewind(seeded, admin)
    await _read(seeded, 20, 900, 930)
    page = await _sync(seeded, 0)
    assert [(change.up_to_seq, change.truncated) for change in page.changes] == [
        (20, False),
        (900, True),
        (930, False),
    ]
    assert len(page.messages) == 20 + 29  # 908 is the reader's own
    assert page.done is True


async def test_cursors_alone_never_carry_messages(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    await _rewind(seeded, admin)
    await _read(seeded, 900)
    page = await _sync(seeded, 0, messages=False)
    assert page.messages == []
    assert [change.truncated for change in page.changes] == [False]


async def test_a_time_starts_five_seconds_earlier(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    await _rewind(seeded, admin)
    await _read(seeded, 10, 20, 30)
    assert [c.up_to_seq for c in (await _sync(seeded, None, at=AT + 20 + 5000)).changes] == [20, 30]
    assert [c.up_to_seq for c in (await _sync(seeded, None, at=AT + 21 + 5000)).changes] == [30]
    late = await _sync(seeded, None, at=AT + 60_000)
    assert (late.changes, late.next_change_id, late.done) == ([], 3, True)


async def test_beyond_either_end_of_the_log_is_a_reset(seeded: MySQL, admin: pymysql.Connection[Any]) -> None:
    await _rewind(seeded, admin)
    await _read(seeded, 10, 20, 30)
    with admin.cursor() as cursor:
        cursor.execute("UPDATE user_sync_heads SET oldest_change = 2 WHERE user_id = %s", (READER,))
        cursor.execute("DELETE FROM user_change_log WHERE user_id = %s AND change_id < 2", (READER,))
    admin.commit()
    assert (await _sync(seeded, 0)).reset_required is True
    assert (await _sync(seeded, 1)).reset_required is False
    assert (await _sync(seeded, 3)).changes == []
    assert (await _sync(seeded, 4)).reset_required is True
    assert (await _sync(seeded, None, at=AT)).reset_required is True
    assert (await _sync(seeded, None, at=AT + 30 + 5000)).reset_required is False


async def test_someone_without_a_log_has_nothing_to_catch_up_on(seeded: MySQL) -> None:
    page = await seeded.sync(12345, SyncFrom(0, None), 500, True, Trace())
    assert (page.changes, page.done, page.reset_required, page.total_unread) == ([], True, False, 0)
