from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from schemes.stores import distance, kafka
from schemes.stores.driver import Session
from schemes.stores.kafka import EventLog
from schemes.stores.redis_connections import _ask

RTT_MS = 20.0
RTT_NS = round(RTT_MS * 1e6)


@pytest.fixture
def far() -> Iterator[None]:
    distance.set_rtt(RTT_MS)
    yield
    distance.set_rtt(0)


class Cursor:
    """Answers at once."""

    rowcount = 1
    asked = 0

    async def execute(self, sql: str, args: Any) -> None:
        self.asked = time.monotonic_ns()

    async def fetchall(self) -> list[tuple[int]]:
        return [(1,)]


class Connection:
    is_connected = True
    asked = 0

    async def can_read(self) -> bool:
        return False

    async def send_packed_command(self, packed: bytes, check_health: bool) -> None:
        self.asked = time.monotonic_ns()

    async def read_response(self) -> bytes:
        return b"1"


async def took(work: Any) -> int:
    began = time.monotonic_ns()
    await work
    return time.monotonic_ns() - began


def test_what_is_no_distance_is_refused() -> None:
    for ms in (-1.0, 201.0):
        with pytest.raises(ValueError, match="store-rtt"):
            distance.set_rtt(ms)


@pytest.mark.usefixtures("far")
async def test_each_statement_waits_half_before_and_half_after() -> None:
    cursor = Cursor()
    session = Session(None, cursor, (OSError,))
    for work in (session.rows("SELECT 1"), session.write("COMMIT")):
        began = time.monotonic_ns()
        await work
        assert cursor.asked - began >= RTT_NS // 2
        assert time.monotonic_ns() - began >= RTT_NS


@pytest.mark.usefixtures("far")
async def test_commands_that_are_sent_together_are_one_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, ways = Connection(), []
    way = distance.way

    async def counted() -> None:
        ways.append(connection.asked)
        await way()

    monkeypatch.setattr(distance, "way", counted)
    began = time.monotonic_ns()
    await _ask(connection, [("GET", "a"), ("GET", "b"), ("GET", "c")])
    assert ways == [0, connection.asked]
    assert connection.asked - began >= RTT_NS // 2


@pytest.mark.usefixtures("far")
async def test_an_event_is_sent_and_acknowledged_one_way_later_each_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[bytes, int]] = []

    class Producer:
        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def partitions_for(self, topic: str) -> set[int]:
            return {0}

        async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[Any]:
            sent.append((value, time.monotonic_ns()))
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            answer.set_result(type("Where", (), {"offset": len(sent)}))
            return answer

    async def there_already(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(kafka, "create_topic", there_already)
    log = EventLog("nowhere:1", "t", make_producer=Producer)
    await log.start()
    began = time.monotonic_ns()
    handovers = [log.put([(b"k", b"%d" % i)]) for i in range(20)]
    assert log.outstanding == 20
    for handover in handovers:
        await handover.wait()
    assert time.monotonic_ns() - began >= RTT_NS
    assert [value for value, _ in sent] == [b"%d" % i for i in range(20)]
    assert sent[0][1] - began >= RTT_NS // 2
    await log.close()


@pytest.mark.usefixtures("far")
async def test_many_wait_side_by_side() -> None:
    """A hundred round trips at once take one, not a hundred."""
    order: list[int] = []

    async def one(i: int) -> None:
        await distance.way()
        order.append(i)

    assert await took(asyncio.gather(*(one(i) for i in range(100)))) < 50 * RTT_NS
    assert order == list(range(100))


@pytest.mark.usefixtures("far")
async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    first = asyncio.create_task(distance.way())
    await asyncio.sleep(0)
    first.cancel()
    await distance.way()
    assert first.cancelled()


def test_half_a_millisecond_is_waited_for_on_uvloop_whose_timers_count_whole_ones() -> None:
    distance.set_rtt(1.0)
    try:

        async def waits() -> list[int]:
            return [await took(distance.way()) for _ in range(50)]

        assert min(uvloop.run(waits())) >= 500_000
    finally:
        distance.set_rtt(0)
