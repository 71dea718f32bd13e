"""What the MySQL store hands out and takes in: plain values, no SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemes.read_state import Advanced, Reached, Sent

Looked = tuple[str, str, Sequence[Any]]
"""For a SELECT: three columns, the join that they need, and the arguments of both in their order."""
Joined = tuple[str, str, int]
"""For an UPDATE: a join, assignments that begin with a comma, and how many stamps those take."""
READ_SEQ: Final = "read_seq"
DELIVERED_SEQ: Final = "delivered_seq"
AHEAD_SEQS: Final = 200
"""The longest span whose ids are looked up together with the rest: they come as one text."""


@dataclass(slots=True)
class Head:
    """The head of a conversation; `last_sent_ms` is 0 while nothing was sent."""

    conversation_id: str
    kind: str
    last_seq: int
    last_sent_ms: int


@dataclass(slots=True)
class Cursor:
    """How far one member is: `peer` is the other person of a direct conversation."""

    user: int
    conversation_id: str
    read_seq: int
    delivered_seq: int
    version: int
    peer: int | None


@dataclass(slots=True)
class MemberState:
    """Head and cursors of one conversation of one person, from one snapshot.

    `unread` is None where it was not asked for; the three `peer_` fields are None in groups."""

    conversation_id: str
    kind: str
    last_seq: int
    last_sent_ms: int
    read_seq: int
    delivered_seq: int
    version: int
    unread: int | None
    peer: int | None
    peer_read_seq: int | None
    peer_delivered_seq: int | None
    peer_version: int | None


@dataclass(slots=True)
class QueuedMark:
    """An accepted READ or DELIVERED on its way to MySQL; `at` (ms UTC) is when it was accepted."""

    user: int
    conversation_id: str
    up_to_seq: int
    at: int


@dataclass(slots=True)
class Span:
    """(from_seq, up_to_seq] of one conversation and member; `senders`: whether they are asked for."""

    conversation_id: str
    user: int
    from_seq: int
    up_to_seq: int
    senders: bool = False


@dataclass(slots=True)
class Draft:
    """A message before it has a seq."""

    message_id: int
    sender: int
    client_msg_id: str
    body: str
    at: int


@dataclass(slots=True)
class Stored:
    """What SEND found or made.  `advanced`: sending implied reading messages of others (None: of nobody)."""

    sent: Sent
    advanced: Advanced | None
    duplicate: bool


@dataclass(slots=True)
class Marking:
    """What READ or DELIVERED did to one conversation, and the values after it.

    `seq` is the cursor that was asked about, `at` when it last moved (ms UTC; None: never).  `advanced` or
    `reached` is what may be told; both are None when the mark was stale."""

    conversation_id: str
    seq: int
    version: int
    unread: int
    at: int | None
    advanced: Advanced | None = None
    reached: Reached | None = None
