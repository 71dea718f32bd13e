"""The relay: takes events from the outbox to the log, in order, and deletes what the broker has.

    SELECT the first rows -> producer -> broker's answer for all of them -> DELETE them

One batch is under way at a time.  Whatever dies in between, the rows are still there and go again: at least
once, and what is applied is forward-only.  Every server of `--publish outbox` has a relay and one of them
works: who holds the claim (`stores/outbox.py`); the others ask for it every CLAIM_S.  A commit of this server
wakes the relay; those of others it finds within POLL_S."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from schemes import failpoints
from schemes.failpoints import Asker
from schemes.ports import Refused
from schemes.protocol import user_number
from schemes.stores.driver import StoreError
from schemes.stores.kafka import TOO_LARGE, EventLog
from schemes.stores.outbox import Outbox, Row, Waiting
from schemes.stores.times import now_ms

log = logging.getLogger(__name__)

BATCH: Final = 500
POLL_S: Final = 0.05
CLAIM_S: Final = 0.5
LOOK_S: Final = 0.2
AGAIN_S: Final = 0.2
"""How long it waits after MySQL or the broker failed."""
CLOSE_S: Final = 2.0
"""How long a batch in hand may still take when the server ends."""


class BrokerSaysNo(Exception):
    """The broker did not take an event; the message is its reason."""


class Relay:
    def __init__(self, outbox: Outbox, events: EventLog) -> None:
        self._outbox = outbox
        self._log = events
        self._busy = asyncio.Lock()
        self._woken = asyncio.Event()
        self._over = asyncio.Event()
        self._waiting = Waiting()
        names = ("published", "failures", "too_large", "takes", "looks", "deletes")
        self._counts = {f"outbox_{name}": 0 for name in names}

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="outbox-relay")

    async def close(self) -> None:
        """What is in hand then is still in the outbox, and may be in the log already."""
        self._over.set()
        self._woken.set()
        await asyncio.wait({self._task}, timeout=CLOSE_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._outbox.hang_up()

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    @property
    def working(self) -> bool:
        """Whether this relay is the one that works."""
        return self._outbox.claimed

    @contextlib.asynccontextmanager
    async def paused(self, timeout_s: float) -> AsyncIterator[None]:
        """Between two batches; raises Refused("UNAVAILABLE") where one takes longer than this."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._busy.acquire()
        except TimeoutError as why:
            raise Refused("UNAVAILABLE", f"the outbox's relay has waited for {timeout_s} s") from why
        try:
            yield
        finally:
            self._busy.release()

    async def emptied(self, timeout_s: float) -> int:
        """Waits until the outbox is empty; how many rows are left, at most, if that takes longer."""
        give_up = time.monotonic() + timeout_s
        while True:
            self.wake()
            try:
                async with self.paused(max(0.0, give_up - time.monotonic())):
                    await self._look()
                left = self._waiting.rows
            except (Refused, StoreError) as why:
                log.info("the outbox cannot be looked at: %s", why)
                left = max(1, self._waiting.rows)
            if not left or time.monotonic() >= give_up:
                return left
            await asyncio.sleep(0.01)

    def stats(self) -> dict[str, int]:
        """The last two say what waits, as of the last look: how many rows, and the age of the oldest."""
        waiting = self._waiting
        return {
            **self._counts,
            "outbox_working": int(self.working),
            "lag_outbox_events": waiting.rows,
            "lag_outbox_ms": max(0, now_ms() - waiting.since_ms) if waiting.rows else 0,
        }

    async def _run(self) -> None:
        while not self._over.is_set():
            self._woken.clear()
            try:
                async with self._busy:
                    moved = await self._round()
            except (StoreError, BrokerSaysNo) as why:
                log.warning("the outbox is tried again: %s", why)
                self._counts["outbox_failures"] += 1
                await _either(self._over, AGAIN_S)
                continue
            if not self.working:
                await _either(self._over, CLAIM_S)
            elif moved < BATCH:
                await _either(self._woken, POLL_S)

    async def _round(self) -> int:
        """How many rows were moved; 0 where another relay works."""
        if not await self._outbox.claim():
            await self._look()
            return 0
        self._counts["outbox_takes"] += 1
        rows = await self._outbox.take(BATCH)
        self._waiting = Waiting(len(rows), rows[0].created_ms) if rows else Waiting()
        if len(rows) == BATCH:
            await self._look()
        if rows:
            await self._move(rows)
        return len(rows)

    async def _move(self, rows: Sequence[Row]) -> None:
        """All together; one by one where the broker refused one of them."""
        error = await self._publish(rows)
        if error is not None and len(rows) > 1:
            for row in rows:
                await self._move([row])
            return
        if error is None:
            self._counts["outbox_published"] += len(rows)
        elif isinstance(error, TOO_LARGE):  # now and for ever: it must not stop those behind it
            log.error(
                "an event of %d bytes is too large for the broker: %r", len(rows[0].payload), rows[0].key
            )
            self._counts["outbox_too_large"] += 1
        else:
            raise BrokerSaysNo(repr(error))
        if failpoints.on:
            await failpoints.hit_each("relay_after_produce_before_mark", [_asker_of(row) for row in rows])
        self._counts["outbox_deletes"] += 1
        await self._outbox.delete(rows)
        self._waiting = Waiting(max(0, self._waiting.rows - len(rows)), self._waiting.since_ms)

    async def _publish(self, rows: Sequence[Row]) -> BaseException | None:
        """The broker's answer, however long it takes.  Meanwhile what waits is looked at: it shows that the
        broker is away, and MySQL does not hang up on a claim that says nothing."""
        handover = self._log.put([(row.key, row.payload) for row in rows])
        answer = asyncio.create_task(handover.answered())
        try:
            while not (await asyncio.wait({answer}, timeout=LOOK_S))[0]:
                with contextlib.suppress(StoreError):  # `delete` will meet it too
                    await self._look()
        finally:
            answer.cancel()
        return answer.result()

    async def _look(self) -> None:
        self._counts["outbox_looks"] += 1
        self._waiting = await self._outbox.look()


def _asker_of(row: Row) -> Asker:
    """Whose log, or which conversation's head, the event is of; no operation id goes through the outbox."""
    key = row.key.decode()
    if key.startswith("head:"):
        return Asker(conversations=(key.removeprefix("head:"),))
    return Asker(user_number(key))


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
