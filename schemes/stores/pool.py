"""A bounded pool of MySQL sessions, kept because the drivers' own pools walk through every idle connection at
each acquire, and hand out dead ones after a restart.

Last in, first out: under light load few connections stay warm.  Who waits is served in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from schemes.stores.driver import Session


class Pool:
    """At most `size` sessions, opened on demand by `connect`."""

    def __init__(self, connect: Callable[[], Awaitable[Session]], size: int) -> None:
        if size < 1:
            raise ValueError(f"a pool needs at least one connection, got {size}")
        self._connect = connect
        self._size = size
        self._idle: list[Session] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[Session | None]] = deque()

    @property
    def waiting(self) -> int:
        """Who waits for a session now."""
        return len(self._waiting)

    async def acquire(self) -> Session:
        """A session of one's own until `release` or `discard`.  Raises what `connect` raises."""
        if self._idle:
            return self._idle.pop()
        if self._open >= self._size:
            session = await self._wait()
            if session is not None:
                return session
        else:
            self._open += 1
        try:
            return await self._connect()
        except BaseException:  # cancelled too: the place must not be lost
            self._give_up_place()
            raise

    async def warm(self) -> None:
        """Opens all `size` sessions, so that no request pays for a sign-in."""
        sessions = [await self.acquire() for _ in range(self._size - self._open)]
        for session in sessions:
            self.release(session)

    def release(self, session: Session) -> None:
        """Gives a session back that has no transaction open."""
        session.fresh = False
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(session)
        else:
            self._idle.append(session)

    def discard(self, session: Session) -> None:
        """Hangs up a session that cannot be trusted any more."""
        session.close()
        self._give_up_place()

    def flush(self) -> None:
        """Hangs up all idle sessions: the server went away under one of them, so the others are dead too."""
        while self._idle:
            self.discard(self._idle.pop())

    async def _wait(self) -> Session | None:
        """A session that another gave back, or None: a place is free, connect yourself."""
        waiter: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._pass_on(waiter)
            raise

    def _pass_on(self, waiter: asyncio.Future[Session | None]) -> None:
        """A waiter was cancelled: what it was given meanwhile goes to the next."""
        if waiter.cancelled() or not waiter.done():
            return
        session = waiter.result()
        if session is not None:
            self.release(session)
        else:
            self._give_up_place()

    def _give_up_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._open -= 1

    def _next_waiter(self) -> asyncio.Future[Session | None] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None
