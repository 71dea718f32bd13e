"""Deletes that failed after COMMIT: which keys must not be read from Redis, and the task that tries again.

A key is in here from the failed delete until a retried one succeeds.  Nothing here reads or fills."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from schemes.stores.redis import Key, RedisStore, RedisUnavailable

LIMIT: Final = 100_000
_BATCH: Final = 500
_WAIT_S_MAX: Final = 1.0


class PendingDeletes:
    """Keys that still hold, or may hold, what MySQL no longer says.

    Beyond `limit` keys the single ones are forgotten: then no key is trusted until our whole keyspace in
    Redis has been wiped, which is right and costs a cold cache."""

    def __init__(self, redis: RedisStore, *, limit: int = LIMIT) -> None:
        self._redis = redis
        self._limit = limit
        self._failures: dict[Key, int] = {}
        self._count = 0
        self._wipes = 0
        self._task: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

    async def close(self) -> None:
        """Stops trying for good: what is left stays stale in Redis until its TTL ends."""
        self._closed = True
        await self.forget()

    def __contains__(self, key: Key) -> bool:
        return key in self._failures or self._wipes > 0

    def __len__(self) -> int:
        return len(self._failures) + self._wipes

    def add(self, keys: Iterable[Key]) -> None:
        """The delete of `keys` failed, or nobody knows whether it did."""
        for key in keys:
            self._count += 1
            self._failures[key] = self._count
        if len(self._failures) > self._limit:
            self._failures.clear()
            self._wipes += 1
        if not self._closed and (self._task is None or self._task.done()):
            self._empty.clear()
            self._task = asyncio.create_task(self._retry(), name="retry of cache deletes")

    async def drain(self, timeout_s: float) -> int:
        """Waits until nothing is left or the time is over; how much is left."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return len(self)
        return 0

    async def forget(self) -> None:
        """Stops trying, because Redis is wiped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._failures.clear()
        self._wipes = 0
        self._empty.set()

    async def _retry(self) -> None:
        wait_s = 0.01
        while self:
            await self._redis.reachable()
            try:
                await self._once()
            except RedisUnavailable:  # its probe will say when; a refusal is tried again later
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _WAIT_S_MAX)
        self._empty.set()

    async def _once(self) -> None:
        wipes = self._wipes
        if wipes:
            await self._redis.wipe()
            self._wipes -= wipes
        tried = list(self._failures.items())[:_BATCH]
        await self._redis.delete([key for key, _ in tried], None)
        for key, failure in tried:  # one that failed again meanwhile stays
            if self._failures.get(key) == failure:
                del self._failures[key]
