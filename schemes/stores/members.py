"""Members' rows, locked: what READ and DELIVERED of several conversations, and batches, begin with.

The conversation's head comes by a scalar subquery, which locks nothing: a join would lock the head too, and
with it stop every SEND.  It sees a snapshot, and the lock may have been waited for after that was taken.  So
the snapshot's own `read_seq` comes with it, and where it differs from the locked one the statement is sent
once more: its snapshot is younger than the locks, which are held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemes.read_state import Conversation
from schemes.stores.driver import Session
from schemes.stores.times import ms_of

LOCK: Final = (
    f"SELECT m.user_id, m.conversation_id, m.read_seq, m.delivered_seq, m.version, {ms_of('m.read_at')},"
    " (SELECT c.last_seq FROM conversations c WHERE c.conversation_id = m.conversation_id),"
    " (SELECT s.read_seq FROM conversation_members s FORCE INDEX (PRIMARY)"
    " WHERE s.user_id = m.user_id AND s.conversation_id = m.conversation_id)"
    # of one group's members idx_members would lock in another order
    " FROM conversation_members m FORCE INDEX (PRIMARY) WHERE (m.user_id, m.conversation_id) IN ({keys})"
    " ORDER BY m.user_id, m.conversation_id FOR UPDATE"
)
LOCK_ROWS: Final = 500
"""Row values in one IN list: MariaDB rewrites lists of 1,000 into a join with a temporary table."""


class Member:
    """A member's row, locked until the end of the transaction; `last_seq` was read without a lock."""

    __slots__ = ("conversation", "delivered_seq", "last_seq", "read_at", "read_seq", "user", "version")

    def __init__(self, conversation: Conversation, row: Sequence[Any]) -> None:
        self.conversation = conversation
        self.user, _, self.read_seq, self.delivered_seq, self.version, self.read_at, self.last_seq, _ = row


async def lock(session: Session, keys: Sequence[tuple[int, Conversation]]) -> list[Member]:
    """Locks members' rows in ascending order of their key, by one statement for each LOCK_ROWS of them."""
    members: list[Member] = []
    for start in range(0, len(keys), LOCK_ROWS):
        chunk = keys[start : start + LOCK_ROWS]
        args = [part for user, conversation in chunk for part in (user, conversation.conversation_id)]
        sql = LOCK.format(keys=",".join(["(%s,%s)"] * len(chunk)))
        rows = await session.rows(sql, args)
        if any(row[2] != row[7] for row in rows):  # read_seq: locked, and in the snapshot
            session.notes["locks_again"] += 1
            rows = await session.rows(sql, args)
        found = {(row[0], row[1]): row for row in rows}
        members += [
            Member(conversation, found[user, conversation.conversation_id]) for user, conversation in chunk
        ]
    return members
