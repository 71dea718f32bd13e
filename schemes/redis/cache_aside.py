"""Cache-aside: STATE from Redis, on a miss from MySQL, which then fills the key; every change in MySQL, whose
COMMIT is followed by the delete of the keys that it made wrong, then the pushes, then the acknowledgement.

SYNC, HISTORY and change ids come from MySQL.  `db` does everything that concerns MySQL and says when a change
is committed; the guards decide who may fill; `PendingDeletes` answers for deletes that failed.  Concurrent
misses of one key each read MySQL: merging them would be another scheme."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from schemes import failpoints
from schemes.cached_state import KeysOf, Line, line, membership, page
from schemes.db.scheme import Database
from schemes.ports import (
    Caller,
    DeliveredOutcome,
    Marked,
    Publisher,
    ReadOutcome,
    Refused,
    SendOutcome,
    StatePage,
    Trace,
)
from schemes.protocol import ERRORS, DumpRow, SeedConversation
from schemes.read_state import Changes, Conversation
from schemes.redis.counters import Counters
from schemes.redis.guards import Found, Guard
from schemes.redis.pending_deletes import PendingDeletes
from schemes.stores.mysql import MySQL
from schemes.stores.redis import (
    Cursors,
    Entry,
    Head,
    Key,
    Membership,
    RedisStore,
    RedisUnavailable,
    pack_cursors,
    pack_head,
    pack_memberships,
    unpack_memberships,
)
from schemes.stores.rows import MemberState

_NAMES_MAX: Final = 500  # that one statement can name
_SEED_PAGE: Final = 10_000
_SEED_BATCH: Final = 500

T = TypeVar("T")


class CacheAside(Database):
    """The `redis` scheme of one server.

    `fallback`: a key whose delete failed is read from MySQL until a retried delete succeeds; without it, the
    failure is counted and that is all, as in the article."""

    def __init__(
        self,
        store: MySQL,
        publisher: Publisher,
        redis: RedisStore,
        guard: Guard,
        *,
        fallback: bool,
        node: int,
        receipt_members: int,
    ) -> None:
        super().__init__(store, publisher, node=node, receipt_members=receipt_members)
        self._redis = redis
        self._guard = guard
        self._fallback = fallback
        self._pending = PendingDeletes(redis)
        self._counters = Counters()
        self._seeded: dict[int, list[Membership]] = {}

    async def start(self) -> None:
        """Refused if Redis cannot be used: a server that starts without its cache would be another scheme
        under the same name."""
        await super().start()
        try:
            await self._redis.start()
        except RedisUnavailable as why:
            await self.close()
            raise Refused("UNAVAILABLE", str(why)) from why

    async def close(self) -> None:
        await self._pending.close()
        await self._redis.close()
        await super().close()

    # --- writing

    async def send(
        self, caller: Caller, conversation: str, client_msg_id: str, body: str, trace: Trace
    ) -> SendOutcome:
        try:
            return await super().send(caller, conversation, client_msg_id, body, trace)
        except BaseException as why:  # not only errors: a cancelled write may be in MySQL too
            self._doubt(why, [self._redis.head(conversation), self._redis.rs(conversation, caller.user)])
            raise

    async def read(self, caller: Caller, items: Sequence[Marked], trace: Trace) -> list[ReadOutcome]:
        try:
            return await super().read(caller, items, trace)
        except BaseException as why:  # as in `send`
            self._doubt(why, [self._redis.rs(item.conversation, caller.user) for item in items])
            raise

    async def delivered(
        self, caller: Caller, items: Sequence[Marked], trace: Trace
    ) -> list[DeliveredOutcome]:
        try:
            return await super().delivered(caller, items, trace)
        except BaseException as why:  # as in `send`
            self._doubt(why, [self._redis.rs(item.conversation, caller.user) for item in items])
            raise

    def _doubt(self, why: BaseException, keys: Sequence[Key]) -> None:
        """Unless it certainly did not happen: the connection to MySQL may have broken while COMMIT was on its
        way, or the request was cancelled between COMMIT and DEL, and nobody has deleted the keys."""
        unchanged = isinstance(why, Refused) and ERRORS[why.code].definite
        if self._fallback and not unchanged:
            self._pending.add(keys)

    async def committed(self, changes: Changes, trace: Trace) -> Awaitable[None] | None:
        keys = self._made_wrong(changes)
        if keys:
            await self._delete(keys, trace)
        return await super().committed(changes, trace)

    def _made_wrong(self, changes: Changes) -> list[Key]:
        """The keys that no longer say what MySQL says."""
        keys: dict[Key, None] = {}
        if changes.sent is not None:
            conversation = changes.sent.conversation.conversation_id
            keys[self._redis.head(conversation)] = None
            keys[self._redis.rs(conversation, changes.sent.sender)] = None
        for moved in changes.advanced:
            keys[self._redis.rs(moved.conversation.conversation_id, moved.user)] = None
        for reached in changes.reached:
            keys[self._redis.rs(reached.conversation.conversation_id, reached.user)] = None
        return list(keys)

    async def _delete(self, keys: Sequence[Key], trace: Trace) -> None:
        """A delete that fails is counted, and no failure of the write: the change is in MySQL."""
        try:
            if failpoints.on and await failpoints.hit("before_cache_del", failing=RedisUnavailable):
                return
            await self._redis.delete(keys, trace)
        except RedisUnavailable:
            self._counters.cache_delete_failed += len(keys)
            if self._fallback:
                self._pending.add(keys)
        else:
            self._counters.cache_deletes += len(keys)

    # --- reading

    async def state(
        self, user: int, conversations: Sequence[str] | None, cursor: str | None, limit: int, trace: Trace
    ) -> StatePage:
        if self._redis.away:
            return await self._state_of_mysql(user, conversations, cursor, limit, trace)
        try:
            if conversations is not None:
                return await self._named(user, conversations, trace)
            _, change_id = await self.position(user, trace)  # first: the state must not be older than it
            memberships = await self._memberships(user, trace)
            lines = await self._lines(user, memberships, trace)  # all: the total is over all of them
        except RedisUnavailable:
            return await self._state_of_mysql(user, conversations, cursor, limit, trace)
        states, following = page(list(lines.values()), cursor, limit)
        total = sum(line.state.unread for line in lines.values()) if following is None else None
        return StatePage(states, total, change_id, following)

    async def _named(self, user: int, names: Sequence[str], trace: Trace) -> StatePage:
        """A point read: one command where nothing is missing, and nothing of MySQL."""
        memberships = [membership(user, one) for one in await self.named(user, names, trace)]
        lines = await self._lines(user, memberships, trace)
        return StatePage([lines[one.conversation].state for one in memberships], None, None, None)

    async def _state_of_mysql(
        self, user: int, conversations: Sequence[str] | None, cursor: str | None, limit: int, trace: Trace
    ) -> StatePage:
        self._counters.cache_fallback += 1
        return await super().state(user, conversations, cursor, limit, trace)

    async def _memberships(self, user: int, trace: Trace) -> list[Membership]:
        """Never stale, since membership is fixed, so filled without a guard."""
        key = self._redis.convs(user)
        (value,) = await self._redis.fetch([key], trace)
        if value is not None:
            self._counters.cache_hits += 1
            memberships = unpack_memberships(value)
            self.store.learn(user, ((one.conversation, one.peer) for one in memberships))
            return memberships
        self._counters.cache_misses += 1
        self._counters.cache_memberships_missed += 1
        _, rows = await self.store.states(user, None, trace)
        memberships = [Membership(row.conversation_id, row.kind, row.peer) for row in rows]
        await self._redis.fill([(key, pack_memberships(memberships))], trace)
        self._counters.cache_fills += 1
        return memberships

    async def _lines(self, user: int, memberships: Sequence[Membership], trace: Trace) -> dict[str, Line]:
        """By conversation.  Where one value of a conversation is missing, MySQL answers for all of it."""
        wanted = [KeysOf(self._redis, user, membership) for membership in memberships]
        found = await self._fetch(wanted, trace)
        lines: dict[str, Line] = {}
        missing: dict[str, KeysOf] = {}
        for keys in wanted:
            cached = keys.line(found.values)
            if cached is None:
                missing[keys.membership.conversation] = keys
            else:
                lines[keys.membership.conversation] = cached
        if missing:
            self._counters.cache_states_missed += 1
            names = list(missing) if len(missing) <= _NAMES_MAX else None
            _, answers = await self.store.states(user, names, trace)
            rows = [(missing[row.conversation_id], row) for row in answers if row.conversation_id in missing]
            lines |= {row.conversation_id: _line_of(keys, row) for keys, row in rows}
            if failpoints.on and await failpoints.hit("after_db_select_before_cache_set", list(missing)):
                return lines
            await self._fill({row.conversation_id: _entries(keys, row) for keys, row in rows}, found, trace)
        return lines

    async def _fetch(self, wanted: Sequence[KeysOf], trace: Trace) -> Found:
        keys = dict.fromkeys(key for keys in wanted for key in keys)
        trusted = [key for key in keys if key not in self._pending]
        self._counters.cache_distrusted += len(keys) - len(trusted)
        found = await self._guard.fetch(trusted, trace)
        self._counters.cache_hits += len(found.values)
        self._counters.cache_misses += len(trusted) - len(found.values)
        self._counters.cache_leases += len(found.fill) if found.lease else 0
        return found

    async def _fill(self, rows: Mapping[str, Sequence[Entry]], found: Found, trace: Trace) -> None:
        """Only what was missed: a value that was there stays, as does its time to live."""
        entries = {
            key: value
            for row in rows.values()
            for key, value in row
            if key in found.fill and key not in self._pending
        }
        if not entries:
            return
        try:
            if failpoints.on and await failpoints.hit(
                "before_cache_set", list(rows), failing=RedisUnavailable
            ):
                return
            self._counters.cache_states_filled += 1
            stored = await self._guard.fill(found, list(entries.items()), trace)
        except RedisUnavailable:
            self._counters.cache_fills_failed += len(entries)
        else:
            self._counters.cache_fills += stored
            self._counters.cache_fills_refused += len(entries) - stored

    # --- the harness's own door

    async def reset(self) -> None:
        await super().reset()
        await self._empty()

    async def seed(self, conversations: Sequence[SeedConversation], *, done: bool, warm: bool) -> None:
        """Cold: the cache ends empty.  Warm: it ends with a key for everything that STATE can ask for."""
        await super().seed(conversations, done=done, warm=warm)
        if warm:
            self._remember(conversations)
        if done:
            await self._empty()
            if warm:
                await self._warm()
            self._seeded.clear()

    async def _empty(self) -> None:
        await self._pending.forget()
        await self._redis.wipe()

    def _remember(self, conversations: Iterable[SeedConversation]) -> None:
        for seeded in conversations:
            conversation = Conversation(seeded.id, seeded.kind, tuple(seeded.members))
            for user in seeded.members:
                self._seeded.setdefault(user, []).append(membership(user, conversation))

    async def _warm(self) -> None:
        memberships = [(self._redis.convs(user), pack_memberships(own)) for user, own in self._seeded.items()]
        await self._fill_bulk(memberships)
        heads = dict.fromkeys(membership.conversation for own in self._seeded.values() for membership in own)
        for names in _chunks(list(heads), _SEED_BATCH):
            found = await self.store.heads(names, Trace())
            await self._fill_bulk(
                (self._redis.head(name), pack_head(Head(head.last_seq, head.last_sent_ms)))
                for name, head in found.items()
            )
        after: str | None = ""
        while after is not None:
            rows, after = await self.store.dump(after, _SEED_PAGE)
            await self._fill_bulk(
                (
                    self._redis.rs(row.conversation_id, row.user_id),
                    pack_cursors(Cursors(row.read_seq, row.delivered_seq, row.version)),
                )
                for row in rows
            )

    async def _fill_bulk(self, entries: Iterable[Entry]) -> None:
        for some in _chunks(list(entries), _SEED_BATCH):
            await self._redis.fill(some, None)

    async def drain(self, timeout_s: float) -> dict[str, int]:
        left = await super().drain(timeout_s)
        pending = await self._pending.drain(timeout_s)
        return {**left, "cache_deletes": pending} if pending else left

    async def dump(self, source: str, after: str, limit: int) -> tuple[list[DumpRow], str | None]:
        """`cache` gives what is cached, in no order, a member possibly twice; last_seq 0 where the head is
        not cached."""
        if source != "cache":
            return await super().dump(source, after, limit)
        members, following = await self._redis.members(after, limit)
        return [_dump_row(*member) for member in members], following

    async def held(self, source: str, user: int, conversation: str) -> DumpRow | None:
        if source != "cache":
            return await super().held(source, user, conversation)
        found = await self._redis.member(conversation, user)
        return None if found is None else _dump_row(conversation, user, *found)

    def stats(self) -> dict[str, Any]:
        return {
            **super().stats(),
            **self._counters.figures(),
            "cache_deletes_pending": len(self._pending),
            "cache_away": self._redis.away,
        }


def _line_of(keys: KeysOf, row: MemberState) -> Line:
    return line(keys.membership, _head(row), _own(row), _peer(row))


def _entries(keys: KeysOf, row: MemberState) -> list[Entry]:
    entries = [(keys.own, pack_cursors(_own(row))), (keys.head, pack_head(_head(row)))]
    peer = _peer(row)
    if keys.peer is not None and peer is not None:
        entries.append((keys.peer, pack_cursors(peer)))
    return entries


def _own(row: MemberState) -> Cursors:
    return Cursors(row.read_seq, row.delivered_seq, row.version)


def _head(row: MemberState) -> Head:
    return Head(row.last_seq, row.last_sent_ms)


def _peer(row: MemberState) -> Cursors | None:
    if row.peer_read_seq is None or row.peer_delivered_seq is None or row.peer_version is None:
        return None
    return Cursors(row.peer_read_seq, row.peer_delivered_seq, row.peer_version)


def _dump_row(conversation: str, user: int, cursors: Cursors, head: Head) -> DumpRow:
    return DumpRow(
        conversation, user, cursors.read_seq, cursors.delivered_seq, cursors.version, head.last_seq
    )


def _chunks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(rows), size):
        yield rows[first : first + size]
