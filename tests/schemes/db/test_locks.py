"""Locks by key: exclusive, fair, and nothing is left held."""

from __future__ import annotations

import asyncio

import pytest

from schemes.db.locks import KeyedLocks


async def test_one_at_a_time_in_the_order_of_asking() -> None:
    locks, order = KeyedLocks(), []

    async def hold(name: int) -> None:
        await locks.acquire(["k"])
        order.append(name)
        await asyncio.sleep(0)
        order.append(name)
        locks.release(["k"])

    await asyncio.gather(*(hold(name) for name in range(5)))
    assert order == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(locks) == 0


async def test_other_keys_do_not_wait() -> None:
    locks = KeyedLocks()
    await locks.acquire(["c", 1, 2])
    await asyncio.wait_for(locks.acquire(["d", 3]), 1)
    assert len(locks) == 5


async def test_free_ones_are_taken_at_once_and_all_or_none() -> None:
    locks = KeyedLocks()
    assert locks.take_free(["c", 1])
    assert not locks.take_free([1, 2])
    assert locks.take_free([2])
    locks.release(["c", 1, 2])
    assert len(locks) == 0


async def test_overlapping_sets_never_deadlock_when_sorted() -> None:
    locks = KeyedLocks()
    running: set[int] = set()

    async def hold(keys: list[int]) -> None:
        await locks.acquire(keys)
        assert not running & set(keys)
        running.update(keys)
        await asyncio.sleep(0)
        running.difference_update(keys)
        locks.release(keys)

    sets = [sorted({a % 7, b % 5, (a * b) % 6}) for a in range(12) for b in range(12)]
    await asyncio.wait_for(asyncio.gather(*map(hold, sets)), 5)
    assert len(locks) == 0


async def test_a_cancelled_waiter_holds_nothing() -> None:
    locks = KeyedLocks()
    await locks.acquire([2])
    waiter = asyncio.create_task(locks.acquire([1, 2, 3]))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert len(locks) == 1
    locks.release([2])
    assert len(locks) == 0


async def test_a_waiter_cancelled_as_its_turn_comes_passes_it_on() -> None:
    locks = KeyedLocks()
    await locks.acquire([1])
    gone, patient = asyncio.create_task(locks.acquire([1])), asyncio.create_task(locks.acquire([1]))
    await asyncio.sleep(0)
    locks.release([1])
    gone.cancel()
    await asyncio.wait_for(patient, 1)
    locks.release([1])
    assert len(locks) == 0
