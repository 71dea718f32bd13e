"""Every seeded bug turns at least one test of the contract suite red, and the suite is green without it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.contract import client, test_contract
from tests.contract.arms import Arm
from tests.contract.mutants.bugs import BUGS
from tests.contract.world import World

RED = (AssertionError, TimeoutError, ConnectionError, KeyError, ValueError)
"""How a test of the suite fails: by what it asserts, or because what it waits for does not come."""


@pytest_asyncio.fixture(params=sorted(BUGS))
async def planted(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, World]]:
    monkeypatch.setattr(client, "PUSH_S", 0.5)
    monkeypatch.setattr(client, "REPLY_S", 0.5)
    BUGS[request.param][0](monkeypatch)
    world = World(Arm("memory"))
    await world.start()
    yield request.param, world
    await world.stop()


async def test_the_suite_notices(planted: tuple[str, World]) -> None:
    name, world = planted
    for test_name in BUGS[name][1]:
        test = getattr(test_contract, test_name)
        assert await fails(test, world), f"{test_name} did not notice {name}: {BUGS[name][0].__doc__}"


async def fails(test: Any, world: World) -> bool:
    """Whether one of the test's cases goes red."""
    for case in cases(test):
        try:
            await test(world, **case)
        except RED:
            return True
        finally:
            await world.close_clients()
    return False


def cases(test: Any) -> list[dict[str, Any]]:
    """The parameters of a parametrized test; one empty case for the others."""
    names = [name for name in inspect.signature(test).parameters if name != "world"]
    if not names:
        return [{}]
    mark = next(mark for mark in test.pytestmark if mark.name == "parametrize")
    rows = mark.args[1]
    return [dict(zip(names, row if isinstance(row, tuple) else (row,), strict=True)) for row in rows]


def test_there_are_twenty_bugs_and_each_names_its_test() -> None:
    assert len(BUGS) >= 20
    assert all(plant.__doc__ and tests for plant, tests in BUGS.values())
