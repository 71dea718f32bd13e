"""The pool: bounded, fair, and never losing a place."""

from __future__ import annotations

import asyncio

import pytest

from schemes.stores.driver import Session, Unavailable
from schemes.stores.pool import Pool


class FakeConnection:
    closed = False

    def close(self) -> None:
        self.closed = True


class Server:
    """Counts sessions; refuses while `down`."""

    def __init__(self) -> None:
        self.connections: list[FakeConnection] = []
        self.down = False

    async def connect(self) -> Session:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(2003, "down")
        self.connections.append(FakeConnection())
        return Session(self.connections[-1], None, ())

    @property
    def open(self) -> int:
        return sum(not connection.closed for connection in self.connections)


@pytest.fixture
def server() -> Server:
    return Server()


async def test_the_session_used_last_is_used_next(server: Server) -> None:
    pool = Pool(server.connect, 3)
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(second)
    pool.release(first)
    assert await pool.acquire() is first
    assert len(server.connections) == 2


async def test_no_more_than_size_and_first_come_first_served(server: Server) -> None:
    pool = Pool(server.connect, 2)
    held = [await pool.acquire(), await pool.acquire()]
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    pool.release(held[1])
    pool.release(held[0])
    assert await asyncio.gather(*waiting) == [held[1], held[0]]
    assert server.open == 2


async def test_a_session_is_fresh_until_it_comes_back(server: Server) -> None:
    pool = Pool(server.connect, 1)
    session = await pool.acquire()
    assert session.fresh
    pool.release(session)
    assert not (await pool.acquire()).fresh


async def test_who_waits_connects_anew_when_a_session_is_discarded(server: Server) -> None:
    pool = Pool(server.connect, 1)
    broken = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.discard(broken)
    assert await waiting is not broken
    assert server.open == 1


async def test_a_failed_connect_gives_its_place_to_the_next(server: Server) -> None:
    pool = Pool(server.connect, 1)
    server.down = True
    first, second = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    assert [type(w) for w in await asyncio.gather(first, second, return_exceptions=True)] == [Unavailable] * 2
    server.down = False
    pool.release(await pool.acquire())
    assert server.open == 1


async def test_a_cancelled_waiter_takes_nothing_with_it(server: Server) -> None:
    pool = Pool(server.connect, 1)
    session = await pool.acquire()
    gone, patient = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.release(session)  # `gone` is handed the session ...
    gone.cancel()  # ... and cancelled before it runs
    assert await asyncio.wait_for(patient, 1) is session


async def test_a_waiter_that_is_cancelled_while_waiting_is_skipped(server: Server) -> None:
    pool = Pool(server.connect, 1)
    session = await pool.acquire()
    gone, patient = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    pool.release(session)
    assert await asyncio.wait_for(patient, 1) is session


async def test_flush_hangs_up_what_is_idle_only(server: Server) -> None:
    pool = Pool(server.connect, 3)
    await pool.warm()
    assert server.open == 3
    held = await pool.acquire()
    pool.flush()
    assert server.open == 1
    pool.release(held)
    assert await pool.acquire() is held


def test_a_pool_of_nothing_is_refused(server: Server) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pool(server.connect, 0)
