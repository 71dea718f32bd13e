"""Starts one world per arm; tests of the suite ask for `world` and run once for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import pytest
import pytest_asyncio

from bench.services import Stack
from schemes import SCHEMES
from tests.contract.arms import ARMS, Arm
from tests.contract.world import World


def _params() -> list[object]:
    return [
        pytest.param(arm, id=arm.name, marks=[pytest.mark.services] if SCHEMES[arm.scheme].needs else [])
        for arm in ARMS
    ]


@pytest.fixture(scope="session", params=_params())
def arm(request: pytest.FixtureRequest) -> Arm:
    chosen: Arm = request.param
    return chosen


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(request: pytest.FixtureRequest, arm: Arm) -> AsyncIterator[World]:
    needs = SCHEMES[arm.scheme].needs
    world = World(arm, options=_places(arm, request.getfixturevalue("stack")) if needs else {})
    await world.start()
    yield world
    await world.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def world(running: World) -> AsyncIterator[World]:
    yield running
    await running.close_clients()


def _places(arm: Arm, stack: Stack) -> dict[str, str]:
    """A database, a Redis database and a topic of the arm's own, on the shared services."""
    number = ARMS.index(arm)
    name = arm.name.replace("-", "_")
    mysql = urlsplit(stack.services["mysql"].url)
    redis = urlsplit(stack.services["redis"].url)
    return {
        "mysql-url": urlunsplit(mysql._replace(path=f"/contract_{name}")),
        "redis-url": urlunsplit(redis._replace(path=f"/{number}")),
        "kafka-bootstrap": stack.services["kafka"].url,
        "topic": f"contract-{arm.name}",
        "group": f"contract-{arm.name}",
    }
