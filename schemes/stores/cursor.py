"""The model `cursor`: the member's `read_seq` is the truth, and one row per advance keeps the times.

A message is read when the cursor has passed it; its first-read time is that of the first advance that did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemes import read_state
from schemes.read_state import Sent
from schemes.stores.driver import Session
from schemes.stores.rows import AHEAD_SEQS, Expression, Span

_ADVANCE: Final = "INSERT INTO read_advances (conversation_id, user_id, up_to_seq, read_at) VALUES "
_ROW: Final = "(%s,%s,%s,%s)"
SENDERS: Final = (
    "SELECT DISTINCT sender_id FROM messages FORCE INDEX (PRIMARY)"
    " WHERE conversation_id = %s AND seq > %s AND seq <= %s LIMIT %s"
)
_SENDERS_AHEAD: Final = (
    "(SELECT GROUP_CONCAT(DISTINCT t.sender_id) FROM messages t FORCE INDEX (PRIMARY)"
    " WHERE t.conversation_id = %s AND t.seq > %s AND t.seq <= %s AND t.seq > m.read_seq)"
)


class CursorModel:
    name = "cursor"
    unread_sql = "IF(s.last_seq > s.read_seq, s.last_seq - s.read_seq, 0)"

    async def add(self, session: Session, sent: Sent) -> None:
        """Nothing to write: the conversation's head says it."""

    def unread_ahead(self, conversation_id: str, user: int, up_to_seq: int) -> Expression | None:
        """Nothing to ask: it follows from the head."""
        return None

    def ids_ahead(self, conversation_id: str, user: int, up_to_seq: int, cursor: str) -> Expression | None:
        """Nothing to ask: there are no rows to mark."""
        return None

    def senders_ahead(self, conversation_id: str, user: int, up_to_seq: int) -> Expression | None:
        return _SENDERS_AHEAD, (conversation_id, max(0, up_to_seq - AHEAD_SEQS), up_to_seq)

    async def mark_read(self, session: Session, spans: Sequence[Span], at: str) -> list[Sequence[int]]:
        args = [part for span in spans for part in (span.conversation_id, span.user, span.up_to_seq, at)]
        await session.write(_ADVANCE + ",".join([_ROW] * len(spans)), args)
        return [await _senders(session, span) if span.senders else () for span in spans]

    async def mark_delivered(self, session: Session, spans: Sequence[Span], at: str) -> None:
        """Nothing to write: the member's `delivered_seq` says it."""

    async def unread(self, session: Session, span: Span, last_seq: int) -> int:
        return read_state.unread(last_seq, span.up_to_seq)


async def _senders(session: Session, span: Span) -> Sequence[int]:
    if span.found is not None:
        return span.found.senders
    length = span.up_to_seq - span.from_seq
    rows = await session.rows(SENDERS, (span.conversation_id, span.from_seq, span.up_to_seq, length))
    return [row[0] for row in rows]
