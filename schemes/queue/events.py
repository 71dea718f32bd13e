"""What travels through the log, pure: from what a transaction changed to events, and from events to what the
consumer's script applies.  No I/O.

An event is the article's `{key, operation, value}` and what else the consumer needs to do its work without
asking anybody: the change id that it makes visible, and the pushes that it causes, ready to be written to
sockets.  Every value is absolute (how far, not how much further), so applying one twice changes nothing.

The log is partitioned by the user whose view changes: a READ in a direct conversation makes two events, the
reader's and the peer's, so that each user's changes are applied in the order of that user's change ids.  The
peer's carries the reader's cursor too, because it may come before the reader's own.  A SEND's event belongs
to the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from schemes.read_state import (
    Advanced,
    Changes,
    Push,
    Reached,
    Sent,
    pushes_of_advanced,
    pushes_of_reached,
    pushes_of_sent,
)
from schemes.stores.kafka import Keyed


class Told(Struct, array_like=True):
    """One push on its way to the servers: each looks up `users` among its own sessions."""

    users: Sequence[int]
    conversation: str
    origin: str
    frame: Raw


class BusMessage(Struct):
    """What the consumer publishes, once per batch; `at_ns` (CLOCK_MONOTONIC) is when it gave it to Redis."""

    at_ns: int
    tell: list[Told]


class CursorValue(Struct, omit_defaults=True):
    """How far a member is; `version` 0 where the event does not know it."""

    read_seq: int = 0
    delivered_seq: int = 0
    version: int = 0


class HeadValue(Struct):
    """A message and who sent it: sending implies having read."""

    last_seq: int
    sent_time: int
    sender: int


class CursorMoved(Struct, tag_field="operation", tag="delivered", kw_only=True):
    """`key` is the cache key `rs:<conversation>:<user>` of the cursor that moved."""

    key: str
    value: CursorValue
    tell: Raw


class ReadMoved(CursorMoved, tag="read", kw_only=True):
    """In the log of `user`, the reader, this is change `change_id`."""

    user: int
    change_id: int


class ReceiptMoved(ReadMoved, tag="receipt", kw_only=True):
    """The same cursor in the log of `user`, the direct peer."""


class MessageSent(Struct, tag_field="operation", tag="sent", kw_only=True):
    """`key` is the cache key `head:<conversation>`."""

    key: str
    value: HeadValue
    tell: Raw


class Marked(Struct, array_like=True):
    conversation: str
    up_to_seq: int


class ReadQueued(Struct, tag_field="operation", tag="mark_read", kw_only=True):
    """A READ that was accepted and is in no store yet (`queue_first`); `at` (ms UTC) is when."""

    key: str
    value: list[Marked]
    user: int
    at: int
    origin: str
    device: str


class DeliveredQueued(ReadQueued, tag="mark_delivered", kw_only=True):
    """The same for DELIVERED."""


class Marker(Struct, tag_field="operation", tag="marker", kw_only=True):
    """Nothing happened: it shows how far the log had come."""

    key: str = ""


Applied: TypeAlias = CursorMoved | ReadMoved | ReceiptMoved | MessageSent
Queued: TypeAlias = ReadQueued | DeliveredQueued
Event: TypeAlias = Applied | Queued | Marker

encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Event).decode
_decode_bus: Final = msgspec.json.Decoder(BusMessage).decode


class Poison(ValueError):
    """A record that is no event: it goes to the dead letters."""


def decode(value: bytes) -> Event:
    """Raises Poison."""
    try:
        event: Event = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as why:
        raise Poison(str(why)) from None
    return event


def decode_bus(value: bytes) -> BusMessage:
    """Raises Poison."""
    try:
        message: BusMessage = _decode_bus(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as why:
        raise Poison(str(why)) from None
    return message


def push_of(told: Told) -> Push:
    return Push(told.users, bytes(told.frame), told.conversation, told.origin)


def log_key_of_user(user: int) -> bytes:
    return b"u%d" % user


def log_key(event: Event) -> bytes:
    """The key that the event's order belongs to."""
    if isinstance(event, ReadMoved | ReadQueued):
        return log_key_of_user(event.user)
    if isinstance(event, CursorMoved):
        return log_key_of_user(int(event.key.rpartition(":")[2]))
    return event.key.encode()


def keyed(events: Sequence[Event]) -> list[Keyed]:
    """As the log takes them."""
    return [(log_key(event), encode(event)) for event in events]


MARKER: Final = encode(Marker())


# --- from changes to events -------------------------------------------------------------------------------


def events_of(changes: Changes, receipt_members: int) -> list[Applied]:
    """What one transaction changed, in the order of its pushes."""
    events: list[Applied] = [_sent(changes.sent, changes.origin)] if changes.sent is not None else []
    for moved in changes.advanced:
        events += read_events(moved, changes.origin, changes.device, receipt_members)
    events += [delivered_event(reached, changes.origin, changes.device) for reached in changes.reached]
    return events


def read_events(moved: Advanced, origin: str, device: str, receipt_members: int) -> list[Applied]:
    """The reader's event and, in direct conversations, the peer's."""
    key = rs_key(moved.conversation.conversation_id, moved.user)
    value = CursorValue(moved.up_to_seq, moved.up_to_seq, moved.version)
    pushes = pushes_of_advanced(moved, origin, device, receipt_members)
    peer = moved.conversation.peer_of(moved.user)
    if peer is None or moved.peer_change_id is None:
        tell = _tell(pushes)
        return [ReadMoved(key=key, value=value, tell=tell, user=moved.user, change_id=moved.change_id)]
    own = [push for push in pushes if peer not in push.users]
    theirs = [push for push in pushes if peer in push.users]
    return [
        ReadMoved(key=key, value=value, tell=_tell(own), user=moved.user, change_id=moved.change_id),
        ReceiptMoved(key=key, value=value, tell=_tell(theirs), user=peer, change_id=moved.peer_change_id),
    ]


def delivered_event(reached: Reached, origin: str, device: str) -> CursorMoved:
    return CursorMoved(
        key=rs_key(reached.conversation.conversation_id, reached.user),
        value=CursorValue(delivered_seq=reached.delivered_seq),
        tell=_tell(pushes_of_reached(reached, origin, device)),
    )


def _sent(sent: Sent, origin: str) -> MessageSent:
    return MessageSent(
        key=f"head:{sent.conversation.conversation_id}",
        value=HeadValue(sent.seq, sent.sent_time, sent.sender),
        tell=_tell(pushes_of_sent(sent, origin)),
    )


def _tell(pushes: Sequence[Push]) -> Raw:
    return Raw(encode([Told(push.users, push.conversation, push.origin, Raw(push.frame)) for push in pushes]))


def rs_key(conversation: str, user: int) -> str:
    return f"rs:{conversation}:{user}"
