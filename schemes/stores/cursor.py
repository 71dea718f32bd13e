"""The model `cursor`: the member's `read_seq` is the truth, and one row per advance keeps the times.

A message is read when the cursor has passed it; its first-read time is that of the first advance that did."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from schemes import read_state
from schemes.read_state import Sent
from schemes.stores.driver import Session
from schemes.stores.rows import Span

_ADVANCE: Final = (
    "INSERT INTO read_advances (conversation_id, user_id, up_to_seq, read_at) VALUES (%s, %s, %s, %s)"
)
SENDERS: Final = (
    "SELECT DISTINCT sender_id FROM messages FORCE INDEX (PRIMARY)"
    " WHERE conversation_id = %s AND seq > %s AND seq <= %s LIMIT %s"
)


class CursorModel:
    name = "cursor"
    unread_sql = "IF(s.last_seq > s.read_seq, s.last_seq - s.read_seq, 0)"

    async def add(self, session: Session, sent: Sent) -> None:
        """Nothing to write: the conversation's head says it."""

    async def mark_read(self, session: Session, span: Span, at: str, *, senders: bool) -> Collection[int]:
        await session.write(_ADVANCE, (span.conversation_id, span.user, span.up_to_seq, at))
        if not senders:
            return ()
        length = span.up_to_seq - span.from_seq
        found = await session.rows(SENDERS, (span.conversation_id, span.from_seq, span.up_to_seq, length))
        return {row[0] for row in found}

    async def mark_delivered(self, session: Session, span: Span, at: str) -> None:
        """Nothing to write: the member's `delivered_seq` says it."""

    async def unread(self, session: Session, span: Span, last_seq: int) -> int:
        return read_state.unread(last_seq, span.up_to_seq)
