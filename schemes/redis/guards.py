"""Two ways from a miss to a filled key: the article's, and one that no write can overtake.

The race (A1): a reader misses and reads MySQL; a writer commits and deletes the key; the reader stores what
it read before.  From then on the key is stale until its TTL ends or the next write.  `Unguarded` leaves it
open.  `Leased` closes it; docs/decisions/lease.md has the design, `Leased` the argument."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Sequence
from typing import Protocol

from schemes.ports import Trace
from schemes.stores.redis import LEASE_MARK, LEASE_S, Entry, Key, RedisStore, is_lease


class Found:
    """What one reader got: the `values` of the keys that had one, and the keys that it may `fill`."""

    __slots__ = ("fill", "lease", "values")

    def __init__(self, values: dict[Key, bytes], fill: set[Key], lease: bytes) -> None:
        self.values = values
        self.fill = fill
        self.lease = lease


class Guard(Protocol):
    """How misses are filled.  Both methods raise RedisUnavailable."""

    async def fetch(self, keys: Sequence[Key], trace: Trace) -> Found:
        """Reads the keys; what is missing must be read from MySQL after this returns."""

    async def fill(self, found: Found, entries: Sequence[Entry], trace: Trace) -> int:
        """Stores those of `entries` (from MySQL) whose keys are in `found.fill`; how many were stored."""


class Unguarded:
    """GET, on a miss SET: whoever comes last wins, even with what a write has made wrong meanwhile."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def fetch(self, keys: Sequence[Key], trace: Trace) -> Found:
        found = dict(zip(keys, await self._redis.fetch(keys, trace), strict=True))
        values = {key: value for key, value in found.items() if value is not None}
        return Found(values, found.keys() - values.keys(), b"")

    async def fill(self, found: Found, entries: Sequence[Entry], trace: Trace) -> int:
        missed = [entry for entry in entries if entry[0] in found.fill]
        await self._redis.fill(missed, trace)
        return len(missed)


class Leased:
    """A miss leaves a lease in the key itself; only who still finds it there may put the value in its place.

    Claim: once a write's DEL has been executed, Redis never again holds a value of its key from before it.
    Let a fill store at time f what it read from MySQL at time r, under a lease set at time l: the times of
    execution in Redis and MySQL, whenever the replies came.  Then l < r < f, and no DEL of that key was
    executed in (l, f): it would have taken the lease away, and no lease is ever issued twice.  A write that
    the read at r did not see committed after r, and its DEL comes after its COMMIT: so after r > l, so not in
    (l, f), so after f: it removes what the fill stored.  This holds for each key by itself, so every key that
    is filled carries a lease of its own: one reader's leases share their text, but a DEL of one key takes
    only that one away.

    It needs: a read from MySQL that sees all that was committed before it began (READ COMMITTED or a
    transaction of its own, on the primary); every write deletes after COMMIT, and a delete that failed is
    answered for elsewhere (`PendingDeletes`); a Redis that does not go back in time (a restart without
    persistence forgets leases, which only refuses fills; one from an old snapshot could bring one back).
    A lease that expired or was evicted only makes the fill be refused.

    Who finds somebody else's lease reads MySQL and stores nothing: nobody waits for anybody."""

    def __init__(self, redis: RedisStore, *, lease_s: float = LEASE_S) -> None:
        self._redis = redis
        self._lease_s = lease_s
        self._leases = _leases()

    async def fetch(self, keys: Sequence[Key], trace: Trace) -> Found:
        lease = next(self._leases)
        values: dict[Key, bytes] = {}
        ours: set[Key] = set()
        answers = await self._redis.fetch_or_lease(keys, lease, trace, lease_s=self._lease_s)
        for key, value in zip(keys, answers, strict=True):
            if value == lease:
                ours.add(key)
            elif not is_lease(value):
                values[key] = value
        return Found(values, ours, lease)

    async def fill(self, found: Found, entries: Sequence[Entry], trace: Trace) -> int:
        ours = [entry for entry in entries if entry[0] in found.fill]
        return await self._redis.fill_leased(ours, found.lease, trace) if ours else 0


def _leases() -> Iterator[bytes]:
    """Leases that no other process, and no earlier life of this one, issues."""
    process = secrets.token_hex(8).encode()
    return (b"%s%s-%d" % (LEASE_MARK, process, number) for number in itertools.count(1))
