"""Scheme 2: Redis in front of MySQL, cache-aside."""

from __future__ import annotations

from schemes.db import open_store
from schemes.ports import Publisher, ReadState
from schemes.redis.cache_aside import CacheAside
from schemes.redis.guards import Guard, Leased, Unguarded
from schemes.stores.redis import TTL_S, RedisStore

GUARDS: dict[str, type[Leased | Unguarded]] = {"none": Unguarded, "lease": Leased}


def build(options: dict[str, str], publisher: Publisher) -> ReadState:
    """Besides the descriptor's options: `redis-prefix` (before every key), `redis-exclusive` (`yes`: the
    database is ours alone and may be flushed).  Raises ValueError for what they cannot mean."""
    redis = RedisStore(
        options["redis-url"],
        prefix=options.get("redis-prefix", ""),
        exclusive=options.get("redis-exclusive") == "yes",
        ttl_s=_ttl_s(options.get("cache-ttl", str(TTL_S))),
    )
    guard: Guard = GUARDS[options.get("guard", "none")](redis)
    return CacheAside(
        open_store(options),
        publisher,
        redis,
        guard,
        fallback=options.get("on-delete-failure", "fallback") == "fallback",
        node=int(options.get("node", "0")),
        receipt_members=int(options.get("receipt-members", "200")),
    )


def _ttl_s(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(f"cache-ttl: expected whole seconds from 1 up, got {text!r}")
    return int(text)
