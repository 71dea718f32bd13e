"""What state is: the one difference between the models `flags` and `cursor`.

Membership, cursors, versions, heads and change logs are the same in both and live in `transactions.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from schemes.read_state import Sent
from schemes.stores.cursor import CursorModel
from schemes.stores.driver import Session
from schemes.stores.flags import FlagsModel
from schemes.stores.members import Member
from schemes.stores.rows import Joined, Looked, Span


class Model(Protocol):
    """The member's row is locked whenever one of these writes."""

    name: str
    unread_sql: str
    """A scalar SQL expression: what is unread in row `s` (user_id, conversation_id, last_seq, read_seq)."""

    async def add(self, session: Session, sent: Sent) -> None:
        """A new message has arrived for everyone but its sender."""

    def look(self, cursor: str, up_to_seq: int, *, senders: bool) -> Looked:
        """For a SELECT of one member `m` and its conversation `c`: what will be unread after `up_to_seq` (or
        after the read cursor, if that is further), the ids of the rows from `cursor` on, and who sent those,
        comma-separated: the last two '-' where there is nothing or nobody asks."""

    def rows_to_read(self, ids: str, user: int) -> Joined:
        """The rows `ids` (comma-separated) of a user, joined to an UPDATE of the member `m`, and read."""

    def rows_to_deliver(self, ids: str, user: int) -> Joined:
        """As `rows_to_read`."""

    async def note_read(
        self, session: Session, conversation_id: str, user: int, up_to_seq: int, at: str
    ) -> None:
        """What else there is to write after `rows_to_read`."""

    async def mark_read(self, session: Session, spans: Sequence[Span], at: str) -> list[Sequence[int]]:
        """The messages of others in the spans of one user are read now, for the first time, and delivered
        at the latest now.  Gives the senders of each span that asks for them."""

    async def mark_delivered(self, session: Session, spans: Sequence[Span], at: str) -> None:
        """The messages of others in the spans of one user were delivered now."""

    async def unread(self, session: Session, members: Sequence[Member]) -> list[int]:
        """What is unread after the read cursor of each locked member."""


MODELS: Final[dict[str, type[FlagsModel] | type[CursorModel]]] = {"flags": FlagsModel, "cursor": CursorModel}


def make(name: str) -> Model:
    if name not in MODELS:
        raise ValueError(f"expected a model of {', '.join(MODELS)}, got {name!r}")
    return MODELS[name]()
