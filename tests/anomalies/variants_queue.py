"""Bugs of the queue that nobody should run: a server that publishes too early or to anywhere, a consumer that
counts, commits first, writes blindly or never gives up.

A plant for `QueueVariant.consumer`, or for a server that is `apart`, is called in that process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import pytest

from schemes import failpoints
from schemes.db.scheme import Note
from schemes.ports import Refused, Trace
from schemes.queue import KINDS, applier, events, relay
from schemes.queue.applier import Applier, Stopped
from schemes.queue.events import Applied, CursorValue, ReceiptMoved
from schemes.queue.relay import Relay
from schemes.queue.scheme import Queue
from schemes.queue.script import APPLY, Batch
from schemes.read_state import Changes
from schemes.stores import kafka
from schemes.stores.driver import Session
from schemes.stores.kafka import EventLog, EventReader, Record
from schemes.stores.mysql_connections import Also
from schemes.stores.outbox import Row
from schemes.stores.redis import Script

T = TypeVar("T")
DIRECT: Final = ("db_first", "direct")
LINGER_MS: Final = 300
SESSION_MS: Final = 1500
"""The broker allows 1,000 and more."""

Options = Mapping[str, str]
Patch = pytest.MonkeyPatch


# --- servers ------------------------------------------------------------------------------------------------


class ProducedFirst(Queue):
    """Gives the events to the broker before COMMIT, which then fails."""

    def also(self, changes: Changes, note: Note[T]) -> Also[T]:
        async def publish(session: Session, result: T) -> None:
            attempt = Changes(changes.origin, changes.device)
            note(attempt, result)
            await self._log.put(events.keyed(events.events_of(attempt, self.receipt_members))).wait()
            if failpoints.on:
                await failpoints.hit("in_txn_before_commit", failing=_definitely)

        return publish

    async def committed(self, changes: Changes, trace: Trace) -> None:
        return None


def _definitely(text: str) -> Exception:
    """What a client may count on not to have happened."""
    return Refused("OVERLOADED", text)


class AcknowledgedFirst(Queue):
    """Does not wait for the broker's answer."""

    async def committed(self, changes: Changes, trace: Trace) -> Awaitable[None] | None:
        await super().committed(changes, trace)
        return None


def produced_first(patch: Patch, options: Options) -> None:
    patch.setitem(KINDS, DIRECT, ProducedFirst)


def acknowledged_first(patch: Patch, options: Options) -> None:
    """And the events linger, as with linger.ms: else the answer would not be out before them."""

    class Lingering(EventLog):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings | {"tick_ms": LINGER_MS})

    patch.setitem(KINDS, DIRECT, AcknowledgedFirst)
    patch.setattr("schemes.queue.EventLog", Lingering)


def keyless(patch: Patch, options: Options) -> None:
    """Events go to one partition after the other, whoever they belong to."""
    turns = itertools.count()
    patch.setattr(kafka, "partition_of", lambda _, partitions: next(turns) % partitions)


def deleted_first(patch: Patch, options: Options) -> None:
    """The relay deletes what it has read before it publishes it."""

    async def move(self: Relay, rows: Sequence[Row]) -> None:
        await self._outbox.delete(rows)
        if failpoints.on:
            askers = [relay._asker_of(row) for row in rows]
            await failpoints.hit_each("relay_after_produce_before_mark", askers)
        await self._publish(rows)

    patch.setattr(Relay, "_move", move)


# --- consumers ----------------------------------------------------------------------------------------------


def _changed(*replacements: tuple[str, str]) -> Script:
    text = APPLY.text
    for before, after in replacements:
        if text.count(before) != 1:
            raise LookupError(f"apply.lua has {text.count(before)} times {before!r}, expected one")
        text = text.replace(before, after)
    return Script(text)


_ANY_OFFSET: Final = ("if offset < 0 or offset >= applied[ARGV[at + 1]] then", "if true then")
_FORWARD_ONLY: Final = "read, delivered, version = newer(read, r), newer(delivered, d), newer(version, v)"
COUNTS: Final = _changed(
    _ANY_OFFSET, (_FORWARD_ONLY, "if read ~= '0' then read = string.format('%d', r + 1) else read = r end")
)
LAST_WRITE_WINS: Final = _changed(_ANY_OFFSET, (_FORWARD_ONLY, ""))


def counting(patch: Patch, options: Options) -> None:
    """Applies "one more was read" and not "read up to"; a receipt is told and moves nothing."""
    add = Batch.add

    def add_without_receipts(self: Batch, event: Applied, partition: int, offset: int) -> None:
        if isinstance(event, ReceiptMoved):
            event.value = CursorValue()
        add(self, event, partition, offset)

    patch.setattr(Batch, "add", add_without_receipts)
    patch.setattr(applier, "APPLY", COUNTS)


def last_write_wins(patch: Patch, options: Options) -> None:
    """Writes what the event says over whatever is there."""
    patch.setattr(applier, "APPLY", LAST_WRITE_WINS)


def commits_first(patch: Patch, options: Options) -> None:
    """Commits what it has fetched, then applies it."""

    async def apply_mine(
        self: EventReader,
        got: Mapping[Any, Sequence[Record]],
        apply: Callable[[Sequence[Record]], Awaitable[bool]],
    ) -> None:
        records = [record for some in got.values() for record in some]
        if records:
            ends = {record.partition: record.offset + 1 for record in records}
            self._applied.update(ends)
            await self._commit()
            if await apply(records):
                self._next.update(ends)

    patch.setattr(EventReader, "_apply_mine", apply_mine)


def impatient(patch: Patch, options: Options) -> None:
    """No bug: a consumer that is missed after SESSION_MS, so that a test need not wait for 10 s."""
    patch.setattr(
        kafka, "CONSUMER",
        {**kafka.CONSUMER, "session_timeout_ms": SESSION_MS, "heartbeat_interval_ms": SESSION_MS // 5},
    )  # fmt: skip


def impatient_last_write_wins(patch: Patch, options: Options) -> None:
    impatient(patch, options)
    last_write_wins(patch, options)


def never_gives_up(patch: Patch, options: Options) -> None:
    """Tries what can never be applied again for ever, as if a store were away."""

    async def again(self: Applier, *_: object) -> int:
        while not self._stopping():  # noqa: ASYNC110  as the shipped code waits for a store
            await asyncio.sleep(0.05)
        raise Stopped

    patch.setattr(Applier, "_one_by_one", again)
