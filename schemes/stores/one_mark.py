"""READ and DELIVERED of one conversation, the usual case: look without a lock, then compare and move.

    seen = await look_to_read(session, model, user, conversation, up_to_seq, senders=...)
    await move_read(session, model, seen, up_to_seq, at)          one UPDATE; raises Overtaken

The look is one SELECT that brings all that the rest needs: the cursors, the head, what will be unread, the
ids of the rows to mark, the change ids of the reader and of the direct peer.  The move is one UPDATE of all
that, which finds nothing where a cursor or a change id is no longer what was seen: then another server was
faster, and `transactions.py` locks the member first.  In one server the scheme's locks prevent it.

Why what was seen is right when the UPDATE has found it unmoved:
  - No READ or SEND of this member committed in between, so the rows after `read_seq` are as they were.
  - They are complete, because `up_to_seq` is no further than the head that was seen, and a message commits
    together with its rows.
  - What is unread after `up_to_seq` is of that moment: messages that others sent since are not counted, as if
    the READ had come before them.  So READ never waits for a SEND of others.

What the look brings is one column of text: aiomysql reads a packet and builds an object for each column,
which costs as much as a seventh of a statement.

The UPDATE locks in the order of all transactions: the member, its rows, then the change ids ascending.  It
assigns nothing that depends on another assignment, since their order is undefined for several tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemes.read_state import Conversation
from schemes.stores.driver import Session
from schemes.stores.model import Model
from schemes.stores.rows import AHEAD_SEQS, DELIVERED_SEQ, READ_SEQ, Looked
from schemes.stores.times import ms_of

_LOOK: Final = (
    f"SELECT CONCAT_WS(' ', m.read_seq, m.delivered_seq, m.version, IFNULL({ms_of('m.read_at')}, '-'),"
    " c.last_seq, {heads}, {columns})"
    " FROM conversation_members m FORCE INDEX (PRIMARY)"
    " JOIN conversations c ON c.conversation_id = m.conversation_id{joins}"
    " WHERE m.user_id = %s AND m.conversation_id = %s"
)
_HEADS: Final = "IFNULL(h.change_id, '-'), IFNULL(p.change_id, '-')"
_NO_HEADS: Final = "'-', '-'"
_JOIN_HEADS: Final = (
    " LEFT JOIN user_sync_heads h ON h.user_id = m.user_id"
    " LEFT JOIN user_sync_heads p ON p.user_id = m.peer_id"
)
_FIELDS: Final = 10
_MOVE_READ: Final = (
    "UPDATE conversation_members m FORCE INDEX (PRIMARY){rows}{heads}"
    " SET m.read_seq = %s, m.read_at = %s, m.version = %s{delivered}{marks}{changes}"
    " WHERE m.user_id = %s AND m.conversation_id = %s AND m.read_seq = %s AND m.version = %s"
    " AND m.delivered_seq = %s"
)
_MOVE_DELIVERED: Final = (
    "UPDATE conversation_members m FORCE INDEX (PRIMARY){rows}"
    " SET m.delivered_seq = %s, m.delivered_at = %s{marks}"
    " WHERE m.user_id = %s AND m.conversation_id = %s AND m.delivered_seq = %s"
)


class Overtaken(Exception):
    """What was seen is no longer so: another server was faster.  Nothing was changed."""


class Seen:
    """A member at one moment, unlocked.

    `heads` are the change ids of the member and of the direct peer, `unread` what is left after the asked
    seq or the read cursor, `ids` the rows up to the asked seq, comma-separated, `senders` who sent those."""

    __slots__ = (
        "conversation",
        "delivered_seq",
        "heads",
        "ids",
        "last_seq",
        "read_at",
        "read_seq",
        "senders",
        "unread",
        "user",
        "version",
    )

    def __init__(self, user: int, conversation: Conversation, fields: Sequence[str]) -> None:
        read_seq, delivered_seq, version, read_at, last_seq, *heads, unread, ids, senders = fields
        self.user = user
        self.conversation = conversation
        self.read_seq = int(read_seq)
        self.delivered_seq = int(delivered_seq)
        self.version = int(version)
        self.read_at = None if read_at == "-" else int(read_at)
        self.last_seq = int(last_seq)
        self.unread = int(unread)
        self.ids = "" if ids == "-" else ids
        self.senders = [] if senders == "-" else [int(sender) for sender in senders.split(",")]
        owners = (user, conversation.peer_of(user))
        self.heads = {
            owner: int(change_id)
            for owner, change_id in zip(owners, heads, strict=True)
            if owner is not None and change_id != "-"
        }


async def look_to_read(
    session: Session, model: Model, user: int, conversation: Conversation, up_to_seq: int, *, senders: bool
) -> Seen:
    """`senders`: whether they are told of it."""
    looked = model.look(READ_SEQ, up_to_seq, senders=senders)
    return await _look(session, user, conversation, looked, _HEADS, _JOIN_HEADS)


async def look_to_deliver(
    session: Session, model: Model, user: int, conversation: Conversation, up_to_seq: int
) -> Seen:
    """`unread` means nothing here."""
    return await _look(session, user, conversation, model.look(DELIVERED_SEQ, up_to_seq, senders=False))


async def _look(
    session: Session,
    user: int,
    conversation: Conversation,
    looked: Looked,
    heads: str = _NO_HEADS,
    join_heads: str = "",
) -> Seen:
    columns, join, args = looked
    sql = _LOOK.format(columns=columns, heads=heads, joins=join_heads + join)
    rows = await session.rows(sql, (*args, user, conversation.conversation_id))
    fields = rows[0][0].split(" ") if rows else []
    if len(fields) != _FIELDS:  # aggregates give a row even of nothing
        raise LookupError(f"u{user} has no row in {conversation.conversation_id}")
    return Seen(user, conversation, fields)


def reaches(from_seq: int, up_to_seq: int) -> bool:
    """Whether the ids of such a span were looked up completely."""
    return up_to_seq - from_seq <= AHEAD_SEQS


async def move_read(session: Session, model: Model, seen: Seen, up_to_seq: int, when: str) -> dict[int, int]:
    """Reads up to `up_to_seq`, which is beyond the cursor that was seen, and takes a change id of each owner
    of a log; gives them.  `when` is a stamp.  Raises Overtaken."""
    rows, marks, times = model.rows_to_read(seen.ids, seen.user)
    taken = {owner: seen.heads[owner] + 1 for owner in _owners(seen)}
    delivered, delivered_args = "", []
    if up_to_seq > seen.delivered_seq:
        delivered, delivered_args = ", m.delivered_seq = %s, m.delivered_at = %s", [up_to_seq, when]
    sql = _MOVE_READ.format(
        rows=rows, heads=_joined_heads(taken), delivered=delivered, marks=marks, changes=_changes(taken)
    )
    args: list[Any] = [up_to_seq, when, seen.version + 1, *delivered_args, *[when] * times]
    args += (seen.user, seen.conversation.conversation_id, seen.read_seq, seen.version, seen.delivered_seq)
    if await session.write(sql, args) == 0:
        raise Overtaken(f"{seen.conversation.conversation_id} of u{seen.user} moved meanwhile")
    await model.note_read(session, seen.conversation.conversation_id, seen.user, up_to_seq, when)
    return taken


async def move_delivered(session: Session, model: Model, seen: Seen, up_to_seq: int, when: str) -> None:
    """Delivers up to `up_to_seq`, which is beyond the cursor that was seen.  Raises Overtaken."""
    rows, marks, times = model.rows_to_deliver(seen.ids, seen.user)
    args: list[Any] = [up_to_seq, when, *[when] * times]
    args += (seen.user, seen.conversation.conversation_id, seen.delivered_seq)
    if await session.write(_MOVE_DELIVERED.format(rows=rows, marks=marks), args) == 0:
        raise Overtaken(f"{seen.conversation.conversation_id} of u{seen.user} moved meanwhile")


def _owners(seen: Seen) -> Sequence[int]:
    """Whose log is written, ascending: the lock order."""
    peer = seen.conversation.peer_of(seen.user)
    owners = [seen.user] if peer is None else sorted((seen.user, peer))
    missing = [owner for owner in owners if owner not in seen.heads]
    if missing:
        raise LookupError(f"the users {missing} have no row in user_sync_heads")
    return owners


def _joined_heads(taken: dict[int, int]) -> str:
    return "".join(
        f" STRAIGHT_JOIN user_sync_heads h{owner} FORCE INDEX (PRIMARY)"
        f" ON h{owner}.user_id = {owner} AND h{owner}.change_id = {change_id - 1}"
        for owner, change_id in taken.items()
    )


def _changes(taken: dict[int, int]) -> str:
    return "".join(f", h{owner}.change_id = {change_id}" for owner, change_id in taken.items())
