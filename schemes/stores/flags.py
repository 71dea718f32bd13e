"""The model `flags`: one row per message and receiver is the truth, as in the article, made right for groups.

`conversation_members.read_seq` is the lower bound that keeps every statement on the few rows above it.
Rows are found by `idx_conv_user` without a lock and changed by primary key in ascending order: a range UPDATE
would also wait for its right-hand neighbour in the index, that is for another member's open READ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from schemes.read_state import Sent
from schemes.stores.driver import Session
from schemes.stores.members import Member
from schemes.stores.rows import DELIVERED_SEQ, Joined, Looked, Span
from schemes.stores.times import stamp

T = TypeVar("T")

CHUNK_ROWS: Final = 1000

_ROW: Final = "(%s,%s,%s,%s,%s,%s)"
_ADD: Final = (
    "INSERT INTO message_read_status"
    " (message_id, conversation_id, seq, sender_id, receiver_id, sent_time) VALUES "
)
FIND: Final = (
    "(SELECT %s AS span, message_id, sender_id FROM message_read_status FORCE INDEX (idx_conv_user)"
    " WHERE conversation_id = %s AND receiver_id = %s AND seq > %s AND seq <= %s LIMIT %s)"
)
_LOOKED: Final = (
    " LEFT JOIN message_read_status r FORCE INDEX (idx_conv_user)"
    " ON r.conversation_id = m.conversation_id AND r.receiver_id = m.user_id AND r.seq > m.{cursor}"
)
_LEFT: Final = "COUNT(IF(r.seq > GREATEST(%s, m.read_seq) AND r.read_status = FALSE, 1, NULL))"
_IDS: Final = "IFNULL(GROUP_CONCAT(IF(r.seq <= %s, r.message_id, NULL)), '-')"
_SENDERS: Final = "IFNULL(GROUP_CONCAT(DISTINCT IF(r.seq <= %s, r.sender_id, NULL)), '-')"
READ: Final = (
    "UPDATE message_read_status FORCE INDEX (PRIMARY) SET delivered_time = COALESCE(delivered_time, %s),"
    " delivered = TRUE, read_status = TRUE, read_time = %s"
    " WHERE message_id IN ({ids}) AND receiver_id = %s AND read_status = FALSE"
)
DELIVERED: Final = (
    "UPDATE message_read_status FORCE INDEX (PRIMARY) SET delivered = TRUE, delivered_time = %s"
    " WHERE message_id IN ({ids}) AND receiver_id = %s AND delivered = FALSE"
)
_JOINED: Final = (
    " STRAIGHT_JOIN message_read_status r FORCE INDEX (PRIMARY)"
    " ON r.message_id IN ({ids}) AND r.receiver_id = {user}"
)
_AND_READ: Final = (
    ", r.delivered = TRUE, r.delivered_time = COALESCE(r.delivered_time, %s),"
    " r.read_status = TRUE, r.read_time = COALESCE(r.read_time, %s)"
)
_AND_DELIVERED: Final = ", r.delivered = TRUE, r.delivered_time = COALESCE(r.delivered_time, %s)"
_NO_ROWS: Final = ("", "", 0)
COUNT: Final = (
    "(SELECT COUNT(*) FROM message_read_status FORCE INDEX (idx_conv_user)"
    " WHERE conversation_id = %s AND receiver_id = %s AND seq > %s AND read_status = FALSE)"
)
_UNION_MAX: Final = 50


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
        for chunk in _parts(receivers):
            args: list[Any] = []
            for receiver in chunk:
                args += (*head, receiver, at)
            await session.write(_ADD + ",".join([_ROW] * len(chunk)), args)

    def look(self, cursor: str, up_to_seq: int, *, senders: bool) -> Looked:
        join = _LOOKED.format(cursor=cursor)
        if cursor == DELIVERED_SEQ:
            return f"0, {_IDS}, '-'", f"{join} AND r.seq <= %s", (up_to_seq, up_to_seq)
        if senders:
            return f"{_LEFT}, {_IDS}, {_SENDERS}", join, (up_to_seq, up_to_seq, up_to_seq)
        return f"{_LEFT}, {_IDS}, '-'", join, (up_to_seq, up_to_seq)

    def rows_to_read(self, ids: str, user: int) -> Joined:
        return (_JOINED.format(ids=ids, user=user), _AND_READ, 2) if ids else _NO_ROWS

    def rows_to_deliver(self, ids: str, user: int) -> Joined:
        return (_JOINED.format(ids=ids, user=user), _AND_DELIVERED, 1) if ids else _NO_ROWS

    async def note_read(
        self, session: Session, conversation_id: str, user: int, up_to_seq: int, at: str
    ) -> None:
        """Nothing more to write: the rows say it."""

    async def mark_read(self, session: Session, spans: Sequence[Span], at: str) -> list[Sequence[int]]:
        found = await _find(session, spans)
        await _update(session, READ, (at, at), spans, found)
        return [[sender for _, sender in rows] for rows in found]

    async def mark_delivered(self, session: Session, spans: Sequence[Span], at: str) -> None:
        await _update(session, DELIVERED, (at,), spans, await _find(session, spans))

    async def unread(self, session: Session, members: Sequence[Member]) -> list[int]:
        behind = [member for member in members if member.last_seq > member.read_seq]
        counts: dict[int, int] = {}
        for some in _parts(behind, _UNION_MAX):
            args: list[Any] = []
            for member in some:
                args += (member.conversation.conversation_id, member.user, member.read_seq)
            sql = ", ".join([COUNT] * len(some))
            (row,) = await session.rows(f"SELECT {sql}", args)
            session.notes["unread_counts"] += 1
            counts.update(zip(map(id, some), row, strict=True))
        return [counts.get(id(member), 0) for member in members]


async def _find(session: Session, spans: Sequence[Span]) -> list[list[tuple[int, int]]]:
    """(message id, sender) of the rows of each span, found without a lock."""
    found: list[list[tuple[int, int]]] = [[] for _ in spans]
    for some in _parts(list(enumerate(spans)), _UNION_MAX):
        args: list[Any] = []
        for number, span in some:
            length = span.up_to_seq - span.from_seq
            args += (number, span.conversation_id, span.user, span.from_seq, span.up_to_seq, length)
        for number, message_id, sender in await session.rows(" UNION ALL ".join([FIND] * len(some)), args):
            found[number].append((message_id, sender))
    return found


async def _update(
    session: Session,
    sql: str,
    times: Sequence[str],
    spans: Sequence[Span],
    found: Iterable[Sequence[tuple[int, int]]],
) -> None:
    """Changes the rows of one member, ascending by id."""
    ids = sorted(message_id for rows in found for message_id, _ in rows)
    for chunk in _parts(ids):
        await session.write(sql.format(ids=",".join(map(str, chunk))), (*times, spans[0].user))


def _parts(values: Sequence[T], size: int = CHUNK_ROWS) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
