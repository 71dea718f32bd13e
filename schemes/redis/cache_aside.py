"""Cache-aside: STATE from Redis, on a miss from MySQL, which then fills the key; every change in MySQL, whose
COMMIT is followed by the delete of the keys that it made wrong, then the pushes, then the acknowledgement.

SYNC, HISTORY and change ids come from MySQL.  `db` does everything that concerns MySQL and says when a change
is committed; the guards decide who may fill; `PendingDeletes` answers for deletes that failed.  Concurrent
misses of one key each read MySQL: merging them would be another scheme."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final

from schemes.cached_state import KeysOf, Line, line, page
from schemes.db.scheme import Database
from schemes.ports import Publisher, Refused, StatePage, Trace
from schemes.protocol import DumpRow, SeedConversation
from schemes.read_state import DIRECT, Changes, Conversation
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

_SEED_PAGE: Final = 10_000
_SEED_HEADS: Final = 500


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
        self._mysql = store
        self._redis = redis
        self._guard = guard
        self._fallback = fallback
        self._pending = PendingDeletes(redis)
        self._counters = Counters()
        self._seeded: dict[int, list[Membership]] = {}

    async def start(self) -> None:
        """Raises RedisUnavailable if Redis cannot be used: a server that starts without its cache would be
        another scheme under the same name."""
        await self._redis.start()
        await super().start()

    async def close(self) -> None:
        await self._pending.forget()
        await self._redis.close()
        await super().close()

    # --- writing

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
        for moved in (*changes.advanced, *changes.reached):
            keys[self._redis.rs(moved.conversation.conversation_id, moved.user)] = None
        return list(keys)

    async def _delete(self, keys: Sequence[Key], trace: Trace) -> None:
        """Never fails: the change is in MySQL, whatever becomes of the cache."""
        try:
            await self._redis.delete(keys, trace)
        except RedisUnavailable:
            self._not_deleted(keys)
        except BaseException:  # cancelled between COMMIT and DEL: the keys are just as wrong
            self._not_deleted(keys)
            raise
        else:
            self._counters.cache_deletes += len(keys)

    def _not_deleted(self, keys: Sequence[Key]) -> None:
        self._counters.cache_delete_failed += len(keys)
        if self._fallback:
            self._pending.add(keys)

    # --- reading

    async def state(
        self, user: int, conversations: Sequence[str] | None, cursor: str | None, limit: int, trace: Trace
    ) -> StatePage:
        if self._redis.away:
            return await self._state_of_mysql(user, conversations, cursor, limit, trace)
        _, change_id = await self.position(user, trace)  # first: the state must not be older than it
        try:
            memberships = await self._memberships(user, trace)
            wanted = memberships if conversations is None else _named(memberships, conversations)
            lines = await self._lines(user, wanted, trace)
        except RedisUnavailable:
            return await self._state_of_mysql(user, conversations, cursor, limit, trace)
        return _state_page(lines, cursor, limit, change_id, named=conversations is not None)

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
            return unpack_memberships(value)
        self._counters.cache_misses += 1
        _, rows = await self._mysql.states(user, None, trace)
        memberships = [Membership(row.conversation_id, row.kind, row.peer) for row in rows]
        await self._redis.fill([(key, pack_memberships(memberships))], trace)
        self._counters.cache_fills += 1
        return memberships

    async def _lines(self, user: int, memberships: Sequence[Membership], trace: Trace) -> list[Line]:
        """One per membership, in their order."""
        wanted = [KeysOf(self._redis, user, membership) for membership in memberships]
        found = await self._fetch(wanted, trace)
        lines = {keys.membership.conversation: keys.line(found.values) for keys in wanted}
        missing = [keys for keys in wanted if lines[keys.membership.conversation] is None]
        rows = await self._rows(user, missing, trace)
        for keys in missing:
            lines[keys.membership.conversation] = _line_of(
                keys.membership, rows[keys.membership.conversation]
            )
        await self._fill(missing, rows, found, trace)
        return [line for line in lines.values() if line is not None]

    async def _fetch(self, wanted: Sequence[KeysOf], trace: Trace) -> Found:
        keys = dict.fromkeys(key for keys in wanted for key in keys)
        trusted = [key for key in keys if key not in self._pending]
        self._counters.cache_distrusted += len(keys) - len(trusted)
        found = await self._guard.fetch(trusted, trace)
        self._counters.cache_hits += len(found.values)
        self._counters.cache_misses += len(trusted) - len(found.values)
        return found

    async def _rows(self, user: int, missing: Sequence[KeysOf], trace: Trace) -> Mapping[str, MemberState]:
        if not missing:
            return {}
        names = [keys.membership.conversation for keys in missing]
        _, rows = await self._mysql.states(user, names, trace)
        return {row.conversation_id: row for row in rows}

    async def _fill(
        self, missing: Sequence[KeysOf], rows: Mapping[str, MemberState], found: Found, trace: Trace
    ) -> None:
        """Only what was missed: a value that was there stays, as does its time to live."""
        entries = [
            entry
            for keys in missing
            for entry in _entries(keys, rows[keys.membership.conversation])
            if entry[0] in found.fill and entry[0] not in self._pending
        ]
        if not entries:
            return
        try:
            stored = await self._guard.fill(found, entries, trace)
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
                membership = Membership(seeded.id, seeded.kind, conversation.peer_of(user))
                self._seeded.setdefault(user, []).append(membership)

    async def _warm(self) -> None:
        memberships = [(self._redis.convs(user), pack_memberships(own)) for user, own in self._seeded.items()]
        await self._fill_bulk(memberships)
        heads = dict.fromkeys(membership.conversation for own in self._seeded.values() for membership in own)
        for names in _chunks(list(heads), _SEED_HEADS):
            found = await self._mysql.heads(names, Trace())
            await self._fill_bulk(
                (self._redis.head(name), pack_head(Head(head.last_seq, head.last_sent_ms)))
                for name, head in found.items()
            )
        after: str | None = ""
        while after is not None:
            rows, after = await self._mysql.dump(after, _SEED_PAGE)
            await self._fill_bulk(
                (
                    self._redis.rs(row.conversation_id, row.user_id),
                    pack_cursors(Cursors(row.read_seq, row.delivered_seq, row.version)),
                )
                for row in rows
            )

    async def _fill_bulk(self, entries: Iterable[Entry]) -> None:
        for some in _chunks(list(entries), _SEED_HEADS):
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


def _named(memberships: Sequence[Membership], names: Sequence[str]) -> list[Membership]:
    """In the order of `names`, each once.  Raises Refused(NOT_MEMBER) for one that is not the user's."""
    own = {membership.conversation: membership for membership in memberships}
    for name in names:
        if name not in own:
            raise Refused("NOT_MEMBER", f"not a member of conversation {name!r}")
    return [own[name] for name in dict.fromkeys(names)]


def _line_of(membership: Membership, row: MemberState) -> Line:
    return line(membership, _head(row), _own(row), _peer(row))


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
