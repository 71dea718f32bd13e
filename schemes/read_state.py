"""The domain, pure: how a cursor moves, what is unread, and who is told what.

Schemes decide where state lives; this module is the one place that says what it means.  No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from schemes.protocol import CursorValue, Message, Update, encode

DIRECT: Final = "direct"
GROUP: Final = "group"


class Conversation:
    """Who is in a conversation: fixed during a run (v1), so servers may keep it."""

    __slots__ = ("conversation_id", "kind", "members")

    def __init__(self, conversation_id: str, kind: str, members: tuple[int, ...]) -> None:
        self.conversation_id = conversation_id
        self.kind = kind
        self.members = members

    def peer_of(self, user: int) -> int | None:
        """The other person of a direct conversation; None in groups."""
        if self.kind != DIRECT or len(self.members) != 2:
            return None
        first, second = self.members
        return second if user == first else first


class Push:
    """One encoded frame and the people whose devices get it; `origin` is the session that does not."""

    __slots__ = ("conversation", "frame", "origin", "users")

    def __init__(self, users: Sequence[int], frame: bytes, conversation: str, origin: str) -> None:
        self.users = users
        self.frame = frame
        self.conversation = conversation
        self.origin = origin


class Sent:
    """A message that is in the store."""

    __slots__ = ("body", "client_msg_id", "conversation", "message_id", "sender", "sent_time", "seq")

    def __init__(
        self,
        conversation: Conversation,
        message_id: int,
        seq: int,
        sender: int,
        client_msg_id: str,
        sent_time: int,
        body: str,
    ) -> None:
        self.conversation = conversation
        self.message_id = message_id
        self.seq = seq
        self.sender = sender
        self.client_msg_id = client_msg_id
        self.sent_time = sent_time
        self.body = body


class Advanced:
    """A read cursor that moved: (from_seq, up_to_seq] is newly read.

    `change_id` and `peer_change_id` are the rows in the reader's and the direct peer's change logs;
    `senders` are the senders of the newly covered messages (told in groups up to the receipt limit)."""

    __slots__ = (
        "at",
        "change_id",
        "conversation",
        "from_seq",
        "peer_change_id",
        "senders",
        "unread",
        "up_to_seq",
        "user",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        conversation: Conversation,
        user: int,
        from_seq: int,
        up_to_seq: int,
        version: int,
        at: int,
        unread: int,
        change_id: int,
        peer_change_id: int | None,
        senders: Sequence[int] = (),
    ) -> None:
        self.conversation = conversation
        self.user = user
        self.from_seq = from_seq
        self.up_to_seq = up_to_seq
        self.version = version
        self.at = at
        self.unread = unread
        self.change_id = change_id
        self.peer_change_id = peer_change_id
        self.senders = senders


class Reached:
    """A delivery cursor that moved."""

    __slots__ = ("at", "conversation", "delivered_seq", "user")

    def __init__(self, conversation: Conversation, user: int, delivered_seq: int, at: int) -> None:
        self.conversation = conversation
        self.user = user
        self.delivered_seq = delivered_seq
        self.at = at


def advance(cursor: int, up_to_seq: int) -> int:
    """A cursor is a max-register: it never moves back."""
    return max(cursor, up_to_seq)


def unread(last_seq: int, read_seq: int) -> int:
    """Messages after the cursor.  Sending implies reading, so none of them is the reader's own."""
    return last_seq - read_seq if last_seq > read_seq else 0


def pushes_of_sent(sent: Sent, origin: str) -> list[Push]:
    """MESSAGE, to all members' devices but the sending socket."""
    frame = encode(
        Message(
            conversation_id=sent.conversation.conversation_id,
            message_id=str(sent.message_id),
            seq=sent.seq,
            sender_id=f"u{sent.sender}",
            client_msg_id=sent.client_msg_id,
            sent_time=sent.sent_time,
            body=sent.body,
        )
    )
    return [Push(sent.conversation.members, frame, sent.conversation.conversation_id, origin)]


def pushes_of_advanced(moved: Advanced, origin: str, origin_device: str, receipt_members: int) -> list[Push]:
    """UPDATE read/…, to the reader's other devices and the direct peer, each with their own change id; in
    groups up to `receipt_members` to the senders of what was newly read, without one."""
    conversation = moved.conversation
    pushes = [_read_push((moved.user,), moved, origin, origin_device, moved.change_id, moved.unread)]
    peer = conversation.peer_of(moved.user)
    if peer is not None:
        pushes.append(_read_push((peer,), moved, origin, origin_device, moved.peer_change_id, None))
    elif len(conversation.members) <= receipt_members:
        others = tuple(sender for sender in moved.senders if sender != moved.user)
        if others:
            pushes.append(_read_push(others, moved, origin, origin_device, None, None))
    return pushes


def _read_push(
    users: tuple[int, ...],
    moved: Advanced,
    origin: str,
    origin_device: str,
    change_id: int | None,
    left_unread: int | None,
) -> Push:
    value = CursorValue(up_to_seq=moved.up_to_seq, read_time=moved.at)
    if left_unread is not None:
        value.unread = left_unread
    update = Update(
        key=f"read/{moved.conversation.conversation_id}/u{moved.user}",
        value=value,
        version=moved.version,
        at=moved.at,
        origin_device=origin_device,
        change_id=change_id,
    )
    return Push(users, encode(update), moved.conversation.conversation_id, origin)


def pushes_of_reached(reached: Reached, origin: str, origin_device: str) -> list[Push]:
    """UPDATE delivered/…, to the direct peer only."""
    conversation = reached.conversation
    peer = conversation.peer_of(reached.user)
    if peer is None:
        return []
    update = Update(
        key=f"delivered/{conversation.conversation_id}/u{reached.user}",
        value=CursorValue(up_to_seq=reached.delivered_seq),
        version=reached.delivered_seq,
        at=reached.at,
        origin_device=origin_device,
    )
    return [Push((peer,), encode(update), conversation.conversation_id, origin)]


class MessageIds:
    """Message ids: 41 bits of milliseconds since 2024, 10 bits of node, 12 bits of counter.

    Ids of one node are strictly increasing even if the clock stands still or steps back."""

    EPOCH_MS: Final = 1_704_067_200_000

    def __init__(self, node: int) -> None:
        if not 0 <= node < 1024:
            raise ValueError(f"a node number is 0 to 1023, got {node}")
        self._node = node
        self._last = 0

    def next(self, now_ms: int) -> int:
        ticks = max((now_ms - self.EPOCH_MS) << 12, self._last + 1)
        self._last = ticks
        return (ticks >> 12) << 22 | self._node << 12 | (ticks & 0xFFF)


def seeded_sender(members: Sequence[int], seq: int) -> int:
    """Who sent message `seq` of a seeded history."""
    return members[(seq - 1) % len(members)]


def seeded_read_seq(members: Sequence[int], index: int, history: int, read_seq: int) -> int:
    """A member has read at least up to their own last message."""
    size = len(members)
    own_last = history - (history - 1 - index) % size if history > index else 0
    return min(history, max(read_seq, own_last))


def senders_between(members: Sequence[int], senders: Iterable[int]) -> tuple[int, ...]:
    """The distinct senders who are members, ascending."""
    return tuple(sorted(set(senders).intersection(members)))


class Changes:
    """What one transaction changed, in the words of the domain: what a scheme tells, caches or queues after
    COMMIT.  `origin` is the session that asked, `device` its device."""

    __slots__ = ("advanced", "device", "origin", "reached", "sent")

    def __init__(self, origin: str, device: str) -> None:
        self.origin = origin
        self.device = device
        self.sent: Sent | None = None
        self.advanced: list[Advanced] = []
        self.reached: list[Reached] = []


def pushes_of(changes: Changes, receipt_members: int) -> list[Push]:
    """Every push that the changes cause, in the order in which they are sent."""
    pushes = pushes_of_sent(changes.sent, changes.origin) if changes.sent is not None else []
    for moved in changes.advanced:
        pushes += pushes_of_advanced(moved, changes.origin, changes.device, receipt_members)
    for reached in changes.reached:
        pushes += pushes_of_reached(reached, changes.origin, changes.device)
    return pushes
