"""Rows that MySQL alone decides: they hold for every scheme that writes through it, and are run on `db`."""

from __future__ import annotations

import asyncio

from schemes.stores.times import now_ms
from tests.anomalies import variants
from tests.anomalies.driver import ANN, BOB, Case
from tests.anomalies.table import Variant, row

COMMIT = "in_txn_before_commit"
OVERTAKE_S = 0.4
"""Long enough for a READ that nothing holds up; one that waits for a row's lock is waiting still."""
PUSHES_ALONE = "pushes alone"


@row(
    "A5",
    "SYNC by id skips what commits late",
    scheme="db",
    broken=Variant("test-only: change ids from a counter", plant=variants.change_ids_by_counter),
    fixed=Variant("change ids under the row's lock"),
    check="sync_complete",
)
async def late_commit(case: Case) -> None:
    """Two devices of one person on two servers: locks within one server would hide it.  The other one asks
    for all there is at the end, and so shows the change that the first will never hear of."""
    await case.add_node()
    phone, laptop = await case.device(ANN), await case.device(ANN, "laptop", node=1)
    await case.points.arm(COMMIT, "pause", conversation="d", user="u1")
    late = phone.begin_read("d", 6)
    await case.points.reached(COMMIT)
    await case.blame(COMMIT)
    early = laptop.begin_read("e", 6)
    await asyncio.wait({early}, timeout=OVERTAKE_S)
    page = await phone.sync(since_change_id=0)
    case.shadow = {int(page["reply_to"])}
    await case.points.release(COMMIT)
    await late
    await early
    await phone.sync(since_change_id=page["next_change_id"])
    await laptop.sync(since_change_id=0)


@row(
    "A5b",
    "SYNC by time skips what came in the same ms",
    scheme="db",
    broken=Variant("test-only: what is later than the time", plant=variants.sync_without_overlap),
    fixed=Variant("SYNC starts 5 s earlier"),
    check="device_state",
)
async def same_millisecond(case: Case) -> None:
    """A page of times has no range of ids that something could be missing from: what shows is the device that
    has caught up twice, and does not know."""
    at = now_ms()
    case.patch.setattr("schemes.db.scheme.now_ms", lambda: at)
    phone, laptop = await case.device(ANN), await case.device(ANN, "laptop")
    await laptop.close()
    await phone.read("d", 6)
    laptop = await case.device(ANN, "laptop")
    page = await laptop.sync(last_sync_time=at - 1)
    await laptop.close()
    await case.points.arm(COMMIT, "note", conversation="e", user="u1")
    await phone.read("e", 6)
    await case.blame(COMMIT)
    laptop = await case.device(ANN, "laptop")
    await laptop.sync(last_sync_time=max(change["at"] for change in page["changes"]))
    case.untold = {laptop.session["device"]}


@row(
    "P1",
    "push lost while the device reconnects",
    scheme="db",
    broken=Variant("a client relies on pushes alone", client=PUSHES_ALONE),
    fixed=Variant("it sends SYNC after reconnecting"),
    check="device_state",
)
async def lost_push(case: Case) -> None:
    """Bob's laptop stays and is told; his phone begins with a STATE, is away at the push, and goes on."""
    ann, bob, laptop = await case.device(ANN), await case.device(BOB), await case.device(BOB, "laptop")
    for one in (bob, laptop):
        await one.sync(since_change_id=(await one.state())["change_id"])
    await case.points.arm("before_push", "pause", conversation="d", user="u1")
    reading = ann.begin_read("d", 6)
    await case.points.reached("before_push")
    await case.blame("before_push")
    await bob.close()
    await case.points.release("before_push")
    await reading
    bob = await case.device(BOB)
    if case.variant.client != PUSHES_ALONE:
        await bob.sync(since_change_id=0)
    await bob.send("d")
    case.untold = {bob.session["device"]}


@row(
    "P2",
    "two devices read at once, the lower seq stays",
    scheme="db",
    broken=Variant("test-only: the last READ wins", plant=variants.last_read_wins),
    fixed=Variant("cursors only move forward"),
    check="acknowledged_reads",
)
async def last_read_wins(case: Case) -> None:
    phone, laptop, bob = await case.device(ANN), await case.device(ANN, "laptop"), await case.device(BOB)
    for _ in range(3):
        await bob.send("d")
    await case.points.arm(COMMIT, "pause", conversation="d", user="u1")
    far = phone.begin_read("d", 9)
    await case.points.reached(COMMIT)
    await case.blame(COMMIT)
    near = laptop.begin_read("d", 7)
    await case.points.release(COMMIT)
    await far
    await near
    case.shadows(ANN)
    await phone.state("d")
    await laptop.state("d")
