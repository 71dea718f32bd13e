"""What one transaction does, statement by statement, the same for both models.

Locks are taken in this order everywhere: conversations, conversation_members (ascending), message_read_status
(ascending), user_sync_heads (ascending, last).  A member's row comes before the rows of its messages: the
other order deadlocks two devices of one person.  COMMIT and trying again are `mysql.py`'s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemes.ports import Refused
from schemes.read_state import GROUP, Advanced, Conversation, Reached, Sent, senders_between
from schemes.stores import change_log
from schemes.stores.driver import Session
from schemes.stores.model import Model
from schemes.stores.rows import Draft, Marking, QueuedMark, Span, Stored
from schemes.stores.times import ms_of, stamp

NEXT_SEQ: Final = (
    "UPDATE conversations SET last_seq = LAST_INSERT_ID(last_seq + 1), last_sent_at = %s"
    " WHERE conversation_id = %s"
)
INSERT_MESSAGE: Final = (
    "INSERT INTO messages"
    " (conversation_id, seq, message_id, sender_id, client_msg_id, sent_time, state, body)"
    " VALUES (%s, %s, %s, %s, %s, %s, 1, %s)"
)
LOCK_SENDER: Final = (
    "SELECT read_seq, delivered_seq, version FROM conversation_members"
    " WHERE user_id = %s AND conversation_id = %s FOR UPDATE"
)
LOCK_MEMBERS: Final = (
    "SELECT m.user_id, m.conversation_id, m.read_seq, m.delivered_seq, m.version,"
    f" {ms_of('m.read_at')},"
    # a scalar subquery: a join would lock the head too, and with it every SEND
    " (SELECT c.last_seq FROM conversations c WHERE c.conversation_id = m.conversation_id)"
    # of one group's members idx_readers would lock in the order of their cursors
    " FROM conversation_members m FORCE INDEX (PRIMARY) WHERE {members}"
    " ORDER BY m.user_id, m.conversation_id FOR UPDATE"
)
LOCK_ROWS: Final = 500
"""Row values in one IN list: MariaDB rewrites lists of 1,000 into a join with a temporary table."""
MOVE_READ: Final = (
    "UPDATE conversation_members SET delivered_at = IF(delivered_seq < %s, %s, delivered_at),"
    " delivered_seq = GREATEST(delivered_seq, %s), read_seq = %s, read_at = %s, version = version + %s"
    " WHERE user_id = %s AND conversation_id = %s"
)
MOVE_DELIVERED: Final = (
    "UPDATE conversation_members SET delivered_seq = %s, delivered_at = %s"
    " WHERE user_id = %s AND conversation_id = %s"
)


class Member:
    """A member's row, locked until the end of the transaction; `last_seq` was read without a lock."""

    __slots__ = ("conversation", "delivered_seq", "last_seq", "read_at", "read_seq", "user", "version")

    def __init__(self, conversation: Conversation, row: Sequence[Any]) -> None:
        self.conversation = conversation
        self.user: int = row[0]
        self.read_seq: int = row[2]
        self.delivered_seq: int = row[3]
        self.version: int = row[4]
        self.read_at: int | None = row[5]
        self.last_seq: int = max(row[6], row[2])
        # a SEND of this member may have committed between the head's snapshot and the lock


async def send(
    session: Session, model: Model, conversation: Conversation, draft: Draft, receipt_members: int
) -> Stored:
    """Appends a message; sending implies reading all that came before it.

    Raises DuplicateKey when the sender used this client_msg_id before: roll back and look it up."""
    conversation_id, at = conversation.conversation_id, stamp(draft.at)
    await session.write(NEXT_SEQ, (at, conversation_id))
    seq = session.last_id
    ((read_seq, delivered_seq, version),) = await session.rows(LOCK_SENDER, (draft.sender, conversation_id))
    await session.write(
        INSERT_MESSAGE,
        (conversation_id, seq, draft.message_id, draft.sender, draft.client_msg_id, at, draft.body),
    )
    sent = Sent(conversation, draft.message_id, seq, draft.sender, draft.client_msg_id, draft.at, draft.body)
    member = Member(
        conversation, (draft.sender, conversation_id, read_seq, delivered_seq, version, None, seq)
    )
    advanced = None
    if read_seq < seq - 1:
        advanced = await _advance(session, model, member, seq, draft.at, receipt_members)
        advanced.unread = 0
    else:
        await session.write(MOVE_READ, (seq, at, seq, seq, at, 0, draft.sender, conversation_id))
    await model.add(session, sent)
    await change_log.log(session, [advanced] if advanced else [])
    return Stored(sent, advanced, duplicate=False)


async def read(
    session: Session,
    model: Model,
    user: int,
    wanted: Sequence[tuple[Conversation, int]],
    at: int,
    receipt_members: int,
) -> list[Marking]:
    """Moves the user's read cursors; `wanted` is ascending by conversation, one entry each.

    Raises Refused SEQ_AHEAD before anything is changed."""
    members = await _lock(session, [(user, conversation) for conversation, _ in wanted])
    _check_heads(members, wanted)
    markings = []
    for member, (_, up_to_seq) in zip(members, wanted, strict=True):
        markings.append(await _mark_read(session, model, member, up_to_seq, at, receipt_members))
    await change_log.log(session, [marking.advanced for marking in markings if marking.advanced])
    return markings


async def deliver(
    session: Session, model: Model, user: int, wanted: Sequence[tuple[Conversation, int]], at: int
) -> list[Marking]:
    """Moves the user's delivery cursors, else as `read`.  Deliveries are told, not logged."""
    members = await _lock(session, [(user, conversation) for conversation, _ in wanted])
    _check_heads(members, wanted)
    return [
        await _mark_delivered(session, model, member, up_to_seq, at)
        for member, (_, up_to_seq) in zip(members, wanted, strict=True)
    ]


async def apply_reads(
    session: Session, model: Model, marks: Sequence[tuple[Conversation, QueuedMark]], receipt_members: int
) -> list[Advanced]:
    """Applies accepted READs of many users, ascending by (user, conversation) and in their order within it.

    Each effective one is an advance of its own, so versions and first-read times are those of one by one."""
    members = await _lock_all(session, marks)
    moved: list[Advanced] = []
    for _, mark in marks:
        member = members[mark.user, mark.conversation_id]
        up_to_seq = min(mark.up_to_seq, member.last_seq)
        if up_to_seq > member.read_seq:
            advanced = await _advance(session, model, member, up_to_seq, mark.at, receipt_members)
            advanced.unread = await model.unread(session, _after(member, up_to_seq), member.last_seq)
            moved.append(advanced)
    await change_log.log(session, moved)
    return moved


async def apply_delivered(
    session: Session, model: Model, marks: Sequence[tuple[Conversation, QueuedMark]]
) -> list[Reached]:
    """Applies accepted DELIVEREDs of many users, in the order of `apply_reads`."""
    members = await _lock_all(session, marks)
    reached: list[Reached] = []
    for _, mark in marks:
        member = members[mark.user, mark.conversation_id]
        marking = await _mark_delivered(session, model, member, min(mark.up_to_seq, member.last_seq), mark.at)
        if marking.reached:
            reached.append(marking.reached)
    return reached


async def _mark_read(
    session: Session, model: Model, member: Member, up_to_seq: int, at: int, receipt_members: int
) -> Marking:
    advanced = None
    if up_to_seq > member.read_seq:
        advanced = await _advance(session, model, member, up_to_seq, at, receipt_members)
    unread = await model.unread(session, _after(member, member.read_seq), member.last_seq)
    if advanced is not None:
        advanced.unread = unread
    conversation_id = member.conversation.conversation_id
    return Marking(
        conversation_id, member.read_seq, member.version, unread, member.read_at, advanced=advanced
    )


async def _advance(
    session: Session, model: Model, member: Member, up_to_seq: int, at: int, receipt_members: int
) -> Advanced:
    """Moves a locked member's read cursor, in MySQL and in `member`.  `unread` is left to the caller."""
    conversation, when = member.conversation, stamp(at)
    span = Span(conversation.conversation_id, member.user, member.read_seq, up_to_seq)
    told = conversation.kind == GROUP and len(conversation.members) <= receipt_members
    senders = await model.mark_read(session, span, when, senders=told)
    await session.write(
        MOVE_READ,
        (up_to_seq, when, up_to_seq, up_to_seq, when, 1, member.user, conversation.conversation_id),
    )
    advanced = Advanced(
        conversation, member.user, member.read_seq, up_to_seq, member.version + 1, at, 0, 0, None,
        senders_between(conversation.members, senders) if told else (),
    )  # fmt: skip
    member.read_seq, member.read_at, member.version = up_to_seq, at, member.version + 1
    member.delivered_seq = max(member.delivered_seq, up_to_seq)
    return advanced


async def _mark_delivered(session: Session, model: Model, member: Member, up_to_seq: int, at: int) -> Marking:
    conversation, reached = member.conversation, None
    if up_to_seq > member.delivered_seq:
        when = stamp(at)
        span = Span(conversation.conversation_id, member.user, member.delivered_seq, up_to_seq)
        await model.mark_delivered(session, span, when)
        await session.write(MOVE_DELIVERED, (up_to_seq, when, member.user, conversation.conversation_id))
        member.delivered_seq = up_to_seq
        reached = Reached(conversation, member.user, up_to_seq, at)
    return Marking(conversation.conversation_id, member.delivered_seq, member.version, 0, at, reached=reached)


async def _lock_all(
    session: Session, marks: Sequence[tuple[Conversation, QueuedMark]]
) -> dict[tuple[int, str], Member]:
    keys = {(mark.user, mark.conversation_id): conversation for conversation, mark in marks}
    members = await _lock(session, [(user, conversation) for (user, _), conversation in keys.items()])
    return {(member.user, member.conversation.conversation_id): member for member in members}


async def _lock(session: Session, keys: Sequence[tuple[int, Conversation]]) -> list[Member]:
    """Locks members' rows in ascending order of their key, by one statement for each LOCK_ROWS of them."""
    members: list[Member] = []
    for start in range(0, len(keys), LOCK_ROWS):
        chunk = keys[start : start + LOCK_ROWS]
        args: list[Any] = []
        for user, conversation in chunk:
            args += (user, conversation.conversation_id)
        where = f"(m.user_id, m.conversation_id) IN ({','.join(['(%s,%s)'] * len(chunk))})"
        found = {
            (row[0], row[1]): row for row in await session.rows(LOCK_MEMBERS.format(members=where), args)
        }
        for user, conversation in chunk:
            members.append(Member(conversation, found[user, conversation.conversation_id]))
    return members


def _check_heads(members: Iterable[Member], wanted: Iterable[tuple[Conversation, int]]) -> None:
    for member, (conversation, up_to_seq) in zip(members, wanted, strict=True):
        if up_to_seq > member.last_seq:
            raise Refused(
                "SEQ_AHEAD",
                f"up_to_seq {up_to_seq} of {conversation.conversation_id} is beyond {member.last_seq}",
                current={"last_seq": member.last_seq},
            )


def _after(member: Member, up_to_seq: int) -> Span:
    return Span(member.conversation.conversation_id, member.user, up_to_seq, up_to_seq)
