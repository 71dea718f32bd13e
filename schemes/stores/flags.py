"""The model `flags`: one row per message and receiver is the truth, as in the article, made right for groups.

`conversation_members.read_seq` is the lower bound that keeps every statement on the few rows above it.
Rows are found by `idx_conv_user` without a lock and changed by primary key in ascending order: a range UPDATE
would also wait for its right-hand neighbour in the index, that is for another member's open READ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from schemes.read_state import Sent
from schemes.stores.driver import Session
from schemes.stores.rows import Span
from schemes.stores.times import stamp

CHUNK_ROWS: Final = 1000

_ROW: Final = "(%s,%s,%s,%s,%s,%s)"
_ADD: Final = (
    "INSERT INTO message_read_status"
    " (message_id, conversation_id, seq, sender_id, receiver_id, sent_time) VALUES "
)
FIND: Final = (
    "SELECT message_id, sender_id FROM message_read_status FORCE INDEX (idx_conv_user)"
    " WHERE conversation_id = %s AND receiver_id = %s AND seq > %s AND seq <= %s LIMIT %s"
)
READ: Final = (
    "UPDATE message_read_status FORCE INDEX (PRIMARY) SET delivered_time = COALESCE(delivered_time, %s),"
    " delivered = TRUE, read_status = TRUE, read_time = %s"
    " WHERE message_id IN ({ids}) AND receiver_id = %s AND read_status = FALSE"
)
DELIVERED: Final = (
    "UPDATE message_read_status FORCE INDEX (PRIMARY) SET delivered = TRUE, delivered_time = %s"
    " WHERE message_id IN ({ids}) AND receiver_id = %s AND delivered = FALSE"
)
COUNT: Final = (
    "SELECT COUNT(*) FROM message_read_status FORCE INDEX (idx_conv_user)"
    " WHERE conversation_id = %s AND receiver_id = %s AND seq > %s AND read_status = FALSE"
)


class FlagsModel:
    name = "flags"
    unread_sql = (
        "IF(s.last_seq > s.read_seq,"
        " (SELECT COUNT(*) FROM message_read_status r FORCE INDEX (idx_conv_user)"
        " WHERE r.conversation_id = s.conversation_id AND r.receiver_id = s.user_id AND r.seq > s.read_seq"
        " AND r.read_status = FALSE), 0)"
    )

    async def add(self, session: Session, sent: Sent) -> None:
        receivers = [user for user in sent.conversation.members if user != sent.sender]
        head = (sent.message_id, sent.conversation.conversation_id, sent.seq, sent.sender)
        at = stamp(sent.sent_time)
        for chunk in _chunks(receivers):
            args: list[Any] = []
            for receiver in chunk:
                args += (*head, receiver, at)
            await session.write(_ADD + ",".join([_ROW] * len(chunk)), args)

    async def mark_read(self, session: Session, span: Span, at: str, *, senders: bool) -> Collection[int]:
        found = await _find(session, span)
        for ids in _chunks([message_id for message_id, _ in found]):
            await session.write(READ.format(ids=_literals(ids)), (at, at, span.user))
        return {sender for _, sender in found} if senders else ()

    async def mark_delivered(self, session: Session, span: Span, at: str) -> None:
        found = await _find(session, span)
        for ids in _chunks([message_id for message_id, _ in found]):
            await session.write(DELIVERED.format(ids=_literals(ids)), (at, span.user))

    async def unread(self, session: Session, span: Span, last_seq: int) -> int:
        if last_seq <= span.up_to_seq:
            return 0
        ((count,),) = await session.rows(COUNT, (span.conversation_id, span.user, span.up_to_seq))
        return int(count)


async def _find(session: Session, span: Span) -> Sequence[tuple[int, int]]:
    """(message_id, sender) of the member's rows in the span, ascending by id."""
    args = (span.conversation_id, span.user, span.from_seq, span.up_to_seq, span.up_to_seq - span.from_seq)
    return sorted((row[0], row[1]) for row in await session.rows(FIND, args))


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    return (values[start : start + CHUNK_ROWS] for start in range(0, len(values), CHUNK_ROWS))


def _literals(ids: Sequence[int]) -> str:
    return ",".join(map(str, ids))
