"""`asyncio.timeout` for very many short operations that all have the same patience.

Each `asyncio.timeout` arms and disarms a timer of the loop and asks the kernel four times for the process id
(Python 3.11 looks whether it was forked); a few of them per request were a twentieth of a server's CPU.  Here
all that began later also ends later, so one timer watches over the oldest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")

_WATCHED: Final = 0
_OVER: Final = 1
_EXPIRED: Final = 2


class _Entry:
    __slots__ = ("expires", "state", "task")

    def __init__(self, expires: float, task: asyncio.Task[Any] | None) -> None:
        self.expires = expires
        self.task = task
        self.state = _WATCHED


class Deadline:
    """Bounds awaitables of one event loop to `seconds` each, from when they are first awaited."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entries: deque[_Entry] = deque()
        self._armed = False

    async def bound(self, work: Awaitable[T]) -> T:
        """What `work` gives.  Raises TimeoutError, after cancelling it, where that takes too long."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        entry = _Entry(loop.time() + self._seconds, asyncio.current_task(loop))
        self._entries.append(entry)
        if not self._armed:
            self._armed = True
            loop.call_at(entry.expires, self._expire, loop)
        try:
            return await work
        except asyncio.CancelledError as why:
            task = entry.task
            if entry.state == _EXPIRED and task is not None and task.uncancel() <= 0:
                raise TimeoutError from why
            raise
        finally:
            entry.state = _OVER
            entry.task = None

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        entries = self._entries
        while entries and (entries[0].state == _OVER or entries[0].expires <= now):
            entry = entries.popleft()
            if entry.state == _WATCHED and entry.task is not None:
                entry.state = _EXPIRED
                entry.task.cancel()
        self._armed = bool(entries)
        if entries:
            loop.call_at(entries[0].expires, self._expire, loop)
