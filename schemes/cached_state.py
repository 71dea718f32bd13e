"""STATE put together from what a cache holds: which keys to ask, what their values mean, order and pages.

Pure.  Where the values come from, and what is done about those that are missing, is the schemes' business
(`redis` fills them, `queue` has a consumer)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import UNSET

from schemes.ports import Refused
from schemes.protocol import ConversationState
from schemes.read_state import Conversation, unread
from schemes.stores.redis import Cursors, Head, Key, Membership, RedisStore, unpack_cursors, unpack_head


class Line(NamedTuple):
    """One conversation of one user in a STATE; `last_sent_ms` orders the pages."""

    last_sent_ms: int
    state: ConversationState


def membership(user: int, conversation: Conversation) -> Membership:
    return Membership(conversation.conversation_id, conversation.kind, conversation.peer_of(user))


class KeysOf:
    """The keys that one conversation of one user is made of; `peer` is None in groups."""

    __slots__ = ("head", "membership", "own", "peer")

    def __init__(self, redis: RedisStore, user: int, membership: Membership) -> None:
        conversation, _, peer = membership
        self.membership = membership
        self.own = redis.rs(conversation, user)
        self.head = redis.head(conversation)
        self.peer = None if peer is None else redis.rs(conversation, peer)

    def __iter__(self) -> Iterator[Key]:
        yield self.own
        yield self.head
        if self.peer is not None:
            yield self.peer

    def line(self, values: Mapping[Key, bytes]) -> Line | None:
        """None if one of the values is missing."""
        own, head = values.get(self.own), values.get(self.head)
        peer = None if self.peer is None else values.get(self.peer)
        if own is None or head is None or (self.peer is not None and peer is None):
            return None
        peer_cursors = None if peer is None else unpack_cursors(peer)
        return line(self.membership, unpack_head(head), unpack_cursors(own), peer_cursors)


def line(membership: Membership, head: Head, own: Cursors, peer: Cursors | None) -> Line:
    """What STATE says of one conversation."""
    return Line(
        head.last_sent_ms,
        ConversationState(
            conversation_id=membership.conversation,
            kind=membership.kind,
            last_seq=head.last_seq,
            read_seq=own.read_seq,
            delivered_seq=own.delivered_seq,
            unread=unread(head.last_seq, own.read_seq),
            version=own.version,
            peer_read_seq=UNSET if peer is None else peer.read_seq,
        ),
    )


def page(lines: Sequence[Line], after: str | None, limit: int) -> tuple[list[ConversationState], str | None]:
    """The next `limit` conversations after a cursor, newest message first, and the cursor of the next page
    (None on the last).  A conversation that gets a message meanwhile moves to pages already answered.

    Raises Refused(BAD_REQUEST) for a cursor that this function did not make."""
    ordered = sorted(lines, key=_newest_first)
    if after is not None:
        start = _position(after)
        ordered = [line for line in ordered if _newest_first(line) > start]
    found, rest = ordered[:limit], ordered[limit:]
    cursor = f"{found[-1].last_sent_ms}:{found[-1].state.conversation_id}" if rest else None
    return [line.state for line in found], cursor


def _newest_first(line: Line) -> tuple[int, str]:
    return -line.last_sent_ms, line.state.conversation_id


def _position(cursor: str) -> tuple[int, str]:
    last_sent_ms, colon, conversation = cursor.partition(":")
    if not colon or not last_sent_ms.isascii() or not last_sent_ms.isdigit():
        raise Refused("BAD_REQUEST", f"cursor: expected one that STATE_RESULT gave, got {cursor!r}")
    return -int(last_sent_ms), conversation
