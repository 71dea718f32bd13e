"""Guards: the stale-fill race (consistency A1), open without a lease and closed with one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemes.ports import Trace
from schemes.redis.guards import Guard, Leased, Unguarded
from schemes.stores.redis import Entry, Key, RedisStore

pytestmark = pytest.mark.services
T = Trace()


@pytest.mark.parametrize("kind", [Unguarded, Leased])
async def test_a_miss_is_filled_and_then_hit(redis: RedisStore, kind: type[Unguarded | Leased]) -> None:
    guard = kind(redis)
    missed = await guard.fetch(["a", "b"], T)
    assert (missed.values, missed.fill) == ({}, {"a", "b"})
    assert await guard.fill(missed, [("a", b"1"), ("b", b"2"), ("not-missed", b"3")], T) == 2
    hit = await guard.fetch(["a", "b", "not-missed"], T)
    assert (hit.values, hit.fill) == ({"a": b"1", "b": b"2"}, {"not-missed"})


async def test_without_a_lease_a_fill_overtaken_by_a_write_stays_stale(redis: RedisStore) -> None:
    guard = Unguarded(redis)
    reader = await guard.fetch(["a"], T)
    await redis.delete(["a"], T)  # the write's, between the reader's SELECT and its SET
    await guard.fill(reader, [("a", b"old")], T)
    assert (await guard.fetch(["a"], T)).values == {"a": b"old"}


async def test_with_a_lease_it_is_refused(redis: RedisStore) -> None:
    guard = Leased(redis)
    reader = await guard.fetch(["a", "b"], T)
    await redis.delete(["a"], T)
    assert await guard.fill(reader, [("a", b"old"), ("b", b"1")], T) == 1  # b was not written
    after = await guard.fetch(["a", "b"], T)
    assert (after.values, after.fill) == ({"b": b"1"}, {"a"})


async def test_the_second_reader_of_a_miss_neither_waits_nor_stores(redis: RedisStore) -> None:
    guard, elsewhere = Leased(redis), Leased(redis)
    first = await guard.fetch(["a"], T)
    for other in (await guard.fetch(["a"], T), await elsewhere.fetch(["a"], T)):
        assert (other.values, other.fill) == ({}, set())
        assert await guard.fill(other, [("a", b"2")], T) == 0
    assert await guard.fill(first, [("a", b"1")], T) == 1


async def test_an_expired_lease_fills_nothing_over_its_successor(redis: RedisStore) -> None:
    guard = Leased(redis)
    slow = await guard.fetch(["a"], T)
    await redis.command(None, "PEXPIRE", "a", 0)  # as if its time were over
    next_reader = await guard.fetch(["a"], T)
    assert await guard.fill(slow, [("a", b"old")], T) == 0
    assert await guard.fill(next_reader, [("a", b"new")], T) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["fetch", "read", "fill", "commit", "delete", "expire"]), st.integers(0, 2)),
    max_size=25,
)


class Interleaving:
    """Three readers and writers of one key, step by step in any order, as in the argument of `Leased`."""

    def __init__(self, redis: RedisStore, guard: Guard) -> None:
        self.redis = redis
        self.guard = guard
        self.database = 0
        self.deleted = 0  # the newest commit whose DEL has been executed
        self.found: dict[int, object] = {}
        self.seen: dict[int, int] = {}
        self.committed: dict[int, int] = {}

    async def step(self, what: str, who: int) -> None:
        key: Key = "k"
        if what == "fetch":
            self.found[who] = await self.guard.fetch([key], T)
            self.seen.pop(who, None)
        elif what == "read" and who in self.found:
            self.seen[who] = self.database
        elif what == "fill" and who in self.seen:
            entries: list[Entry] = [(key, b"%d" % self.seen.pop(who))]
            await self.guard.fill(self.found.pop(who), entries, T)  # type: ignore[arg-type]  # put there by fetch
        elif what == "commit":
            self.database += 1
            self.committed[who] = self.database
        elif what == "delete" and who in self.committed:
            await self.redis.delete([key], T)
            self.deleted = max(self.deleted, self.committed.pop(who))
        elif what == "expire":
            await self.redis.command(None, "PEXPIRE", key, 0)

    async def is_stale(self) -> bool:
        value = (await self.redis.fetch(["k"], T))[0]
        return value is not None and value[:1] != b"~" and int(value) < self.deleted


async def _stale_after(url: str, kind: type[Unguarded | Leased], steps: list[tuple[str, int]]) -> bool:
    redis = RedisStore(url, exclusive=True)
    await redis.wipe()
    world = Interleaving(redis, kind(redis))
    stale = False
    for what, who in steps:
        await world.step(what, who)
        stale = stale or await world.is_stale()
    await redis.close()
    return stale


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
async def test_in_no_order_of_steps_does_a_lease_leave_a_stale_value(
    stack_url: str, steps: list[tuple[str, int]]
) -> None:
    assert not await _stale_after(stack_url, Leased, steps)


async def test_the_same_check_finds_the_race_without_a_lease(stack_url: str) -> None:
    race = [("fetch", 0), ("read", 0), ("commit", 1), ("delete", 1), ("fill", 0)]
    assert await _stale_after(stack_url, Unguarded, race)
    assert not await _stale_after(stack_url, Leased, race)
