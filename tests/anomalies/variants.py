"""Bugs that nobody should run, each as a plant: a scheme as somebody might have written it.

Those that the article itself describes are options of the schemes (`--guard none`, `--on-delete-failure
ignore`); these are not, so they exist only here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from schemes.ports import Trace
from schemes.protocol import SeedConversation
from schemes.read_state import Changes, Conversation
from schemes.redis import GUARDS
from schemes.redis.cache_aside import CacheAside
from schemes.redis.guards import Found, Unguarded
from schemes.stores import catch_up, change_log, mysql_connections, transactions
from schemes.stores.driver import Session, Target, connect
from schemes.stores.members import Member, lock
from schemes.stores.redis import Entry, Key, RedisStore, Script

SECOND_DELETE_S: Final = 0.05
LOCK_MS: Final = 200

_FILL_NEWER: Final = Script("""
local stored = 0
for i = 1, #KEYS do
  local held = redis.call('GET', KEYS[i])
  local function first(value) return tonumber(string.match(value, '^%d+')) end
  if not held or first(held) < first(ARGV[i + 1]) then
    redis.call('SET', KEYS[i], ARGV[i + 1], 'EX', ARGV[1])
    stored = stored + 1
  end
end
return stored""")
"""KEYS to fill; ARGV: the TTL in s, one value per key.  A key that holds something as new stays."""


class ComparedFill(Unguarded):
    """Never puts an older value over a newer one.  After a delete there is none to compare with."""

    async def fill(self, found: Found, entries: Sequence[Entry], trace: Trace) -> int:
        keys = [key for key, _ in entries]
        values = [value for _, value in entries]
        stored: int = await self._redis.script(trace, _FILL_NEWER, keys, (self._redis.ttl_s, *values))
        return stored


class LockedFill(Unguarded):
    """Who misses locks the key for LOCK_MS and fills it; who writes waits for that lock to delete it.

    The lock ends by itself, and the fill doesn't look whether it still has it: no fencing."""

    async def fetch(self, keys: Sequence[Key], trace: Trace) -> Found:
        found = await super().fetch(keys, trace)
        ours = {key for key in found.fill if await take(self._redis, key)}
        return Found(found.values, ours, b"")

    async def fill(self, found: Found, entries: Sequence[Entry], trace: Trace) -> int:
        stored = await super().fill(found, entries, trace)
        await self._redis.delete([f"lock:{key}" for key, _ in entries], trace)
        return stored


async def take(redis: RedisStore, key: Key) -> bool:
    return await redis.command(None, "SET", f"lock:{key}", "1", "NX", "PX", LOCK_MS) is not None


class LockedDelete(CacheAside):
    """The writing side of LockedFill."""

    async def _delete(self, keys: Sequence[Key], trace: Trace) -> None:
        for key in keys:
            while not await take(self._redis, key):  # noqa: ASYNC110  the lock is in Redis
                await asyncio.sleep(0.01)
        await super()._delete(keys, trace)
        await self._redis.delete([f"lock:{key}" for key in keys], trace)


class DoubleDelete(CacheAside):
    """Deletes again SECOND_DELETE_S later, which helps against whoever has filled by then."""

    _second: set[asyncio.Task[None]]

    async def _delete(self, keys: Sequence[Key], trace: Trace) -> None:
        await super()._delete(keys, trace)
        self._second = {task for task in getattr(self, "_second", ()) if not task.done()}
        self._second.add(asyncio.create_task(self._again(keys)))

    async def _again(self, keys: Sequence[Key]) -> None:
        await asyncio.sleep(SECOND_DELETE_S)
        await self._redis.delete(keys, None)

    def stats(self) -> dict[str, Any]:
        pending = sum(not task.done() for task in getattr(self, "_second", ()))
        return {**super().stats(), "second_deletes_pending": pending}


class CountedUnread(CacheAside):
    """Unread as a counter in Redis: INCR for each SEND, DECRBY for each READ, and STATE shows it."""

    async def seed(self, conversations: Sequence[SeedConversation], **how: bool) -> None:
        await super().seed(conversations, **how)
        for seeded in conversations:
            for user, read_seq in zip(seeded.members, seeded.read_seq, strict=True):
                unread = seeded.history - read_seq
                await self._redis.command(None, "SET", _counter(seeded.id, user), unread)

    async def send(self, caller: Any, conversation: str, *rest: Any) -> Any:
        outcome = await super().send(caller, conversation, *rest)
        where = await self.store.conversation(conversation, Trace())
        for user in where.members:
            if user != caller.user:
                await self._redis.command(None, "INCR", _counter(conversation, user))
        return outcome

    async def committed(self, changes: Changes, trace: Trace) -> Any:
        for moved in changes.advanced:
            name = _counter(moved.conversation.conversation_id, moved.user)
            await self._redis.command(None, "DECRBY", name, moved.up_to_seq - moved.from_seq)
        return await super().committed(changes, trace)

    async def state(self, user: int, *rest: Any) -> Any:
        page = await super().state(user, *rest)
        for one in page.conversations:
            held = await self._redis.command(None, "GET", _counter(one.conversation_id, user))
            one.unread = int(held or 0)
        return page


def _counter(conversation: str, user: int) -> str:
    return f"unread:{conversation}:{user}"


# --- plants -----------------------------------------------------------------------------------------------


def compared_fill(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    patch.setitem(GUARDS, "none", ComparedFill)


def lock_without_fencing(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    patch.setitem(GUARDS, "none", LockedFill)
    patch.setattr("schemes.redis.CacheAside", LockedDelete)


def double_delete(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    patch.setattr("schemes.redis.CacheAside", DoubleDelete)


def counted_unread(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    patch.setattr("schemes.redis.CacheAside", CountedUnread)


def snapshots_stay_open(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    """Connections for reading without autocommit, as DB-API drivers open them, at MySQL's own isolation: the
    first SELECT opens a snapshot, and nobody ends it."""

    async def forgetful(target: Target, *, database: bool = True, autocommit: bool = True) -> Session:
        session = await connect(target, database=database, autocommit=False)
        if autocommit:
            await session.write("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return session

    patch.setattr(mysql_connections, "connect", forgetful)


def change_ids_by_counter(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    """Change ids from a counter that is no part of the transaction, as AUTO_INCREMENT is none."""
    target = Target.parse(options["mysql-url"])

    async def allocate(_: Session, wanted: Counter[int]) -> dict[int, int]:
        counter = await connect(target)
        before = {}
        for user, count in wanted.items():
            await counter.write(
                "UPDATE user_sync_heads SET change_id = LAST_INSERT_ID(change_id + %s) WHERE user_id = %s",
                (count, user),
            )
            before[user] = counter.last_id - count
        counter.close()
        return before

    _lock_first(patch)
    patch.setattr(change_log, "_allocate", allocate)


def sync_without_overlap(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    """SYNC by time gives what is later than the time, and starts nowhere earlier."""
    patch.setattr(catch_up, "OVERLAP_MS", 0)
    patch.setattr(catch_up, "SINCE_TIME", catch_up.SINCE_TIME.replace(">=", ">"))


def last_read_wins(patch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    """A READ writes its seq over whatever is there."""

    async def blindly(session: Session, keys: Sequence[tuple[int, Conversation]]) -> list[Member]:
        members = await lock(session, keys)
        for member in members:
            member.read_seq = 0
        return members

    _lock_first(patch)
    patch.setattr(transactions, "lock", blindly)


def _lock_first(patch: pytest.MonkeyPatch) -> None:
    """READs without the look ahead that compares what it saw."""

    async def no(*_: object) -> None:
        return None

    patch.setattr(transactions, "_read_one", no)
