"""The relay against an outbox and a log that do what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemes.ports import Refused
from schemes.queue import relay as module
from schemes.queue.relay import Relay
from schemes.stores.driver import Unavailable
from schemes.stores.kafka import Handover, Keyed
from schemes.stores.outbox import Row, Waiting


class Rows:
    """An outbox in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.claimed = False
        self.free = True
        self.failing = 0

    def add(self, *payloads: bytes) -> None:
        first = self.rows[-1].outbox_id + 1 if self.rows else 1
        self.rows += [Row(first + i, b"u1", payload, 1000) for i, payload in enumerate(payloads)]

    async def claim(self) -> bool:
        self.claimed = self.claimed or self.free
        return self.claimed

    async def take(self, limit: int) -> list[Row]:
        return self.rows[:limit]

    async def delete(self, rows: Sequence[Row]) -> None:
        if self.failing:
            self.failing -= 1
            self.hang_up()
            raise Unavailable(0, "away")
        gone = {row.outbox_id for row in rows}
        self.rows = [row for row in self.rows if row.outbox_id not in gone]

    async def look(self) -> Waiting:
        return Waiting(len(self.rows), 1000) if self.rows else Waiting()

    def hang_up(self) -> None:
        self.claimed = False


class Log:
    """A broker that takes everything but what it is told to refuse: `refused` by payload, each once or, where
    it is too large, for ever."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.batches: list[int] = []
        self.refused: dict[bytes, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    def put(self, events: Sequence[Keyed]) -> Handover:
        self.batches.append(len(events))
        handover = Handover(len(events), 0.0)
        self._answers = asyncio.create_task(self._answer(handover, events))
        return handover

    async def _answer(self, handover: Handover, events: Sequence[Keyed]) -> None:
        await self.gate.wait()
        for _, payload in events:
            error = self.refused.get(payload)
            if error is None:
                self.taken.append(payload)
            elif not isinstance(error, MessageSizeTooLargeError):
                del self.refused[payload]
            handover.settled(error)


Start = Callable[[], Awaitable[Relay]]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Rows, Log, Start]]:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    monkeypatch.setattr(module, "CLAIM_S", 0.01)
    monkeypatch.setattr(module, "CLOSE_S", 0.1)
    rows, log, started = Rows(), Log(), []

    async def start() -> Relay:
        relay = Relay(rows, log)  # type: ignore[arg-type]
        relay.start()
        started.append(relay)
        return relay

    yield rows, log, start
    for relay in started:
        await relay.close()


Made = tuple[Rows, Log, Start]


async def test_what_waits_goes_in_order_and_is_deleted(start: Made) -> None:
    rows, log, begin = start
    rows.add(*(b"%d" % number for number in range(1200)))
    relay = await begin()
    assert await relay.emptied(5) == 0
    assert log.taken == [b"%d" % number for number in range(1200)]
    assert [size for size in log.batches if size] == [500, 500, 200]
    assert relay.stats()["outbox_published"] == 1200


async def test_a_commit_wakes_it(start: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 60.0)
    rows, log, begin = start
    relay = await begin()
    await asyncio.sleep(0.01)
    rows.add(b"a")
    relay.wake()
    await asyncio.sleep(0.02)
    assert log.taken == [b"a"]


async def test_nothing_is_deleted_before_the_broker_has_it(start: Made) -> None:
    rows, log, begin = start
    log.gate.clear()
    rows.add(b"a", b"b")
    relay = await begin()
    assert await relay.emptied(0.05) == 2
    assert [row.payload for row in rows.rows] == [b"a", b"b"]
    stats = relay.stats()
    assert (stats["lag_outbox_events"], stats["outbox_published"]) == (2, 0)
    assert stats["lag_outbox_ms"] > 1_000_000  # since 1970
    log.gate.set()
    assert await relay.emptied(5) == 0
    assert (relay.stats()["lag_outbox_events"], relay.stats()["lag_outbox_ms"]) == (0, 0)


async def test_what_could_not_be_deleted_goes_again(start: Made) -> None:
    rows, log, begin = start
    rows.failing = 1
    rows.add(b"a", b"b")
    relay = await begin()
    assert await relay.emptied(5) == 0
    assert log.taken == [b"a", b"b", b"a", b"b"]
    assert relay.stats()["outbox_failures"] == 1


async def test_a_refusal_sends_the_rest_again_in_order(start: Made) -> None:
    rows, log, begin = start
    log.refused[b"b"] = KafkaError("not now")
    rows.add(b"a", b"b", b"c")
    relay = await begin()
    assert await relay.emptied(5) == 0
    assert log.taken == [b"a", b"c", b"a", b"b", b"c"]  # the last of each, in order


async def test_one_that_is_too_large_stops_nobody(start: Made) -> None:
    rows, log, begin = start
    log.refused[b"b"] = MessageSizeTooLargeError("b")
    rows.add(b"a", b"b", b"c")
    relay = await begin()
    assert await relay.emptied(5) == 0
    assert log.taken[-2:] == [b"a", b"c"]
    assert relay.stats()["outbox_too_large"] == 1


async def test_only_one_relay_works(start: Made) -> None:
    rows, log, begin = start
    rows.free = False
    rows.add(b"a")
    relay = await begin()
    assert await relay.emptied(0.1) == 1
    assert (log.taken, relay.working) == ([], False)
    rows.free = True
    assert await relay.emptied(5) == 0
    assert (log.taken, relay.working) == ([b"a"], True)


async def test_a_pause_is_between_two_batches(start: Made) -> None:
    rows, log, begin = start
    relay = await begin()
    async with relay.paused(1.0):
        rows.add(b"a")
        relay.wake()
        await asyncio.sleep(0.1)
        assert log.taken == []
    assert await relay.emptied(5) == 0
    log.gate.clear()
    rows.add(b"b")
    relay.wake()
    await asyncio.sleep(0.01)
    with pytest.raises(Refused, match="the outbox's relay has waited"):
        async with relay.paused(0.01):
            pass
