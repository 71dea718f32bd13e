"""The model `flags`: one row per message and receiver is the truth, as in the article, made right for groups.

`conversation_members.read_seq` is the lower bound that keeps every statement on the few rows above it.
Rows are found by `idx_conv_user` without a lock and changed by primary key in ascending order: a range UPDATE
would also wait for its right-hand neighbour in the index, that is for another member's open READ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from schemes.read_state import Sent
from schemes.stores.driver import Session
from schemes.stores.rows import AHEAD_SEQS, CURSORS, READ_SEQ, Expression, Found, Span
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
_AHEAD: Final = (
    "(SELECT GROUP_CONCAT({what}) FROM message_read_status r FORCE INDEX (idx_conv_user)"
    " WHERE r.conversation_id = %s AND r.receiver_id = %s AND r.seq > %s AND r.seq <= %s"
    " AND r.seq > m.{cursor})"
)
IDS: Final = {cursor: _AHEAD.format(what="r.message_id", cursor=cursor) for cursor in CURSORS}
SENDERS: Final = _AHEAD.format(what="DISTINCT r.sender_id", cursor=READ_SEQ)
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
# only where the cursor moves: a stale READ may be far behind, and is counted from the cursor
_UNREAD: Final = f"IF(m.read_seq < %s, ({COUNT}), NULL)"


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

    def unread_ahead(self, conversation_id: str, user: int, up_to_seq: int) -> Expression | None:
        return _UNREAD, (up_to_seq, conversation_id, user, up_to_seq)

    def ids_ahead(self, conversation_id: str, user: int, up_to_seq: int, cursor: str) -> Expression | None:
        return IDS[cursor], (conversation_id, user, max(0, up_to_seq - AHEAD_SEQS), up_to_seq)

    def senders_ahead(self, conversation_id: str, user: int, up_to_seq: int) -> Expression | None:
        return SENDERS, (conversation_id, user, max(0, up_to_seq - AHEAD_SEQS), up_to_seq)

    async def mark_read(self, session: Session, spans: Sequence[Span], at: str) -> list[Sequence[int]]:
        found = [span.found or await _find(session, span) for span in spans]
        await _update(session, READ, (at, at), spans, found)
        return [rows.senders for rows in found]

    async def mark_delivered(self, session: Session, spans: Sequence[Span], at: str) -> None:
        found = [span.found or await _find(session, span) for span in spans]
        await _update(session, DELIVERED, (at,), spans, found)

    async def unread(self, session: Session, span: Span, last_seq: int) -> int:
        if last_seq <= span.up_to_seq:
            return 0
        ((count,),) = await session.rows(COUNT, (span.conversation_id, span.user, span.up_to_seq))
        return int(count)


async def _find(session: Session, span: Span) -> Found:
    args = (span.conversation_id, span.user, span.from_seq, span.up_to_seq, span.up_to_seq - span.from_seq)
    rows = await session.rows(FIND, args)
    return Found([row[0] for row in rows], [row[1] for row in rows])


async def _update(
    session: Session, sql: str, times: Sequence[str], spans: Sequence[Span], found: Iterable[Found]
) -> None:
    """Changes the rows of one member, ascending by id."""
    ids = sorted(message_id for rows in found for message_id in rows.ids)
    for chunk in _chunks(ids):
        await session.write(sql.format(ids=",".join(map(str, chunk))), (*times, spans[0].user))


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    return (values[start : start + CHUNK_ROWS] for start in range(0, len(values), CHUNK_ROWS))
