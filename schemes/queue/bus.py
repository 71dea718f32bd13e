"""The way back: what the consumer publishes arrives here and goes to this server's hub, which looks up whose
sessions are its own.  Every server of a topic hears everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import msgspec

from schemes import failpoints
from schemes.failpoints import Asker
from schemes.ports import Publisher, clock_ns
from schemes.queue.events import BusMessage, Poison, decode_bus, push_of
from schemes.stores.redis import RedisStore
from schemes.stores.redis_bus import Subscription

log = logging.getLogger(__name__)


class Bus:
    """`bus_hop_ns` sums, over `bus_messages`, the time from when the consumer gave it to Redis until here."""

    def __init__(self, redis: RedisStore, channel: str, publisher: Publisher) -> None:
        self._redis = redis
        self._channel = channel
        self._publisher = publisher
        self._subscription = Subscription(redis, channel, self._received, publisher.lost)
        self._flushes: dict[int, asyncio.Future[None]] = {}
        self._counts = {
            "bus_messages": 0,
            "bus_pushes": 0,
            "bus_hop_ns": 0,
            "bus_hop_ns_max": 0,
            "bus_poison": 0,
            "bus_flushes": 0,
        }

    async def start(self) -> None:
        await self._subscription.start()

    async def close(self) -> None:
        await self._subscription.close()

    async def flush(self, timeout_s: float) -> bool:
        """Waits until all that was published before now has been handed to the hub; False if that is late."""
        token = clock_ns()
        self._counts["bus_flushes"] += 1
        arrived = self._flushes[token] = asyncio.get_running_loop().create_future()
        try:
            await self._redis.command(
                None, "PUBLISH", self._channel, msgspec.json.encode(BusMessage(token, []))
            )
            await asyncio.wait_for(arrived, timeout_s)
        except TimeoutError:
            return False
        finally:
            del self._flushes[token]
        return True

    def stats(self) -> dict[str, int]:
        return {**self._counts, "bus_broken": self._subscription.broken}

    def _received(self, data: bytes) -> Awaitable[None] | None:
        try:
            message = decode_bus(data)
        except Poison as why:  # up to 500 events' pushes are lost, so clients must ask
            self._counts["bus_poison"] += 1
            log.error("a message on the bus cannot be read: %s", why)
            self._publisher.lost(f"pushes could not be read: {why}")
            return None
        if not message.tell:
            arrived = self._flushes.get(message.at_ns)
            if arrived is not None and not arrived.done():
                arrived.set_result(None)
            return None
        self._note(clock_ns() - message.at_ns, len(message.tell))
        if failpoints.on:
            return self._publish_slowly(message)
        for told in message.tell:
            self._publisher.publish(push_of(told))
        return None

    async def _publish_slowly(self, message: BusMessage) -> None:
        """Past a failpoint, push by push.  The bus doesn't know who caused a push, only where."""
        for told in message.tell:
            left_out = await failpoints.hit_each("before_push", [Asker(conversations=(told.conversation,))])
            if not left_out:
                self._publisher.publish(push_of(told))

    def _note(self, hop_ns: int, pushes: int) -> None:
        counts = self._counts
        counts["bus_messages"] += 1
        counts["bus_pushes"] += pushes
        counts["bus_hop_ns"] += hop_ns
        counts["bus_hop_ns_max"] = max(counts["bus_hop_ns_max"], hop_ns)
