"""Kafka, as the queue scheme uses it: an ordered way in (`EventLog`), an at-least-once way out
(`EventReader`) and a place for what cannot be read (`DeadLetters`).

What an event says and what is done about it is the scheme's business (`schemes/queue/`).

Three decisions carry the rest:

* One pump coroutine is the only caller of `producer.send`.  With a task per event, order per key is lost as
  soon as the broker stalls, because the waiters of a full batch wake in no order.
* The future of `send` is the broker's word.  It may stay open for as long as the broker is away (idempotent
  batches never expire), so whoever waits has a deadline of their own, which does not cancel the future.
* Offsets are committed by name, after they were applied, in the background.  A bare `commit()` commits what
  was fetched, which is more than was applied; awaiting each commit costs 5 to 10 ms of lag on Kafka 4.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias
from zlib import crc32

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
)

from schemes import failpoints
from schemes.failpoints import Asker
from schemes.ports import Refused
from schemes.stores import distance
from schemes.stores.kafka_topics import KafkaUnavailable, create_topic, delete_topic, leave

log = logging.getLogger(__name__)

PARTITIONS: Final = 8
ACK_DEADLINE_S: Final = 4.0
"""How long a request waits for the broker before it answers UNAVAILABLE; below the clients' 5 s."""
START_S: Final = 30.0
COMMIT_S: Final = 2.0
WAITING_MAX: Final = 20_000
"""Events handed over and not yet acknowledged; beyond it new requests are refused before they begin."""
BATCH_MAX: Final = 500
"""Records that a reader takes at once: a script over 1,000 keys holds Redis for about 4 ms."""
COMMIT_INTERVAL_S: Final = 0.1
PRODUCER: Final[Mapping[str, Any]] = {
    "acks": "all",
    "enable_idempotence": True,
    "linger_ms": 0,  # one produce request is in flight per broker: it batches by itself under load
    "max_batch_size": 16384,
    "request_timeout_ms": 40_000,
}
CONSUMER: Final[Mapping[str, Any]] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",  # a new group must not skip what is there
    "session_timeout_ms": 10_000,
    "heartbeat_interval_ms": 2_000,
    "fetch_min_bytes": 1,
    "fetch_max_wait_ms": 500,
}

TOO_LARGE: Final = (MessageSizeTooLargeError, RecordTooLargeError)
"""What no second attempt will change."""

Keyed: TypeAlias = tuple[bytes, bytes]
"""An event for the log: the key that its order belongs to, and its bytes."""


def partition_of(key: bytes, partitions: int) -> int:
    """Where the events of one key live, in order."""
    return crc32(key) % partitions


# --- the way in -------------------------------------------------------------------------------------------


class Handover:
    """Some events of one request on their way to the broker; `wait()` returns when it has all of them."""

    __slots__ = ("_deadline", "_error", "_left", "_waiter")

    def __init__(self, events: int, deadline: float) -> None:
        self._left = events
        self._deadline = deadline
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def settled(self, error: BaseException | None) -> None:
        """One event has its answer: the log calls this once for each."""
        self._left -= 1
        self._error = self._error or error
        if (not self._left or error) and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Raises Refused("UNAVAILABLE") if the deadline comes first, or the broker's answer is no.

        The events are not taken back: they may still reach the log later."""
        if self._left and not self._error:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_at(self._deadline, self._expire)
            try:
                await self._waiter
            finally:
                timer.cancel()
        if self._error is not None:
            raise Refused("UNAVAILABLE", f"the broker did not take the event: {self._error}")
        if self._left:
            raise Refused("UNAVAILABLE", "the broker did not acknowledge the event in time")

    async def answered(self) -> BaseException | None:
        """Waits, without a deadline, until each event has its answer; the first that was no success."""
        while self._left:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._error

    def _expire(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Item:
    __slots__ = ("asker", "handover", "key", "partition", "value")

    def __init__(
        self, key: bytes, value: bytes, partition: int, handover: Handover, asker: Asker | None
    ) -> None:
        self.asker = asker
        self.key = key
        self.value = value
        self.partition = partition
        self.handover = handover


class EventLog:
    """The producing side, one per server process.  Order per key is the order of `put`."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        partitions: int = PARTITIONS,
        flush_messages: int = 0,
        tick_ms: int = 0,
        waiting_max: int = WAITING_MAX,
        ack_deadline_s: float = ACK_DEADLINE_S,
        client_id: str = "readstate",
        make_producer: Callable[[], Any] | None = None,
    ) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._flush_messages = flush_messages
        self._tick_s = tick_ms / 1000
        self._waiting_max = waiting_max
        self._ack_deadline_s = ack_deadline_s
        self._make_producer = make_producer or partial(
            AIOKafkaProducer, bootstrap_servers=bootstrap, client_id=client_id, **PRODUCER
        )
        self._queue: list[_Item] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._outstanding = 0
        self._ends: dict[int, int] = {}
        self._counts = {"produced": 0, "failed": 0, "send_retries": 0, "producers_rebuilt": 0}

    async def start(self) -> None:
        """Connects, makes the topic if need be and starts the pump.  Raises KafkaUnavailable."""
        await create_topic(self._bootstrap, self.topic, self._partitions, flush_messages=self._flush_messages)
        try:
            async with asyncio.timeout(START_S):
                await self._connect()
                self._partitions = len(await self._producer.partitions_for(self.topic))
        except (TimeoutError, KafkaError) as why:
            await leave(self._producer.stop())
            raise KafkaUnavailable(
                f"Kafka at {self._bootstrap} has no topic {self.topic} for us after {START_S:g} s: {why!r}"
            ) from why
        self._pump = asyncio.create_task(self._run(), name="kafka-pump")

    async def close(self, timeout_s: float = 5.0) -> None:
        """Gives what was handed over a last chance, then leaves."""
        give_up = time.monotonic() + timeout_s
        if not await self.settled(timeout_s):
            log.warning("%d events never reached Kafka", self._outstanding)
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await leave(self._producer.stop(), max(0.5, give_up - time.monotonic()))

    @property
    def partitions(self) -> int:
        return self._partitions

    @property
    def full(self) -> bool:
        """True: refuse new work with OVERLOADED before it begins.  `put` itself never refuses, because after
        COMMIT an event must not be dropped."""
        return self._outstanding >= self._waiting_max

    @property
    def outstanding(self) -> int:
        """Events handed over and not yet acknowledged."""
        return self._outstanding

    def ends(self) -> dict[int, int]:
        """By partition: the offset after this producer's last acknowledged event."""
        return dict(self._ends)

    def put(self, events: Sequence[Keyed]) -> Handover:
        """Queues the events in this order.  Never blocks."""
        return self._enqueue([(key, value, partition_of(key, self._partitions)) for key, value in events])

    async def put_everywhere(self, value: bytes) -> dict[int, int]:
        """Puts one event into every partition behind everything handed over so far; `ends()` when it is in.

        A topic just made refuses its first records for up to 400 ms: this also takes that wait."""
        await self._enqueue([(b"", value, partition) for partition in range(self._partitions)]).wait()
        return self.ends()

    async def settled(self, timeout_s: float) -> bool:
        """Waits until everything handed over has its answer; False if that takes longer."""
        self._idle.clear()
        if self._outstanding:
            try:
                await asyncio.wait_for(self._idle.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    def stats(self) -> dict[str, Any]:
        return {**self._counts, "waiting": self._outstanding}

    def settings(self) -> dict[str, Any]:
        """What explains a latency: for the manifest of a run."""
        return {
            **PRODUCER,
            "topic": self.topic,
            "partitions": self._partitions,
            "partitioner": "crc32(key) % partitions",
            "tick_ms": round(self._tick_s * 1000),
            "waiting_max": self._waiting_max,
            "ack_deadline_s": self._ack_deadline_s,
        }

    def _enqueue(self, events: Sequence[tuple[bytes, bytes, int]]) -> Handover:
        handover = Handover(len(events), asyncio.get_running_loop().time() + self._ack_deadline_s)
        asker = failpoints.asker() if failpoints.on else None
        items = [_Item(key, value, partition, handover, asker) for key, value, partition in events]
        self._outstanding += len(events)
        if distance.rtt_ns:
            distance.later(partial(self._hand_over, items))
        else:
            self._hand_over(items)
        return handover

    def _hand_over(self, items: list[_Item]) -> None:
        self._queue += items
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if self._tick_s:
                await asyncio.sleep(self._tick_s)
            batch, self._queue = self._queue, []
            self._wake.clear()
            for item in batch:
                await self._append(item)

    async def _append(self, item: _Item) -> None:
        """Until the producer has the event: what raises here was certainly not written, so trying again
        neither doubles it nor moves it behind its successors."""
        if item.asker is not None and await failpoints.hit_each("after_ack_before_produce", [item.asker]):
            self._settled(item, None)
            return
        while True:
            try:
                future = await self._producer.send(
                    self.topic, item.value, key=item.key, partition=item.partition
                )
            except TOO_LARGE as why:
                self._settled(item, why)
                return
            except KafkaTimeoutError:  # its buffer stayed full for request_timeout_ms: the broker is away
                self._counts["send_retries"] += 1
            except KafkaError as why:
                self._counts["send_retries"] += 1
                await self._recover(why)
            else:
                future.add_done_callback(partial(self._answered, item))
                return

    async def _connect(self) -> None:
        """A new producer that has reached Kafka once."""
        while True:
            self._producer = self._make_producer()
            try:
                await self._producer.start()
            except KafkaConnectionError as why:
                await leave(self._producer.stop())
                log.warning("Kafka at %s does not answer yet: %r", self._bootstrap, why)
                await asyncio.sleep(0.5)
            else:
                return

    async def _recover(self, why: KafkaError) -> None:
        """A fatal error (fenced, out of sequence) ends an idempotent producer for good: make a new one."""
        log.warning("Kafka's producer failed: %r", why)
        await asyncio.sleep(0.1)
        if not why.retriable:
            self._counts["producers_rebuilt"] += 1
            await leave(self._producer.stop())
            await self._connect()

    def _answered(self, item: _Item, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            self._settled(item, ConnectionError("the producer was closed"))
        elif (error := future.exception()) is not None:
            self._settled(item, error)
        else:
            end = future.result().offset + 1
            self._ends[item.partition] = max(end, self._ends.get(item.partition, 0))
            if distance.rtt_ns:
                distance.later(partial(self._settled, item, None))
            else:
                self._settled(item, None)

    def _settled(self, item: _Item, error: BaseException | None) -> None:
        self._outstanding -= 1
        self._counts["produced" if error is None else "failed"] += 1
        item.handover.settled(error)
        if not self._outstanding:
            self._idle.set()


async def warm_up(bootstrap: str, topic: str, events: int, partitions: int = PARTITIONS) -> None:
    """Sends records to a throw-away topic and deletes it: a cold JVM has ten times the p99 of a warm one."""
    warm = EventLog(bootstrap, topic, partitions=partitions, ack_deadline_s=30.0, client_id="warm-up")
    await warm.start()
    try:
        value = b"x" * 200
        for first in range(0, events, 50):
            await warm.put([(b"%d" % (first + i), value) for i in range(min(50, events - first))]).wait()
    finally:
        await warm.close()
        await delete_topic(bootstrap, topic)


# --- the way out ------------------------------------------------------------------------------------------


class Record(Protocol):
    """What a consumer gets, as far as we look at it; `timestamp` is ms UTC at the producer."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def value(self) -> bytes: ...


class EventReader(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka publishes no types
    """Reads a topic as a member of a group, batch by batch, and commits what was applied, ten times a second.

    Membership is static (`group-member`): after kill -9 the restarted process takes its partitions back at
    once instead of waiting out its predecessor's session of 10 s."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        group: str,
        member: int,
        batch_max: int = BATCH_MAX,
        fetch_min_bytes: int = 1,
        fetch_max_wait_ms: int = 500,
    ) -> None:
        self.topic = topic
        self.committed: dict[int, int] = {}
        self._batch_max = batch_max
        self._bootstrap = bootstrap
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            group_instance_id=f"{group}-{member}",
            client_id=f"{group}-{member}",
            **{**CONSUMER, "fetch_min_bytes": fetch_min_bytes, "fetch_max_wait_ms": fetch_max_wait_ms},
        )
        self._next: dict[int, int] = {}
        self._applied: dict[int, int] = {}  # waiting to be committed
        self._busy = asyncio.Lock()
        self._committing: asyncio.Task[None] | None = None
        self._committed_at = 0.0
        self._reassigned = asyncio.Event()
        self.stopping = False

    async def start(self) -> None:
        """Returns as a member of the group.  Raises KafkaUnavailable; `close` is for that case, too."""
        self._consumer.subscribe([self.topic], listener=self)
        try:
            await self._consumer.start()
        except KafkaConnectionError as why:
            raise KafkaUnavailable(f"Kafka at {self._bootstrap} does not answer: {why}") from why

    async def run(
        self,
        apply: Callable[[Sequence[Record]], Awaitable[bool]],
        assigned: Callable[[Mapping[int, int]], Awaitable[None]],
    ) -> None:
        """Until `stop()`: `apply` gets up to batch_max records, in order within a partition, and returns when
        all are in their place (True) or it had to give up because of stop() (False).  `assigned` gets the
        next offset of each partition, whenever they changed.

        Errors that aiokafka does not know how to go on from are raised: the process should end."""
        while not self.stopping:
            got = await self._consumer.getmany(timeout_ms=200, max_records=self._batch_max)
            if distance.rtt_ns and got:
                await distance.way()
            if self._reassigned.is_set():
                self._reassigned.clear()
                await self._learn_positions(got)
                await assigned(self.positions())
            async with self._busy:
                await self._apply_mine(got, apply)
            self._commit_if_due()

    def stop(self) -> None:
        """`run` returns after the batch in hand."""
        self.stopping = True

    async def close(self) -> None:
        """Commits what was applied and leaves (a static member keeps its place).  Where the broker does not
        answer within COMMIT_S, what was not committed is read again by whoever comes next."""
        try:
            async with asyncio.timeout(COMMIT_S):
                if self._committing is not None:
                    await self._committing
                await self._commit()
        except TimeoutError:
            log.warning("offsets of %d partitions were not committed: no answer", len(self._applied))
        await leave(self._consumer.stop())

    def positions(self) -> dict[int, int]:
        """By assigned partition: the offset of the next record to apply."""
        return dict(self._next)

    def behind(self) -> int:
        """Records in the log that are not applied yet, as of the last fetch.  Local: `end_offsets` would wait
        up to half a second behind the consumer's own long poll."""
        total = 0
        for where in self._consumer.assignment():  # in a rebalance `_next` still has those that are gone
            following = self._next.get(where.partition)
            if following is not None:
                total += max(0, (self._consumer.highwater(where) or 0) - following)
        return total

    def uncommitted(self) -> int:
        return len(self._applied)

    async def _apply_mine(
        self, got: Mapping[Any, Sequence[Record]], apply: Callable[[Sequence[Record]], Awaitable[bool]]
    ) -> None:
        mine = self._consumer.assignment()  # what was revoked while we waited is not ours any more
        records = [record for where, some in got.items() if where in mine for record in some]
        if not records or not await apply(records):
            return
        ends = {record.partition: record.offset + 1 for record in records}
        self._applied.update(ends)
        self._next.update(ends)

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        free = self._committing is None or self._committing.done()
        if self._applied and free and now - self._committed_at >= COMMIT_INTERVAL_S:
            self._committed_at = now
            self._committing = asyncio.create_task(self._commit(), name="kafka-commit")

    async def _commit(self) -> None:
        offsets = dict(self._applied)
        if not offsets:
            return
        try:
            if distance.rtt_ns:
                await distance.way()
            await self._consumer.commit(
                {TopicPartition(self.topic, partition): end for partition, end in offsets.items()}
            )
            if distance.rtt_ns:
                await distance.way()
        except (
            CommitFailedError,
            IllegalStateError,
        ) as why:  # lost the partition: done again elsewhere, harmless
            log.info("an offset commit came too late: %r", why)
        except KafkaError as why:  # the broker is away: the next commit says the same or more
            log.info("an offset commit failed: %r", why)
            return
        else:
            self.committed.update(offsets)
        for partition, end in offsets.items():
            if self._applied.get(partition) == end:
                del self._applied[partition]

    async def _learn_positions(self, got: Mapping[Any, Sequence[Record]]) -> None:
        mine = {where.partition for where in self._consumer.assignment()}
        fetched = {where.partition: some[0].offset for where, some in got.items() if some}
        for partition in mine - fetched.keys():
            where = TopicPartition(self.topic, partition)
            fetched[partition] = await self._consumer.position(where)
        self._next = {partition: fetched[partition] for partition in sorted(mine)}

    async def on_partitions_revoked(self, revoked: Sequence[Any]) -> None:
        """Finishes the batch in hand, then lets go."""
        async with self._busy:
            if revoked:
                await self._commit()

    async def on_partitions_assigned(self, assigned: Sequence[Any]) -> None:
        log.debug("assigned %s", assigned)
        self._reassigned.set()


class DeadLetters:
    """Where records go that cannot be read, so that they never block a partition."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._producer: Any = None

    async def put(self, record: Record, reason: str) -> None:
        """Raises KafkaUnavailable: the caller tries again, and a letter may then be there twice."""
        headers = [("reason", reason.encode()), ("from", f"{record.partition}:{record.offset}".encode())]
        try:
            async with asyncio.timeout(ACK_DEADLINE_S):
                if self._producer is None:
                    await create_topic(self._bootstrap, self.topic, 1)
                    self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, **PRODUCER)
                    await self._producer.start()
                await self._producer.send_and_wait(self.topic, record.value, headers=headers)
        except (KafkaError, TimeoutError) as why:
            await self.close()  # the next attempt has a producer of its own
            raise KafkaUnavailable(f"the dead letter was not taken: {why!r}") from why

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await leave(producer.stop())
