"""The applier without services: poison, retries of the same batch, stopping, and where a mark came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw

from schemes import failpoints
from schemes.ports import Trace
from schemes.protocol import ControlRequest
from schemes.queue import applier as module
from schemes.queue.applier import Applier, Marks
from schemes.queue.events import (
    MARKER,
    CursorMoved,
    CursorValue,
    HeadValue,
    Marked,
    MessageSent,
    ReadQueued,
    encode,
)
from schemes.queue.health import Status
from schemes.read_state import Conversation
from schemes.stores.kafka_topics import KafkaUnavailable
from schemes.stores.redis import RedisStore, RedisUnavailable, Script, ScriptFailed

MOVED = encode(CursorMoved(key="rs:d:1", value=CursorValue(5, 5, 1), tell=Raw(b"[]")))


class Redis(RedisStore):
    """Notes the scripts it is asked to run, and is away as often as it is told."""

    def __init__(self) -> None:
        super().__init__("redis://nowhere")
        self.calls: list[tuple[Sequence[str], list[Any]]] = []
        self.away_times = 0
        self.breaks_at = ""

    async def script(self, trace: Trace | None, script: Script, keys: Sequence[str], args: Any) -> Any:
        self.calls.append((list(keys), list(args)))
        if self.breaks_at in keys:
            raise ScriptFailed(f"at {self.breaks_at}")
        if len(self.calls) <= self.away_times:
            raise RedisUnavailable("away")
        return (len(keys) - 1) // 2


class Box:
    def __init__(self) -> None:
        self.letters: list[tuple[int, str]] = []
        self.away_times = 0

    async def put(self, record: Any, reason: str) -> None:
        if self.away_times:
            self.away_times -= 1
            raise KafkaUnavailable("away")
        self.letters.append((record.offset, reason))


def record(offset: int, value: bytes) -> Any:
    return SimpleNamespace(partition=2, offset=offset, timestamp=1, value=value)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", (0.0, 0.0))


def make(*, stopping: bool = False) -> tuple[Applier, Redis, Box, Status]:
    redis, box, status = Redis(), Box(), Status()
    return Applier(redis, box, status, topic="t", stopping=lambda: stopping), redis, box, status


async def test_a_batch_is_one_script_and_its_end_is_behind_the_last_record() -> None:
    applier, redis, _, status = make()
    assert await applier.apply([record(7, MOVED), record(8, MARKER), record(9, MOVED)])
    ((keys, args),) = redis.calls
    assert keys == ["applied:t", "rs:d:1", "rs:d:1", "rs:d:1", "rs:d:1"]
    assert args[0] == "push:t"
    assert args[2:5] == [1, 2, 10]
    assert [args[5], args[6], args[14], args[15]] == [2, 7, 2, 9]
    assert (status.applied, status.batches) == (2, 1)


async def test_poison_goes_to_the_dead_letters_and_the_offset_passes_it() -> None:
    applier, redis, box, status = make()
    box.away_times = 2
    assert await applier.apply([record(7, MOVED), record(8, b"nonsense")])
    assert [offset for offset, _ in box.letters] == [8]
    assert "JSON" in box.letters[0][1]
    assert redis.calls[0][1][2:5] == [1, 2, 9]
    assert (status.dead_letters, status.retries) == (1, 2)


async def test_what_the_script_breaks_off_at_is_a_dead_letter_and_the_rest_is_applied() -> None:
    applier, redis, box, status = make()
    redis.breaks_at = "rs:bad:1"
    bad = encode(CursorMoved(key="rs:bad:1", value=CursorValue(5, 5, 1), tell=Raw(b"[]")))
    assert await applier.apply([record(7, MOVED), record(8, bad), record(9, MOVED)])
    assert box.letters == [(8, "at rs:bad:1")]
    whole, *singles, last = redis.calls
    assert len(whole[0]) == 7
    assert [(keys[1], args[2:5]) for keys, args in singles] == [
        ("rs:d:1", [1, 2, 7]), ("rs:bad:1", [1, 2, 8]), ("rs:d:1", [1, 2, 9]),
    ]  # fmt: skip
    assert [args[5:] for _, args in singles] == [whole[1][5:14], whole[1][14:23], whole[1][23:]]
    assert (last[0], last[1][2:]) == (["applied:t"], [1, 2, 10])
    assert (status.applied, status.dead_letters, status.retries) == (2, 1, 0)


async def test_while_redis_is_away_the_same_batch_is_tried_again() -> None:
    applier, redis, _, status = make()
    redis.away_times = 3
    assert await applier.apply([record(7, MOVED)])
    without_time = [(keys, [*args[:1], *args[2:]]) for keys, args in redis.calls]
    assert len(without_time) == 4
    assert all(call == without_time[0] for call in without_time)
    assert (status.retries, status.applied) == (3, 1)


async def test_told_to_stop_while_redis_is_away_it_gives_the_batch_up() -> None:
    applier, redis, _, status = make(stopping=True)
    redis.away_times = 100
    assert not await applier.apply([record(7, MOVED)])
    assert (len(redis.calls), status.applied) == (1, 0)


def test_a_mark_is_found_again_by_what_it_said_or_was_cut_to() -> None:
    def read(offset: int, device: str, *seqs: int) -> tuple[Any, ReadQueued]:
        value = [Marked("d", seq) for seq in seqs]
        return record(offset, b""), ReadQueued(
            key="u1", value=value, user=1, at=1, origin=f"s-{device}", device=device
        )

    marks = Marks([read(3, "phone", 5), read(4, "tablet", 7), read(5, "web", 7)])
    assert [(mark.up_to_seq, mark.user) for mark in marks.marks] == [(5, 1), (7, 1), (7, 1)]
    direct = Conversation("d", "direct", (1, 2))
    assert [marks.source(1, direct, seq).device for seq in (5, 7, 6)] == ["phone", "tablet", "phone"]
    assert marks.source(1, direct, 7).offset == 4


# --- failpoints


@pytest.fixture
def switched_on() -> Iterator[None]:
    failpoints.switch_on(failpoints.CONSUMER)
    yield
    failpoints.switch_off()


async def test_a_dropped_record_is_passed_by_and_the_others_are_applied(switched_on: None) -> None:
    sent = encode(MessageSent(key="head:g", value=HeadValue(3, 1, 2), tell=Raw(b"[]")))
    queued = encode(ReadQueued(key="u3", value=[Marked("g", 1)], user=3, at=1, origin="", device=""))
    applier, redis, _, _ = make()
    for name in ("consumer_after_poll", "consumer_after_apply_before_commit"):
        await failpoints.answer(ControlRequest("FAILPOINT", name=name, action="note", count=0, user="u3"))
    drop = ControlRequest("FAILPOINT", name="consumer_after_poll", action="drop", conversation="d")
    await failpoints.answer(drop)
    assert await applier.apply([record(i, value) for i, value in enumerate((sent, MOVED, queued))])
    ((keys, _),) = redis.calls
    assert "head:g" in keys
    assert "rs:d:1" not in keys
    hits = (await failpoints.answer(ControlRequest("FAILPOINT", action="hits"))).hits or []
    assert [(hit.name, hit.action, hit.user, hit.conversation) for hit in hits] == [
        ("consumer_after_poll", "drop", "u1", "d"),
        ("consumer_after_poll", "note", "u3", "g"),
        ("consumer_after_apply_before_commit", "note", "u3", "g"),
    ]
