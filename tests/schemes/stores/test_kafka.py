"""The pump, the acknowledgements and their deadline, against a producer that does what the test says."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)

from schemes.ports import Refused
from schemes.stores import kafka, kafka_topics
from schemes.stores.kafka import DeadLetters, EventLog, EventReader, partition_of
from schemes.stores.kafka_topics import KafkaUnavailable


class Producer:
    """Takes what it is sent; answers at once, or when `answer` is called."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.sent: list[tuple[int, bytes]] = []
        self.raises: list[Exception] = []
        self.open: list[tuple[int, asyncio.Future[Any]]] = []
        self.stopped = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(4))

    async def send(self, topic: str, value: bytes, *, key: bytes, partition: int) -> asyncio.Future[Any]:
        await self.gate.wait()
        if self.raises:
            raise self.raises.pop(0)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sent.append((partition, value))
        self.open.append((partition, future))
        if self.at_once:
            self.answer()
        return future

    def answer(self, error: Exception | None = None) -> None:
        for index, (_, future) in enumerate(self.open):
            if error:
                future.set_exception(error)
            else:
                future.set_result(SimpleNamespace(offset=100 + index))
        self.open.clear()


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Producer:
    async def there_already(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(kafka, "create_topic", there_already)
    return Producer()


async def log_of(producer: Producer, **options: Any) -> EventLog:
    log = EventLog("nowhere:1", "t", make_producer=lambda: producer, **options)
    await log.start()
    return log


def test_a_key_has_one_partition_and_keys_use_them_all() -> None:
    keys = [b"u%d" % user for user in range(1000)]
    used = [partition_of(key, 8) for key in keys]
    assert used == [partition_of(key, 8) for key in keys]
    assert set(used) == set(range(8))
    assert partition_of(b"123456789", 1 << 33) == 0xCBF43926  # the check value of CRC-32


async def test_events_are_sent_in_the_order_of_put_even_if_sending_stalls(producer: Producer) -> None:
    log = await log_of(producer)
    producer.gate.clear()
    handovers = [log.put([(b"a", b"%d" % i), (b"b", b"b%d" % i)]) for i in range(50)]
    await asyncio.sleep(0)
    producer.gate.set()
    await asyncio.gather(*(handover.wait() for handover in handovers))
    assert [value for _, value in producer.sent] == [
        value for i in range(50) for value in (b"%d" % i, b"b%d" % i)
    ]
    assert all(where == partition_of(b"a", 4) for where, value in producer.sent if value.isdigit())
    await log.close()


async def test_a_handover_waits_for_the_last_of_its_events(producer: Producer) -> None:
    producer.at_once = False
    log = await log_of(producer)
    waiting = asyncio.create_task(log.put([(b"a", b"1"), (b"b", b"2")]).wait())
    await asyncio.sleep(0.01)
    assert log.outstanding == 2
    assert not waiting.done()
    producer.answer()
    await waiting
    assert log.outstanding == 0
    assert max(log.ends().values()) == 102
    await log.close()


async def test_no_answer_in_time_is_unknown_and_the_event_is_not_taken_back(producer: Producer) -> None:
    producer.at_once = False
    log = await log_of(producer, ack_deadline_s=0.05)
    began = time.monotonic()
    with pytest.raises(Refused) as refusal:
        await log.put([(b"a", b"1")]).wait()
    assert refusal.value.code == "UNAVAILABLE"
    assert 0.04 < time.monotonic() - began < 1
    assert log.outstanding == 1
    producer.answer()
    assert await log.settled(1)
    assert log.stats()["produced"] == 1
    await log.close()


async def test_full_is_said_before_and_put_never_refuses(producer: Producer) -> None:
    producer.at_once = False
    log = await log_of(producer, waiting_max=2)
    log.put([(b"a", b"1")])
    assert not log.full
    log.put([(b"a", b"2"), (b"a", b"3")])
    assert log.full
    await asyncio.sleep(0.01)
    assert [value for _, value in producer.sent] == [b"1", b"2", b"3"]
    producer.answer()
    await asyncio.sleep(0)
    assert not log.full
    await log.close()


async def test_what_send_did_not_take_is_sent_again_before_its_successors(producer: Producer) -> None:
    log = await log_of(producer)
    producer.raises = [KafkaTimeoutError(), KafkaTimeoutError()]
    await log.put([(b"a", b"1"), (b"a", b"2")]).wait()
    assert [value for _, value in producer.sent] == [b"1", b"2"]
    assert log.stats()["send_retries"] == 2
    await log.close()


async def test_an_event_that_is_too_large_fails_alone(producer: Producer) -> None:
    log = await log_of(producer)
    producer.raises = [MessageSizeTooLargeError()]
    with pytest.raises(Refused, match="did not take"):
        await log.put([(b"a", b"large")]).wait()
    await log.put([(b"a", b"2")]).wait()
    assert log.stats()["failed"] == 1
    await log.close()


async def test_a_producer_that_ended_for_good_is_replaced(producer: Producer) -> None:
    second = Producer()
    made = iter([producer, second])
    log = EventLog("nowhere:1", "t", make_producer=lambda: next(made))
    await log.start()
    producer.raises = [OutOfOrderSequenceNumber()]
    await log.put([(b"a", b"1")]).wait()
    assert producer.stopped
    assert [value for _, value in second.sent] == [b"1"]
    await log.close()


async def test_a_tick_collects_before_it_sends(producer: Producer) -> None:
    log = await log_of(producer, tick_ms=30)
    first = log.put([(b"a", b"1")])
    await asyncio.sleep(0.005)
    assert producer.sent == []
    await asyncio.gather(first.wait(), log.put([(b"a", b"2")]).wait())
    assert len(producer.sent) == 2
    await log.close()


async def test_put_everywhere_reaches_every_partition_behind_what_was_put(producer: Producer) -> None:
    log = await log_of(producer)
    log.put([(b"a", b"1")])
    ends = await log.put_everywhere(b"mark")
    assert sorted(ends) == [0, 1, 2, 3]
    assert producer.sent[0][1] == b"1"
    assert [where for where, value in producer.sent if value == b"mark"] == [0, 1, 2, 3]
    await log.close()


async def test_a_closed_log_says_what_never_arrived(
    producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    producer.at_once = False
    log = await log_of(producer)
    log.put([(b"a", b"1")])
    await log.close(timeout_s=0.05)
    assert "1 events never reached Kafka" in caplog.text


async def test_what_is_behind_counts_only_what_is_still_assigned() -> None:
    """In a rebalance: the reader has not learnt yet that partition 1 is gone, the client has."""

    class Rebalancing:
        def assignment(self) -> set[TopicPartition]:
            return {TopicPartition("t", 0)}

        def highwater(self, where: TopicPartition) -> int:
            assert where.partition == 0, "Partition is not assigned"
            return 7

    reader = EventReader("nowhere:1", "t", group="g", member=0)
    reader._consumer = Rebalancing()
    assert reader.behind() == 0
    reader._next = {0: 5, 1: 3}
    assert reader.behind() == 2


async def test_a_log_whose_topic_is_never_known_does_not_start(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(topic: str) -> set[int]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(producer, "partitions_for", never)
    monkeypatch.setattr(kafka, "START_S", 0.05)
    with pytest.raises(KafkaUnavailable, match="Kafka at nowhere:1 has no topic t for us"):
        await log_of(producer)
    assert producer.stopped


async def test_a_reader_leaves_a_broker_that_answers_no_commit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent:
        async def commit(self, offsets: object) -> None:
            await asyncio.Event().wait()

        async def stop(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(kafka, "COMMIT_S", 0.05)
    monkeypatch.setattr(kafka_topics.leave, "__defaults__", (0.05,))
    reader = EventReader("nowhere:1", "t", group="g", member=0)
    reader._consumer = Silent()
    reader._applied = {0: 7}
    async with asyncio.timeout(2):
        await reader.close()
    assert "offsets of 1 partitions were not committed" in caplog.text
    assert reader.committed == {}


async def test_a_dead_letter_that_was_not_taken_goes_through_another_producer(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Letterbox(Producer):
        fails = False

        async def start(self) -> None:
            if self.fails:
                raise KafkaConnectionError("gone")

        async def send_and_wait(self, topic: str, value: bytes, *, headers: Any) -> None:
            self.sent.append((0, value))

    first, second = Letterbox(), Letterbox()
    first.fails = True
    made = iter([first, second])
    monkeypatch.setattr(kafka, "AIOKafkaProducer", lambda **_: next(made))
    letters = DeadLetters("nowhere:1", "t-dead")
    record = SimpleNamespace(partition=1, offset=7, timestamp=0, value=b"nonsense")
    with pytest.raises(KafkaUnavailable, match="the dead letter was not taken"):
        await letters.put(record, "why")
    assert first.stopped
    await letters.put(record, "why")
    assert second.sent == [(0, b"nonsense")]
    await letters.close()
    assert second.stopped
