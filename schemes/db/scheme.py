"""Read state over MySQL alone, and the write path that `redis` and `queue` share.

What is written, and under which locks, is decided here once for all three; what happens between COMMIT and
the acknowledgement is `committed`, which the other schemes override."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import UNSET

from schemes import failpoints
from schemes.db.locks import KeyedLocks
from schemes.ports import (
    Caller,
    DeliveredOutcome,
    Marked,
    Publisher,
    ReadOutcome,
    Refused,
    SendOutcome,
    StatePage,
    SyncFrom,
    SyncPage,
    Trace,
    clock_ns,
)
from schemes.protocol import ConversationState, DumpRow, SeedConversation, StoredMessage
from schemes.read_state import Changes, Conversation, MessageIds, pushes_of
from schemes.stores.mysql import MySQL
from schemes.stores.mysql_connections import OPERATION_S, Also
from schemes.stores.rows import Draft, Marking, MemberState, Stored
from schemes.stores.times import now_ms

T = TypeVar("T")
Note = Callable[[Changes, T], None]

CLIENT_MSG_ID_BYTES: Final = 36


class Database:
    """Scheme `db`.  Subclasses override `committed`, and the reads that they answer from elsewhere."""

    def __init__(self, store: MySQL, publisher: Publisher, *, node: int, receipt_members: int) -> None:
        self.store = store
        self.publisher = publisher
        self.receipt_members = receipt_members
        self._ids = MessageIds(node)
        self._locks = KeyedLocks()

    async def start(self) -> None:
        await self.store.start()

    async def close(self) -> None:
        await self.store.close()

    async def committed(self, changes: Changes, trace: Trace) -> Awaitable[None] | None:
        """Called after COMMIT and before the in-process locks go: tells the changes in the order of commits.

        An awaitable that it returns is awaited after the locks went and before the acknowledgement."""
        if failpoints.on and await failpoints.hit("before_push"):
            return None
        self.publish(changes)
        return None

    def also(self, changes: Changes, note: Note[T]) -> Also[T] | None:
        """What the transaction of these changes writes besides; `note` puts its result among them."""
        return None

    def publish(self, changes: Changes) -> None:
        """Hands every push of the changes to the hub."""
        for push in pushes_of(changes, self.receipt_members):
            self.publisher.publish(push)

    # --- mutations --------------------------------------------------------------------------------------

    async def send(
        self, caller: Caller, conversation: str, client_msg_id: str, body: str, trace: Trace
    ) -> SendOutcome:
        if not 0 < len(client_msg_id.encode()) <= CLIENT_MSG_ID_BYTES:
            raise Refused("BAD_REQUEST", f"client_msg_id must have 1 to {CLIENT_MSG_ID_BYTES} bytes")
        where = await self.store.member(caller.user, conversation, trace)

        async def work(changes: Changes) -> SendOutcome:
            at = now_ms()
            draft = Draft(self._ids.next(at), caller.user, client_msg_id, body, at)
            stored = await self.store.send(where, draft, trace, self.also(changes, _note_sent))
            _note_sent(changes, stored)
            sent = stored.sent
            return SendOutcome(sent.message_id, sent.seq, sent.sent_time, stored.duplicate)

        return await self._mutate(caller, [conversation, *_owners(caller.user, [where])], work, trace)

    async def read(self, caller: Caller, items: Sequence[Marked], trace: Trace) -> list[ReadOutcome]:
        wanted = await self.resolve(caller.user, items, trace)

        async def work(changes: Changes) -> list[ReadOutcome]:
            also = self.also(changes, _note_marked)
            markings = await self.store.read(caller.user, wanted, now_ms(), trace, also)
            _note_marked(changes, markings)
            by_id = {marking.conversation_id: marking for marking in markings}
            return [_read_outcome(by_id[item.conversation]) for item in items]

        locks = _owners(caller.user, (conversation for conversation, _ in wanted))
        return await self._mutate(caller, locks, work, trace)

    async def delivered(
        self, caller: Caller, items: Sequence[Marked], trace: Trace
    ) -> list[DeliveredOutcome]:
        wanted = await self.resolve(caller.user, items, trace)

        async def work(changes: Changes) -> list[DeliveredOutcome]:
            also = self.also(changes, _note_marked)
            markings = await self.store.deliver(caller.user, wanted, now_ms(), trace, also)
            _note_marked(changes, markings)
            by_id = {marking.conversation_id: marking for marking in markings}
            return [_delivered_outcome(by_id[item.conversation]) for item in items]

        locks = _owners(caller.user, (conversation for conversation, _ in wanted))
        return await self._mutate(caller, locks, work, trace)

    async def resolve(
        self, user: int, items: Iterable[Marked], trace: Trace
    ) -> list[tuple[Conversation, int]]:
        """What the items ask for: one entry a conversation, ascending by id; of several the highest seq.

        Raises Refused NOT_MEMBER, and NOT_FOUND for a message that is not in its conversation."""
        wanted: dict[str, tuple[Conversation, int]] = {}
        for item in items:
            conversation = await self.store.member(user, item.conversation, trace)
            up_to_seq = item.up_to_seq
            if up_to_seq is None:
                up_to_seq = await self.store.highest_seq(item.conversation, item.message_ids, trace)
            _, before = wanted.get(item.conversation, (conversation, 0))
            wanted[item.conversation] = (conversation, max(before, up_to_seq))
        return [wanted[conversation_id] for conversation_id in sorted(wanted)]

    async def _mutate(
        self,
        caller: Caller,
        locks: Sequence[Hashable],
        work: Callable[[Changes], Awaitable[T]],
        trace: Trace,
    ) -> T:
        """Runs one transaction under the locks of those whose log it writes, and tells before they go."""
        changes = Changes(caller.session, caller.device)
        await self._lock(locks, trace)
        try:
            outcome = await work(changes)
            if failpoints.on:
                await failpoints.hit("after_db_commit")
            rest = await self.committed(changes, trace) if _told(changes) else None
        finally:
            self._locks.release(locks)
        if rest is not None:
            await rest
        return outcome

    async def _lock(self, locks: Sequence[Hashable], trace: Trace) -> None:
        if self._locks.take_free(locks):
            return
        began = clock_ns()
        try:
            async with asyncio.timeout(OPERATION_S):
                await self._locks.acquire(locks)
        except TimeoutError as why:
            raise Refused("UNAVAILABLE", f"waited {OPERATION_S} s for others of the same person") from why
        finally:
            trace.wait += clock_ns() - began

    # --- reads ------------------------------------------------------------------------------------------

    async def named(self, user: int, names: Sequence[str], trace: Trace) -> list[Conversation]:
        """In the order of `names`, each once, as this server knows them.  Raises Refused(NOT_MEMBER)."""
        return [await self.store.member(user, name, trace) for name in dict.fromkeys(names)]

    async def position(self, user: int, trace: Trace) -> tuple[int, int]:
        return await self.store.position(user, trace)

    async def state(
        self, user: int, conversations: Sequence[str] | None, cursor: str | None, limit: int, trace: Trace
    ) -> StatePage:
        if conversations is not None:
            await self.named(user, conversations, trace)
            _, found = await self.store.states(user, conversations, trace, counted=True)
            return StatePage([wire_state(state) for state in found], None, None, None)
        change_id, found, more = await self.store.page(user, cursor, limit, trace)
        total = None
        if more is None:
            total = _total(found) if cursor is None else await self.store.total_unread(user, trace)
        return StatePage([wire_state(state) for state in found], total, change_id, more)

    async def sync(self, user: int, since: SyncFrom, limit: int, messages: bool, trace: Trace) -> SyncPage:
        page = await self.store.sync(user, since, limit, messages, trace)
        if failpoints.on:
            await failpoints.hit("sync_after_query_before_reply")
        return page

    async def history(
        self, user: int, conversation: str, from_seq: int, limit: int, trace: Trace
    ) -> list[StoredMessage]:
        await self.store.member(user, conversation, trace)
        return await self.store.history(conversation, from_seq, limit, trace)

    # --- the harness's door -----------------------------------------------------------------------------

    async def reset(self) -> None:
        await self.store.reset()

    async def seed(self, conversations: Sequence[SeedConversation], *, done: bool, warm: bool) -> None:
        """`warm` is for schemes with a cache."""
        await self.store.seed(conversations, done=done)

    async def drain(self, timeout_s: float) -> dict[str, int]:
        """Nothing is ever on its way: an acknowledged change is in MySQL, and told."""
        return {}

    async def dump(self, source: str, after: str, limit: int) -> tuple[list[DumpRow], str | None]:
        _only_store(source)
        return await self.store.dump(after, limit)

    async def held(self, source: str, user: int, conversation: str) -> DumpRow | None:
        _only_store(source)
        return await self.store.held(user, conversation)

    def stats(self) -> dict[str, Any]:
        counters: Mapping[str, int] = self.store.stats()
        return {f"mysql.{name}": count for name, count in counters.items()}


def wire_state(state: MemberState) -> ConversationState:
    """A counted state in the words of the protocol."""
    return ConversationState(
        state.conversation_id,
        state.kind,
        state.last_seq,
        state.read_seq,
        state.delivered_seq,
        state.unread or 0,
        state.version,
        UNSET if state.peer_read_seq is None else state.peer_read_seq,
    )


def _owners(user: int, conversations: Iterable[Conversation]) -> list[int]:
    """The people whose change log may be written, ascending: the caller and the direct peers."""
    owners = {user}
    for conversation in conversations:
        peer = conversation.peer_of(user)
        if peer is not None:
            owners.add(peer)
    return sorted(owners)


def _note_sent(changes: Changes, stored: Stored) -> None:
    if not stored.duplicate:
        changes.sent = stored.sent
        changes.advanced += [stored.advanced] if stored.advanced else []


def _note_marked(changes: Changes, markings: Sequence[Marking]) -> None:
    changes.advanced += [marking.advanced for marking in markings if marking.advanced]
    changes.reached += [marking.reached for marking in markings if marking.reached]


def _told(changes: Changes) -> bool:
    return changes.sent is not None or bool(changes.advanced) or bool(changes.reached)


def _read_outcome(marking: Marking) -> ReadOutcome:
    return ReadOutcome(
        marking.conversation_id,
        marking.advanced is not None,
        marking.seq,
        marking.unread,
        marking.version,
        marking.at,
    )


def _delivered_outcome(marking: Marking) -> DeliveredOutcome:
    return DeliveredOutcome(marking.conversation_id, marking.reached is not None, marking.seq)


def _total(states: Iterable[MemberState]) -> int:
    return sum(state.unread or 0 for state in states)


def _only_store(source: str) -> None:
    if source != "store":
        raise Refused("UNSUPPORTED", f"this scheme has no {source}, only store")
