"""A consumer that is told to stop leaves, whatever does not answer any more: a supervisor waits for it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.services import Stack
from tests.schemes.queue.conftest import ANN, Consumer, Make

pytestmark = pytest.mark.services

ORDERS = ("db_first", "queue_first")
LEAVES_S = 10


@contextmanager
def silent(stack: Stack, *names: str) -> Iterator[None]:
    for name in names:
        stack.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        for name in names:
            stack.signal(name, signal.SIGCONT)


@pytest.mark.parametrize("gone", [("kafka",), ("kafka", "mysql", "redis")], ids="+".join)
@pytest.mark.parametrize("order", ORDERS)
async def test_it_leaves_though_nobody_answers_and_the_next_goes_on(
    make: Make, stack: Stack, order: str, gone: tuple[str, ...]
) -> None:
    world = await make(queue_order=order)
    await world.read(ANN, "d", 6)
    with silent(stack, *gone):
        began = time.monotonic()
        assert await world.consumer.stop() == 0
        assert time.monotonic() - began < LEAVES_S
    await world.consumer.start()
    await world.settle(30)
    await world.assert_converged()


async def test_one_that_has_not_begun_leaves_too(make: Make, stack: Stack) -> None:
    """It waits for its group, and would wait for as long as Kafka says nothing."""
    world = await make(consumer=False)
    waiting = Consumer(world.options)
    with silent(stack, "kafka"):
        starting = asyncio.create_task(waiting.start())
        async with asyncio.timeout(15):
            while await waiting.get("/healthz") is None:  # noqa: ASYNC110  another process tells nobody
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert await waiting.get("/readyz") is None
        began = time.monotonic()
        assert await waiting.stop() == 0
        assert time.monotonic() - began < LEAVES_S
        starting.cancel()
