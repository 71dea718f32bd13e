"""How a batch becomes keys and arguments (pure), and what the script makes of them (on a real Redis)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from msgspec import Raw

from bench.services import Stack
from schemes.ports import Trace
from schemes.queue.events import CursorMoved, CursorValue, HeadValue, MessageSent, ReadMoved, ReceiptMoved
from schemes.queue.script import ALWAYS, APPLY, Batch, change_of
from schemes.stores.redis import RedisStore
from schemes.stores.rows import MemberState

TELL = Raw(b'[[[1],"d","s",{"type":"X"}],[[2],"d","s",{}]]')


def read_event(seq: int, *, change_id: int, version: int = 1, user: int = 1) -> ReadMoved:
    return ReadMoved(
        key="rs:d:1", value=CursorValue(seq, seq, version), tell=TELL, user=user, change_id=change_id
    )


def sent_event(seq: int, at: int = 500) -> MessageSent:
    return MessageSent(key="head:d", value=HeadValue(seq, at, 2), tell=TELL)


def test_keys_and_arguments_of_each_kind() -> None:
    batch = Batch("x:", "t")
    batch.add(sent_event(9), 3, 70)
    batch.add(read_event(5, change_id=11, version=4), 1, 8)
    batch.add(CursorMoved(key="rs:d:2", value=CursorValue(delivered_seq=6), tell=Raw(b"[]")), 2, 0)
    assert len(batch) == 3
    assert batch.keys == [
        "x:applied:t",
        *("x:rs:d:2", "x:head:d"),
        *("x:rs:d:1", "x:cid:1"),
        *("x:rs:d:2", "x:rs:d:2"),
    ]
    inner = bytes(TELL)[1:-1]
    assert batch.args("channel", 123, {3: 71, 1: 9}) == [
        *("channel", 123, 2, 3, 71, 1, 9),
        *(3, 70, 9, 9, 0, "head", 9, 500, inner),
        *(1, 8, 5, 5, 4, "change", 11, "", inner),
        *(2, 0, 0, 6, 0, "", "", "", b""),
    ]


@pytest.mark.parametrize(("value", "change_id"), [(b"17", 17), (b"17 19 20", 17)])
def test_the_change_of_a_cid(value: bytes, change_id: int) -> None:
    assert change_of(value) == change_id


# --- on Redis


@pytest.fixture
async def redis(stack: Stack) -> AsyncIterator[RedisStore]:
    store = RedisStore(stack.services["redis"].url.replace("/0", "/14"), exclusive=True, ttl_s=None)
    await store.start()
    await store.wipe()
    yield store
    await store.close()


async def run(redis: RedisStore, batch: Batch, ends: dict[int, int], channel: str = "") -> int:
    done: int = await redis.script(None, APPLY, batch.keys, batch.args(channel, 7, ends))
    return done


async def value(redis: RedisStore, key: str) -> bytes | None:
    (found,) = await redis.fetch([key], Trace())
    return found


def one(event: ReadMoved | MessageSent | CursorMoved, offset: int, partition: int = 0) -> Batch:
    batch = Batch("", "t")
    batch.add(event, partition, offset)
    return batch


@pytest.mark.services
async def test_cursors_and_heads_only_move_forward(redis: RedisStore) -> None:
    await run(redis, one(read_event(5, change_id=1, version=2), 0), {0: 1})
    await run(redis, one(read_event(3, change_id=2, version=1), 1), {0: 2})
    assert await value(redis, "rs:d:1") == b"5,5,2"
    delivered = CursorMoved(key="rs:d:1", value=CursorValue(delivered_seq=7), tell=Raw(b"[]"))
    await run(redis, one(delivered, 2), {0: 3})
    assert await value(redis, "rs:d:1") == b"5,7,2"
    await run(redis, one(sent_event(9, 900), 3), {0: 4})
    await run(redis, one(sent_event(8, 950), 4), {0: 5})
    assert await value(redis, "head:d") == b"9,900"
    assert await value(redis, "rs:d:2") == b"9,9,0"  # sending implies having read


@pytest.mark.services
async def test_numbers_of_sixteen_digits_are_kept_to_the_last(redis: RedisStore) -> None:
    high = 9_007_199_254_740_991
    await run(redis, one(read_event(high - 1, change_id=high - 2, version=high), 0), {0: 1})
    await run(redis, one(read_event(high, change_id=high, version=high), 1), {0: 2})
    assert await value(redis, "rs:d:1") == b"%d,%d,%d" % (high, high, high)
    assert await value(redis, "cid:1") == b"%d %d" % (high - 2, high)
    await run(redis, one(read_event(1, change_id=high - 1), 2), {0: 3})
    assert await value(redis, "cid:1") == b"%d" % high


@pytest.mark.services
async def test_a_batch_that_comes_again_changes_nothing_and_tells_nobody(redis: RedisStore) -> None:
    async with redis.client().pubsub() as listener:
        await listener.subscribe("c")
        assert (await listener.get_message(timeout=1))["type"] == "subscribe"
        assert await run(redis, one(read_event(5, change_id=1), 0), {0: 1}, "c") == 1
        message = await listener.get_message(timeout=1)
        assert json.loads(message["data"]) == {"at_ns": 7, "tell": json.loads(bytes(TELL))}
        assert await run(redis, one(read_event(5, change_id=1), 0), {0: 1}, "c") == 0
        assert await listener.get_message(timeout=0.1) is None


@pytest.mark.services
async def test_what_comes_from_mysql_is_told_once_with_the_event_that_is_still_in_the_log(
    redis: RedisStore,
) -> None:
    """Change 1 is in Redis; 3 is read from MySQL, twice, since the first answer was lost; its own event comes
    after that.  Change 2 was overtaken by a state from MySQL that told nobody, so its event still has to."""
    await run(redis, one(read_event(5, change_id=1), 0), {0: 1})
    row = MemberState("d", "direct", 8, 800, 7, 7, 3, 2, 6, 6, 6, 1)
    from_mysql = one(read_event(7, change_id=3), ALWAYS, ALWAYS)
    from_mysql.add_state(1, 3, [row])
    async with redis.client().pubsub() as listener:
        await listener.subscribe("c")
        assert (await listener.get_message(timeout=1))["type"] == "subscribe"
        told = []
        for batch, end in (
            *((from_mysql, 1), (from_mysql, 1)),
            (one(read_event(6, change_id=2), 1), 2),
            (one(read_event(7, change_id=3), 2), 3),
            (one(read_event(8, change_id=4), 3), 4),
            (one(read_event(8, change_id=4), ALWAYS, ALWAYS), 4),
        ):
            await run(redis, batch, {0: end}, "c")
            told.append(await listener.get_message(timeout=0.1) is not None)
        assert told == [True, False, True, False, True, False]
    assert await value(redis, "cid:1") == b"4"


@pytest.mark.services
async def test_offsets_are_those_of_the_partition_and_never_go_back(redis: RedisStore) -> None:
    await run(redis, one(read_event(5, change_id=1), 7), {0: 8})
    assert await run(redis, one(read_event(6, change_id=2), 0, partition=1), {1: 1}) == 1
    await run(redis, Batch("", "t"), {0: 3, 1: 4})
    found = await redis.command(None, "HMGET", "applied:t", 0, 1)
    assert found == [b"8", b"4"]
    assert await run(redis, one(read_event(9, change_id=3), 3, partition=1), {1: 4}) == 0
    assert await value(redis, "rs:d:1") == b"6,6,1"


@pytest.mark.services
async def test_a_change_id_never_passes_one_that_is_missing(redis: RedisStore) -> None:
    for offset, (change_id, wanted) in enumerate(
        [(1, b"1"), (2, b"2"), (5, b"2 5"), (4, b"2 4 5"), (4, b"2 4 5"), (7, b"2 4 5 7"), (3, b"5 7"),
         (6, b"7"), (2, b"7")]
    ):  # fmt: skip
        await run(redis, one(read_event(1, change_id=change_id), offset), {0: offset + 1})
        assert await value(redis, "cid:1") == wanted


@pytest.mark.services
async def test_a_change_that_never_comes_is_given_up_after_a_hundred(redis: RedisStore) -> None:
    batch = Batch("", "t")
    for change_id in (1, *range(3, 103)):
        batch.add(read_event(1, change_id=change_id), 0, change_id)
    await run(redis, batch, {0: 200})
    assert change_of(await value(redis, "cid:1") or b"") == 1
    await run(redis, one(read_event(1, change_id=103), 200), {0: 201})
    assert await value(redis, "cid:1") == b"103"


@pytest.mark.services
async def test_a_state_from_mysql_does_not_take_back_what_the_consumer_wrote(redis: RedisStore) -> None:
    await run(redis, one(read_event(5, change_id=4, version=3), 0), {0: 1})
    await run(redis, one(ReceiptMoved(key="rs:d:2", value=CursorValue(4, 4, 9), tell=Raw(b"[]"), user=1,
                                      change_id=6), 1), {0: 2})  # fmt: skip
    assert await value(redis, "cid:1") == b"4 6"
    row = MemberState("d", "direct", 8, 800, 2, 7, 1, None, 2, 6, 6, 1)
    batch = Batch("", "t")
    batch.add_state(1, 5, [row])
    await run(redis, batch, {})
    assert await value(redis, "rs:d:1") == b"5,7,3"
    assert await value(redis, "rs:d:2") == b"6,6,9"
    assert await value(redis, "head:d") == b"8,800"
    assert await value(redis, "cid:1") == b"6"
