"""What a scheme must do and what it is given: the two ports between the server and a scheme.

`ReadState` is what the server calls; `Publisher` is what a scheme calls when a change may be told.  The fakes
of the unit tests and the real schemes pass the same contract suite (`tests/contract/`)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Generator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from schemes.protocol import (
    Change,
    ConversationState,
    DumpRow,
    SeedConversation,
    StoredMessage,
    UpdatedMessage,
)
from schemes.read_state import Push

T = TypeVar("T")


class Refused(Exception):
    """The request was refused for a reason of `protocol.ERRORS`; `current` helps the client to go on."""

    def __init__(
        self, code: str, message: str, *, current: dict[str, int] | None = None, retry_ms: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.current = current
        self.retry_ms = retry_ms


class Trace:
    """Collects where one request's time goes, in nanoseconds.  Stages never overlap: add to one at a time."""

    __slots__ = ("cache", "queue", "store", "wait")

    def __init__(self) -> None:
        self.wait = self.store = self.cache = self.queue = 0


clock_ns = time.monotonic_ns


class Done(Generic[T]):
    """An awaitable that is ready: the server answers at once, without a task."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, T]:
        return self.value
        yield  # type: ignore[unreachable]  # makes this a generator, which is what await needs


class Caller:
    """Who asks: the user's number, the device and the session (its id keeps a push from its own origin)."""

    __slots__ = ("device", "session", "user")

    def __init__(self, user: int, device: str, session: str) -> None:
        self.user = user
        self.device = device
        self.session = session


class Marked:
    """One item of READ or DELIVERED, checked by the session: exactly one of the two ways to say how far."""

    __slots__ = ("conversation", "message_ids", "up_to_seq")

    def __init__(self, conversation: str, up_to_seq: int | None, message_ids: Sequence[int] = ()) -> None:
        self.conversation = conversation
        self.up_to_seq = up_to_seq
        self.message_ids = message_ids


class SendOutcome:
    __slots__ = ("duplicate", "message_id", "sent_time", "seq")

    def __init__(self, message_id: int, seq: int, sent_time: int, duplicate: bool) -> None:
        self.message_id = message_id
        self.seq = seq
        self.sent_time = sent_time
        self.duplicate = duplicate


class ReadOutcome:
    """One item.  None where an asynchronous server cannot know yet."""

    __slots__ = ("applied", "conversation", "read_seq", "read_time", "unread", "version")

    def __init__(
        self,
        conversation: str,
        applied: bool | None,
        read_seq: int,
        unread: int | None,
        version: int | None,
        read_time: int | None,
    ) -> None:
        self.conversation = conversation
        self.applied = applied
        self.read_seq = read_seq
        self.unread = unread
        self.version = version
        self.read_time = read_time


class DeliveredOutcome:
    __slots__ = ("applied", "conversation", "delivered_seq")

    def __init__(self, conversation: str, applied: bool | None, delivered_seq: int) -> None:
        self.conversation = conversation
        self.applied = applied
        self.delivered_seq = delivered_seq


class StatePage:
    """`change_id` and `total_unread` are None where conversations were named."""

    __slots__ = ("change_id", "conversations", "cursor", "total_unread")

    def __init__(
        self,
        conversations: list[ConversationState],
        total_unread: int | None,
        change_id: int | None,
        cursor: str | None,
    ) -> None:
        self.conversations = conversations
        self.total_unread = total_unread
        self.change_id = change_id
        self.cursor = cursor


class SyncPage:
    """`messages` is filled for `detail: messages` only; the next page starts after `next_change_id`."""

    __slots__ = ("changes", "done", "messages", "next_change_id", "reset_required", "total_unread")

    def __init__(
        self,
        changes: list[Change],
        messages: list[UpdatedMessage],
        next_change_id: int,
        *,
        done: bool,
        reset_required: bool = False,
        total_unread: int | None = None,
    ) -> None:
        self.changes = changes
        self.messages = messages
        self.next_change_id = next_change_id
        self.done = done
        self.reset_required = reset_required
        self.total_unread = total_unread


class SyncFrom:
    """Where a SYNC starts: after a change id, or at a time (ms UTC)."""

    __slots__ = ("at", "change_id")

    def __init__(self, change_id: int | None, at: int | None) -> None:
        self.change_id = change_id
        self.at = at


class Publisher(Protocol):
    """The hub, as a scheme sees it."""

    def publish(self, push: Push) -> None:
        """Queues the push for the subscribed sessions of `push.users` on this server.  Never blocks."""

    def lost(self, reason: str) -> None:
        """The bus to other processes broke: pushes may be missing, so sessions are closed with 1013."""


class ReadState(Protocol):
    """Read/unread state behind one server.  Every method may raise Refused; all else is a bug (INTERNAL).

    All of a caller's mutations arrive one after another; those of different callers arrive at once."""

    def start(self) -> Awaitable[None]: ...

    def close(self) -> Awaitable[None]: ...

    def position(self, user: int, trace: Trace) -> Awaitable[tuple[int, int]]:
        """(epoch, change_id) as of which STATE answers now."""

    def send(
        self, caller: Caller, conversation: str, client_msg_id: str, body: str, trace: Trace
    ) -> Awaitable[SendOutcome]: ...

    def read(self, caller: Caller, items: Sequence[Marked], trace: Trace) -> Awaitable[list[ReadOutcome]]:
        """All items or none; outcomes in the order of the items."""

    def delivered(
        self, caller: Caller, items: Sequence[Marked], trace: Trace
    ) -> Awaitable[list[DeliveredOutcome]]: ...

    def state(
        self, user: int, conversations: Sequence[str] | None, cursor: str | None, limit: int, trace: Trace
    ) -> Awaitable[StatePage]:
        """The named conversations (NOT_MEMBER if one is not the user's), or a page of all, newest message
        first.  `total_unread` on the last page only, over all of the user's conversations."""

    def sync(
        self, user: int, since: SyncFrom, limit: int, messages: bool, trace: Trace
    ) -> Awaitable[SyncPage]: ...

    def history(
        self, user: int, conversation: str, from_seq: int, limit: int, trace: Trace
    ) -> Awaitable[list[StoredMessage]]: ...

    # --- the harness's own door -------------------------------------------------------------------------

    def reset(self) -> Awaitable[None]:
        """Empties the store, the cache and the queue."""

    def seed(
        self, conversations: Sequence[SeedConversation], *, done: bool, warm: bool
    ) -> Awaitable[None]: ...

    def drain(self, timeout_s: float) -> Awaitable[dict[str, int]]:
        """What is still on its way after at most timeout_s, by name; empty when nothing is."""

    def dump(self, source: str, after: str, limit: int) -> Awaitable[tuple[list[DumpRow], str | None]]:
        """A page of every member's cursors in `store` or `cache`, and where the next page starts."""

    def held(self, source: str, user: int, conversation: str) -> Awaitable[DumpRow | None]:
        """What `store` or `cache` holds now for one member; None where it holds nothing."""

    def stats(self) -> dict[str, Any]:
        """Counters since the start, by name: retries, cache hits, misses, queue lag, ..."""


class Build(Protocol):
    """How `python -m schemes` makes a scheme: from its options, with the hub to publish to."""

    def __call__(self, options: dict[str, str], publisher: Publisher) -> ReadState: ...
