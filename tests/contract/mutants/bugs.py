"""The bugs, one function each: its name and docstring say what is wrong, its body plants it in the control
server, and `caught_by` names the tests that must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemes import read_state
from schemes.memory import scheme
from schemes.memory.scheme import Memory
from schemes.ports import Done
from schemes.server import connection, session
from schemes.server.hub import Hub
from schemes.server.session import Session

Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, tuple[Plant, tuple[str, ...]]] = {}


def caught_by(*tests: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        BUGS[plant.__name__] = plant, tests
        return plant

    return register


@caught_by("test_a_stale_read_succeeds_and_changes_nothing")
def cursor_moves_back(patch: pytest.MonkeyPatch) -> None:
    """The last READ wins instead of the highest."""

    def move(self: Memory, room: Any, user: int, up_to: int, now: int, changes: Any, *, told: bool) -> int:
        member = room.members[user]
        from_seq, member.read_seq = member.read_seq, up_to
        member.version += 1
        changes.advanced.append(self._advanced(room, user, from_seq, member, now))
        return now

    patch.setattr(Memory, "_move", move)


@caught_by("test_first_read_time_is_never_rewritten")
def first_read_time_rewritten(patch: pytest.MonkeyPatch) -> None:
    """A later READ covers everything again, so that old messages get a new read time."""
    advanced = Memory._advanced

    def again(self: Memory, room: Any, user: int, from_seq: int, member: Any, now: int) -> Any:
        return advanced(self, room, user, 0, member, now)

    patch.setattr(Memory, "_advanced", again)


@caught_by("test_own_messages_are_never_unread")
def own_message_unread(patch: pytest.MonkeyPatch) -> None:
    """SEND does not move the sender's cursor."""
    send = Memory.send

    def forgetful(self: Memory, caller: Any, *rest: Any) -> Any:
        move = self._move
        self._move = lambda *a, **k: None  # type: ignore[method-assign]
        try:
            return send(self, caller, *rest)
        finally:
            self._move = move  # type: ignore[method-assign]

    patch.setattr(Memory, "send", forgetful)


@caught_by("test_sending_implies_reading_what_came_before")
def implied_read_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """SEND moves the sender's cursor over the messages of others, and nobody hears of it."""
    send, move = Memory.send, Memory._move

    def silent(self: Memory, caller: Any, *rest: Any) -> Any:
        self._move = lambda *args, told: move(self, *args, told=False)  # type: ignore[method-assign]
        try:
            return send(self, caller, *rest)
        finally:
            del self._move

    patch.setattr(Memory, "send", silent)


@caught_by("test_a_message_goes_to_the_members_devices_but_the_sending_socket")
def pushed_to_a_non_member(patch: pytest.MonkeyPatch) -> None:
    """MESSAGE goes to everybody who is connected."""
    publish = Hub.publish

    def everybody(self: Hub, push: Any) -> None:
        publish(self, read_state.Push(tuple(self._by_user), push.frame, push.conversation, push.origin))

    patch.setattr(Hub, "publish", everybody)


@caught_by("test_a_message_goes_to_the_members_devices_but_the_sending_socket")
def echoed_to_the_sender(patch: pytest.MonkeyPatch) -> None:
    """The sending socket gets its own MESSAGE."""
    publish = Hub.publish

    def echo(self: Hub, push: Any) -> None:
        publish(self, read_state.Push(push.users, push.frame, push.conversation, ""))

    patch.setattr(Hub, "publish", echo)


@caught_by("test_a_repeated_send_returns_the_first", "test_concurrent_retries_store_one_message")
def lost_idempotency(patch: pytest.MonkeyPatch) -> None:
    """A repeated client_msg_id makes a second message."""
    send = Memory.send

    def forgetful(self: Memory, *args: Any) -> Any:
        self._by_client_id.clear()
        return send(self, *args)

    patch.setattr(Memory, "send", forgetful)


@caught_by("test_the_same_client_id_of_another_sender_is_another_message")
def idempotency_across_senders(patch: pytest.MonkeyPatch) -> None:
    """The client_msg_id alone is the key, so that two people's messages collide."""

    class AnySender(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            return super().get((0, key[1]), default)

        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__((0, key[1]), value)

    clear = Memory._clear

    def clear_and_share(self: Memory) -> None:
        clear(self)
        self._by_client_id = AnySender()

    patch.setattr(Memory, "_clear", clear_and_share)


@caught_by("test_a_push_comes_after_its_change_can_be_read")
def push_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The MESSAGE is told before it is stored: what is read on hearing it is not there yet."""
    history = Memory.history

    def late(self: Memory, user: int, conversation: str, from_seq: int, limit: int, trace: Any) -> Any:
        stored = history(self, user, conversation, from_seq, limit, trace).value
        return Done([message for message in stored if message.seq < self._rooms[conversation].last_seq])

    patch.setattr(Memory, "history", late)


@caught_by("test_a_read_goes_to_own_devices_and_the_direct_peer")
def peer_not_told(patch: pytest.MonkeyPatch) -> None:
    """The direct peer gets no receipt."""
    pushes_of_advanced = read_state.pushes_of_advanced
    patch.setattr(read_state, "pushes_of_advanced", lambda *args: pushes_of_advanced(*args)[:1])


@caught_by("test_in_groups_the_senders_of_what_was_read_are_told")
def receipts_to_the_whole_group(patch: pytest.MonkeyPatch) -> None:
    """Every member hears of every READ: O(N^2) receipts."""
    patch.setattr(scheme, "senders_between", lambda members, senders: tuple(members))


@caught_by("test_delivered_goes_to_the_direct_peer_only")
def delivered_to_own_devices(patch: pytest.MonkeyPatch) -> None:
    """DELIVERED is echoed to the same person's other devices."""
    pushes_of_reached = read_state.pushes_of_reached

    def both(reached: Any, origin: str, device: str) -> Any:
        pushes = pushes_of_reached(reached, origin, device)
        return [
            read_state.Push((*push.users, reached.user), push.frame, push.conversation, origin)
            for push in pushes
        ]

    patch.setattr(read_state, "pushes_of_reached", both)


@caught_by("test_read_implies_delivered_and_a_push_does_not")
def push_counts_as_delivered(patch: pytest.MonkeyPatch) -> None:
    """A message is delivered as soon as it was pushed."""
    send = Memory.send

    def eager(self: Memory, caller: Any, conversation: str, *rest: Any) -> Any:
        outcome = send(self, caller, conversation, *rest)
        for member in self._rooms[conversation].members.values():
            member.delivered_seq = self._rooms[conversation].last_seq
        return outcome

    patch.setattr(Memory, "send", eager)


@caught_by("test_a_stale_read_tells_nobody")
def stale_read_is_told(patch: pytest.MonkeyPatch) -> None:
    """A READ without effect is pushed and logged like one with."""
    move = Memory._move

    def loud(self: Memory, room: Any, user: int, up_to: int, now: int, changes: Any, *, told: bool) -> Any:
        moved = move(self, room, user, up_to, now, changes, told=told)
        if moved is None and told:
            member = room.members[user]
            changes.advanced.append(self._advanced(room, user, member.read_seq, member, now))
        return moved

    patch.setattr(Memory, "_move", loud)


@caught_by("test_every_advance_has_a_higher_version", "test_a_read_cursor_moves_forward")
def version_stands_still(patch: pytest.MonkeyPatch) -> None:
    """The version is not counted up."""
    move = Memory._move

    def still(self: Memory, room: Any, user: int, *rest: Any, **told: Any) -> Any:
        version = room.members[user].version
        moved = move(self, room, user, *rest, **told)
        room.members[user].version = version
        return moved

    patch.setattr(Memory, "_move", still)


@caught_by("test_sync_gives_every_change_once_and_without_gaps")
def sync_skips_a_change(patch: pytest.MonkeyPatch) -> None:
    """A page swallows its last change but moves the cursor over it."""
    sync = Memory.sync

    def hole(self: Memory, *args: Any) -> Any:
        page = sync(self, *args).value
        if len(page.changes) > 2:
            page.changes.pop()
        return Done(page)

    patch.setattr(Memory, "sync", hole)


@caught_by("test_sync_lists_the_messages_of_either_side")
def sync_lists_own_messages_too(patch: pytest.MonkeyPatch) -> None:
    """My reads list every message that they passed, my own included."""

    def everything(self: Memory, user: int, change: Any) -> Any:
        room = self._rooms[change.conversation_id]
        covered = map(room.message, range(change.from_seq + 1, change.up_to_seq + 1))
        return [session.p.UpdatedMessage(message.message_id, change.at) for message in covered]

    patch.setattr(Memory, "_covered", everything)


@caught_by("test_strangers_neither_read_nor_mark_nor_send")
def strangers_may_read(patch: pytest.MonkeyPatch) -> None:
    """Membership is not checked for HISTORY."""
    history = Memory.history

    def anybody(self: Memory, user: int, conversation: str, *rest: Any) -> Any:
        room = self._rooms.get(conversation)
        return history(self, next(iter(room.members)) if room is not None else user, conversation, *rest)

    patch.setattr(Memory, "history", anybody)


@caught_by("test_reading_ahead_is_refused_and_says_where_the_end_is")
def reading_ahead_is_clipped(patch: pytest.MonkeyPatch) -> None:
    """up_to_seq beyond the end is silently taken as the end."""
    mark = Memory._mark

    def clip(self: Memory, user: int, item: Any) -> Any:
        item.up_to_seq = min(item.up_to_seq or 0, self._room(user, item.conversation).last_seq)
        return mark(self, user, item)

    patch.setattr(Memory, "_mark", clip)


@caught_by("test_total_unread_is_the_sum")
def total_leaves_the_first_out(patch: pytest.MonkeyPatch) -> None:
    """total_unread is that of the page's tail."""
    state = Memory.state

    def short(self: Memory, *args: Any) -> Any:
        page = state(self, *args).value
        if page.total_unread:
            page.total_unread -= page.conversations[0].unread
        return Done(page)

    patch.setattr(Memory, "state", short)


@caught_by("test_state_pages_newest_first")
def state_oldest_first(patch: pytest.MonkeyPatch) -> None:
    """STATE's pages start with the oldest conversation."""
    patch.setattr(
        scheme, "_newest_first", lambda room: (room.last_sent_ms, room.conversation.conversation_id)
    )


@caught_by("test_one_read_marks_several_conversations_or_none")
def read_applies_half(patch: pytest.MonkeyPatch) -> None:
    """Items before the refused one stay applied."""
    read = Memory.read

    def one_by_one(self: Memory, caller: Any, items: Any, trace: Any) -> Any:
        return Done([read(self, caller, [item], trace).value[0] for item in items])

    patch.setattr(Memory, "read", one_by_one)


@caught_by("test_a_bad_token_closes_that_connection")
def expired_tokens_pass(patch: pytest.MonkeyPatch) -> None:
    """Only the signature is looked at."""
    check = session.p.check_token

    def lenient(secret: bytes, token: str, user: str, device: str, now_s: float) -> str | None:
        problem = check(secret, token, user, device, now_s)
        return None if problem and "expired" in problem else problem

    patch.setattr(session.p, "check_token", lenient)


@caught_by("test_a_newer_connection_replaces_that_of_the_same_device")
def both_connections_stay(patch: pytest.MonkeyPatch) -> None:
    """The older connection of a device is left open."""
    join = Hub.join

    def lenient(self: Hub, *args: Any) -> None:
        join(self, *args)

    patch.setattr(Hub, "join", lenient)


@caught_by("test_only_subscribers_are_told")
def subscriptions_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """Every connection gets everything."""
    patch.setattr(Session, "wants", lambda self, conversation: True)


@caught_by("test_pushes_of_concurrent_commits_come_in_order")
def pushes_overtake(patch: pytest.MonkeyPatch) -> None:
    """Every second push waits for the next one."""
    publish = Hub.publish
    held: list[Any] = []

    def overtake(self: Hub, push: Any) -> None:
        if held:
            publish(self, push)
            publish(self, held.pop())
        else:
            held.append(push)

    patch.setattr(Hub, "publish", overtake)


@caught_by("test_resume_needs_only_what_was_missed")
def resume_forgets_the_epoch(patch: pytest.MonkeyPatch) -> None:
    """A client of another epoch is told that its change id is good."""
    welcome = Session._welcome

    def forget(self: Session, call: Any, outcome: Any, now_ms: int) -> Any:
        reply = welcome(self, call, outcome, now_ms)
        reply.reset_required = False
        return reply

    patch.setitem(session._ANSWER, session.p.Hello, forget)


@caught_by("test_bad_requests_are_refused_one_by_one")
def a_bad_request_closes(patch: pytest.MonkeyPatch) -> None:
    """One malformed frame costs the whole connection."""

    def strict(self: Session, reply_to: str, code: str, message: str, **more: Any) -> Any:
        return session.Close(4400, message)

    patch.setattr(Session, "_error", strict)
    assert connection.Session is Session
