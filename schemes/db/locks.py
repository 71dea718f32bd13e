"""Locks by key inside one server process: they put the pushes of one person into the order of the commits.

MySQL's own locks end at COMMIT, before anything is told; these are held until it was."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any


class KeyedLocks:
    """One fair lock per key that is in use; a free one costs a look-up and no trip through the event loop.

    Whoever takes several must name them in one agreed order."""

    def __init__(self) -> None:
        self._held: dict[Hashable, deque[asyncio.Future[None]] | None] = {}

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._held)

    def take_free(self, keys: Sequence[Hashable]) -> bool:
        """Takes all if all are free, else none."""
        if any(key in self._held for key in keys):
            return False
        self._held.update(dict.fromkeys(keys))
        return True

    async def acquire(self, keys: Sequence[Hashable]) -> None:
        """Takes all, one after another; holds none of them if cancelled."""
        for index, key in enumerate(keys):
            if key not in self._held:
                self._held[key] = None
                continue
            try:
                await self._wait(key)
            except BaseException:  # a cancelled request too must give back what it holds
                self.release(keys[:index])
                raise

    def release(self, keys: Sequence[Hashable]) -> None:
        """Gives all back; each goes to whoever waited longest."""
        for key in keys:
            waiting = self._held[key]
            while waiting:
                first = waiting.popleft()
                if not first.done():
                    first.set_result(None)
                    break
            else:
                del self._held[key]

    async def _wait(self, key: Hashable) -> None:
        waiting = self._held[key]
        if waiting is None:
            waiting = self._held[key] = deque()
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release([key])  # it was ours already
            raise
