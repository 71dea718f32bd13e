"""The `redis` scheme on real MySQL and Redis: what is read, deleted and filled; what the article's order of
steps does wrong and the guard does right; and what happens while Redis is away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from bench.services import Stack
from schemes.ports import Caller, Marked, Refused, StatePage, Trace
from schemes.protocol import ConversationState, SeedConversation
from schemes.read_state import Push
from schemes.redis import build
from schemes.redis.cache_aside import CacheAside

pytestmark = pytest.mark.services

ANN, BOB, CYD = 1, 2, 3
SEED = [
    SeedConversation("d", "direct", [ANN, BOB], 6, [0, 0]),  # read up to 5 and 6: their own last messages
    SeedConversation("g", "group", [ANN, BOB, CYD], 9, [0, 0, 0]),
    SeedConversation("empty", "direct", [ANN, CYD], 0, [0, 0]),
]


class Pushes:
    """A publisher that notes what it was given, and what STATE would have said at that moment."""

    def __init__(self) -> None:
        self.pushed: list[Push] = []
        self.lost_reasons: list[str] = []

    def publish(self, push: Push) -> None:
        self.pushed.append(push)

    def lost(self, reason: str) -> None:
        self.lost_reasons.append(reason)


Make = Callable[..., Awaitable[CacheAside]]


@pytest.fixture
async def make(stack: Stack) -> AsyncIterator[Make]:
    """Schemes on a freshly seeded store; options as on the command line."""
    made: list[CacheAside] = []

    async def make(*, warm: bool = False, seed: bool = True, **options: str) -> CacheAside:
        scheme = build(
            {
                "mysql-url": stack.services["mysql"].url,
                "redis-url": stack.services["redis"].url,
                "redis-exclusive": "yes",
                "receipt-members": "200",
                **{name.replace("_", "-"): value for name, value in options.items()},
            },
            Pushes(),
        )
        assert isinstance(scheme, CacheAside)
        made.append(scheme)
        await scheme.start()
        if seed:
            await scheme.reset()
            await scheme.seed(SEED, done=True, warm=warm)
        return scheme

    yield make
    for scheme in made:
        await scheme.close()


async def read(scheme: CacheAside, user: int, conversation: str, up_to_seq: int) -> None:
    trace = Trace()
    (outcome,) = await scheme.read(_caller(user), [Marked(conversation, up_to_seq)], trace)
    assert outcome.read_seq >= up_to_seq


async def state(scheme: CacheAside, user: int, conversation: str) -> ConversationState:
    return (await scheme.state(user, [conversation], None, 10, Trace())).conversations[0]


async def everything(scheme: CacheAside, user: int) -> StatePage:
    return await scheme.state(user, None, None, 100, Trace())


def _caller(user: int) -> Caller:
    return Caller(user, "phone", f"session-{user}")


def _changed(scheme: CacheAside, before: dict[str, Any], *names: str) -> list[float]:
    after = scheme.stats()
    return [after[name] - before[name] for name in names]


# --- reading and filling


@pytest.mark.parametrize("model", ["flags", "cursor"])
@pytest.mark.parametrize("guard", ["none", "lease"])
async def test_state_is_the_same_cold_warm_and_from_mysql(make: Make, model: str, guard: str) -> None:
    scheme = await make(model=model, guard=guard)
    await read(scheme, ANN, "g", 8)
    await scheme.delivered(_caller(BOB), [Marked("g", 9)], Trace())
    await scheme.send(_caller(CYD), "g", "m1", "hello", Trace())
    for user in (ANN, BOB, CYD):
        from_mysql = await super(CacheAside, scheme).state(user, None, None, 100, Trace())
        cold, warm = await everything(scheme, user), await everything(scheme, user)
        for page in (cold, warm):
            assert page.conversations == from_mysql.conversations
            assert (page.total_unread, page.change_id) == (from_mysql.total_unread, from_mysql.change_id)


async def test_a_cold_state_fills_all_and_the_next_is_all_hits(make: Make) -> None:
    scheme = await make()
    before = scheme.stats()
    await everything(scheme, ANN)  # convs; d: own, head, peer; g: own, head; empty: own, head, peer
    assert _changed(scheme, before, "cache_misses", "cache_fills", "cache_hits") == [9, 9, 0]
    before, trace = scheme.stats(), Trace()
    await scheme.state(ANN, None, None, 100, trace)
    assert _changed(scheme, before, "cache_misses", "cache_fills", "cache_hits") == [0, 0, 9]
    assert _changed(scheme, before, "mysql.reads") == [1]  # the change id
    assert trace.cache > 0
    assert trace.store > 0
    assert trace.queue == 0


async def test_only_what_was_missed_is_filled(make: Make) -> None:
    scheme = await make()
    await everything(scheme, ANN)
    await read(scheme, ANN, "g", 8)
    before = scheme.stats()
    await everything(scheme, ANN)
    assert _changed(scheme, before, "cache_misses", "cache_fills", "cache_hits") == [1, 1, 8]


async def test_a_named_state_keeps_the_order_of_the_names_and_says_nothing_of_all(make: Make) -> None:
    scheme = await make(warm=True)
    page = await scheme.state(ANN, ["g", "d", "g"], None, 1, Trace())
    assert [one.conversation_id for one in page.conversations] == ["g", "d"]
    assert (page.total_unread, page.change_id, page.cursor) == (None, None, None)


@pytest.mark.parametrize("guard", ["none", "lease"])
async def test_a_named_state_that_is_cached_does_not_touch_mysql(make: Make, guard: str) -> None:
    scheme = await make(guard=guard)
    cold = await scheme.state(ANN, ["g", "d"], None, 1, Trace())
    before, trace = scheme.stats(), Trace()
    warm = await scheme.state(ANN, ["g", "d"], None, 1, trace)
    assert warm.conversations == cold.conversations
    assert _changed(scheme, before, "mysql.reads", "cache_misses", "cache_hits") == [0, 0, 5]
    assert (trace.store, trace.cache > 0) == (0, True)


async def test_a_named_state_shows_the_mark_that_was_acknowledged_before_it(make: Make) -> None:
    scheme = await make()
    await scheme.state(ANN, ["g"], None, 1, Trace())
    await read(scheme, ANN, "g", 8)
    (after,) = (await scheme.state(ANN, ["g"], None, 1, Trace())).conversations
    assert after.read_seq == 8


async def test_pages_follow_each_other_and_the_last_has_the_total(make: Make) -> None:
    scheme = await make(warm=True)
    await scheme.send(_caller(CYD), "g", "m1", "hello", Trace())
    first = await scheme.state(ANN, None, None, 2, Trace())
    assert [one.conversation_id for one in first.conversations] == ["g", "d"]
    assert first.total_unread is None
    last = await scheme.state(ANN, None, first.cursor, 2, Trace())
    assert [one.conversation_id for one in last.conversations] == ["empty"]
    assert last.cursor is None
    assert last.total_unread == sum(one.unread for one in (*first.conversations, *last.conversations))


@pytest.mark.parametrize("warm", [False, True])
async def test_nobody_reads_a_conversation_of_others(make: Make, warm: bool) -> None:
    scheme = await make(warm=warm)
    with pytest.raises(Refused) as refused:
        await scheme.state(CYD, ["d"], None, 10, Trace())
    assert refused.value.code == "NOT_MEMBER"


async def test_a_warm_seed_leaves_nothing_to_miss(make: Make) -> None:
    scheme = await make(warm=True)
    before = scheme.stats()
    for user in (ANN, BOB, CYD):
        await everything(scheme, user)
    assert _changed(scheme, before, "cache_misses", "cache_fills") == [0, 0]


# --- writing


@pytest.mark.parametrize("guard", ["none", "lease"])
async def test_who_writes_reads_it_at_once(make: Make, guard: str) -> None:
    scheme = await make(warm=True, guard=guard)
    for seq in (7, 8, 9):
        await read(scheme, ANN, "g", seq)
        assert (await state(scheme, ANN, "g")).read_seq == seq
    await scheme.send(_caller(BOB), "g", "m1", "hello", Trace())
    assert (await state(scheme, ANN, "g")).unread == 1
    assert (await state(scheme, BOB, "g")).unread == 0


async def test_a_write_deletes_its_own_keys_and_no_others(make: Make) -> None:
    scheme = await make(warm=True)
    cases: list[tuple[Awaitable[Any], dict[tuple[int, str], bool], int]] = [
        (scheme.read(_caller(ANN), [Marked("d", 6)], Trace()), {(ANN, "d"): False, (BOB, "d"): True}, 6),
        (scheme.delivered(_caller(BOB), [Marked("g", 8)], Trace()), {(BOB, "g"): True}, 9),  # stale
        (scheme.delivered(_caller(ANN), [Marked("g", 9)], Trace()), {(ANN, "g"): False, (BOB, "g"): True}, 9),
        (scheme.send(_caller(CYD), "g", "m", "x", Trace()), {(CYD, "g"): False, (BOB, "g"): True}, 0),
    ]
    for write, kept, last_seq in cases:
        await write
        for (user, conversation), there in kept.items():
            found = await scheme.held("cache", user, conversation)
            assert (found is not None) == there
            assert found is None or found.last_seq == last_seq  # 0: the head was deleted


async def test_a_stale_read_deletes_nothing(make: Make) -> None:
    scheme = await make(warm=True)
    before = scheme.stats()
    await read(scheme, ANN, "d", 1)
    assert _changed(scheme, before, "cache_deletes") == [0]
    assert await scheme.held("cache", ANN, "d") is not None


async def test_pushes_leave_after_the_delete(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = await make(warm=True)
    steps: list[str] = []
    delete = scheme._redis.delete

    async def noted(keys: Sequence[str], trace: Trace | None) -> None:
        await delete(keys, trace)
        steps.append("deleted")

    monkeypatch.setattr(scheme._redis, "delete", noted)
    monkeypatch.setattr(scheme.publisher, "publish", lambda push: steps.append("pushed"))
    await read(scheme, ANN, "d", 6)
    assert steps == ["deleted", "pushed", "pushed"]  # the reader's devices, the peer's


# --- the stale-fill race (A1)


class Paused:
    """Holds one read of MySQL after its answer and before it is used."""

    def __init__(self, scheme: CacheAside, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answered = asyncio.Event()
        self.release = asyncio.Event()
        self._states = scheme.store.states
        monkeypatch.setattr(scheme.store, "states", self._paused)

    async def _paused(self, user: int, names: Sequence[str] | None, trace: Trace, **more: bool) -> Any:
        found = await self._states(user, names, trace, **more)
        if names is not None and not self.answered.is_set():
            self.answered.set()
            await self.release.wait()
        return found


async def _race(scheme: CacheAside, monkeypatch: pytest.MonkeyPatch) -> int:
    """A reader misses and reads MySQL; a READ commits, deletes and is acknowledged; the reader goes on."""
    await everything(scheme, ANN)
    await scheme._redis.delete([scheme._redis.rs("g", ANN)], None)
    paused = Paused(scheme, monkeypatch)
    reader = asyncio.create_task(everything(scheme, ANN))
    await asyncio.wait_for(paused.answered.wait(), 5)
    await read(scheme, ANN, "g", 9)
    paused.release.set()
    await reader
    return (await state(scheme, ANN, "g")).read_seq


async def test_without_a_guard_the_stale_fill_stays(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _race(await make(guard="none"), monkeypatch) == 7


async def test_with_a_lease_it_is_never_stored(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = await make(guard="lease")
    before = scheme.stats()
    assert await _race(scheme, monkeypatch) == 9
    assert _changed(scheme, before, "cache_fills_refused") == [1]


async def test_with_a_lease_the_head_is_guarded_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = await make(guard="lease")
    await everything(scheme, ANN)
    await scheme._redis.delete([scheme._redis.head("g")], None)
    paused = Paused(scheme, monkeypatch)
    reader = asyncio.create_task(everything(scheme, ANN))
    await asyncio.wait_for(paused.answered.wait(), 5)
    await scheme.send(_caller(CYD), "g", "m1", "hello", Trace())
    paused.release.set()
    await reader
    assert (await state(scheme, ANN, "g")).last_seq == 10


# --- deletes that fail


async def test_a_failed_delete_is_acknowledged_and_read_from_mysql_until_it_succeeded(
    make: Make, stack: Stack
) -> None:
    scheme = await make(warm=True)
    assert (await state(scheme, ANN, "g")).read_seq == 7
    stack.signal("redis", signal.SIGSTOP)
    try:
        began = time.monotonic()
        await read(scheme, ANN, "g", 9)
        assert time.monotonic() - began < 2
        assert (await state(scheme, ANN, "g")).read_seq == 9
        assert scheme.stats()["cache_delete_failed"] == 1
        assert await scheme.drain(0.01) == {"cache_deletes": 1}
    finally:
        stack.signal("redis", signal.SIGCONT)
    assert (await state(scheme, ANN, "g")).read_seq == 9
    assert await scheme.drain(3) == {}
    assert (await state(scheme, ANN, "g")).read_seq == 9
    assert not scheme.stats()["cache_away"]


async def _read_seq_while_deletes_are_refused(scheme: CacheAside) -> int:
    """What STATE says after a READ up to 9 whose DEL Redis refused, while it answers everything else."""
    await scheme._redis.command(None, "ACL", "SETUSER", "default", "-del")
    try:
        await read(scheme, ANN, "g", 9)
        assert scheme.stats()["cache_delete_failed"] == 1
        return (await state(scheme, ANN, "g")).read_seq
    finally:
        await scheme._redis.command(None, "ACL", "SETUSER", "default", "+del")


async def test_a_refused_delete_distrusts_that_key_alone(make: Make) -> None:
    scheme = await make(warm=True)
    before = scheme.stats()
    assert await _read_seq_while_deletes_are_refused(scheme) == 9
    assert _changed(scheme, before, "cache_fallback", "cache_distrusted", "cache_hits") == [0, 1, 1]
    assert await scheme.drain(3) == {}
    assert await scheme.held("cache", ANN, "g") is None
    assert (await state(scheme, ANN, "g")).read_seq == 9


async def test_ignoring_a_failed_delete_is_stale_until_the_next_write(make: Make) -> None:
    scheme = await make(warm=True, on_delete_failure="ignore")
    assert await _read_seq_while_deletes_are_refused(scheme) == 7
    assert await scheme.drain(0) == {}
    assert (await state(scheme, ANN, "g")).read_seq == 7
    await scheme.send(_caller(ANN), "g", "m1", "hello", Trace())
    assert (await state(scheme, ANN, "g")).read_seq == 10


async def test_a_write_that_is_cancelled_after_commit_leaves_no_stale_key(make: Make, stack: Stack) -> None:
    scheme = await make(warm=True)
    await everything(scheme, ANN)
    stack.signal("redis", signal.SIGSTOP)
    try:
        writing = asyncio.create_task(read(scheme, ANN, "g", 9))
        await asyncio.sleep(0.3)  # committed, and waiting for Redis to answer the delete
        row = await scheme.held("store", ANN, "g")
        assert row is not None
        assert row.read_seq == 9
        assert not writing.done()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    finally:
        stack.signal("redis", signal.SIGCONT)
    assert (await state(scheme, ANN, "g")).read_seq == 9
    assert await scheme.drain(3) == {}
    assert (await state(scheme, ANN, "g")).read_seq == 9


async def test_a_commit_of_unknown_outcome_is_not_trusted_to_have_failed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = await make(warm=True)
    transact = scheme.store.read

    async def breaks_after_commit(*args: Any) -> Any:
        await transact(*args)
        raise Refused("UNAVAILABLE", "the connection broke while COMMIT was on its way")

    monkeypatch.setattr(scheme.store, "read", breaks_after_commit)
    with pytest.raises(Refused):
        await scheme.read(_caller(ANN), [Marked("g", 9)], Trace())
    assert (await state(scheme, ANN, "g")).read_seq == 9


async def test_a_definite_refusal_costs_no_delete(make: Make) -> None:
    scheme = await make(warm=True)
    with pytest.raises(Refused, match="beyond 9"):
        await scheme.read(_caller(ANN), [Marked("g", 99)], Trace())
    assert await scheme.drain(0) == {}
    assert await scheme.held("cache", ANN, "g") is not None


# --- Redis away


async def test_while_redis_is_dead_reads_come_from_mysql_and_fast(make: Make, stack: Stack) -> None:
    scheme = await make(warm=True)
    stack.signal("redis", signal.SIGKILL)
    await asyncio.sleep(0.05)
    began = time.monotonic()
    for seq in (7, 8, 9):
        await read(scheme, ANN, "g", seq)
        assert (await state(scheme, ANN, "g")).read_seq == seq
    assert time.monotonic() - began < 1
    assert scheme.stats()["cache_fallback"] == 3
    assert scheme.stats()["cache_away"]
    await asyncio.to_thread(stack.restart, "redis")
    assert await scheme.drain(3) == {}
    before = scheme.stats()
    await everything(scheme, ANN)
    await everything(scheme, ANN)
    assert (await state(scheme, ANN, "g")).read_seq == 9
    assert _changed(scheme, before, "cache_fallback") == [0]
    assert _changed(scheme, before, "cache_hits")[0] > 0


async def test_a_fill_that_fails_does_not_fail_the_read(make: Make) -> None:
    scheme = await make()
    await everything(scheme, ANN)
    await scheme._redis.delete([scheme._redis.rs("g", ANN)], None)
    await scheme._redis.command(None, "CONFIG", "SET", "maxmemory", "1")
    try:
        assert (await state(scheme, ANN, "g")).read_seq == 7
    finally:
        await scheme._redis.command(None, "CONFIG", "SET", "maxmemory", "0")
    assert scheme.stats()["cache_fills_failed"] == 1


async def test_filled_keys_live_for_the_ttl_that_was_asked_for(make: Make) -> None:
    scheme = await make(cache_ttl="30")
    await everything(scheme, ANN)
    for key in (scheme._redis.rs("g", ANN), scheme._redis.head("g"), scheme._redis.convs(ANN)):
        assert 25 < await scheme._redis.command(None, "TTL", key) <= 30
    with pytest.raises(ValueError, match="cache-ttl"):
        await make(cache_ttl="0", seed=False)


async def test_it_does_not_start_without_redis(make: Make) -> None:
    with pytest.raises(Refused, match=r"Redis at 127\.0\.0\.1:1/0"):
        await make(redis_url="redis://127.0.0.1:1/0", seed=False)


# --- the harness's own door


async def test_dump_of_the_cache_agrees_with_the_store(make: Make) -> None:
    scheme = await make(warm=True)
    cached, _ = await scheme.dump("cache", "", 10_000)
    stored, _ = await scheme.dump("store", "", 10_000)
    assert sorted(map(repr, cached)) == sorted(map(repr, stored))
    assert len(cached) == 7


async def test_a_cold_seed_leaves_nothing_of_an_earlier_one_in_the_cache(make: Make) -> None:
    scheme = await make(warm=True)
    await scheme.store.reset()
    await scheme.seed(SEED[:1], done=True, warm=False)
    assert [one.conversation_id for one in (await everything(scheme, ANN)).conversations] == ["d"]


async def test_reset_empties_both(make: Make) -> None:
    scheme = await make(warm=True)
    await scheme.reset()
    assert await scheme.dump("cache", "", 100) == ([], None)
    assert (await scheme.dump("store", "", 100))[0] == []


async def test_ratios_are_made_of_the_counters(make: Make) -> None:
    scheme = await make(warm=True)
    await everything(scheme, ANN)
    await read(scheme, ANN, "g", 9)
    figures = scheme.stats()
    assert figures["cache_key_reads"] == figures["cache_hits"] + figures["cache_misses"] == 9
    assert figures["cache_hit_ratio"] == 1.0
    assert figures["cache_key_reads_per_key_write"] == 9.0


async def test_closing_leaves_no_task_behind(make: Make, stack: Stack) -> None:
    before = asyncio.all_tasks()
    scheme = await make(warm=True)
    stack.signal("redis", signal.SIGSTOP)
    try:
        await read(scheme, ANN, "g", 9)
        assert len(asyncio.all_tasks() - before) == 2  # the probe and the retry
        await scheme.close()
        assert asyncio.all_tasks() == before
    finally:
        stack.signal("redis", signal.SIGCONT)
