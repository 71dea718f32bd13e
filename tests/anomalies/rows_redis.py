"""Rows of `redis`: what goes wrong between a COMMIT in MySQL and the keys in front of it."""

from __future__ import annotations

import asyncio
import signal

from tests.anomalies import variants
from tests.anomalies.driver import ANN, BOB, CYD, Case
from tests.anomalies.table import Variant, row

FILL, DELETE = "after_db_select_before_cache_set", "before_cache_del"
COMMIT = "in_txn_before_commit"
LEASE = Variant("`--guard lease`", {"guard": "lease"})
IGNORE = {"on-delete-failure": "ignore"}
SENT_S = 0.05
"""From when a command is about to be sent until it is in Redis's socket."""


@row(
    "A1",
    "stale fill: a reader stores what it read before the delete",
    scheme="redis",
    broken=Variant("`--guard none` (default)"),
    fixed=LEASE,
    check="linearizable",
)
@row(
    "A1a",
    "stale fill in spite of compare-and-set",
    scheme="redis",
    broken=Variant("test-only: a fill replaces nothing newer", plant=variants.compared_fill),
    fixed=LEASE,
    check="linearizable",
)
@row(
    "A1b",
    "stale fill in spite of a delayed second delete",
    scheme="redis",
    broken=Variant("test-only: the key is deleted twice", plant=variants.double_delete),
    fixed=LEASE,
    check="linearizable",
)
@row(
    "A9",
    "stale fill in spite of a lock that expires",
    scheme="redis",
    broken=Variant("test-only: a lock without fencing", plant=variants.lock_without_fencing),
    fixed=LEASE,
    check="linearizable",
)
async def stale_fill(case: Case) -> None:
    phone, laptop = await case.device(ANN), await case.device(ANN, "laptop")
    await case.points.arm(FILL, "pause", conversation="d", user="u1")
    await case.points.arm(DELETE, "note", conversation="d", user="u1")
    filling = laptop.begin_state("d")
    await case.points.reached(FILL)
    await case.talk_beside()
    await phone.read("d", 6)
    await case.blame(DELETE)
    await case.until(lambda stats: not stats.get("second_deletes_pending"))
    await case.points.release(FILL)
    await filling
    case.shadows(ANN)
    await phone.state("d")
    await laptop.state("d")


@row(
    "A1s",
    "stale fill without a race: a SELECT of an old snapshot",
    scheme="redis",
    broken=Variant(
        "test-only: `lease`, SELECTs in one long transaction",
        {"guard": "lease", "mysql-pool": "2"},
        variants.snapshots_stay_open,
    ),
    fixed=Variant("`--guard lease`", {"guard": "lease", "mysql-pool": "2"}),
    check="linearizable",
    beside=False,
)
async def stale_snapshot(case: Case) -> None:
    phone, laptop = await case.device(ANN), await case.device(ANN, "laptop")
    await case.points.arm(DELETE, "note", conversation="d", user="u1")
    await phone.state("d")
    await phone.read("d", 6)
    await case.blame(DELETE)
    case.shadows(ANN)
    await phone.state("d")
    await laptop.state("d")


@row(
    "A2",
    "delete lost: COMMIT done, DEL refused, acknowledged",
    scheme="redis",
    broken=Variant("`--on-delete-failure ignore`", IGNORE),
    fixed=Variant("`--on-delete-failure fallback` (default)"),
    check="linearizable",
)
async def lost_delete(case: Case) -> None:
    phone = await case.device(ANN)
    await phone.state("d")
    await case.points.arm(DELETE, "note", conversation="d", user="u1")
    redis = case.redis()
    await redis.command(None, "ACL", "SETUSER", "default", "-del")
    try:
        await phone.read("d", 6)
        await case.blame(DELETE)
        case.shadows(ANN)
        await phone.state("d")
    finally:
        await redis.command(None, "ACL", "SETUSER", "default", "+del")
        await redis.close()
    await case.until(lambda stats: not stats["cache_deletes_pending"])
    await phone.state("d")


@row(
    "A3",
    "zombie commands: timed out, and executed later",
    scheme="redis",
    broken=Variant("`--on-delete-failure ignore`", IGNORE),
    fixed=Variant("`--on-delete-failure fallback` (default)"),
    check="linearizable",
)
async def zombie_commands(case: Case) -> None:
    store = "before_cache_set"
    phone, laptop = await case.device(ANN), await case.device(ANN, "laptop")
    cyd = await case.device(CYD)
    await asyncio.gather(*(cyd.begin_state("e") for _ in range(4)))  # connections for two commands at once
    await case.points.arm(store, "pause", conversation="d", user="u1")
    await case.points.arm(DELETE, "note", conversation="d", user="u1")
    filling = laptop.begin_state("d")
    await case.points.reached(store)
    case.stack.signal("redis", signal.SIGSTOP)
    try:
        reading = phone.begin_read("d", 6)
        await case.points.reached(DELETE)
        await case.blame(DELETE)
        await asyncio.sleep(SENT_S)
        await case.points.release(store)
        await reading
        await filling
    finally:
        case.stack.signal("redis", signal.SIGCONT)
    await case.until(lambda stats: not stats["cache_away"] and not stats["cache_deletes_pending"])
    case.shadows(ANN)
    await phone.state("d")
    await laptop.state("d")


COUNTED = Variant("test-only: unread by INCR and DECRBY", plant=variants.counted_unread)
COMPUTED = Variant("unread is computed, never stored")


@row(
    "A10",
    "unread counter evicted, starts again from 0",
    scheme="redis",
    broken=COUNTED,
    fixed=COMPUTED,
    check="unread",
)
async def evicted_counter(case: Case) -> None:
    """The message that is counted from 0 on is the first after the key was evicted."""
    ann, bob = await case.device(ANN), await case.device(BOB)
    await case.points.arm(COMMIT, "note", conversation="d", user="u2")
    await case.points.arm(FILL, "note", count=0, conversation="d", user="u1")
    await ann.state("d")
    redis = case.redis()
    await redis.delete(["unread:d:1", redis.rs("d", ANN), redis.head("d")], None)
    await redis.close()
    case.shadows(ANN)
    await ann.state("d")
    await bob.send("d")
    await case.blame(COMMIT)
    await ann.state("d")


@row(
    "A11",
    "unread counter counts a repeated SEND twice",
    scheme="redis",
    broken=COUNTED,
    fixed=COMPUTED,
    check="unread",
)
async def counted_twice(case: Case) -> None:
    """The message that is counted twice is the only one that was committed."""
    ann, bob = await case.device(ANN), await case.device(BOB)
    await case.points.arm(COMMIT, "note", count=0, conversation="d", user="u2")
    await case.points.arm(FILL, "note", count=0, conversation="d", user="u1")
    sent = await bob.send("d")
    await ann.state("d")
    await bob.send("d", sent["reply_to"])
    await case.blame(COMMIT)
    case.shadows(ANN)
    await ann.state("d")
