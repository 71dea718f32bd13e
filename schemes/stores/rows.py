"""What the MySQL store hands out and takes in: plain values, no SQL."""

from __future__ import annotations

from dataclasses import dataclass


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
