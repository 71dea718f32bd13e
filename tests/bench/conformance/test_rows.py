"""The rows of the protocol: all hold on the control, and every seeded bug of a server makes its row red."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bench.conformance.case import Server
from bench.conformance.client import Patience, Unmet
from bench.conformance.contract import SECTIONS, Result, Row, Verdict, conform, rows
from bench.conformance.rooms import Rooms, made
from schemes import protocol as p
from tests.contract.arms import Arm
from tests.contract.mutants.bugs import BUGS
from tests.contract.world import SECRET, World

pytestmark = pytest.mark.slow  # a server and a client for each row

PATIENCE = Patience(reply_s=0.5, push_s=0.4, quiet_s=0.05)
ROWS = {row.name: row for row in rows()}

CAUGHT_BY = {
    "a_bad_request_closes": "bad-requests-are-refused-one-by-one",
    "both_connections_stay": "a-newer-connection-replaces",
    "cursor_moves_back": "a-stale-read-changes-nothing",
    "delivered_to_own_devices": "delivered-goes-to-the-direct-peer",
    "echoed_to_the_sender": "a-message-goes-to-all-but-the-sending-socket",
    "expired_tokens_pass": "an-expired-token-is-refused",
    "first_read_time_rewritten": "first-read-time-is-never-rewritten",
    "idempotency_across_senders": "client-ids-are-per-sender",
    "implied_read_is_not_told": "a-send-that-reads-is-told-like-a-read",
    "lost_idempotency": "a-repeated-send-returns-the-first",
    "own_message_unread": "sending-implies-reading",
    "peer_not_told": "a-read-goes-to-own-devices-and-the-peer",
    "push_before_commit": "a-push-comes-after-its-change",
    "push_counts_as_delivered": "a-push-is-no-delivery",
    "pushed_to_a_non_member": "strangers-are-told-nothing",
    "pushes_overtake": "pushes-come-in-order",
    "read_applies_half": "one-read-marks-all-or-none",
    "reading_ahead_is_clipped": "reading-ahead-is-refused",
    "receipts_to_the_whole_group": "in-groups-the-senders-are-told",
    "resume_forgets_the_epoch": "another-epoch-needs-a-reset",
    "stale_read_is_told": "a-stale-read-tells-nobody",
    "state_oldest_first": "state-comes-newest-first",
    "strangers_may_read": "strangers-read-no-history",
    "subscriptions_are_ignored": "only-subscribers-are-told",
    "sync_lists_own_messages_too": "sync-lists-messages-of-either-side",
    "sync_skips_a_change": "sync-gives-every-change-once",
    "total_leaves_the_first_out": "state-pages-and-sums",
    "version_stands_still": "every-advance-has-a-higher-version",
}


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World(Arm("memory"))
    await world.start()
    yield world
    await world.stop()


async def attempt(world: World, *chosen: Row, control: bool = True) -> dict[str, Result]:
    conversations = made()
    await world.control("SEED", conversations=json.loads(p.encode(conversations)), done=True)
    server = Server(
        world.url,
        world.url.replace(p.PATH, p.CONTROL_PATH),
        SECRET.decode(),
        SECRET.decode() if control else None,
        Rooms(conversations),
        PATIENCE,
    )
    return {result.row.name: result for result in await conform(server, chosen)}


async def test_every_row_holds_on_the_control(world: World) -> None:
    results = await attempt(world, *rows())
    bad = {name: result for name, result in results.items() if result.verdict is not Verdict.HOLDS}
    assert bad == {}
    assert len(results) == len(rows()) >= 45
    assert {result.row.section for result in results.values()} == set(SECTIONS)


def test_every_seeded_bug_has_a_row() -> None:
    assert CAUGHT_BY.keys() == BUGS.keys()
    assert set(CAUGHT_BY.values()) <= ROWS.keys()


@pytest.mark.parametrize("bug", sorted(CAUGHT_BY))
async def test_a_bug_makes_its_row_red(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[bug][0](monkeypatch)
    world = World(Arm("memory"))
    await world.start()
    try:
        (result,) = (await attempt(world, ROWS[CAUGHT_BY[bug]])).values()
    finally:
        await world.stop()
    assert result.verdict is Verdict.DOES_NOT_HOLD, f"{result} did not notice: {BUGS[bug][0].__doc__}"
    assert result.expected
    assert result.came


async def test_what_needs_a_secret_is_not_available_without_it(world: World) -> None:
    results = await attempt(world, ROWS["dump-shows-what-state-shows"], control=False)
    (result,) = results.values()
    assert (result.verdict, result.why_not) == (Verdict.NOT_AVAILABLE, "no --control-secret was given")


async def test_a_server_that_cannot_be_greeted_is_no_row(world: World) -> None:
    server = Server(world.url, "", "wrong secret", None, Rooms(made()), PATIENCE)
    with pytest.raises(Unmet, match="UNAUTHENTICATED"):
        await conform(server, rows())
