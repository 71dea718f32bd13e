"""Redis pub/sub, the receiving end: one channel, kept subscribed for as long as the process lives.

Pub/sub keeps nothing: what was published while the subscription was broken is gone, so breaks are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import RedisError

from schemes.stores import distance
from schemes.stores.redis import RedisStore

log = logging.getLogger(__name__)

_WAIT_S: Final = (0.02, 0.5)


class Subscription:
    """Hands every message of `channel` to `received`, whose awaitable (if it gives one) holds up what comes
    after; `lost` is called with the reason when the connection
    breaks, and again when it is back, for whoever came in between."""

    def __init__(
        self,
        store: RedisStore,
        channel: str,
        received: Callable[[bytes], Awaitable[None] | None],
        lost: Callable[[str], None],
    ) -> None:
        self._store = store
        self._channel = channel
        self._received = received
        self._lost = lost
        self._subscribed = asyncio.Event()
        self.broken = 0

    async def start(self) -> None:
        """Returns when Redis has confirmed the subscription."""
        self._task = asyncio.create_task(self._keep(), name="redis-bus")
        await self._subscribed.wait()

    async def close(self) -> None:
        while not self._task.done():  # redis-py can swallow a cancel()
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.5)

    async def _keep(self) -> None:
        wait_s, longest_s = _WAIT_S
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as why:
                if self._subscribed.is_set():
                    self._subscribed.clear()
                    self.broken += 1
                    wait_s = _WAIT_S[0]
                    log.warning("the subscription to %s broke: %r", self._channel, why)
                    self._lost(f"the bus broke: {why}")
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, longest_s)

    async def _listen(self) -> None:
        client = self._store.client()
        try:
            async with client.pubsub() as pubsub:
                await pubsub.subscribe(self._channel)
                async for message in pubsub.listen():
                    await self._take(message)
        finally:
            await client.aclose()

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            await self._on_its_way(message["data"])
        elif message["type"] == "subscribe":
            self._subscribed.set()
            if self.broken:
                self._lost("the bus was away until now")

    async def _on_its_way(self, data: bytes) -> None:
        """From a distance, messages are under way side by side: none waits for the one before it."""
        if distance.rtt_ns:
            distance.later(lambda: self._received(data))
            return
        rest = self._received(data)
        if rest is not None:
            await rest
