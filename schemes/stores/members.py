"""A member's row, locked, and in the same statement what the rest of the transaction would ask for.

    members = await lock(session, [(user, conversation), ...])                      ascending, for batches
    members = await lock_ahead(session, user, [(conversation, expressions), ...], heads=True)

Everything but the row itself comes by scalar subqueries: those lock nothing (a join would lock the
conversation's head too, and with it stop every SEND), and with literal bounds each is one range of one index.

They see a snapshot, and the lock may have been waited for after it was taken: then another READ or SEND of
this member has moved `read_seq` meanwhile.  So the snapshot's own `read_seq` comes with it:
  - If they are equal, no READ or SEND of this member committed in between.  The rows to mark are complete,
    because `up_to_seq` is no further than the snapshot's head, and a message commits together with its rows.
    Rows after the cursor are unread in the snapshot as they are under the lock, so their number is right
    too; messages that others sent since are not in it, as if the READ had come before them, and READ never
    waits for a SEND of others.
  - If they differ, the statement is sent once more: its snapshot is younger than the locks, which are held.
A change id can be older than the lock all the same; `change_log.py` compares it before it is used.

What is asked for comes as one column of text: aiomysql parses a packet of description for each column, which
costs as much as a seventh of a statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemes.read_state import Conversation
from schemes.stores.driver import Session
from schemes.stores.rows import Expression, Found
from schemes.stores.times import ms_of

LOCK: Final = (
    "SELECT CONCAT_WS(' ', m.user_id, m.read_seq, m.delivered_seq, m.version,"
    f" IFNULL({ms_of('m.read_at')}, '-'),"
    " (SELECT c.last_seq FROM conversations c WHERE c.conversation_id = m.conversation_id),"
    " (SELECT s.read_seq FROM conversation_members s FORCE INDEX (PRIMARY)"
    " WHERE s.user_id = m.user_id AND s.conversation_id = m.conversation_id),"
    " {columns}, m.conversation_id)"
    # of one group's members idx_readers would lock in the order of their cursors
    " FROM conversation_members m FORCE INDEX (PRIMARY) WHERE {members}"
    " ORDER BY m.user_id, m.conversation_id FOR UPDATE"
)
_HEADS: Final = (
    "IFNULL((SELECT h.change_id FROM user_sync_heads h WHERE h.user_id = m.user_id), '-'),"
    " IFNULL((SELECT p.change_id FROM user_sync_heads p WHERE p.user_id = m.peer_id), '-')"
)
_NO_HEADS: Final = "'-', '-'"
_NOTHING: Final = "'-'"
_COLUMNS: Final = 3
"""What an `Ahead` has: unread, ids, senders."""
LOCK_ROWS: Final = 500
"""Row values in one IN list: MariaDB rewrites lists of 1,000 into a join with a temporary table."""
AHEAD_ROWS: Final = 16
"""Conversations of one statement that brings more than their rows; each adds up to three subqueries to it."""

Ahead = tuple[Expression | None, Expression | None, Expression | None]
"""SQL for what is unread, the ids of the rows that are to be marked, and who sent them."""


class Member:
    """A member's row, locked until the end of the transaction; all else was read without a lock.

    `head` and `peer_head` are the change ids of the member and of the direct peer, `unread` what is left
    after the asked seq, `found` the rows before it: None where that was not asked for or is not there."""

    __slots__ = (
        "conversation",
        "delivered_seq",
        "found",
        "head",
        "last_seq",
        "peer_head",
        "read_at",
        "read_seq",
        "unread",
        "user",
        "version",
    )

    def __init__(self, conversation: Conversation, fields: Sequence[str]) -> None:
        (
            user,
            read_seq,
            delivered_seq,
            version,
            read_at,
            last_seq,
            _,
            head,
            peer_head,
            unread,
            ids,
            senders,
            _,
        ) = fields
        self.conversation = conversation
        self.user = int(user)
        self.read_seq = int(read_seq)
        self.delivered_seq = int(delivered_seq)
        self.version = int(version)
        self.read_at = _number(read_at)
        self.last_seq = int(last_seq)
        self.head = _number(head)
        self.peer_head = _number(peer_head)
        self.unread = _number(unread)
        self.found: Found | None = Found(_numbers(ids), _numbers(senders))


async def lock(session: Session, keys: Sequence[tuple[int, Conversation]]) -> list[Member]:
    """Locks members' rows in ascending order of their key, by one statement for each LOCK_ROWS of them."""
    members: list[Member] = []
    columns = f"{_NO_HEADS}, {', '.join([_NOTHING] * _COLUMNS)}"
    for start in range(0, len(keys), LOCK_ROWS):
        chunk = keys[start : start + LOCK_ROWS]
        args = [part for user, conversation in chunk for part in (user, conversation.conversation_id)]
        where = f"(m.user_id, m.conversation_id) IN ({','.join(['(%s,%s)'] * len(chunk))})"
        members += await _locked(session, LOCK.format(columns=columns, members=where), args, chunk)
    for member in members:
        member.found = None
    return members


async def lock_ahead(
    session: Session, user: int, wanted: Sequence[tuple[Conversation, Ahead]], *, heads: bool
) -> list[Member]:
    """Locks the rows of one user, ascending by conversation, at most AHEAD_ROWS, and brings what is asked of
    each; with `heads` also the change ids of the user and of the direct peers."""
    names = [conversation.conversation_id for conversation, _ in wanted]
    args: list[Any] = []
    by_column = zip(*(ahead for _, ahead in wanted), strict=True)
    columns = [_HEADS if heads else _NO_HEADS, *(_column(names, asked, args) for asked in by_column)]
    where = f"m.user_id = %s AND m.conversation_id IN ({','.join(['%s'] * len(names))})"
    sql = LOCK.format(columns=", ".join(columns), members=where)
    return await _locked(
        session, sql, (*args, user, *names), [(user, conversation) for conversation, _ in wanted]
    )


def _column(names: Sequence[str], expressions: Sequence[Expression | None], args: list[Any]) -> str:
    """The SQL of one value for each conversation, of which a row's own is evaluated; extends `args`."""
    cases = [(name, *expression) for name, expression in zip(names, expressions, strict=True) if expression]
    if not cases:
        return _NOTHING
    if len(names) == 1:
        _, sql, values = cases[0]
        args += values
        return f"IFNULL({sql}, '-')"
    whens = []
    for name, sql, values in cases:
        args += (name, *values)
        whens.append(f"WHEN %s THEN {sql}")
    return f"IFNULL(CASE m.conversation_id {' '.join(whens)} END, '-')"


async def _locked(
    session: Session, sql: str, args: Sequence[Any], keys: Sequence[tuple[int, Conversation]]
) -> list[Member]:
    rows = await _fields(session, sql, args)
    if any(fields[1] != fields[6] for fields in rows):  # read_seq: locked, and in the snapshot
        rows = await _fields(session, sql, args)
    found = {(int(fields[0]), fields[-1]): fields for fields in rows}
    return [Member(conversation, found[user, conversation.conversation_id]) for user, conversation in keys]


async def _fields(session: Session, sql: str, args: Sequence[Any]) -> list[list[str]]:
    # a conversation_id is last and may hold spaces
    return [row[0].split(" ", 12) for row in await session.rows(sql, args)]


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


def _numbers(text: str) -> list[int]:
    return [] if text == "-" else [int(part) for part in text.split(",")]
