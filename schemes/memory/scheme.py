"""Read/unread state in this process's memory: every method answers at once, and nothing outlives the process.

Seeded history is arithmetic and stays so: only messages sent since are kept one by one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemes.ports import (
    Caller,
    DeliveredOutcome,
    Done,
    Marked,
    Publisher,
    ReadOutcome,
    Refused,
    SendOutcome,
    StatePage,
    SyncFrom,
    SyncPage,
    Trace,
)
from schemes.protocol import (
    SEED_SPACING_MS,
    Change,
    ConversationState,
    DumpRow,
    SeedConversation,
    StoredMessage,
    UpdatedMessage,
)
from schemes.read_state import (
    DIRECT,
    Advanced,
    Changes,
    Conversation,
    MessageIds,
    Reached,
    Sent,
    advance,
    pushes_of,
    seeded_read_seq,
    seeded_sender,
    senders_between,
    unread,
)

EPOCH: Final = 1
SYNC_OVERLAP_MS: Final = 5000
SYNC_MESSAGES_MAX: Final = 500


@dataclass(slots=True)
class _Member:
    read_seq: int
    delivered_seq: int
    version: int = 0


@dataclass(slots=True)
class _Log:
    """One user's changes; change id i is `changes[i - 1]`."""

    changes: list[Change] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Room:
    """A conversation with its state; messages 1..history are arithmetic, the others are in `messages`."""

    conversation: Conversation
    history: int
    first_id: int
    seeded_at_ms: int
    members: dict[int, _Member]
    last_seq: int
    last_sent_ms: int
    messages: list[StoredMessage] = field(default_factory=list)

    def message(self, seq: int) -> StoredMessage:
        if seq > self.history:
            return self.messages[seq - self.history - 1]
        return StoredMessage(
            message_id=str(self.first_id + seq),
            seq=seq,
            sender_id=f"u{seeded_sender(self.conversation.members, seq)}",
            client_msg_id=f"seed-{seq}",
            sent_time=self.seeded_at_ms - (self.history - seq) * SEED_SPACING_MS,
            body="",
        )


class Memory:
    """`ReadState` over dicts.  Single-threaded, so every change is atomic by itself."""

    def __init__(self, publisher: Publisher, *, node: int, receipt_members: int) -> None:
        self._publisher = publisher
        self._receipt_members = receipt_members
        self._ids = MessageIds(node)
        self._clear()

    def _clear(self) -> None:
        self._rooms: dict[str, _Room] = {}
        self._of_user: dict[int, list[_Room]] = {}
        self._logs: dict[int, _Log] = {}
        self._by_client_id: dict[tuple[int, str], tuple[_Room, int]] = {}
        self._by_message_id: dict[int, tuple[_Room, int]] = {}
        self._seeded_ids = itertools.count(1, 1 << 20)

    def start(self) -> Done[None]:
        return Done(None)

    def close(self) -> Done[None]:
        return Done(None)

    def position(self, user: int, trace: Trace) -> Done[tuple[int, int]]:
        return Done((EPOCH, self._change_id(user)))

    # --- mutations ------------------------------------------------------------------------------------------

    def send(
        self, caller: Caller, conversation: str, client_msg_id: str, body: str, trace: Trace
    ) -> Done[SendOutcome]:
        room = self._room(caller.user, conversation)
        known = self._by_client_id.get((caller.user, client_msg_id))
        if known is not None:
            message = known[0].message(known[1])
            return Done(SendOutcome(int(message.message_id), message.seq, message.sent_time, duplicate=True))
        now = _now_ms()
        message_id = self._ids.next(now)
        changes = Changes(caller.session, caller.device)
        seq = room.last_seq + 1
        room.messages.append(StoredMessage(str(message_id), seq, f"u{caller.user}", client_msg_id, now, body))
        room.last_seq = seq
        room.last_sent_ms = now
        self._by_client_id[caller.user, client_msg_id] = room, seq
        self._by_message_id[message_id] = room, seq
        changes.sent = Sent(room.conversation, message_id, seq, caller.user, client_msg_id, now, body)
        self._move(room, caller.user, seq, now, changes, told=room.members[caller.user].read_seq < seq - 1)
        self._publish(changes)
        return Done(SendOutcome(message_id, seq, now, duplicate=False))

    def read(self, caller: Caller, items: Sequence[Marked], trace: Trace) -> Done[list[ReadOutcome]]:
        user = caller.user
        marks = [self._mark(user, item) for item in items]
        changes = Changes(caller.session, caller.device)
        now = _now_ms()
        moved = {
            room: self._move(room, user, up_to_seq, now, changes, told=True)
            for room, up_to_seq in _furthest(marks)
        }
        if changes.advanced:
            self._publish(changes)
        return Done([_read_outcome(room, room.members[user], moved[room]) for room, _ in marks])

    def delivered(
        self, caller: Caller, items: Sequence[Marked], trace: Trace
    ) -> Done[list[DeliveredOutcome]]:
        changes = Changes(caller.session, caller.device)
        outcomes = []
        for room, up_to_seq in [self._mark(caller.user, item) for item in items]:
            member = room.members[caller.user]
            applied = up_to_seq > member.delivered_seq
            member.delivered_seq = advance(member.delivered_seq, up_to_seq)
            if applied:
                changes.reached.append(
                    Reached(room.conversation, caller.user, member.delivered_seq, _now_ms())
                )
            outcomes.append(
                DeliveredOutcome(room.conversation.conversation_id, applied, member.delivered_seq)
            )
        self._publish(changes)
        return Done(outcomes)

    def _mark(self, user: int, item: Marked) -> tuple[_Room, int]:
        room = self._room(user, item.conversation)
        up_to_seq = item.up_to_seq
        if up_to_seq is None:
            up_to_seq = max(self._seq_of(room, message_id) for message_id in item.message_ids)
        if up_to_seq > room.last_seq:
            raise Refused(
                "SEQ_AHEAD",
                f"{item.conversation} ends at {room.last_seq}",
                current={"last_seq": room.last_seq},
            )
        return room, up_to_seq

    def _seq_of(self, room: _Room, message_id: int) -> int:
        seeded = message_id - room.first_id
        if 0 < seeded <= room.history:
            return seeded
        found = self._by_message_id.get(message_id)
        if found is None or found[0] is not room:
            raise Refused("NOT_FOUND", f"message {message_id} is not in {room.conversation.conversation_id}")
        return found[1]

    def _move(
        self, room: _Room, user: int, up_to_seq: int, now: int, changes: Changes, *, told: bool
    ) -> int | None:
        """Moves the read cursor; the time of it, or None if it was there already.  Read implies delivered."""
        member = room.members[user]
        from_seq = member.read_seq
        if up_to_seq <= from_seq:
            return None
        member.read_seq = up_to_seq
        member.delivered_seq = advance(member.delivered_seq, up_to_seq)
        member.version += 1
        if told:
            changes.advanced.append(self._advanced(room, user, from_seq, member, now))
        return now

    def _advanced(self, room: _Room, user: int, from_seq: int, member: _Member, now: int) -> Advanced:
        conversation = room.conversation
        peer = conversation.peer_of(user)
        change = (conversation.conversation_id, user, from_seq, member, now)
        change_id = self._log(user, *change)
        peer_change_id = self._log(peer, *change) if peer is not None else None
        senders: tuple[int, ...] = ()
        if peer is None and len(conversation.members) <= self._receipt_members:
            covered = (int(room.message(s).sender_id[1:]) for s in range(from_seq + 1, member.read_seq + 1))
            senders = senders_between(conversation.members, covered)
        left = unread(room.last_seq, member.read_seq)
        return Advanced(
            conversation,
            user,
            from_seq,
            member.read_seq,
            member.version,
            now,
            left,
            change_id,
            peer_change_id,
            senders,
        )

    def _log(self, whose: int, name: str, actor: int, from_seq: int, member: _Member, now: int) -> int:
        log = self._logs.setdefault(whose, _Log())
        change_id = len(log.changes) + 1
        log.changes.append(
            Change(change_id, "read", name, f"u{actor}", from_seq, member.read_seq, member.version, now)
        )
        return change_id

    def _publish(self, changes: Changes) -> None:
        for push in pushes_of(changes, self._receipt_members):
            self._publisher.publish(push)

    # --- queries --------------------------------------------------------------------------------------------

    def state(
        self, user: int, conversations: Sequence[str] | None, cursor: str | None, limit: int, trace: Trace
    ) -> Done[StatePage]:
        if conversations is not None:
            named = [_state_of(self._room(user, name), user) for name in conversations]
            return Done(StatePage(named, None, None, None))
        change_id = self._change_id(user)
        rooms = sorted(self._of_user.get(user, ()), key=_newest_first)
        if cursor is not None:
            after = _parse_cursor(cursor)
            rooms = [room for room in rooms if _newest_first(room) > after]
        page = rooms[:limit]
        states = [_state_of(room, user) for room in page]
        if len(rooms) > limit:
            last = page[-1]
            return Done(
                StatePage(states, None, change_id, f"{last.last_sent_ms}:{last.conversation.conversation_id}")
            )
        total = sum(
            unread(room.last_seq, room.members[user].read_seq) for room in self._of_user.get(user, ())
        )
        return Done(StatePage(states, total, change_id, None))

    def sync(self, user: int, since: SyncFrom, limit: int, messages: bool, trace: Trace) -> Done[SyncPage]:
        changes = self._logs.get(user, _Log()).changes
        start = since.change_id
        if start is None:
            earliest = (since.at or 0) - SYNC_OVERLAP_MS
            start = next((i for i, change in enumerate(changes) if change.at >= earliest), len(changes))
        if start > len(changes):
            return Done(SyncPage([], [], len(changes), done=True, reset_required=True))
        page, updated = self._sync_page(user, changes[start : start + limit], messages)
        next_change_id = start + len(page)
        done = next_change_id == len(changes)
        total = None
        if done:
            total = sum(unread(r.last_seq, r.members[user].read_seq) for r in self._of_user.get(user, ()))
        return Done(SyncPage(page, updated, next_change_id, done=done, total_unread=total))

    def _sync_page(
        self, user: int, changes: Sequence[Change], messages: bool
    ) -> tuple[list[Change], list[UpdatedMessage]]:
        page: list[Change] = []
        updated: list[UpdatedMessage] = []
        for change in changes:
            covered = self._covered(user, change) if messages else []
            if len(covered) > SYNC_MESSAGES_MAX:
                change = _truncated(change)
                covered = []
            if len(updated) + len(covered) > SYNC_MESSAGES_MAX:
                break
            page.append(change)
            updated += covered
        return page, updated

    def _covered(self, user: int, change: Change) -> list[UpdatedMessage]:
        """My reads list others' messages, a peer's reads list mine."""
        room = self._rooms[change.conversation_id]
        mine = change.actor_id == f"u{user}"
        return [
            UpdatedMessage(message.message_id, change.at)
            for message in map(room.message, range(change.from_seq + 1, change.up_to_seq + 1))
            if (message.sender_id == f"u{user}") != mine
        ]

    def history(
        self, user: int, conversation: str, from_seq: int, limit: int, trace: Trace
    ) -> Done[list[StoredMessage]]:
        room = self._room(user, conversation)
        last = min(room.last_seq, from_seq + limit - 1)
        return Done([room.message(seq) for seq in range(from_seq, last + 1)])

    def _room(self, user: int, conversation: str) -> _Room:
        room = self._rooms.get(conversation)
        if room is None or user not in room.members:
            raise Refused("NOT_MEMBER", f"u{user} is not a member of {conversation}")
        return room

    def _change_id(self, user: int) -> int:
        log = self._logs.get(user)
        return len(log.changes) if log is not None else 0

    # --- the harness's own door -----------------------------------------------------------------------------

    def reset(self) -> Done[None]:
        self._clear()
        return Done(None)

    def seed(self, conversations: Sequence[SeedConversation], *, done: bool, warm: bool) -> Done[None]:
        now = _now_ms()
        for seeded in conversations:
            members = tuple(seeded.members)
            cursors = {
                user: _Member(read, read)
                for user, read in zip(
                    members,
                    (seeded_read_seq(members, i, seeded.history, r) for i, r in enumerate(seeded.read_seq)),
                    strict=True,
                )
            }
            conversation = Conversation(seeded.id, seeded.kind, members)
            history, first_id = seeded.history, next(self._seeded_ids)
            room = _Room(conversation, history, first_id, now, cursors, last_seq=history, last_sent_ms=now)
            self._rooms[seeded.id] = room
            for user in members:
                self._of_user.setdefault(user, []).append(room)
        return Done(None)

    def drain(self, timeout_s: float) -> Done[dict[str, int]]:
        return Done({})

    def dump(self, source: str, after: str, limit: int) -> Done[tuple[list[DumpRow], str | None]]:
        if source != "store":
            raise Refused("UNSUPPORTED", "the control has no cache")
        start = int(after or 0)
        rows = itertools.chain.from_iterable(map(_dump_rows, self._rooms.values()))
        page = list(itertools.islice(rows, start, start + limit))
        return Done((page, str(start + limit) if len(page) == limit else None))

    def held(self, source: str, user: int, conversation: str) -> Done[DumpRow | None]:
        raise Refused("UNSUPPORTED", "the control has no durable store and no cache")

    def stats(self) -> dict[str, Any]:
        return {"conversations": len(self._rooms), "messages": len(self._by_message_id)}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _furthest(marks: list[tuple[_Room, int]]) -> list[tuple[_Room, int]]:
    """How far each conversation is marked, by name; most requests name one."""
    if len(marks) == 1:
        return marks
    highest: dict[_Room, int] = {}
    for room, up_to_seq in marks:
        highest[room] = max(up_to_seq, highest.get(room, 0))
    return sorted(highest.items(), key=lambda mark: mark[0].conversation.conversation_id)


def _read_outcome(room: _Room, member: _Member, read_time: int | None) -> ReadOutcome:
    read_seq = member.read_seq
    return ReadOutcome(
        room.conversation.conversation_id,
        read_time is not None,
        read_seq,
        unread(room.last_seq, read_seq),
        member.version,
        read_time,
    )


def _newest_first(room: _Room) -> tuple[int, str]:
    return -room.last_sent_ms, room.conversation.conversation_id


def _parse_cursor(cursor: str) -> tuple[int, str]:
    sent, colon, name = cursor.partition(":")
    if not colon or not sent.isascii() or not sent.isdigit():
        raise Refused("BAD_REQUEST", f"cursor {cursor[:80]!r} is not one that this server gave")
    return -int(sent), name


def _state_of(room: _Room, user: int) -> ConversationState:
    member = room.members[user]
    state = ConversationState(
        conversation_id=room.conversation.conversation_id,
        kind=room.conversation.kind,
        last_seq=room.last_seq,
        read_seq=member.read_seq,
        delivered_seq=member.delivered_seq,
        unread=unread(room.last_seq, member.read_seq),
        version=member.version,
    )
    peer = room.conversation.peer_of(user)
    if room.conversation.kind == DIRECT and peer is not None:
        state.peer_read_seq = room.members[peer].read_seq
    return state


def _truncated(change: Change) -> Change:
    return Change(
        change.change_id, change.kind, change.conversation_id, change.actor_id,
        change.from_seq, change.up_to_seq, change.version, change.at, truncated=True,
    )  # fmt: skip


def _dump_rows(room: _Room) -> list[DumpRow]:
    return [
        DumpRow(
            room.conversation.conversation_id, user, m.read_seq, m.delivered_seq, m.version, room.last_seq
        )
        for user, m in room.members.items()
    ]
