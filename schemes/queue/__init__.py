"""Scheme 3: changes go to MySQL and through Kafka to a consumer, which updates Redis and the servers."""

from __future__ import annotations

from schemes import SCHEMES
from schemes.db import open_store
from schemes.ports import Publisher, ReadState
from schemes.queue.options import DEFAULTS
from schemes.queue.outboxed import Outboxed
from schemes.queue.scheme import Queue, QueueFirst
from schemes.stores.kafka import PARTITIONS, EventLog
from schemes.stores.redis import RedisStore

KINDS: dict[tuple[str, str], type[Queue]] = {
    ("db_first", "direct"): Queue,
    ("db_first", "outbox"): Outboxed,
    ("queue_first", "direct"): QueueFirst,
}
"""By `queue-order` and `publish`."""


def build(options: dict[str, str], publisher: Publisher) -> ReadState:
    """Besides the descriptor's options: `topic`, `partitions` and `flush-messages` (of a topic that is not
    there yet; 1: the broker flushes each record before it acknowledges it), `warm-up`
    (records to a throw-away topic before serving), `redis-prefix` and `redis-exclusive` as in `redis`.

    `topic` and `redis-prefix` must be the consumer's.  Raises ValueError for options that exclude each
    other."""
    if conflict := SCHEMES["queue"].conflict(options):
        raise ValueError(conflict)
    node = int(options.get("node", "0"))
    redis = RedisStore(
        options["redis-url"],
        prefix=options.get("redis-prefix", ""),
        exclusive=options.get("redis-exclusive") == "yes",
        ttl_s=None,  # a key that expired would accept any older event
    )
    bootstrap = options["kafka-bootstrap"]
    log = EventLog(
        bootstrap,
        options.get("topic", DEFAULTS["topic"]),
        partitions=int(options.get("partitions", PARTITIONS)),
        flush_messages=int(options.get("flush-messages", "0")),
        tick_ms=int(options.get("queue-tick", "0")),
        client_id=f"server-{node}",
    )
    return KINDS[options.get("queue-order", "db_first"), options.get("publish", "direct")](
        open_store(options),
        publisher,
        redis,
        log,
        bootstrap=bootstrap,
        warm_up_events=int(options.get("warm-up", "0")),
        node=node,
        receipt_members=int(options.get("receipt-members", "200")),
    )
