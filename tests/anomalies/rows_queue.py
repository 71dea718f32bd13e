"""Rows of `queue`: what goes wrong between a COMMIT in MySQL, the broker, the consumer and Redis."""

from __future__ import annotations

import signal

from tests.anomalies import variants_queue as variants
from tests.anomalies.driver import ANN, BOB, Case, NotRun
from tests.anomalies.queue_case import QueueCase, QueueVariant
from tests.anomalies.table import row

GAP, COMMIT, PUMP = "after_commit_before_produce", "in_txn_before_commit", "after_ack_before_produce"
RELAYED = "relay_after_produce_before_mark"
POLLED, APPLIED = "consumer_after_poll", "consumer_after_apply_before_commit"
OVERTAKE_S = 0.6
"""Long enough for an event that nothing holds up; one behind another in its partition waits still."""
OUTBOX = {"publish": "outbox"}
READ_IN_G = {"user": "u1", "conversation": "g"}


def _queue(case: Case) -> QueueCase:
    assert isinstance(case, QueueCase)
    return case


@row(
    "K1",
    "dual-write gap: COMMIT done, the server dies before it publishes",
    scheme="queue",
    broken=QueueVariant("`--publish direct` (default)", apart=True),
    fixed=QueueVariant("`--publish outbox`", OUTBOX, apart=True),
    check="stale_at_end",
)
@row(
    "K1c",
    "linger loss: acknowledged, the server dies with the event in its buffer",
    scheme="queue",
    broken=QueueVariant(
        "test-only: acknowledged first, 300 ms linger", plant=variants.acknowledged_first, apart=True
    ),
    fixed=QueueVariant("`--publish outbox`, acknowledged as early", OUTBOX, apart=True),
    check="stale_at_end",
)
async def gap(case: Case) -> None:
    case = _queue(case)
    point = GAP if case.row.name == "K1" else PUMP
    phone = await case.device(ANN)
    await case.points.arm(point, "crash")
    await case.answer_lost(phone.begin_read("d", 6))
    await case.revive_server()
    await case.blame(point)
    await case.settle()
    case.shadows(ANN)
    phone = await case.device(ANN)
    await phone.state("d")


@row(
    "K1b",
    "phantom receipt: published, then rolled back",
    scheme="queue",
    broken=QueueVariant("test-only: produce before COMMIT", plant=variants.produced_first),
    fixed=QueueVariant("COMMIT, then produce (`db_first`, default)"),
    check="linearizable",
)
async def phantom(case: Case) -> None:
    """What was refused has no part in the record: the findings name who was shown it."""
    phone = await case.device(ANN)
    await case.points.arm(COMMIT, "error", conversation="d", user="u1")
    await phone.read("d", 6)
    await case.points.reached(COMMIT)
    await case.settle()
    case.shadows(ANN)
    await phone.state("d")


@row(
    "K2",
    "duplicate: the consumer dies before it commits, its successor applies again",
    scheme="queue",
    broken=QueueVariant("test-only: an event says how much further", consumer=variants.counting),
    fixed=QueueVariant("forward only, offsets kept with the state"),
    check="stale_at_end",
    beside=False,  # whoever's event comes twice is hit
)
@row(
    "K3",
    "loss: the consumer dies after it committed, before it applied",
    scheme="queue",
    broken=QueueVariant("test-only: commit, then apply", consumer=variants.commits_first),
    fixed=QueueVariant("apply, then commit"),
    check="linearizable",
)
async def dying_consumer(case: Case) -> None:
    """In a group, where one event tells it: a direct peer's would carry the cursor too."""
    case = _queue(case)
    point = APPLIED if case.row.name == "K2" else POLLED
    phone = await case.device(ANN)
    await case.settle()
    await case.committed()
    await case.points.arm(GAP, "note", **READ_IN_G)
    await case.consumers[0].points.arm(point, "crash", **READ_IN_G)
    await phone.read("g", 6)
    await case.blame(GAP)
    await case.revive_consumer()
    await case.settle()
    case.shadows(ANN)
    await phone.state("g")


@row(
    "K4",
    "reordering: two READs of one cursor in two partitions",
    scheme="queue",
    broken=QueueVariant(
        "test-only: no key, and the last write wins",
        plant=variants.keyless,
        consumer=variants.impatient_last_write_wins,
        consumers=2,
        partitions=2,
    ),
    fixed=QueueVariant(
        "keyed by person, forward only", consumer=variants.impatient, consumers=2, partitions=2
    ),
    check="linearizable",
)
async def reordered(case: Case) -> None:
    case = _queue(case)
    phone, bob = await case.device(ANN), await case.device(BOB)
    for _ in range(3):
        await bob.send("g")
    await case.settle()
    for consumer in case.consumers:
        await consumer.points.arm(POLLED, "pause", **READ_IN_G)
    await phone.read("g", 7)
    late, _ = await case.holder(POLLED)
    await case.points.arm(GAP, "note", **READ_IN_G)
    await phone.read("g", 9)
    await case.blame(GAP)
    await case.shown("g", ANN, 9, OVERTAKE_S)
    await late.points.release(POLLED)
    await case.settle()
    case.shadows(ANN)
    await phone.state("g")


@row(
    "K5",
    "zombie consumer: stands still, loses its partition, goes on",
    scheme="queue",
    broken=QueueVariant(
        "test-only: the last write wins",
        consumer=variants.impatient_last_write_wins,
        consumers=2,
        partitions=2,
    ),
    fixed=QueueVariant(
        "forward only, offsets kept with the state",
        consumer=variants.impatient,
        consumers=2,
        partitions=2,
    ),
    check="linearizable",
)
async def zombie(case: Case) -> None:
    """What came after the batch in hand is dropped at the zombie: if it heard late that it has lost its
    partition, it would fetch that too, and heal what it has spoilt."""
    case = _queue(case)
    phone, bob = await case.device(ANN), await case.device(BOB)
    for _ in range(3):
        await bob.send("g")
    await case.settle()
    await case.committed()
    for consumer in case.consumers:
        await consumer.points.arm(POLLED, "pause", **READ_IN_G)
        await consumer.points.arm(POLLED, "drop", user="u1", count=0)
    await phone.read("g", 7)
    still, other = await case.holder(POLLED)
    before = (await still.status())["batches"]
    still.send(signal.SIGSTOP)

    async def taken_over() -> bool:
        return len((await other.status())["positions"]) == 2

    await case.until_true(taken_over, "nobody took the zombie's partition")
    await case.points.arm(GAP, "note", **READ_IN_G)
    await phone.read("g", 9)
    await case.blame(GAP)
    if not await case.shown("g", ANN, 9, 5.0):
        raise NotRun("the successor did not apply what came after")
    await case.committed(other)  # or what came after would come once more, and heal it
    still.send(signal.SIGCONT)
    await still.points.release(POLLED, **READ_IN_G)

    async def gone_on() -> bool:
        return bool((await still.status())["batches"] > before)

    await case.until_true(gone_on, "the zombie did not go on")
    await case.settle()
    case.shadows(ANN)
    await phone.state("g")


@row(
    "K6",
    "poison: a record that can never be applied stops all keys",
    scheme="queue",
    broken=QueueVariant("test-only: tried again for ever", consumer=variants.never_gives_up, stuck=True),
    fixed=QueueVariant("a dead letter, counted and passed by"),
    check="linearizable",
    beside=False,
)
async def poisoned(case: Case) -> None:
    """The poison is in one partition, what stops is in another."""
    case = _queue(case)
    phone = await case.device(ANN)
    await case.poison(beside=ANN)

    async def met() -> bool:
        status = await case.consumers[0].status()
        return bool(status["dead_letters"] or status["behind_events"])

    await case.until_true(met, "the consumer did not come to the poison")
    await case.points.arm(GAP, "note", user="u1", count=2)
    await phone.read("g", 6)
    await phone.read("e", 6)
    await case.blame(GAP)
    await case.shown("e", ANN, 6, OVERTAKE_S)
    await case.settle()
    if not case.variant.stuck and (await case.consumers[0].status())["dead_letters"] != 1:
        raise NotRun("the poison is no dead letter")
    case.shadows(ANN)
    await phone.state("g", "e")


@row(
    "K7",
    "the relay of an outbox dies between the broker and its table",
    scheme="queue",
    broken=QueueVariant("test-only: delete, then publish", OUTBOX, variants.deleted_first, apart=True),
    fixed=QueueVariant("publish, then delete: told twice, lost never", OUTBOX, apart=True),
    check="stale_at_end",
)
async def dying_relay(case: Case) -> None:
    """The control of K1: an outbox alone is not enough.  Where it is right, the events came twice."""
    case = _queue(case)
    phone = await case.device(ANN)
    before = (await case.consumers[0].status())["applied"]
    await case.points.arm(GAP, "note", conversation="d", user="u1")
    await case.points.arm(RELAYED, "crash")
    await case.answer_lost(phone.begin_read("d", 6))
    await case.revive_server()
    await case.blame(GAP)
    await case.settle()
    applied = (await case.consumers[0].status())["applied"] - before
    if case.variant.plant is None and applied < 3:
        raise NotRun(f"{applied} events were applied: the relay's were not published twice")
    case.shadows(ANN)
    phone = await case.device(ANN)
    await phone.state("d")
