"""The queue scheme on real MySQL, Redis and Kafka: order, at least once, nothing twice, nothing lost; what
happens when the consumer, the broker or Redis goes away."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench.services import Stack
from schemes.ports import Marked, Refused, Trace
from schemes.queue import build, scheme
from schemes.queue.applier import Applier
from schemes.queue.events import Marked as Marked_
from schemes.queue.events import ReadQueued
from schemes.queue.health import Status
from schemes.queue.script import offsets_key
from schemes.stores.kafka import DeadLetters, EventLog
from schemes.stores.redis import RedisStore, RedisUnavailable
from schemes.stores.rows import QueuedMark
from schemes.stores.times import now_ms
from tests.schemes.queue.conftest import ANN, BOB, CYD, SEED, Consumer, Make, Pushes, World, caller, chatter

pytestmark = pytest.mark.services
ORDERS = ["db_first", "queue_first"]


@pytest.mark.parametrize("model", ["flags", "cursor"])
@pytest.mark.parametrize("order", ORDERS)
async def test_redis_ends_as_mysql_and_everything_is_told_once_in_order(
    make: Make, order: str, model: str
) -> None:
    world = await make(queue_order=order, model=model)
    await chatter(world, 20)
    await world.settle()
    await world.assert_converged()
    await assert_changes_told_once(world)
    if order == "db_first":  # queue_first has two writers: a SEND here, the marks in the consumer
        for user in (ANN, BOB):
            ids = world.pushes.change_ids(user)
            assert ids == sorted(ids)
    messages = [(frame["conversation_id"], frame["seq"]) for frame in world.pushes.frames(ANN, "MESSAGE")]
    assert [seq for where, seq in messages if where == "d"] == list(range(7, 47))
    assert [seq for where, seq in messages if where == "g"] == list(range(10, 30))
    for user in (ANN, BOB):
        frames = [f for f in world.pushes.frames(user, "UPDATE") if f["key"] == f"read/d/u{user}"]
        versions = [frame["version"] for frame in frames]
        assert sorted(set(versions)) == sorted(versions)
        if order == "db_first":
            assert versions == sorted(versions)


async def assert_changes_told_once(world: World) -> None:
    for user in (ANN, BOB):
        _, last = await world.scheme.store.position(user, Trace())
        assert sorted(world.pushes.change_ids(user)) == list(range(1, last + 1))


async def test_a_consumer_that_suspects_all_it_finds_tells_it_once_all_the_same(make: Make) -> None:
    """It looks into MySQL for what a predecessor may have left, and finds changes there whose own events are
    in the log behind."""
    world = await make(queue_order="queue_first")
    await world.read(ANN, "d", 6)  # Redis knows both of them
    await world.settle()
    await world.consumer.stop()
    await chatter(world, 20)
    await world.consumer.start()
    await world.settle()
    await world.assert_converged()
    await assert_changes_told_once(world)


async def test_an_acknowledged_read_of_queue_first_knows_no_result(make: Make) -> None:
    world = await make(queue_order="queue_first")
    trace = Trace()
    (read,) = await world.scheme.read(caller(ANN), [Marked("d", 6)], trace)
    assert (read.applied, read.read_seq, read.unread, read.version, read.read_time) == (
        *(None, 6),
        *(None, None, None),
    )
    (delivered,) = await world.scheme.delivered(caller(ANN), [Marked("g", 9)], Trace())
    assert (delivered.applied, delivered.delivered_seq) == (None, 9)
    assert trace.queue > 0
    await world.settle()
    (own,) = world.pushes.frames(ANN, "UPDATE")
    assert own["value"]["unread"] == 0
    assert own["origin_device"] == "phone"
    assert {push.origin for push in world.pushes.pushed} == {"session-1"}


@pytest.mark.parametrize("order", ORDERS)
async def test_what_is_ahead_or_of_a_stranger_is_refused_before_the_log(make: Make, order: str) -> None:
    world = await make(queue_order=order)
    before = world.scheme.stats()["kafka_produced"]
    with pytest.raises(Refused) as ahead:
        await world.read(ANN, "d", 7)
    assert (ahead.value.code, ahead.value.current) == ("SEQ_AHEAD", {"last_seq": 6})
    with pytest.raises(Refused) as stranger:
        await world.read(CYD, "d", 1)
    assert stranger.value.code == "NOT_MEMBER"
    assert world.scheme.stats()["kafka_produced"] == before


async def test_both_orders_end_alike(make: Make) -> None:
    ends = []
    for order in ORDERS:
        world = await make(queue_order=order)
        for number in range(10):
            seq = await world.send(ANN, "g", f"m{number}")
            await world.settle()
            await world.read(BOB, "g", seq)
            await world.read(BOB, "g", seq - 1)
            await world.read(CYD, "g", seq)
            await world.scheme.delivered(caller(BOB), [Marked("d", 6)], Trace())
        await world.settle()
        await world.assert_converged()
        ends.append((await world.rows("store"), world.pushes.change_ids(BOB)))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_killed_consumer_loses_nothing(make: Make, order: str) -> None:
    world = await make(queue_order=order)

    async def assassin() -> None:
        for _ in range(3):
            await asyncio.sleep(0.3)
            await world.consumer.stop(signal.SIGKILL)
            await world.consumer.start()

    await asyncio.gather(chatter(world, 40), assassin())
    await world.settle()
    await world.assert_converged()
    for user in (ANN, BOB):
        last = (await world.scheme.store.position(user, Trace()))[1]
        assert set(world.pushes.change_ids(user)) == set(range(1, last + 1))
    if order == "db_first":  # the offsets that Redis keeps tell what has been told
        assert len(world.pushes.change_ids(ANN)) == len(set(world.pushes.change_ids(ANN)))


async def test_reading_the_log_again_changes_nothing_and_tells_nobody(make: Make) -> None:
    world = await make()
    await chatter(world, 10)
    await world.settle()
    pushed, rows = len(world.pushes.pushed), await world.rows("cache")
    again = Consumer({**world.options, "group": "another"})
    await again.start()
    try:
        end = sum((await world.consumer.status())["positions"].values())
        await until(lambda: _positions(again), lambda seen: seen >= end)
        status = await again.status()
        assert status["applied"] == 0
        assert status["skipped"] >= 60
    finally:
        await again.stop()
    await world.settle()
    assert len(world.pushes.pushed) == pushed
    assert await world.rows("cache") == rows


async def _positions(consumer: Consumer) -> int:
    return sum((await consumer.status())["positions"].values())


async def until(look: object, enough: object, timeout_s: float = 10.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not enough(seen := await look()):  # type: ignore[operator]
        assert time.monotonic() < give_up, seen
        await asyncio.sleep(0.05)


async def test_a_record_that_is_no_event_becomes_a_dead_letter_and_blocks_nobody(make: Make) -> None:
    world = await make()
    log = EventLog(world.options["kafka-bootstrap"], world.options["topic"])
    await log.start()
    await log.put_everywhere(b"\xffnonsense")
    await log.close()
    await world.read(ANN, "d", 6)
    await world.settle()
    await world.assert_converged()
    assert (await world.consumer.status())["dead_letters"] == 8
    letters = AIOKafkaConsumer(
        bootstrap_servers=world.options["kafka-bootstrap"], auto_offset_reset="earliest"
    )
    await letters.start()
    try:
        letters.assign([TopicPartition(f"{world.options['topic']}-dead", 0)])
        letter = await asyncio.wait_for(letters.getone(), 10)
        assert letter.value == b"\xffnonsense"
        assert dict(letter.headers)["from"].partition(b":")[0] in {b"%d" % n for n in range(8)}
    finally:
        await letters.stop()


@pytest.mark.parametrize("order", ORDERS)
async def test_while_kafka_is_away_the_outcome_is_unknown_and_later_it_is_all_there(
    make: Make, stack: Stack, order: str
) -> None:
    world = await make(queue_order=order)
    stack.signal("kafka", signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(Refused) as refusal:
            await world.read(ANN, "d", 6)
        assert refusal.value.code == "UNAVAILABLE"
        assert 3.5 < time.monotonic() - began < 5
        assert await world.scheme.drain(0.2) == {"queue_unacknowledged": 2 if order == "db_first" else 1}
    finally:
        stack.signal("kafka", signal.SIGCONT)
    await world.settle(30)
    await world.assert_converged()
    assert (await world.scheme.held("cache", ANN, "d")).read_seq == 6  # type: ignore[union-attr]


async def test_a_full_queue_refuses_before_commit(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await make(consumer=False)
    monkeypatch.setattr(EventLog, "full", True)
    for attempt in (
        world.scheme.read(caller(ANN), [Marked("d", 6)], Trace()),
        world.scheme.delivered(caller(ANN), [Marked("d", 6)], Trace()),
        world.scheme.send(caller(ANN), "d", "m", "text", Trace()),
    ):
        with pytest.raises(Refused) as refusal:
            await attempt
        assert (refusal.value.code, refusal.value.retry_ms) == ("OVERLOADED", 500)
    assert (await world.scheme.held("store", ANN, "d")).read_seq == 5  # type: ignore[union-attr]


@pytest.mark.parametrize("order", ORDERS)
async def test_redis_that_comes_back_empty_is_filled_from_mysql_and_the_batch_is_not_lost(
    make: Make, stack: Stack, order: str
) -> None:
    world = await make(queue_order=order)
    await chatter(world, 5)
    await world.settle()
    await world.consumer.stop()
    await world.read(ANN, "g", 11)
    stack.restart("redis")
    await world.consumer.start()
    await world.settle()
    assert "broke" in world.pushes.lost_reasons[0]
    for user in (ANN, BOB, CYD):
        page = await world.scheme.state(user, None, None, 10, Trace())
        change_id, rows = await world.scheme.store.states(user, None, Trace())
        assert page.change_id == change_id
        wanted = {row.conversation_id: (row.read_seq, row.version, row.last_seq) for row in rows}
        assert {s.conversation_id: (s.read_seq, s.version, s.last_seq) for s in page.conversations} == wanted
    await world.assert_converged()
    await chatter_again(world)


async def chatter_again(world: World) -> None:
    seq = await world.send(CYD, "g", "after")
    await world.read(ANN, "g", seq)
    await world.settle()
    await world.assert_converged()


async def test_a_broken_subscription_is_told_and_comes_back(make: Make) -> None:
    world = await make()
    await world.scheme._redis.command(None, "CLIENT", "KILL", "TYPE", "pubsub")
    await until_lost(world.pushes, 2)
    assert "away until now" in world.pushes.lost_reasons[1]
    await world.read(ANN, "d", 6)
    await world.settle()
    assert world.pushes.change_ids(ANN) == [1]


async def test_what_cannot_be_read_on_the_bus_is_told_and_the_next_is_heard(make: Make) -> None:
    world = await make()
    await world.scheme._redis.command(None, "PUBLISH", world.scheme._bus._channel, b'{"at_ns":1,"tell":[x]}')
    await until_lost(world.pushes, 1)
    assert "pushes could not be read" in world.pushes.lost_reasons[0]
    await world.read(ANN, "d", 6)
    await world.settle()
    assert world.pushes.change_ids(ANN) == [1]
    assert world.scheme.stats()["bus_poison"] == 1


async def until_lost(pushes: Pushes, times: int) -> None:
    give_up = time.monotonic() + 5
    while len(pushes.lost_reasons) < times:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)


async def test_reset_leaves_what_is_still_in_the_log_behind(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheme, "RESET_S", 0.1)
    world = await make(consumer=False)
    await world.send(ANN, "d", "old")
    await world.read(BOB, "d", 7)
    assert (await world.scheme.drain(0.1))["queue_events"] >= 2
    await world.scheme.reset()
    await world.scheme.seed(SEED, done=True, warm=False)
    await world.consumer.start()
    await world.settle()
    await world.assert_converged()
    assert world.pushes.pushed == []
    assert (await world.scheme.held("cache", BOB, "d")).last_seq == 6  # type: ignore[union-attr]
    await chatter_again(world)


async def test_offsets_of_another_log_are_forgotten_at_the_start(make: Make, stack: Stack) -> None:
    world = await make(consumer=False)
    key = offsets_key("", world.options["topic"])
    await world.scheme._redis.command(None, "HSET", key, *(x for n in range(8) for x in (n, 1_000_000)))
    second = build({**world.options, "node": "1"}, Pushes())
    await second.start()
    await second.close()
    await world.consumer.start()
    await world.read(ANN, "d", 6)
    await world.settle()
    assert world.pushes.change_ids(ANN) == [1]


async def test_lag_is_seen_and_goes(make: Make) -> None:
    world = await make(consumer=False)
    await world.read(ANN, "d", 6)
    await asyncio.sleep(0.6)
    stats = world.scheme.stats()
    assert stats["lag_events"] >= 2
    assert 300 < stats["lag_ms"] < 5000
    await world.consumer.start()
    await world.settle()
    await asyncio.sleep(0.6)
    stats = world.scheme.stats()
    assert (stats["lag_events"], stats["lag_ms"]) == (0, 0)
    old = sum(events for above, _, events in stats["lag_ages"] if above > 500_000)
    assert old >= 2, "events that waited for their consumer"


async def test_the_consumer_says_how_it_is_and_leaves_when_told(make: Make) -> None:
    world = await make()
    consumer = world.consumer
    assert await consumer.get("/healthz") == "ok\n"
    assert await consumer.get("/readyz") == "ready\n"
    assert "readstate_consumer_applied 0" in (await consumer.get("/metrics") or "")
    assert await consumer.get("/else") is None
    consumer.process.send_signal(signal.SIGUSR1)
    await world.read(ANN, "d", 6)
    await world.settle()
    await asyncio.sleep(0.5)
    status = await consumer.status()
    assert status["applied"] == 2
    assert status["positions"] == status["committed"]
    heartbeat = await world.scheme._redis.command(None, "GET", f"consumer:{world.options['group']}:0")
    assert json.loads(heartbeat)["ready"] is True
    began = time.monotonic()
    assert await consumer.stop() == 0
    assert time.monotonic() - began < 3


async def test_the_server_warms_kafka_up_on_a_topic_that_it_takes_away_again(make: Make) -> None:
    world = await make(consumer=False, warm_up="500")
    admin = AIOKafkaAdminClient(bootstrap_servers=world.options["kafka-bootstrap"])
    await admin.start()
    try:
        topics = await admin.list_topics()
    finally:
        await admin.close()
    assert world.options["topic"] in topics
    assert f"{world.options['topic']}-warm-up" not in topics


@pytest.mark.parametrize("answers_lost", [0, 1])
async def test_what_the_consumer_left_between_mysql_and_redis_is_applied_and_told(
    make: Make, monkeypatch: pytest.MonkeyPatch, answers_lost: int
) -> None:
    """A consumer that wrote MySQL and died: its successor gets the record again, which MySQL has already.
    Redis may apply and publish it and be too late with the answer: then it is sent once more."""
    world = await make(consumer=False, queue_order="queue_first")
    lose_answers(monkeypatch, world.scheme._redis, answers_lost)
    mark = QueuedMark(ANN, "d", 6, 1000)
    await world.scheme.store.apply_reads([mark], Trace())
    await world.scheme.store.apply_delivered([QueuedMark(ANN, "g", 9, 1000)], Trace())
    event = ReadQueued(
        key="u1", value=[Marked_("d", 6)], user=ANN, at=1000, origin="session-1", device="phone"
    )
    status = Status()
    applier = Applier(
        world.scheme._redis,
        DeadLetters(world.options["kafka-bootstrap"], "unused"),
        status,
        topic=world.options["topic"],
        stopping=lambda: False,
        store=world.scheme.store,
    )
    offset = 1000  # beyond everything that the server's own marks have used
    await applier.assigned({0: offset})
    record = SimpleNamespace(partition=0, offset=offset, timestamp=now_ms(), value=msgspec.json.encode(event))
    assert await applier.apply([record])
    assert await world.scheme._bus.flush(5)
    for user in (ANN, BOB):
        (update,) = world.pushes.frames(user, "UPDATE")
        assert (update["key"], update["value"]["up_to_seq"], update["change_id"]) == ("read/d/u1", 6, 1)
    await world.assert_converged()  # the DELIVERED too, though nobody asked for it again
    assert await applier.apply([record])
    assert await world.scheme._bus.flush(5)
    assert (len(world.pushes.change_ids(ANN)), status.dropped) == (1, 0)
    assert status.retries == answers_lost


def lose_answers(monkeypatch: pytest.MonkeyPatch, redis: RedisStore, count: int) -> None:
    """The first calls of the script are carried out, and nobody hears of it."""
    script, left = redis.script, [RedisUnavailable("no answer in time")] * count

    async def lossy(*call: Any) -> Any:
        done = await script(*call)
        if left:
            raise left.pop()
        return done

    monkeypatch.setattr(redis, "script", lossy)


async def test_without_kafka_neither_starts_and_both_say_why(make: Make, stack: Stack) -> None:
    world = await make(consumer=False)
    nowhere = {**world.options, "kafka-bootstrap": "127.0.0.1:1"}
    with pytest.raises(Refused, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        await build(nowhere, Pushes()).start()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemes.queue.consumer"),
        *(f"--{name}={value}" for name, value in nowhere.items()),
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 3
    assert b"Kafka at 127.0.0.1:1 does not answer" in stderr
    assert b"Traceback" not in stderr
