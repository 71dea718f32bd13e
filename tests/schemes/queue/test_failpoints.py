"""The consumer's failpoints, through the socket that it is started with."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.anomalies.driver import Points
from tests.schemes.queue.conftest import ANN, Make

pytestmark = pytest.mark.services


async def test_a_consumer_is_held_and_killed_at_a_named_place(make: Make, tmp_path: Path) -> None:
    world = await make(failpoints=str(tmp_path / "failpoints"))
    points = await Points.of_socket(tmp_path / "failpoints")
    await points.arm("consumer_after_poll", "pause", user="u1", conversation="g")
    await world.read(ANN, "g", 8)
    (hit,) = await points.reached("consumer_after_poll")
    assert (hit.user, hit.conversation) == ("u1", "g")
    assert ("g", ANN, 7) in {row[:3] for row in await world.rows("cache")}
    await points.release("consumer_after_poll")
    await world.settle()
    assert ("g", ANN, 8) in {row[:3] for row in await world.rows("cache")}
    await points.arm("consumer_after_apply_before_commit", "crash", user="u1")
    await world.read(ANN, "g", 9)
    assert await asyncio.wait_for(world.consumer.process.wait(), 10) == -signal.SIGKILL
    await world.consumer.start()
    await world.settle()
    await world.assert_converged()
