"""`--publish outbox`: the events of a change are written by the change's own transaction, and a relay
publishes them.  So a server that dies after COMMIT leaves them in MySQL, for its successor or another server.

Acknowledged after COMMIT: the change is in MySQL, its events are in the outbox.  The broker may be away."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from schemes import failpoints
from schemes.db.scheme import Note
from schemes.ports import Trace
from schemes.queue import events
from schemes.queue.relay import Relay
from schemes.queue.scheme import RESET_S, Queue
from schemes.read_state import Changes
from schemes.stores import outbox
from schemes.stores.driver import Session
from schemes.stores.mysql_connections import Also
from schemes.stores.times import now_ms

T = TypeVar("T")


class Outboxed(Queue):
    """The `queue` scheme of one server, `db_first`, through the outbox."""

    async def start(self) -> None:
        await super().start()
        self._relay = Relay(self.store.outbox(), self._log)
        self._relay.start()
        self._leaving.push_async_callback(self._relay.close)

    def also(self, changes: Changes, note: Note[T]) -> Also[T]:
        async def write(session: Session, result: T) -> None:
            attempt = Changes(changes.origin, changes.device)  # the transaction may be tried again
            note(attempt, result)
            told = events.events_of(attempt, self.receipt_members)
            await outbox.add(session, events.keyed(told), now_ms())

        return write

    async def committed(self, changes: Changes, trace: Trace) -> Awaitable[None] | None:
        if failpoints.on and await failpoints.hit("after_commit_before_produce"):
            return None
        self._relay.wake()
        return None

    async def reset(self) -> None:
        """Raises Refused("UNAVAILABLE") where the relay waits for the broker."""
        async with self._relay.paused(RESET_S):
            await super().reset()

    async def drain(self, timeout_s: float) -> dict[str, int]:
        give_up = time.monotonic() + timeout_s
        if left := await self._relay.emptied(timeout_s):
            return {"outbox_events": left}
        if not self._relay.working:  # then this log does not know how far another server's relay came
            await self._log.put_everywhere(events.MARKER)
        return await super().drain(max(0.0, give_up - time.monotonic()))

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), **self._relay.stats()}
