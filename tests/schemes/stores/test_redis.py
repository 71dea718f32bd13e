"""The Redis store: what values look like (pure), and how it behaves on a real Redis that is fine, hung,
killed, full or locked."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services import Stack, bring_up
from schemes.ports import Trace
from schemes.stores.redis import (
    EMPTY,
    Cursors,
    Head,
    Membership,
    RedisRefused,
    RedisStore,
    RedisUnavailable,
    Script,
    glob_escape,
    is_lease,
    location,
    pack_cursors,
    pack_head,
    pack_memberships,
    unpack_cursors,
    unpack_head,
    unpack_memberships,
)

NUMBERS = st.integers(0, (1 << 53) - 1)


# --- values, without a service


@given(NUMBERS, NUMBERS, NUMBERS)
def test_values_come_back_as_they_went_in(first: int, second: int, third: int) -> None:
    assert unpack_cursors(pack_cursors(Cursors(first, second, third))) == Cursors(first, second, third)
    assert unpack_head(pack_head(Head(first, second))) == Head(first, second)


def test_cursors_are_read_delivered_version_in_decimal() -> None:
    assert pack_cursors(Cursors(read_seq=7, delivered_seq=9, version=2)) == b"7,9,2"
    assert pack_head(Head(last_seq=11, last_sent_ms=1_700_000_000_000)) == b"11,1700000000000"


@pytest.mark.parametrize("damaged", [b"", b"1,2", b"1,2,3,4", b"1,x,3", b"~lease"])
def test_damaged_cursors_are_an_error_and_not_zero(damaged: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # int() and unpacking word it differently
        unpack_cursors(damaged)


@given(st.lists(st.builds(Membership, st.text(), st.sampled_from(["direct", "group"]), st.none() | NUMBERS)))
def test_memberships_come_back_as_they_went_in(memberships: list[Membership]) -> None:
    assert unpack_memberships(pack_memberships(memberships)) == memberships


def test_no_value_looks_like_a_lease() -> None:
    values = [pack_cursors(Cursors(0, 0, 0)), pack_head(EMPTY), pack_memberships([])]
    assert not any(is_lease(value) for value in values)
    assert is_lease(b"~abc-1")


def test_messages_never_show_the_password() -> None:
    assert location("redis://user:secret@example.org:6380/2") == "example.org:6380/2"
    assert location("redis://localhost") == "localhost:6379/0"


def test_a_prefix_with_pattern_characters_matches_itself_alone() -> None:
    assert glob_escape("a*b?[c]\\") == "a\\*b\\?\\[c\\]\\\\"


def test_keys_carry_prefix_and_give_conversation_and_user_back() -> None:
    store = RedisStore("redis://localhost", prefix="bench:")
    assert store.rs("g:1", 17) == "bench:rs:g:1:17"
    assert store.member_of(b"bench:rs:g:1:17") == ("g:1", 17)


# --- a real Redis


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with bring_up(frozenset({"redis"}), how="local", say=lambda _: None) as running:
        yield running


@pytest.fixture
async def store(stack: Stack) -> AsyncIterator[RedisStore]:
    store = RedisStore(stack.services["redis"].url, exclusive=True)
    await store.start()
    await store.wipe()
    yield store
    await store.close()


@pytest.mark.services
async def test_fetch_gives_none_where_there_is_nothing(store: RedisStore) -> None:
    trace = Trace()
    await store.fill([("a", b"1"), ("c", b"3")], trace)
    assert await store.fetch(["a", "b", "c"], trace) == [b"1", None, b"3"]
    assert await store.fetch([], trace) == []
    assert trace.cache > 0
    assert trace.store == trace.queue == 0


@pytest.mark.services
async def test_what_is_filled_lives_for_the_ttl(stack: Stack, store: RedisStore) -> None:
    await store.fill([("a", b"1")], None)
    assert 3590 < await store.command(None, "TTL", "a") <= 3600
    for_ever = RedisStore(stack.services["redis"].url, ttl_s=None)
    await for_ever.fill([("a", b"1")], None)
    assert await store.command(None, "TTL", "a") == -1
    await for_ever.close()


@pytest.mark.services
async def test_a_lease_is_given_once_and_only_its_holder_fills(store: RedisStore) -> None:
    trace = Trace()
    await store.fill([("there", b"1")], trace)
    assert await store.fetch_or_lease(["there", "gone"], b"~mine", trace) == [b"1", b"~mine"]
    assert await store.fetch_or_lease(["gone"], b"~other", trace) == [b"~mine"]
    assert await store.fill_leased([("gone", b"old")], b"~other", trace) == 0
    assert await store.fill_leased([("gone", b"new"), ("there", b"2")], b"~mine", trace) == 1
    assert await store.fetch(["there", "gone"], trace) == [b"1", b"new"]
    assert await store.command(None, "TTL", "gone") > 3590


@pytest.mark.services
async def test_delete_takes_the_lease_away(store: RedisStore) -> None:
    trace = Trace()
    await store.fetch_or_lease(["a"], b"~mine", trace)
    await store.delete(["a"], trace)
    assert await store.fill_leased([("a", b"old")], b"~mine", trace) == 0
    assert await store.fetch(["a"], trace) == [None]


@pytest.mark.services
async def test_a_lease_ends_by_itself(store: RedisStore) -> None:
    trace = Trace()
    await store.fetch_or_lease(["a"], b"~mine", trace, lease_s=0.02)
    await asyncio.sleep(0.05)
    assert await store.fetch_or_lease(["a"], b"~next", trace) == [b"~next"]


@pytest.mark.services
async def test_thousands_of_keys_in_one_call(store: RedisStore) -> None:
    trace = Trace()
    keys = [f"k{number}" for number in range(9000)]  # more than Lua unpacks at once
    assert await store.fetch_or_lease(keys, b"~mine", trace) == [b"~mine"] * 9000
    assert await store.fill_leased([(key, key.encode()) for key in keys], b"~mine", trace) == 9000
    assert await store.fetch(keys, trace) == [key.encode() for key in keys]
    await store.delete(keys, trace)
    assert await store.command(None, "DBSIZE") == 0


@pytest.mark.services
async def test_a_script_that_redis_forgot_is_sent_again(store: RedisStore) -> None:
    script = Script("return ARGV[1]")
    assert await store.script(None, script, [], ["first"]) == b"first"
    await store.command(None, "SCRIPT", "FLUSH")
    assert await store.script(None, script, [], ["second"]) == b"second"


@pytest.mark.services
async def test_wiping_a_shared_database_leaves_the_keys_of_others(stack: Stack, store: RedisStore) -> None:
    url = stack.services["redis"].url
    ours, others = RedisStore(url, prefix="a*:"), RedisStore(url, prefix="ab:")
    foreign = ["somebody", "a*:else", "rs-of-others"]
    await store.fill([(key, b"1") for key in (*foreign, others.head("c"))], None)
    await ours.fill([(ours.rs("c", 1), b"1,1,1"), (ours.head("c"), b"1,1"), (ours.convs(1), b"[]")], None)
    await ours.wipe()
    left = {key.decode() for key in await store.command(None, "KEYS", "*")}
    assert left == {*foreign, others.head("c")}
    await ours.close()
    await others.close()


@pytest.mark.services
async def test_members_pages_through_everything_cached(store: RedisStore) -> None:
    expected = {(f"c{number % 7}", number): Cursors(number, number, 1) for number in range(500)}
    await store.fill([(store.rs(*who), pack_cursors(what)) for who, what in expected.items()], None)
    await store.fill([(store.head("c1"), pack_head(Head(99, 5)))], None)
    await store.fetch_or_lease([store.rs("c1", 1000)], b"~lease", Trace())
    found: dict[tuple[str, int], tuple[Cursors, Head]] = {}
    after: str | None = ""
    pages = 0
    while after is not None:
        rows, after = await store.members(after, 50)
        found |= {(conversation, user): (cursors, head) for conversation, user, cursors, head in rows}
        pages += 1
    assert pages > 5
    assert {who: cursors for who, (cursors, _) in found.items()} == expected
    assert found["c1", 1][1] == Head(99, 5)
    assert found["c2", 2][1] == EMPTY


@pytest.mark.services
async def test_member_is_none_for_nothing_and_for_a_lease(store: RedisStore) -> None:
    assert await store.member("c", 1) is None
    await store.fetch_or_lease([store.rs("c", 1)], b"~lease", Trace())
    assert await store.member("c", 1) is None
    await store.fill([(store.rs("c", 1), b"3,4,5")], None)
    assert await store.member("c", 1) == (Cursors(3, 4, 5), EMPTY)


@pytest.mark.services
async def test_more_callers_than_connections_wait_their_turn(stack: Stack) -> None:
    store = RedisStore(stack.services["redis"].url, connections=2)
    traces = [Trace() for _ in range(50)]
    await asyncio.gather(*(store.command(trace, "GET", "a") for trace in traces))
    assert max(trace.wait for trace in traces) > min(trace.cache for trace in traces)
    connected = re.search(rb"connected_clients:(\d+)", await store.command(None, "INFO", "clients"))
    assert connected is not None
    assert int(connected[1]) < 20
    await store.close()


# --- trouble


@pytest.mark.services
async def test_a_hung_redis_costs_one_timeout_and_then_nothing(stack: Stack) -> None:
    store = RedisStore(stack.services["redis"].url, timeout_s=0.3)
    await store.fill([("a", b"1")], None)
    stack.signal("redis", signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(RedisUnavailable):
            await store.fetch(["a"], Trace())
        assert 0.25 < time.monotonic() - began < 1
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(RedisUnavailable, match="away"):
                await store.fetch(["a"], Trace())
        assert time.monotonic() - began < 0.1
        assert store.away
    finally:
        stack.signal("redis", signal.SIGCONT)
    await asyncio.wait_for(store.reachable(), 2)
    assert await store.fetch(["a"], Trace()) == [b"1"]
    await store.close()


@pytest.mark.services
async def test_a_killed_redis_is_found_again(stack: Stack) -> None:
    store = RedisStore(stack.services["redis"].url)
    script = Script("return 1")
    await asyncio.gather(*(store.script(None, script, [], []) for _ in range(8)))  # eight open connections
    stack.signal("redis", signal.SIGKILL)
    await asyncio.sleep(0.05)
    with pytest.raises(RedisUnavailable, match="gave no answer"):
        await store.fetch(["a"], Trace())
    await asyncio.to_thread(stack.restart, "redis")
    await asyncio.wait_for(store.reachable(), 2)
    answers = await asyncio.gather(*(store.script(None, script, [], []) for _ in range(8)))
    assert (
        answers == [1] * 8
    )  # none of the eight connections that died was used, and the script was sent again
    await store.close()


@pytest.mark.services
async def test_connections_that_were_cut_do_not_count_as_an_outage(store: RedisStore) -> None:
    await asyncio.gather(*(store.command(None, "PING") for _ in range(8)))
    await store.command(None, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.sleep(0.01)
    assert await asyncio.gather(*(store.fetch(["a"], Trace()) for _ in range(8))) == [[None]] * 8


@pytest.mark.services
async def test_a_wrong_password_is_said_at_the_start_without_showing_it(
    stack: Stack, store: RedisStore
) -> None:
    await store.command(None, "CONFIG", "SET", "requirepass", "right")
    try:
        where = stack.services["redis"].url.split("//")[1].split("@")[-1]
        wrong = RedisStore(f"redis://:wrong-one@{where}")
        with pytest.raises(RedisUnavailable, match=r"127\.0\.0\.1.*(invalid|WRONGPASS)") as raised:
            await wrong.start()
        assert "wrong-one" not in str(raised.value)
        await wrong.close()
    finally:
        await store.command(None, "CONFIG", "SET", "requirepass", "")


@pytest.mark.services
async def test_a_full_redis_refuses_but_is_not_away(store: RedisStore) -> None:
    await store.command(None, "CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(RedisRefused, match="maxmemory"):
            await store.fill([("a", b"1")], None)
        with pytest.raises(RedisRefused):
            await store.fetch_or_lease(["a"], b"~mine", Trace())
        assert not store.away
        await store.delete(["a"], None)  # what makes room still works
    finally:
        await store.command(None, "CONFIG", "SET", "maxmemory", "0")


@pytest.mark.services
async def test_an_unreachable_redis_fails_the_start() -> None:
    store = RedisStore("redis://127.0.0.1:1")
    with pytest.raises(RedisUnavailable, match=r"127\.0\.0\.1:1/0"):
        await store.start()
    await store.close()
