"""`--publish outbox` on real MySQL, Redis and Kafka: what is committed arrives, whoever dies or is away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from bench.services import Stack
from schemes import SCHEMES
from schemes.ports import Marked, Refused, Trace
from schemes.queue import build
from schemes.queue.outboxed import Outboxed
from tests.schemes.queue.conftest import ANN, BOB, SEED, Make, Pushes, World, caller, chatter

pytestmark = pytest.mark.services


async def test_redis_ends_as_mysql_and_everything_is_told_once_in_order(make: Make) -> None:
    world = await make(publish="outbox")
    await chatter(world, 20)
    await world.settle()
    await world.assert_converged()
    for user in (ANN, BOB):
        last = (await world.scheme.store.position(user, Trace()))[1]
        assert world.pushes.change_ids(user) == list(range(1, last + 1))
    stats = world.scheme.stats()
    assert stats["outbox_published"] >= 100
    assert (stats["lag_outbox_events"], stats["outbox_failures"]) == (0, 0)


async def test_the_acknowledgement_does_not_wait_for_the_broker(make: Make, stack: Stack) -> None:
    world = await make(publish="outbox")
    stack.signal("kafka", signal.SIGSTOP)
    try:
        began = time.monotonic()
        await world.read(ANN, "d", 6)
        await world.scheme.delivered(caller(ANN), [Marked("g", 9)], Trace())
        assert time.monotonic() - began < 1
        await _waiting(world, 3)
        assert await world.scheme.drain(0.1) == {"outbox_events": 3}
        assert world.scheme.stats()["lag_outbox_ms"] > 100
        with pytest.raises(Refused, match="the outbox's relay has waited"):
            await world.scheme.reset()
    finally:
        stack.signal("kafka", signal.SIGCONT)
    await world.settle(30)
    await world.assert_converged()


async def _waiting(world: World, events: int) -> None:
    """Until the server's counters say that so many wait."""
    async with asyncio.timeout(5):
        while world.scheme.stats()["lag_outbox_events"] != events:  # noqa: ASYNC110  a gauge tells nobody
            await asyncio.sleep(0.02)


@pytest.fixture
async def second(make: Make) -> AsyncIterator[tuple[World, Outboxed]]:
    """A world whose consumer two servers share; the second is not started yet."""
    world = await make(publish="outbox")
    other = build({**world.options, "node": "1"}, Pushes())
    assert isinstance(other, Outboxed)
    yield world, other
    await other.close()


async def test_another_server_takes_over_what_one_left(second: tuple[World, Outboxed]) -> None:
    world, other = second
    dying = world.scheme
    assert isinstance(dying, Outboxed)
    await other.start()
    assert (dying.stats()["outbox_working"], other.stats()["outbox_working"]) == (1, 0)
    async with dying._relay.paused(5):
        await world.read(ANN, "d", 6)
        dying._relay._outbox.hang_up()  # as when its process ends
        dying._relay._over.set()
        assert await other.drain(10) == {}
    assert other.stats()["outbox_working"] == 1
    assert other.stats()["outbox_published"] == 2
    await world.assert_converged()


async def test_a_server_whose_relay_stands_by_is_drained_too(second: tuple[World, Outboxed]) -> None:
    world, other = second
    await other.start()
    for up_to_seq in range(1, 10):
        await other.read(caller(BOB), [Marked("g", up_to_seq)], Trace())
        await world.read(ANN, "g", up_to_seq)
    assert await other.drain(10) == {}
    assert other.stats()["outbox_published"] == 0
    await world.assert_converged()


async def test_ids_ascend_as_the_changes_of_a_person_do(second: tuple[World, Outboxed]) -> None:
    world, other = second
    await other.start()
    servers = [world.scheme, other]

    async def one(number: int) -> None:
        server = servers[number % 2]
        sent = await server.send(caller(BOB), "d", f"m{number}", "text", Trace())
        await server.read(caller(ANN), [Marked("d", sent.seq)], Trace())

    await asyncio.gather(*(one(number) for number in range(40)))
    assert await other.drain(20) == {}
    await world.assert_converged()
    for user in (ANN, BOB):
        last = (await world.scheme.store.position(user, Trace()))[1]
        assert world.pushes.change_ids(user) == list(range(1, last + 1))


async def test_what_is_rolled_back_leaves_no_event(make: Make) -> None:
    world = await make(publish="outbox")
    before = world.scheme.stats()["outbox_published"]
    with pytest.raises(Refused):
        await world.read(ANN, "d", 7)
    with pytest.raises(Refused):
        await world.scheme.delivered(caller(ANN), [Marked("d", 6), Marked("g", 10)], Trace())
    await world.read(ANN, "d", 5)  # nothing new
    assert await world.send(ANN, "d", "again") == await world.send(ANN, "d", "again")
    await world.settle()
    assert world.scheme.stats()["outbox_published"] - before == 3  # the message, and what it read for two


async def test_reset_empties_it(make: Make) -> None:
    world = await make(publish="outbox")
    assert isinstance(world.scheme, Outboxed)
    async with world.scheme._relay.paused(5):
        await world.read(ANN, "d", 6)
        resetting = asyncio.create_task(world.scheme.reset())
        await asyncio.sleep(0.05)
    await resetting
    await world.scheme.seed(SEED, done=True, warm=False)
    await world.settle()
    await world.assert_converged()


async def test_it_is_refused_with_queue_first_by_name() -> None:
    with pytest.raises(ValueError, match="--queue-order queue_first with --publish outbox makes no scheme"):
        build({"queue-order": "queue_first", "publish": "outbox"}, Pushes())
    assert SCHEMES["queue"].conflict({"publish": "outbox"}) is None
    assert SCHEMES["queue"].conflict({"queue-order": "queue_first"}) is None
