"""What the consumer does with a batch of records: decode, (`queue_first`: write MySQL,) apply to Redis.

It returns when all of the batch is in its place.  While a store is away the same batch is tried again, so
that nothing overtakes.  A record that cannot be read, or that the script breaks off at, goes to the dead
letters and never blocks its partition."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

import msgspec

from schemes import failpoints
from schemes.failpoints import Asker
from schemes.ports import Refused, Trace, clock_ns
from schemes.queue.ages import Counted
from schemes.queue.events import (
    CursorMoved,
    DeliveredQueued,
    Event,
    Marker,
    MessageSent,
    Poison,
    ReadQueued,
    decode,
    delivered_event,
    read_events,
)
from schemes.queue.health import Status
from schemes.queue.recovery import Lost, Recovery
from schemes.queue.script import ALWAYS, APPLY, Batch, channel_of, offsets_key
from schemes.read_state import Conversation
from schemes.stores.kafka import Record
from schemes.stores.kafka_topics import KafkaUnavailable
from schemes.stores.mysql import MySQL
from schemes.stores.redis import RedisStore, RedisUnavailable, ScriptFailed
from schemes.stores.rows import QueuedMark
from schemes.stores.times import now_ms

log = logging.getLogger(__name__)

_WAIT_S: Final = (0.02, 0.5)
T = TypeVar("T")
Pair: TypeAlias = tuple[Record, Event]


class DeadLetterBox(Protocol):
    async def put(self, record: Record, reason: str) -> None: ...


class Stopped(Exception):
    """The process is to end while a store is away: the batch stays unapplied and uncommitted."""


class Applier:
    """`store` is given for `queue_first`, where the consumer writes MySQL too."""

    def __init__(
        self,
        redis: RedisStore,
        dead_letters: DeadLetterBox,
        status: Status,
        *,
        topic: str,
        stopping: Callable[[], bool],
        store: MySQL | None = None,
        receipt_members: int = 200,
    ) -> None:
        self._redis = redis
        self._dead_letters = dead_letters
        self._status = status
        self._topic = topic
        self._stopping = stopping
        self._store = store
        self._receipt_members = receipt_members
        self._channel = channel_of(redis.prefix, topic)
        self._offsets = offsets_key(redis.prefix, topic)
        self._recovery = Recovery(redis, store) if store is not None else None
        self.ages = Counted()

    async def apply(self, records: Sequence[Record]) -> bool:
        """False: stopped before it was in."""
        try:
            pairs: Sequence[Pair] = [
                pair for record in records if (pair := await self._decoded(record)) is not None
            ]
            if failpoints.on:
                pairs = await _not_dropped(pairs)
            batch = Batch(self._redis.prefix, self._topic)
            if self._store is not None:
                pairs = await self._write_mysql(batch, pairs, self._store)
            _add_applied(batch, pairs)
            ends = {record.partition: record.offset + 1 for record in records}
            try:
                done = await self._to_redis(batch, ends)
            except ScriptFailed as why:
                log.warning("the batch is applied one by one: %s", why)
                done = await self._one_by_one(batch, records, ends)
        except Stopped:
            return False
        self._count(records, len(batch), done)
        self.ages.notes["batch_partitions"] += len(ends)
        if failpoints.on:
            askers = [_asker_of(event) for _, event in pairs]
            await failpoints.hit_each("consumer_after_apply_before_commit", askers, failing=RuntimeError)
        return True

    async def assigned(self, positions: Mapping[int, int]) -> None:
        """What comes first now may have been in hand when another process, or an earlier one, died."""
        if self._recovery is not None:
            self._recovery.suspect(positions, now_ms())

    async def assert_offsets(self, positions: Mapping[int, int]) -> None:
        """Says again how far the consumer is: Redis forgets it with everything else when it is restarted."""
        batch = Batch(self._redis.prefix, self._topic)
        await self._redis.script(None, APPLY, batch.keys, batch.args("", 0, positions))

    async def _decoded(self, record: Record) -> Pair | None:
        try:
            return record, decode(record.value)
        except Poison as why:
            reason = str(why)
        await self._give_up(record, reason)
        return None

    async def _give_up(self, record: Record, reason: str) -> None:
        log.error("partition %d offset %d is a dead letter: %s", record.partition, record.offset, reason)
        await self._until_done(lambda: self._dead_letters.put(record, reason))
        self._status.dead_letters += 1

    async def _one_by_one(self, batch: Batch, records: Sequence[Record], ends: Mapping[int, int]) -> int:
        """Something in the batch will never be applied: gives that up, and how many were applied."""
        found = {(record.partition, record.offset): record for record in records}
        done = 0
        for partition, offset, one in batch.singles():
            try:
                # this offset is not passed before what was read there is in its place, or given up
                done += await self._to_redis(one, {partition: offset} if offset != ALWAYS else {})
            except ScriptFailed as why:
                record = found.pop((partition, offset), None)
                if record is not None:
                    await self._give_up(record, str(why))
                else:
                    log.error("what MySQL has for %s cannot be applied: %s", one.keys[1], why)
        await self._to_redis(Batch(self._redis.prefix, self._topic), ends)
        return done

    async def _to_redis(self, batch: Batch, ends: Mapping[int, int]) -> int:
        began = clock_ns()

        def script() -> Awaitable[int]:
            return self._redis.script(None, APPLY, batch.keys, batch.args(self._channel, clock_ns(), ends))

        done = await self._until_done(script)
        self._status.redis_ns += clock_ns() - began
        return done

    async def _until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        wait_s, longest_s = _WAIT_S
        while True:
            try:
                return await attempt()
            except (RedisUnavailable, KafkaUnavailable) as why:
                reason: Exception = why
            except Refused as why:
                if why.code != "UNAVAILABLE":
                    raise
                reason = why
            if self._stopping():
                raise Stopped
            log.warning("the batch is tried again: %s", reason)
            self._status.retries += 1
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, longest_s)

    def _count(self, records: Sequence[Record], events: int, done: int) -> None:
        status = self._status
        status.batches += 1
        self.ages.notes["batches"] += 1
        status.applied += done
        status.skipped += events - done
        status.behind_ms = max(0, now_ms() - min(record.timestamp for record in records))
        self.ages.note((record.timestamp for record in records), time.time_ns() / 1e6)

    # --- queue_first

    async def _write_mysql(self, batch: Batch, pairs: Sequence[Pair], store: MySQL) -> list[Pair]:
        """Writes the marks to MySQL and adds what they changed; gives the records that Redis has not yet."""
        began = clock_ns()
        self.ages.notes["batches_compared"] += bool(pairs)
        fresh = await self._until_done(lambda: self._fresh(pairs))
        if any(isinstance(event, Marker) for _, event in fresh):
            store.forget()  # a server was started or reset
        reads = Marks(await self._until_done(lambda: self._members_only(fresh, ReadQueued)))
        if reads.marks:
            for moved in await self._once(batch, reads, store.apply_reads):
                source = reads.source(moved.user, moved.conversation, moved.up_to_seq)
                for event in read_events(moved, source.origin, source.device, self._receipt_members):
                    batch.add(event, source.partition, source.offset)
        delivered = Marks(await self._until_done(lambda: self._members_only(fresh, DeliveredQueued)))
        if delivered.marks:
            for reached in await self._once(batch, delivered, store.apply_delivered):
                source = delivered.source(reached.user, reached.conversation, reached.delivered_seq)
                told = delivered_event(reached, source.origin, source.device)
                batch.add(told, source.partition, source.offset)
        self._status.mysql_ns += clock_ns() - began
        return fresh

    async def _once(
        self, batch: Batch, marks: Marks, write: Callable[[list[QueuedMark], Trace], Awaitable[Sequence[T]]]
    ) -> Sequence[T]:
        """What the marks changed.  Where they may have been written before without our hearing of it, what
        MySQL knows more than Redis is added to the batch."""
        recovery = self._recovery
        assert recovery is not None
        doubtful = recovery.suspects(marks.records)

        async def attempt() -> tuple[list[Lost], Sequence[T]]:
            nonlocal doubtful
            lost = await recovery.lost(marks.marks) if doubtful else []
            doubtful = True  # if this fails, it may have been written all the same
            return lost, await write(marks.marks, Trace())

        lost, changed = await self._until_done(attempt)
        for one in lost:
            one.add_to(batch)
        return changed

    async def _members_only(
        self, pairs: Sequence[Pair], kind: type[ReadQueued]
    ) -> list[tuple[Record, ReadQueued]]:
        """Without the marks of people who are not in the conversation (any more: it was wiped since)."""
        kept: list[tuple[Record, ReadQueued]] = []
        for record, event in pairs:
            if type(event) is kind:
                items = [item for item in event.value if await self._is_member(event.user, item.conversation)]
                self._status.dropped += len(event.value) - len(items)
                kept.append((record, msgspec.structs.replace(event, value=items)))
        return kept

    async def _is_member(self, user: int, conversation: str) -> bool:
        assert self._store is not None
        try:
            await self._store.member(user, conversation, Trace())
        except Refused as why:
            if why.code != "NOT_MEMBER":
                raise
            return False
        return True

    async def _fresh(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Without those that Redis has already, which MySQL had before."""
        partitions = sorted({record.partition for record, _ in pairs})
        if not partitions:
            return []
        found = await self._redis.command(None, "HMGET", self._offsets, *partitions)
        applied = {partition: int(value or 0) for partition, value in zip(partitions, found, strict=True)}
        return [pair for pair in pairs if pair[0].offset >= applied[pair[0].partition]]


class Source:
    """The record that an event came from, and who asked."""

    __slots__ = ("device", "offset", "origin", "partition")

    def __init__(self, partition: int, offset: int, origin: str, device: str) -> None:
        self.partition = partition
        self.offset = offset
        self.origin = origin
        self.device = device


class Marks:
    """The marks of a batch as MySQL takes them, and where each came from."""

    def __init__(self, pairs: Iterable[tuple[Record, ReadQueued]]) -> None:
        self.marks: list[QueuedMark] = []
        self.records: list[Record] = []
        self._sources: dict[tuple[int, str, int | None], Source] = {}
        for record, event in pairs:
            self.records.append(record)
            source = Source(record.partition, record.offset, event.origin, event.device)
            for item in event.value:
                self.marks.append(QueuedMark(event.user, item.conversation, item.up_to_seq, event.at))
                for seq in (item.up_to_seq, None):
                    self._sources.setdefault((event.user, item.conversation, seq), source)

    def source(self, user: int, conversation: Conversation, seq: int) -> Source:
        """Of the first mark that said `seq`; of the user's first in that conversation where none did, since
        MySQL cuts a mark at the end of the conversation."""
        name = conversation.conversation_id
        return self._sources.get((user, name, seq)) or self._sources[user, name, None]


def _add_applied(batch: Batch, pairs: Iterable[Pair]) -> None:
    for record, event in pairs:
        if isinstance(event, CursorMoved | MessageSent):
            batch.add(event, record.partition, record.offset)


async def _not_dropped(pairs: Sequence[Pair]) -> list[Pair]:
    askers = [_asker_of(event) for _, event in pairs]
    left_out = await failpoints.hit_each("consumer_after_poll", askers, failing=RuntimeError)
    return [pair for i, pair in enumerate(pairs) if i not in left_out]


def _asker_of(event: Event) -> Asker:
    """Whose change the event tells, as failpoints know it: no operation id goes through the log."""
    match event:
        case ReadQueued():
            return Asker(event.user, "", tuple(item.conversation for item in event.value))
        case CursorMoved():
            conversation, _, user = event.key.removeprefix("rs:").rpartition(":")
            return Asker(int(user), "", (conversation,))
        case MessageSent():
            return Asker(event.value.sender, "", (event.key.removeprefix("head:"),))
        case _:
            return Asker()
