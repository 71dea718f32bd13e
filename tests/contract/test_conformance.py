"""The rows of `bench conformance` hold on real stores too: on one arm that answers from MySQL, and on the one
that is furthest behind (READ acknowledged before it is applied)."""

from __future__ import annotations

import json

import pytest

from bench.conformance.case import Server
from bench.conformance.client import Patience
from bench.conformance.contract import Verdict, conform, rows
from bench.conformance.rooms import Rooms, made
from schemes import protocol as p
from tests.contract.arms import ARMS
from tests.contract.world import SECRET, World

NAMED = {arm.name: arm for arm in ARMS}
CHOSEN = [NAMED["db-flags"], NAMED["queue-flags-queue_first"]]
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.services
@pytest.mark.parametrize("arm", CHOSEN, ids=lambda arm: arm.name, indirect=True, scope="session")
async def test_every_row_holds(world: World) -> None:
    conversations = made()
    await world.control("SEED", conversations=json.loads(p.encode(conversations)), done=True, warm=True)
    secret = SECRET.decode()
    server = Server(
        world.url, world.url.replace(p.PATH, p.CONTROL_PATH), secret, secret, Rooms(conversations),
        Patience(quiet_s=0.15),
    )  # fmt: skip
    results = await conform(server, rows())
    assert [result for result in results if result.verdict is not Verdict.HOLDS] == []
