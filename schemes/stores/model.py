"""What state is: the one difference between the models `flags` and `cursor`.

Membership, cursors, versions, heads and change logs are the same in both and live in `transactions.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from schemes.read_state import Sent
from schemes.stores.cursor import CursorModel
from schemes.stores.driver import Session
from schemes.stores.flags import FlagsModel
from schemes.stores.rows import Span


class Model(Protocol):
    """The member's row is locked whenever one of these writes."""

    name: str
    unread_sql: str
    """A scalar SQL expression: what is unread in row `s` (user_id, conversation_id, last_seq, read_seq)."""

    async def add(self, session: Session, sent: Sent) -> None:
        """A new message has arrived for everyone but its sender."""

    async def mark_read(self, session: Session, span: Span, at: str, *, senders: bool) -> Collection[int]:
        """The messages of others in `span` are read now, for the first time, and delivered at the latest now.

        With `senders`, gives who sent them; without, anything."""

    async def mark_delivered(self, session: Session, span: Span, at: str) -> None:
        """The messages of others in `span` were delivered now."""

    async def unread(self, session: Session, span: Span, last_seq: int) -> int:
        """What is unread after `span.up_to_seq`; `last_seq` is the conversation's head as seen before."""


MODELS: Final[dict[str, type[FlagsModel] | type[CursorModel]]] = {"flags": FlagsModel, "cursor": CursorModel}


def make(name: str) -> Model:
    if name not in MODELS:
        raise ValueError(f"expected a model of {', '.join(MODELS)}, got {name!r}")
    return MODELS[name]()
