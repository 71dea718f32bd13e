"""The model `cursor`: the member's `read_seq` is the truth, and one row per advance keeps the times.

A message is read when the cursor has passed it; its first-read time is that of the first advance that did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemes import read_state
from schemes.read_state import Sent
from schemes.stores.driver import Session
from schemes.stores.members import Member
from schemes.stores.rows import DELIVERED_SEQ, Joined, Looked, Span

_ADVANCE: Final = "INSERT INTO read_advances (conversation_id, user_id, up_to_seq, read_at) VALUES "
_ROW: Final = "(%s,%s,%s,%s)"
SENDERS: Final = (
    "SELECT DISTINCT sender_id FROM messages FORCE INDEX (PRIMARY)"
    " WHERE conversation_id = %s AND seq > %s AND seq <= %s LIMIT %s"
)
_LOOKED: Final = (
    " LEFT JOIN messages t FORCE INDEX (PRIMARY)"
    " ON t.conversation_id = m.conversation_id AND t.seq > m.read_seq AND t.seq <= %s"
)
_LEFT: Final = "IF(c.last_seq > GREATEST(%s, m.read_seq), c.last_seq - GREATEST(%s, m.read_seq), 0)"


class CursorModel:
    name = "cursor"
    unread_sql = "IF(s.last_seq > s.read_seq, s.last_seq - s.read_seq, 0)"

    async def add(self, session: Session, sent: Sent) -> None:
        """Nothing to write: the conversation's head says it."""

    def look(self, cursor: str, up_to_seq: int, *, senders: bool) -> Looked:
        if cursor == DELIVERED_SEQ:
            return "0, '-', '-'", "", ()
        if senders:
            columns = f"{_LEFT}, '-', IFNULL(GROUP_CONCAT(DISTINCT t.sender_id), '-')"
            return columns, _LOOKED, (up_to_seq, up_to_seq, up_to_seq)
        return f"{_LEFT}, '-', '-'", "", (up_to_seq, up_to_seq)

    def rows_to_read(self, ids: str, user: int) -> Joined:
        """There are no rows."""
        return "", "", 0

    def rows_to_deliver(self, ids: str, user: int) -> Joined:
        """There are no rows."""
        return "", "", 0

    async def note_read(
        self, session: Session, conversation_id: str, user: int, up_to_seq: int, at: str
    ) -> None:
        await session.write(_ADVANCE + _ROW, (conversation_id, user, up_to_seq, at))

    async def mark_read(self, session: Session, spans: Sequence[Span], at: str) -> list[Sequence[int]]:
        args = [part for span in spans for part in (span.conversation_id, span.user, span.up_to_seq, at)]
        await session.write(_ADVANCE + ",".join([_ROW] * len(spans)), args)
        return [await _senders(session, span) if span.senders else () for span in spans]

    async def mark_delivered(self, session: Session, spans: Sequence[Span], at: str) -> None:
        """Nothing to write: the member's `delivered_seq` says it."""

    async def unread(self, session: Session, members: Sequence[Member]) -> list[int]:
        return [read_state.unread(member.last_seq, member.read_seq) for member in members]


async def _senders(session: Session, span: Span) -> Sequence[int]:
    length = span.up_to_seq - span.from_seq
    rows = await session.rows(SENDERS, (span.conversation_id, span.from_seq, span.up_to_seq, length))
    return [row[0] for row in rows]
