"""What `queue` costs: `db`'s writes (of `queue_first` the consumer's), the records, and what the consumer and
the servers' polls do in Redis.

Not declared exactly, but as a range: how often the consumer's script SETs a cursor.  One change is told by up
to three events in different partitions, and who comes first has written it for the others.  Whether a change
that comes late is looked up among those that were told (SREM) depends on that order too.  How many events
come together in a batch is counted by the consumer.

Polls go by the clock and are counted by who polls.  The consumer says how far it is only every quarter of a
second, so of those and of its batches BEATS more or fewer may have happened by the time the stores were
asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from schemes.ledger import Cost, Counts, Event, Range, maybe, plus
from schemes.redis.ledger import EVALSHA, MGET, command, within
from schemes.stores.ledger import (
    COMMIT,
    FLAGS,
    SELECT,
    asks,
    deliveries,
    insert,
    locked,
    reads,
    sends,
    trouble,
    update,
    written,
)

BEATS: Final = 3
CONSUMER: Final = "consumer."
MAYBE_ONE: Final[Range] = (0, 1)
FILL: Final[Cost] = {
    "redis.get": (0, 1000),
    "redis.set": (1, 1000),
    "redis.evalsha": 2,
    "redis.round_trips": 2,
    "redis.mget": (-1, 0),
    "mysql.Com_select": 1,
}
"""A user's whole state from MySQL into Redis: a key for each conversation, its head and its peer at most."""


class Told(NamedTuple):
    """Events that reach the consumer's script, by kind; `perhaps`: receipts of which nobody knows."""

    heads: float
    changes: float
    delivered: float
    perhaps: float = 0


def declare(options: Mapping[str, str], done: Counts, noted: Counts) -> list[Event]:
    model = options.get("model", FLAGS)
    outbox = options.get("publish", "direct") == "outbox"
    mysql = [*asks(done, noted), *sends(model, done, noted), *locked(model, noted), *trouble(done, noted)]
    if options.get("queue-order", "db_first") == "queue_first":
        applying = Counter({name.removeprefix(CONSUMER): n for name, n in noted.items()})
        return [
            *mysql,
            *_accepted(done, noted),
            *_applied(model, applying),
            *_redis(_queued(done, noted), done, noted),
        ]
    told = _told(done, noted)
    return [
        *mysql,
        *reads(model, done, noted),
        *deliveries(model, done, noted, alone=not outbox),
        Event("events of changes", sum(told[:3]), {"kafka.records": 1}),
        Event("events of receipts, if there were", told.perhaps, {"kafka.records": MAYBE_ONE}),
        *_redis(told, done, noted),
        *(_outbox(told, done, noted) if outbox else ()),
    ]


def _told(done: Counts, noted: Counts) -> Told:
    """`db_first`: what each change tells.  In direct conversations a read is told to two people."""
    direct = done["read.moved.direct"] + done["read.several.moved.direct"]
    group = done["read.moved.group"] + done["read.several.moved.group"]
    implied = noted["mysql.sends_reading"] + noted["mysql.sends_reading_direct"] + noted["mysql.sends_locked"]
    delivered = ("delivered.moved", "delivered.several.moved")
    return Told(
        done["send.direct"] + done["send.group"],
        2 * direct + group + implied,
        sum(done[f"{name}.{kind}"] for name in delivered for kind in ("direct", "group")),
        noted["mysql.sends_locked"],
    )


def _queued(done: Counts, noted: Counts) -> Told:
    """`queue_first`: a SEND tells as ever; what its marks tell is known when the consumer has applied
    them."""
    implied = noted["mysql.sends_reading"] + noted["mysql.sends_reading_direct"] + noted["mysql.sends_locked"]
    return Told(
        done["send.direct"] + done["send.group"],
        implied + noted[f"{CONSUMER}mysql.logged_lines"],
        noted[f"{CONSUMER}mysql.deliveries_applied"],
        noted["mysql.sends_locked"],
    )


def _accepted(done: Counts, noted: Counts) -> list[Event]:
    """`queue_first`: READ and DELIVERED are checked against the heads and put into the log."""
    marks = done["read.unknown"] + done["read.several"] + done["delivered.stale"] + done["delivered.several"]
    told = _queued(done, noted)
    unsure = done["unsure.read"] + done["unsure.delivered"]
    return [
        Event("READ or DELIVERED: its heads, its record", marks, plus(MGET, {"kafka.records": 1})),
        Event("heads that Redis did not have yet", noted["heads_asked"], SELECT),
        Event("events of SENDs", told.heads, {"kafka.records": 1}),
        Event(
            "events of reads that SENDs implied",
            noted["mysql.sends_reading"] + noted["mysql.sends_reading_direct"] + noted["mysql.sends_locked"],
            {"kafka.records": 1},
        ),
        Event("failed or unanswered marks", unsure, maybe(plus(MGET, {"kafka.records": 1}))),
    ]


def _applied(model: str, noted: Counts) -> list[Event]:
    """`queue_first`: the consumer writes MySQL, a batch in a transaction."""
    mark: Cost = plus(update(1), SELECT, update(0)) if model == FLAGS else update(1)
    return [
        Event("consumer: a batch committed", noted["mysql.commits"], COMMIT),
        Event("consumer: members not known yet", noted["mysql.directory_misses"], SELECT),
        Event("consumer: DELIVERED that moves", noted["mysql.deliveries_applied"], mark),
        written("delivered by the consumer", noted["mysql.delivered_rows"] if model == FLAGS else 0),
        *locked(model, noted),
        *trouble(Counter(), noted),
    ]


def _redis(told: Told, done: Counts, noted: Counts) -> list[Event]:
    asked = done["state.page"] + done["state.later"]
    batches, beats = noted[f"{CONSUMER}batches"], noted[f"{CONSUMER}beats"]
    partitions = within("hget")
    beat = {"redis.evalsha": 1, "redis.set": 1, "redis.hset": 1}
    return [
        Event("HELLO: the change id", done["hello"], MGET),
        Event("STATE: change id and memberships, keys", asked, command("mget", 2)),
        Event("STATE of named conversations: keys", done["state.named"], MGET),
        Event("a user's state missed: read and filled", noted["cache_fills"], FILL),
        Event("what Redis holds, asked by the probes", done["door.cached"], MGET, of_harness=True),
        Event("head applied", told.heads, {"redis.get": 2, "redis.set": (1, 2)}),
        Event("change applied", told.changes, {"redis.get": 2, "redis.set": (1, 2), "redis.srem": MAYBE_ONE}),
        Event("change applied, if there was", told.perhaps, {"redis.get": (0, 2), "redis.set": (0, 2)}),
        Event("delivery applied", told.delivered, {"redis.get": 1, "redis.set": MAYBE_ONE}),
        Event("batch applied", batches, EVALSHA),
        Event(
            "batch of queue_first: what is new in it", noted[f"{CONSUMER}batches_compared"], command("hmget")
        ),
        Event("partition in a batch", noted[f"{CONSUMER}batch_partitions"], plus(partitions, within("hset"))),
        Event("pushes published, as heard", noted["bus_messages"], within("publish")),
        Event("heartbeat of the consumer", beats, plus(EVALSHA, command("set"), command("hset"))),
        Event("partition told by a heartbeat", noted[f"{CONSUMER}beat_partitions"], partitions),
        Event("heartbeats not told yet", BEATS, dict.fromkeys(beat, (-1, 1)) | {"redis.hget": (-8, 8)}),
        Event("look at the lag", noted["looks_at_lag"], command("hgetall")),
        Event("ages of events asked for", noted["polls_of_lag"], command("hvals")),
        Event("DRAIN: the bus flushed", noted["bus_flushes"], command("publish"), of_harness=True),
    ]


def _outbox(told: Told, done: Counts, noted: Counts) -> list[Event]:
    """Written by the change's own transaction; taken and deleted by the relay, which looks by the clock."""
    changes = (
        done["send.direct"]
        + done["send.group"]
        + done["read.moved.direct"]
        + done["read.moved.group"]
        + done["delivered.moved.direct"]
        + done["delivered.moved.group"]
        + done["delivered.several.moving"]
    )
    return [
        Event("change: its events into the outbox", changes, insert(0)),
        Event("READ of several: its events into the outbox", done["read.several"], maybe(insert(0))),
        Event("event in the outbox", sum(told[:3]), {"mysql.Handler_write": 1}),
        Event("relay: takes", noted["outbox_takes"], SELECT),
        Event("relay: looks", noted["outbox_looks"], SELECT),
        Event("relay: deletes", noted["outbox_deletes"], {"mysql.Com_delete": 1, "mysql.autocommits": 1}),
        Event("relay: an event deleted", noted["outbox_published"], {"mysql.Handler_delete": 1}),
    ]
