"""Redis as the schemes use it: the keys, what their values look like, and the few commands we send.

    rs:<conversation>:<user>   "read_seq,delivered_seq,version"      one member's cursors
    head:<conversation>        "last_seq,last_sent_ms"               the newest message
    convs:<user>               [[conversation, kind, peer], ...]     where the user is a member; never changes
    cid:<user>                 "change_id"                           `queue` only

Numbers are ASCII decimals below 2**53, so that Lua's doubles compare them exactly.  Unread is never stored:
it is last_seq - read_seq, and a counter beside them could only disagree.  A STATE is one GET (`convs`) and
one MGET (`rs`, `head`, the direct peers' `rs`).

When Redis does not answer, the first command waits for its time-out and those after it fail at once: the
store stays `away` until a probe in the background gets its PONG.  No command is ever repeated by itself,
except a script that Redis has forgotten.

What to cache, when to fill and when to delete is the schemes' business."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from schemes.ports import Trace, clock_ns
from schemes.stores.redis_connections import Connections

CONNECTIONS: Final = 32
TIMEOUT_S: Final = 1.0
TTL_S: Final = 3600
LEASE_S: Final = 10

_FAMILIES: Final = ("rs:", "head:", "convs:", "cid:")
_BATCH: Final = 1000  # keys per command where there may be very many
_PROBE_S_MAX: Final = 0.25
_REFUSALS: Final = ("MISCONF", "NOREPLICAS", "BUSY ", "MASTERDOWN", "CLUSTERDOWN")

T = TypeVar("T")
Key = str
Entry = tuple[Key, bytes]


class RedisUnavailable(Exception):
    """Redis gave no answer (refused, timed out, loading, password), or is `away` since another command got
    none.  The command may or may not have been executed, and if it timed out, may still be."""


class RedisRefused(RedisUnavailable):
    """Redis answered that it will not: out of memory, read-only, no permission, a failed save."""


class ScriptFailed(Exception):
    """A script broke off with an error of its own: the same input will fail again.  What it had written by
    then stays."""


# --- keys and values ----------------------------------------------------------------------------------------


class Cursors(NamedTuple):
    """How far one member is; `version` counts the effective advances of read_seq."""

    read_seq: int
    delivered_seq: int
    version: int


class Head(NamedTuple):
    """The newest message of a conversation; (0, 0) where there is none."""

    last_seq: int
    last_sent_ms: int


class Membership(NamedTuple):
    """One conversation of a user.  `peer` is the other person of a direct one, else None."""

    conversation: str
    kind: str
    peer: int | None


NOBODY: Final = Cursors(0, 0, 0)
EMPTY: Final = Head(0, 0)

_encode_memberships = msgspec.json.Encoder().encode
_decode_memberships = msgspec.json.Decoder(list[Membership]).decode


def pack_cursors(cursors: Cursors) -> bytes:
    return b"%d,%d,%d" % cursors


def unpack_cursors(value: bytes) -> Cursors:
    """Raises ValueError for anything that `pack_cursors` does not make."""
    read_seq, delivered_seq, version = value.split(b",")
    return Cursors(int(read_seq), int(delivered_seq), int(version))


def pack_head(head: Head) -> bytes:
    return b"%d,%d" % head


def unpack_head(value: bytes) -> Head:
    """Raises ValueError for anything that `pack_head` does not make."""
    last_seq, last_sent_ms = value.split(b",")
    return Head(int(last_seq), int(last_sent_ms))


def pack_memberships(memberships: Sequence[Membership]) -> bytes:
    return _encode_memberships(memberships)


def unpack_memberships(value: bytes) -> list[Membership]:
    """Raises msgspec.DecodeError for anything that `pack_memberships` does not make."""
    return _decode_memberships(value)


LEASE_MARK: Final = b"~"
"""First byte of a lease.  No value begins with it."""


def is_lease(value: bytes) -> bool:
    """A promise to fill stands where the value will be: for a reader that is a miss."""
    return value[:1] == LEASE_MARK


def location(url: str) -> str:
    """host:port/db of a redis:// URL, for messages: without the password."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path or '/0'}"


# --- scripts ------------------------------------------------------------------------------------------------


class Script:
    """A Lua script, called by its SHA1; sent whole only when Redis does not know it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_FETCH_OR_LEASE: Final = Script("""
local found = {}
for first = 1, #KEYS, 1000 do
  local last = math.min(first + 999, #KEYS)
  local values = redis.call('MGET', unpack(KEYS, first, last))
  for i = 1, #values do
    local value = values[i]
    if not value then
      redis.call('SET', KEYS[first + i - 1], ARGV[1], 'PX', ARGV[2])
      value = ARGV[1]
    end
    found[first + i - 1] = value
  end
end
return found""")
"""KEYS to read; ARGV: the reader's lease, its life in ms.  Where there is nothing, the lease is put there."""

_FILL: Final = Script("""
for i = 1, #KEYS do
  if ARGV[1] == '0' then
    redis.call('SET', KEYS[i], ARGV[i + 1])
  else
    redis.call('SET', KEYS[i], ARGV[i + 1], 'EX', ARGV[1])
  end
end""")
"""KEYS to fill; ARGV: the TTL in s (0: none), one value per key.  A pipeline of SETs does the same, but its
replies, one per key, cost the server process five times as much CPU."""

_FILL_LEASED: Final = Script("""
local stored = 0
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then
    redis.call('SET', KEYS[i], ARGV[i + 2], 'EX', ARGV[2])
    stored = stored + 1
  end
end
return stored""")
"""KEYS to fill; ARGV: the lease, the TTL in s, one value per key.  A key without our lease stays as it is."""


# --- the store ----------------------------------------------------------------------------------------------


class RedisStore:
    """One Redis database behind one connection pool.

    `prefix` goes before every key.  `exclusive` says that the database holds nothing but ours, so that wiping
    may flush it.  `ttl_s` is the life of what `fill` stores; None keeps it for ever.
    Every method raises RedisUnavailable where Redis cannot be used; `trace.cache` gets the time spent,
    `trace.wait` the time until one of the `connections` was free."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "",
        exclusive: bool = False,
        ttl_s: int | None = TTL_S,
        connections: int = CONNECTIONS,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.prefix = prefix
        self.ttl_s = ttl_s
        self.where = location(url)
        self.connections = connections
        self._url = url
        self._exclusive = exclusive
        self._timeout_s = timeout_s
        self._rs, self._head, self._convs, self._cid = (prefix + family for family in _FAMILIES)
        self._free = asyncio.Semaphore(connections)
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._probing: asyncio.Task[None] | None = None
        self._connections = Connections(self._pool(), timeout_s)
        self._execute = self._connections.execute

    def client(self) -> Redis:
        """A client of its own, for a subscriber, who waits longer than a command may."""
        return Redis.from_pool(self._pool())

    def _pool(self) -> ConnectionPool:
        """RESP2: RESP3 costs the same here, and redis-py then keeps connections that have died in a pool."""
        return ConnectionPool.from_url(
            self._url, protocol=2, socket_connect_timeout=self._timeout_s, retry=Retry(NoBackoff(), 0)
        )

    async def start(self) -> None:
        """Raises RedisUnavailable, saying where and why, if Redis cannot be used."""
        await self.command(None, "PING")

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._connections.close()

    # --- keys

    def rs(self, conversation: str, user: int) -> Key:
        return f"{self._rs}{conversation}:{user}"

    def head(self, conversation: str) -> Key:
        return f"{self._head}{conversation}"

    def convs(self, user: int) -> Key:
        return f"{self._convs}{user}"

    def cid(self, user: int) -> Key:
        return f"{self._cid}{user}"

    def member_of(self, key: bytes) -> tuple[str, int]:
        """The conversation and user of an `rs` key."""
        conversation, _, user = key.decode()[len(self._rs) :].rpartition(":")
        return conversation, int(user)

    # --- is it there?

    @property
    def away(self) -> bool:
        """Commands fail at once, because one did and the probe has not had an answer since."""
        return not self._reachable.is_set()

    async def reachable(self) -> None:
        """Returns when Redis answers (at once unless it is away)."""
        await self._reachable.wait()

    # --- reading and writing

    async def fetch(self, keys: Sequence[Key], trace: Trace) -> list[bytes | None]:
        """The values of `keys`, None where there is none."""
        if not keys:
            return []
        found: list[bytes | None] = await self.command(trace, "MGET", *keys)
        return found

    async def fetch_or_lease(
        self, keys: Sequence[Key], lease: bytes, trace: Trace, *, lease_s: float = LEASE_S
    ) -> list[bytes]:
        """As `fetch`, but in the same step puts `lease` where nothing is: a value that equals `lease` is ours
        to fill, another lease is somebody else's."""
        if not keys:
            return []
        found: list[bytes] = await self.script(trace, _FETCH_OR_LEASE, keys, (lease, int(lease_s * 1000)))
        return found

    async def fill(self, entries: Sequence[Entry], trace: Trace | None) -> None:
        """Stores all, whatever is there, in one step."""
        if entries:
            keys, values = zip(*entries, strict=True)
            await self.script(trace, _FILL, keys, (self.ttl_s or 0, *values))

    async def fill_leased(self, entries: Sequence[Entry], lease: bytes, trace: Trace) -> int:
        """Stores each entry whose key still holds `lease`; how many those were."""
        keys = [key for key, _ in entries]
        values = [value for _, value in entries]
        stored: int = await self.script(trace, _FILL_LEASED, keys, (lease, self.ttl_s or TTL_S, *values))
        return stored

    async def delete(self, keys: Sequence[Key], trace: Trace | None) -> None:
        """Takes keys away, values and leases alike, all in one step (beyond 1,000 keys in several)."""
        for some in _batches(keys):
            await self.command(trace, "DEL", *some)

    async def script(
        self, trace: Trace | None, script: Script, keys: Sequence[Key], args: Iterable[Any]
    ) -> Any:
        """What the script returns.  It is sent again, whole, if Redis was restarted since it was loaded.

        Raises ScriptFailed too."""
        rest = (len(keys), *keys, *args)
        try:
            return await self._guarded(trace, lambda: self._evaluate(script, rest))
        except ResponseError as why:
            raise ScriptFailed(str(why)) from why

    async def command(self, trace: Trace | None, *command: Any) -> Any:
        """The reply to one command."""
        return await self._guarded(trace, lambda: self._execute(*command))

    async def pipeline(self, trace: Trace | None, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The replies to several commands sent together; not atomic."""
        if not commands:
            return []
        return await self._guarded(trace, lambda: self._connections.execute_all(commands))

    # --- the harness's own door

    async def wipe(self) -> None:
        """Takes away all of our keys, and nothing else: a database of our own is flushed, in any other one
        our prefix is searched for."""
        if self._exclusive:
            await self.command(None, "FLUSHDB")
            return
        families = tuple((self.prefix + family).encode() for family in _FAMILIES)
        cursor = b"0"
        while True:
            cursor, keys = await self._scan(cursor, f"{glob_escape(self.prefix)}*", _BATCH)
            ours = [key for key in keys if key.startswith(families)]
            if ours:
                await self.command(None, "UNLINK", *ours)
            if cursor == b"0":
                return

    async def members(
        self, after: str, limit: int
    ) -> tuple[list[tuple[str, int, Cursors, Head]], str | None]:
        """A page of about `limit` cached cursors with their heads (EMPTY where the head is not cached), and
        where the next page starts.  A member may come twice, as with every SCAN."""
        cursor, keys = await self._scan((after or "0").encode(), f"{glob_escape(self._rs)}*", limit)
        members = [self.member_of(key) for key in keys]
        values = await self._fetch_many([key.decode() for key in keys])
        heads = await self._heads(dict.fromkeys(conversation for conversation, _ in members))
        rows = [
            (conversation, user, unpack_cursors(value), heads[conversation])
            for (conversation, user), value in zip(members, values, strict=True)
            if value is not None and not is_lease(value)
        ]
        return rows, None if cursor == b"0" else cursor.decode()

    async def member(self, conversation: str, user: int) -> tuple[Cursors, Head] | None:
        """What is cached of one member now (the head EMPTY if that is not), or None."""
        value, head = await self._fetch_many([self.rs(conversation, user), self.head(conversation)])
        if value is None or is_lease(value):
            return None
        return unpack_cursors(value), _head_or_empty(head)

    async def _heads(self, conversations: Mapping[str, None]) -> dict[str, Head]:
        values = await self._fetch_many([self.head(conversation) for conversation in conversations])
        return {name: _head_or_empty(value) for name, value in zip(conversations, values, strict=True)}

    async def _fetch_many(self, keys: Sequence[Key]) -> list[bytes | None]:
        return [value for some in _batches(keys) for value in await self.command(None, "MGET", *some)]

    async def _scan(self, cursor: bytes, pattern: str, count: int) -> tuple[bytes, list[bytes]]:
        after, keys = await self.command(None, "SCAN", cursor, "MATCH", pattern, "COUNT", count)
        return (after if isinstance(after, bytes) else str(after).encode()), keys

    # --- one command, guarded

    async def _evaluate(self, script: Script, rest: tuple[Any, ...]) -> Any:
        try:
            return await self._execute("EVALSHA", script.sha, *rest)
        except NoScriptError:
            return await self._execute("EVAL", script.text, *rest)

    async def _guarded(self, trace: Trace | None, call: Callable[[], Awaitable[T]]) -> T:
        asked = clock_ns()
        async with self._free:
            began = clock_ns()
            try:
                if not self._reachable.is_set():
                    raise RedisUnavailable(f"Redis at {self.where} is away")
                return await call()
            except (RedisConnectionError, RedisTimeoutError, InvalidResponse, OSError) as why:
                self._gone()
                raise RedisUnavailable(f"Redis at {self.where} gave no answer: {_reason(why)}") from why
            except ResponseError as why:
                if not _is_refusal(why):
                    raise
                raise RedisRefused(f"Redis at {self.where} refused: {why}") from why
            finally:
                if trace is not None:
                    trace.wait += began - asked
                    trace.cache += clock_ns() - began

    def _gone(self) -> None:
        if self._reachable.is_set():
            self._reachable.clear()
            self._probing = asyncio.create_task(self._probe(), name="redis probe")

    async def _probe(self) -> None:
        wait_s = 0.005  # one connection that broke alone should cost no more than this
        while True:
            try:
                await self._execute("PING")
            except (RedisError, OSError):
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _PROBE_S_MAX)
            else:
                self._reachable.set()
                return


def glob_escape(text: str) -> str:
    """`text` as a pattern of MATCH that matches it alone."""
    return "".join(f"\\{char}" if char in r"*?[]^-\\" else char for char in text)


def _head_or_empty(value: bytes | None) -> Head:
    return EMPTY if value is None or is_lease(value) else unpack_head(value)


def _batches(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(keys), _BATCH):
        yield keys[first : first + _BATCH]


def _is_refusal(why: ResponseError) -> bool:
    return isinstance(why, OutOfMemoryError | ReadOnlyError | NoPermissionError) or str(why).startswith(
        _REFUSALS
    )


def _reason(why: BaseException) -> str:
    return str(why) or type(why).__name__
