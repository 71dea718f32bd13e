"""STATE from the Redis that the consumer keeps, and from MySQL what Redis does not have.

The change id is read before the state, so the state is never older than it says.  What is filled in is merged
forward only, by the consumer's own script, because the consumer may have written something newer since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from schemes.cached_state import KeysOf, Line, line
from schemes.ports import Trace
from schemes.queue.script import APPLY, Batch, change_of
from schemes.stores.mysql import MySQL
from schemes.stores.redis import (
    Cursors,
    Head,
    Membership,
    RedisStore,
    pack_memberships,
    unpack_head,
    unpack_memberships,
)
from schemes.stores.rows import MemberState


@dataclass(slots=True)
class CacheCounters:
    """Since the start of the server.  Keys are counted one by one."""

    cache_hits: int = 0
    cache_misses: int = 0
    cache_fills: int = 0
    """Users whose whole state was taken from MySQL, because a key of theirs was missing."""

    def figures(self) -> dict[str, float]:
        reads = self.cache_hits + self.cache_misses
        ratio = self.cache_hits / reads if reads else 0.0
        return {**asdict(self), "cache_key_reads": reads, "cache_hit_ratio": ratio}


class View(NamedTuple):
    """A user's conversations as of `change_id`, or later."""

    change_id: int
    lines: list[Line]


class CachedState:
    """All methods raise RedisUnavailable where Redis cannot be used."""

    def __init__(self, redis: RedisStore, store: MySQL, topic: str) -> None:
        self._redis = redis
        self._store = store
        self._topic = topic
        self.counters = CacheCounters()

    async def change_id(self, user: int, trace: Trace) -> int:
        (held,) = await self._redis.fetch([self._redis.cid(user)], trace)
        self._count(1, int(held is None))
        if held is not None:
            return change_of(held)
        change_id, _ = await self._from_mysql(user, trace)
        return change_id

    async def view(self, user: int, trace: Trace) -> View:
        """All of the user's conversations, in no order.  One GET and one MGET where nothing is missing."""
        cid, convs = await self._redis.fetch([self._redis.cid(user), self._redis.convs(user)], trace)
        self._count(2, (cid is None) + (convs is None))
        if cid is None or convs is None:
            return await self._view_of_mysql(user, trace)
        memberships = unpack_memberships(convs)
        self._store.learn(user, ((one.conversation, one.peer) for one in memberships))
        lines = await self._lines(user, memberships, trace)
        return await self._view_of_mysql(user, trace) if lines is None else View(change_of(cid), lines)

    async def named(self, user: int, memberships: Sequence[Membership], trace: Trace) -> list[Line]:
        """These conversations of the user, in their order.  One MGET where nothing is missing."""
        lines = await self._lines(user, memberships, trace)
        if lines is not None:
            return lines
        everything = await self._view_of_mysql(user, trace)
        own = {one.state.conversation_id: one for one in everything.lines}
        return [own[one.conversation] for one in memberships]

    async def _lines(self, user: int, memberships: Sequence[Membership], trace: Trace) -> list[Line] | None:
        """None if a value is missing."""
        keys = [KeysOf(self._redis, user, membership) for membership in memberships]
        wanted = list(dict.fromkeys(key for of_one in keys for key in of_one))
        found = await self._redis.fetch(wanted, trace)
        values = {key: value for key, value in zip(wanted, found, strict=True) if value is not None}
        self._count(len(wanted), len(wanted) - len(values))
        lines = [_not_behind(of_one, values) for of_one in keys]
        complete = [one for one in lines if one is not None]
        return complete if len(complete) == len(lines) else None

    async def last_seqs(self, user: int, names: Sequence[str], trace: Trace) -> list[int]:
        """How far each conversation goes, as Redis knows; 0 where it does not."""
        found = await self._redis.fetch([self._redis.head(name) for name in names], trace)
        self._count(len(names), found.count(None))
        return [0 if value is None else unpack_head(value).last_seq for value in found]

    async def _view_of_mysql(self, user: int, trace: Trace) -> View:
        change_id, rows = await self._from_mysql(user, trace)
        return View(change_id, [_line_of(row) for row in rows])

    async def _from_mysql(self, user: int, trace: Trace) -> tuple[int, list[MemberState]]:
        """All of the user's state from one snapshot, and into Redis with it."""
        change_id, rows = await self._store.states(user, None, trace)
        if rows:
            batch = Batch(self._redis.prefix, self._topic)
            batch.add_state(user, change_id, rows)
            await self._redis.script(trace, APPLY, batch.keys, batch.args("", 0, {}))
            memberships = pack_memberships([_membership(row) for row in rows])
            await self._redis.fill([(self._redis.convs(user), memberships)], trace)
            self.counters.cache_fills += 1
        return change_id, rows

    def _count(self, keys: int, missing: int) -> None:
        self.counters.cache_misses += missing
        self.counters.cache_hits += keys - missing


def _not_behind(keys: KeysOf, values: dict[str, bytes]) -> Line | None:
    """A READ may be applied before the SEND that it is about: what was read has been sent."""
    found = keys.line(values)
    if found is not None:
        state = found.state
        peer = state.peer_read_seq if isinstance(state.peer_read_seq, int) else 0
        state.last_seq = max(state.last_seq, state.read_seq, state.delivered_seq, peer)
    return found


def _membership(row: MemberState) -> Membership:
    return Membership(row.conversation_id, row.kind, row.peer)


def _line_of(row: MemberState) -> Line:
    own = Cursors(row.read_seq, row.delivered_seq, row.version)
    peer = None
    if row.peer is not None:
        peer = Cursors(row.peer_read_seq or 0, row.peer_delivered_seq or 0, row.peer_version or 0)
    return line(_membership(row), Head(row.last_seq, row.last_sent_ms), own, peer)
