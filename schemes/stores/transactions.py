"""What one transaction does, statement by statement, the same for both models.

Locks are taken in this order everywhere: conversations, conversation_members (ascending), message_read_status
(ascending), user_sync_heads (ascending, last).  A member's row comes before the rows of its messages: the
other order deadlocks two devices of one person.  COMMIT and trying again are `mysql_connections.py`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemes.ports import Refused
from schemes.read_state import GROUP, Advanced, Conversation, Reached, Sent, senders_between
from schemes.stores import change_log, one_mark
from schemes.stores.driver import Session
from schemes.stores.members import LOCK_ROWS, Member, lock
from schemes.stores.model import Model
from schemes.stores.one_mark import Seen
from schemes.stores.rows import Draft, Marking, QueuedMark, Span, Stored
from schemes.stores.times import stamp

NEXT_SEQ: Final = (
    "UPDATE conversations SET last_seq = LAST_INSERT_ID(last_seq + 1), last_sent_at = %s"
    " WHERE conversation_id = %s"
)
INSERT_MESSAGE: Final = (
    "INSERT INTO messages"
    " (conversation_id, seq, message_id, sender_id, client_msg_id, sent_time, state, body)"
    " VALUES (%s, %s, %s, %s, %s, %s, 1, %s)"
)
MARK_SENT: Final = (
    "UPDATE conversation_members SET delivered_at = IF(delivered_seq < %s, %s, delivered_at),"
    " delivered_seq = GREATEST(delivered_seq, %s), read_seq = %s, read_at = %s"
    " WHERE user_id = %s AND conversation_id = %s AND read_seq = %s"
)
# MySQL assigns from left to right: what follows read_seq sees its new value
MOVE_READ: Final = (
    "UPDATE conversation_members FORCE INDEX (PRIMARY) SET read_seq = {seq}, read_at = %s,"
    " version = version + 1, delivered_at = IF(delivered_seq < read_seq, %s, delivered_at),"
    " delivered_seq = GREATEST(delivered_seq, read_seq)"
    " WHERE user_id = %s AND conversation_id IN ({conversations})"
)
MOVE_DELIVERED: Final = (
    "UPDATE conversation_members FORCE INDEX (PRIMARY) SET delivered_seq = {seq}, delivered_at = %s"
    " WHERE user_id = %s AND conversation_id IN ({conversations})"
)


async def send(
    session: Session,
    model: Model,
    conversation: Conversation,
    draft: Draft,
    receipt_members: int,
    *,
    ahead: bool,
) -> Stored:
    """Appends a message; sending implies reading all that came before it.

    With `ahead` what is unread is looked up without a lock, and Overtaken raised where another server was
    faster: roll back and come again without.  Raises DuplicateKey when the sender used this client_msg_id
    before: roll back and look it up."""
    conversation_id, at = conversation.conversation_id, stamp(draft.at)
    await session.write(NEXT_SEQ, (at, conversation_id))
    seq = session.last_id
    args = (seq, at, seq, seq, at, draft.sender, conversation_id, seq - 1)
    advanced, log = None, change_log.write
    if await session.write(MARK_SENT, args) == 0:  # something of others was unread
        if ahead:
            told = _told(conversation, receipt_members)
            seen = await one_mark.look_to_read(session, model, draft.sender, conversation, seq, senders=told)
            advanced = await _read_seen(session, model, seen, seq, draft.at, senders=told)
            _note_send(session, advanced)
        if advanced is None:
            session.notes.update(("sends_locked", "locks"))
            session.notes["advanced_rows"] -= 1  # its own message has no row
            (member,) = await lock(session, [(draft.sender, conversation)])
            (advanced,) = await _advance(session, model, [(member, seq)], draft.at, receipt_members)
            log = change_log.log
    await session.write(
        INSERT_MESSAGE,
        (conversation_id, seq, draft.message_id, draft.sender, draft.client_msg_id, at, draft.body),
    )
    sent = Sent(conversation, draft.message_id, seq, draft.sender, draft.client_msg_id, draft.at, draft.body)
    await model.add(session, sent)
    if advanced is not None:
        await log(session, [advanced])
    return Stored(sent, advanced, duplicate=False)


async def read(
    session: Session,
    model: Model,
    user: int,
    wanted: Sequence[tuple[Conversation, int]],
    at: int,
    receipt_members: int,
    *,
    ahead: bool,
) -> list[Marking]:
    """Moves the user's read cursors; `wanted` is ascending by conversation, one entry each.

    With `ahead` a single one is moved without locking first, and Overtaken raised where another server was
    faster: roll back and come again without.  Raises Refused SEQ_AHEAD before anything is changed."""
    if ahead and len(wanted) == 1:
        marking = await _read_one(session, model, user, *wanted[0], at, receipt_members)
        if marking is not None:
            return [marking]
    session.notes["locks"] += _chunks(len(wanted))
    members = await lock(session, [(user, conversation) for conversation, _ in wanted])
    for member, (_, up_to_seq) in zip(members, wanted, strict=True):
        check_head(member, up_to_seq)
    moves = [
        (member, up_to_seq)
        for member, (_, up_to_seq) in zip(members, wanted, strict=True)
        if up_to_seq > member.read_seq
    ]
    session.notes["reads_locked"] += len(moves) if len(wanted) == 1 else 0
    moved = {
        advanced.conversation.conversation_id: advanced
        for advanced in await _advance(session, model, moves, at, receipt_members)
    }
    markings = []
    for member, unread in zip(members, await model.unread(session, members), strict=True):
        conversation_id = member.conversation.conversation_id
        advanced = moved.get(conversation_id)
        if advanced is not None:
            advanced.unread = unread
        markings.append(
            Marking(conversation_id, member.read_seq, member.version, unread, member.read_at, advanced)
        )
    await change_log.log(session, list(moved.values()))
    return markings


async def deliver(
    session: Session,
    model: Model,
    user: int,
    wanted: Sequence[tuple[Conversation, int]],
    at: int,
    *,
    ahead: bool,
) -> list[Marking]:
    """Moves the user's delivery cursors, else as `read`.  Deliveries are told, not logged."""
    if ahead and len(wanted) == 1:
        marking = await _deliver_one(session, model, user, *wanted[0], at)
        if marking is not None:
            return [marking]
    members = await lock(session, [(user, conversation) for conversation, _ in wanted])
    for member, (_, up_to_seq) in zip(members, wanted, strict=True):
        check_head(member, up_to_seq)
    markings = await _mark_delivered(
        session, model, [(member, seq) for member, (_, seq) in zip(members, wanted, strict=True)], at
    )
    if len(wanted) == 1 and markings[0].reached is not None:
        session.notes["deliveries_locked"] += 1
    return markings


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
            (advanced,) = await _advance(session, model, [(member, up_to_seq)], mark.at, receipt_members)
            (advanced.unread,) = await model.unread(session, [member])
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
        up_to_seq = min(mark.up_to_seq, member.last_seq)
        (marking,) = await _mark_delivered(session, model, [(member, up_to_seq)], mark.at)
        if marking.reached:
            session.notes["deliveries_applied"] += 1
            reached.append(marking.reached)
    return reached


def check_head(member: Member | Seen, up_to_seq: int) -> None:
    """Raises Refused SEQ_AHEAD for a mark of what was not sent yet."""
    if up_to_seq > member.last_seq:
        conversation_id = member.conversation.conversation_id
        raise Refused(
            "SEQ_AHEAD",
            f"up_to_seq {up_to_seq} of {conversation_id} is beyond {member.last_seq}",
            current={"last_seq": member.last_seq},
        )


async def _read_one(
    session: Session,
    model: Model,
    user: int,
    conversation: Conversation,
    up_to_seq: int,
    at: int,
    receipt_members: int,
) -> Marking | None:
    """One conversation, without locking first; None where the span is too long for that."""
    told = _told(conversation, receipt_members)
    seen = await one_mark.look_to_read(session, model, user, conversation, up_to_seq, senders=told)
    check_head(seen, up_to_seq)
    advanced = None
    if up_to_seq > seen.read_seq:
        advanced = await _read_seen(session, model, seen, up_to_seq, at, senders=told)
        if advanced is None:
            return None
        await change_log.write(session, [advanced])
        session.notes["reads_rows"] += up_to_seq - seen.read_seq
    if advanced is None:
        return Marking(conversation.conversation_id, seen.read_seq, seen.version, seen.unread, seen.read_at)
    advanced.unread = seen.unread
    return Marking(conversation.conversation_id, up_to_seq, advanced.version, seen.unread, at, advanced)


async def _deliver_one(
    session: Session, model: Model, user: int, conversation: Conversation, up_to_seq: int, at: int
) -> Marking | None:
    """As `_read_one`."""
    seen = await one_mark.look_to_deliver(session, model, user, conversation, up_to_seq)
    check_head(seen, up_to_seq)
    conversation_id = conversation.conversation_id
    if up_to_seq <= seen.delivered_seq:
        return Marking(conversation_id, seen.delivered_seq, seen.version, 0, at)
    if not one_mark.reaches(seen.delivered_seq, up_to_seq):
        return None
    await one_mark.move_delivered(session, model, seen, up_to_seq, stamp(at))
    session.notes["delivered_rows"] += up_to_seq - seen.delivered_seq
    reached = Reached(conversation, user, up_to_seq, at)
    return Marking(conversation_id, up_to_seq, seen.version, 0, at, reached=reached)


async def _read_seen(
    session: Session, model: Model, seen: Seen, up_to_seq: int, at: int, *, senders: bool
) -> Advanced | None:
    """Moves a read cursor that was seen and takes the change ids; log and `unread` are the caller's."""
    if not one_mark.reaches(seen.read_seq, up_to_seq):
        return None
    taken = await one_mark.move_read(session, model, seen, up_to_seq, stamp(at))
    told = senders_between(seen.conversation.members, seen.senders) if senders else ()
    peer = seen.conversation.peer_of(seen.user)
    return Advanced(
        seen.conversation,
        seen.user,
        seen.read_seq,
        up_to_seq,
        seen.version + 1,
        at,
        0,
        taken[seen.user],
        None if peer is None else taken[peer],
        told,
    )


async def _advance(
    session: Session, model: Model, moves: Sequence[tuple[Member, int]], at: int, receipt_members: int
) -> list[Advanced]:
    """Moves locked read cursors of one user, in MySQL and in the members.  `unread` is left to the caller."""
    if not moves:
        return []
    when = stamp(at)
    spans = [
        _span(member, member.read_seq, up_to_seq, senders=_told(member.conversation, receipt_members))
        for member, up_to_seq in moves
    ]
    senders = await model.mark_read(session, spans, when)
    await _move(session, MOVE_READ, moves, (when, when))
    notes = session.notes
    notes["advances"] += 1
    notes["advanced"] += len(spans)
    notes["advanced_rows"] += sum(span.up_to_seq - span.from_seq for span in spans)
    notes["advanced_told"] += sum(span.senders for span in spans)
    moved = []
    for (member, up_to_seq), span, by in zip(moves, spans, senders, strict=True):
        told = senders_between(member.conversation.members, by) if span.senders else ()
        version = member.version + 1
        moved.append(
            Advanced(
                member.conversation, member.user, span.from_seq, up_to_seq, version, at, 0, 0, None, told
            )
        )
        member.read_seq, member.read_at, member.version = up_to_seq, at, version
        member.delivered_seq = max(member.delivered_seq, up_to_seq)
    return moved


async def _mark_delivered(
    session: Session, model: Model, wanted: Sequence[tuple[Member, int]], at: int
) -> list[Marking]:
    """Moves locked delivery cursors of one user, where that is forward."""
    moves = [(member, up_to_seq) for member, up_to_seq in wanted if up_to_seq > member.delivered_seq]
    if moves:
        when = stamp(at)
        spans = [_span(member, member.delivered_seq, up_to_seq) for member, up_to_seq in moves]
        await model.mark_delivered(session, spans, when)
        await _move(session, MOVE_DELIVERED, moves, (when,))
        session.notes["delivered_rows"] += sum(span.up_to_seq - span.from_seq for span in spans)
    markings = []
    for member, up_to_seq in wanted:
        reached = None
        if up_to_seq > member.delivered_seq:
            member.delivered_seq = up_to_seq
            reached = Reached(member.conversation, member.user, up_to_seq, at)
        conversation_id = member.conversation.conversation_id
        markings.append(
            Marking(conversation_id, member.delivered_seq, member.version, 0, at, reached=reached)
        )
    return markings


async def _move(
    session: Session, sql: str, moves: Sequence[tuple[Member, int]], times: Sequence[str]
) -> None:
    """One UPDATE for all rows of one user."""
    names = [member.conversation.conversation_id for member, _ in moves]
    args: list[Any] = []
    if len(moves) == 1:
        seq = "%s"
        args.append(moves[0][1])
    else:
        seq = f"CASE conversation_id {'WHEN %s THEN %s ' * len(moves)}END"
        for name, (_, up_to_seq) in zip(names, moves, strict=True):
            args += (name, up_to_seq)
    conversations = ",".join(["%s"] * len(names))
    await session.write(
        sql.format(seq=seq, conversations=conversations), (*args, *times, moves[0][0].user, *names)
    )


async def _lock_all(
    session: Session, marks: Sequence[tuple[Conversation, QueuedMark]]
) -> dict[tuple[int, str], Member]:
    keys = {(mark.user, mark.conversation_id): conversation for conversation, mark in marks}
    session.notes["locks"] += _chunks(len(keys))
    members = await lock(session, [(user, conversation) for (user, _), conversation in keys.items()])
    return {(member.user, member.conversation.conversation_id): member for member in members}


def _note_send(session: Session, advanced: Advanced | None) -> None:
    """A SEND that found something of others unread: whether that was read ahead, and how much it was."""
    notes = session.notes
    if advanced is None:
        notes["looked_in_vain"] += 1
        return
    notes["sends_reading"] += 1
    notes["sends_reading_direct"] += advanced.peer_change_id is not None
    notes["sends_reading_rows"] += advanced.up_to_seq - advanced.from_seq - 1  # its own message has no row


def _chunks(members: int) -> int:
    """Statements that lock so many members."""
    return -(-members // LOCK_ROWS)


def _told(conversation: Conversation, receipt_members: int) -> bool:
    """Whether the senders of what is newly read are told of it."""
    return conversation.kind == GROUP and len(conversation.members) <= receipt_members


def _span(member: Member, from_seq: int, up_to_seq: int, *, senders: bool = False) -> Span:
    return Span(member.conversation.conversation_id, member.user, from_seq, up_to_seq, senders)
