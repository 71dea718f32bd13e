"""Deletes that failed: their keys are distrusted until a retry succeeds, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemes.ports import Trace
from schemes.redis.pending_deletes import PendingDeletes
from schemes.stores.redis import Key, RedisStore, RedisUnavailable


class FlakyRedis(RedisStore):
    """Deletes only what the test lets through."""

    def __init__(self) -> None:
        super().__init__("redis://127.0.0.1:1")
        self.let_through = asyncio.Event()
        self.failing = 0
        self.deleted: list[Key] = []
        self.wiped = 0

    async def delete(self, keys: Sequence[Key], trace: Trace | None) -> None:
        await self._answer()
        self.deleted += keys

    async def wipe(self) -> None:
        await self._answer()
        self.wiped += 1

    async def _answer(self) -> None:
        await self.let_through.wait()
        if self.failing:
            self.failing -= 1
            raise RedisUnavailable("not yet")


async def test_a_key_is_distrusted_until_its_delete_succeeded() -> None:
    redis = FlakyRedis()
    pending = PendingDeletes(redis)
    assert await pending.drain(0) == 0
    pending.add(["a", "b"])
    assert "a" in pending
    assert "c" not in pending
    assert await pending.drain(0.01) == 2
    redis.failing = 3
    redis.let_through.set()
    assert await pending.drain(2) == 0
    assert "a" not in pending
    assert sorted(redis.deleted) == ["a", "b"]


async def test_a_key_that_fails_again_during_its_retry_is_deleted_again() -> None:
    redis = FlakyRedis()
    pending = PendingDeletes(redis)
    pending.add(["a"])
    await asyncio.sleep(0.01)  # the retry is on its way: Redis may execute it before the next COMMIT
    pending.add(["a"])
    redis.let_through.set()
    assert await pending.drain(2) == 0
    assert redis.deleted == ["a", "a"]


async def test_beyond_the_limit_nothing_is_trusted_until_all_is_wiped() -> None:
    redis = FlakyRedis()
    pending = PendingDeletes(redis, limit=3)
    pending.add(["a", "b", "c", "d"])
    assert "never-heard-of" in pending
    assert len(pending) == 1
    await asyncio.sleep(0.01)
    pending.add(["e"])  # failed while the wipe was running: the wipe may have passed it already
    redis.let_through.set()
    assert await pending.drain(2) == 0
    assert (redis.wiped, redis.deleted) == (1, ["e"])
    assert "never-heard-of" not in pending


async def test_new_failures_after_all_was_done_are_retried_too() -> None:
    redis = FlakyRedis()
    redis.let_through.set()
    pending = PendingDeletes(redis)
    for key in ("a", "b"):
        pending.add([key])
        assert await pending.drain(2) == 0
    assert redis.deleted == ["a", "b"]


async def test_forgetting_ends_the_task_and_trusts_again() -> None:
    redis = FlakyRedis()
    before = asyncio.all_tasks()
    pending = PendingDeletes(redis)
    pending.add(["a"])
    await asyncio.sleep(0)
    await pending.forget()
    assert "a" not in pending
    assert asyncio.all_tasks() == before
    assert await pending.drain(0) == 0


async def test_after_closing_no_task_starts() -> None:
    before = asyncio.all_tasks()
    pending = PendingDeletes(FlakyRedis())
    await pending.close()
    pending.add(["a"])
    assert asyncio.all_tasks() == before


@pytest.mark.services
async def test_it_waits_for_redis_to_be_reachable(redis: RedisStore) -> None:
    await redis.fill([("a", b"stale")], None)
    pending = PendingDeletes(redis)
    pending.add(["a"])
    assert await pending.drain(2) == 0
    assert await redis.fetch(["a"], Trace()) == [None]
