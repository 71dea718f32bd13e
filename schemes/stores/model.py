"""What state is: the one difference between the models `flags` and `cursor`.

Membership, cursors, versions, heads and change logs are the same in both and live in `transactions.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from schemes.read_state import Sent
from schemes.stores.cursor import CursorModel
from schemes.stores.driver import Session
from schemes.stores.flags import FlagsModel
from schemes.stores.rows import Expression, Span


class Model(Protocol):
    """The member's row is locked whenever one of these writes."""

    name: str
    unread_sql: str
    """A scalar SQL expression: what is unread in row `s` (user_id, conversation_id, last_seq, read_seq)."""

    async def add(self, session: Session, sent: Sent) -> None:
        """A new message has arrived for everyone but its sender."""

    def unread_ahead(self, conversation_id: str, user: int, up_to_seq: int) -> Expression | None:
        """What will be unread after `up_to_seq`; NULL where that is not beyond the cursor of the row `m`
        (user_id, conversation_id, read_seq, delivered_seq).  None: no need to ask."""

    def ids_ahead(self, conversation_id: str, user: int, up_to_seq: int, cursor: str) -> Expression | None:
        """The rows to mark, from the `cursor` of `m` on, comma-separated: all if that is no further than
        AHEAD_SEQS below `up_to_seq`."""

    def senders_ahead(self, conversation_id: str, user: int, up_to_seq: int) -> Expression | None:
        """Who sent the messages from the read cursor of `m` on; the form and the limit of `ids_ahead`."""

    async def mark_read(self, session: Session, spans: Sequence[Span], at: str) -> list[Sequence[int]]:
        """The messages of others in the spans of one user are read now, for the first time, and delivered
        at the latest now.  Gives the senders of each span that asks for them."""

    async def mark_delivered(self, session: Session, spans: Sequence[Span], at: str) -> None:
        """The messages of others in the spans of one user were delivered now."""

    async def unread(self, session: Session, span: Span, last_seq: int) -> int:
        """What is unread after `span.up_to_seq`; `last_seq` is the conversation's head as seen before."""


MODELS: Final[dict[str, type[FlagsModel] | type[CursorModel]]] = {"flags": FlagsModel, "cursor": CursorModel}


def make(name: str) -> Model:
    if name not in MODELS:
        raise ValueError(f"expected a model of {', '.join(MODELS)}, got {name!r}")
    return MODELS[name]()
