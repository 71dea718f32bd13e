"""How far the consumer is behind this server, as Redis tells: what was produced against what was applied."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from schemes.queue.ages import Ages, ages_key, noted, together
from schemes.queue.script import offsets_key
from schemes.stores.redis import RedisStore, RedisUnavailable

log = logging.getLogger(__name__)

POLL_S: Final = 0.2


class Lag:
    """Looks every POLL_S.  `events` are in the log and not in Redis; `ms` is the age of the oldest of them,
    to within POLL_S; both are None while Redis does not answer.  `ages` are those of all events that were
    applied, when they were, and `consumers` what those that applied them have noted.  `looks` and `polls`:
    how often Redis was asked for offsets and for ages."""

    def __init__(self, redis: RedisStore, topic: str, ends: Callable[[], dict[int, int]]) -> None:
        self._redis = redis
        self._key = offsets_key(redis.prefix, topic)
        self._ages_key = ages_key(redis.prefix, topic)
        self._ends = ends
        self._snapshots: deque[tuple[float, dict[int, int]]] = deque()
        self._over = asyncio.Event()
        self.events: int | None = 0
        self.ms: int | None = 0
        self.ages: Ages = ()
        self.consumers: Mapping[str, int] = {}
        self.looks = self.polls = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._poll(), name="queue-lag")

    async def close(self) -> None:
        self._over.set()  # and no cancel(): redis-py can swallow one
        await self._task

    async def look(self) -> int:
        """The events that are behind, now.  Raises RedisUnavailable."""
        self.looks += 1
        found = await self._redis.command(None, "HGETALL", self._key)
        pairs = zip(found[::2], found[1::2], strict=True)
        self.note({int(partition): int(offset) for partition, offset in pairs}, time.monotonic())
        assert self.events is not None
        return self.events

    def note(self, applied: Mapping[int, int], now: float) -> None:
        ends = self._ends()
        self._snapshots.append((now, ends))
        while self._snapshots and not _behind(self._snapshots[0][1], applied):
            self._snapshots.popleft()
        self.events = _behind(ends, applied)
        self.ms = round((now - self._snapshots[0][0]) * 1000) if self._snapshots else 0

    async def _poll(self) -> None:
        while not self._over.is_set():
            try:
                await self.look()
                self.polls += 1
                told = await self._redis.command(None, "HVALS", self._ages_key)
                self.ages, self.consumers = together(told), noted(told)
            except RedisUnavailable as why:
                log.info("queue lag is unknown: %s", why)
                self.events = self.ms = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), POLL_S)


def _behind(ends: Mapping[int, int], applied: Mapping[int, int]) -> int:
    return sum(max(0, end - applied.get(partition, 0)) for partition, end in ends.items())
