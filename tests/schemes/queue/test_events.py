"""Events: what a change becomes, on which key, with whose change id and pushes, and back from bytes."""

from __future__ import annotations

import json

import msgspec
import pytest

from schemes.queue import events
from schemes.queue.events import (
    Applied,
    CursorMoved,
    DeliveredQueued,
    Marked,
    MessageSent,
    Poison,
    ReadMoved,
    ReadQueued,
    ReceiptMoved,
    Told,
    decode,
    encode,
    events_of,
    keyed,
    push_of,
)
from schemes.read_state import Advanced, Changes, Conversation, Reached, Sent, pushes_of

DIRECT = Conversation("d", "direct", (1, 2))
GROUP = Conversation("g", "group", (1, 2, 3))


def changes() -> Changes:
    made = Changes("s1", "phone")
    made.sent = Sent(GROUP, 77, 9, 1, "m1", 1000, 'a "quoted" ☃')
    made.advanced = [
        Advanced(DIRECT, 1, 3, 5, 4, 1001, 2, 11, 21),
        Advanced(GROUP, 1, 2, 8, 6, 1002, 0, 12, None, senders=(1, 2, 3)),
    ]
    made.reached = [Reached(DIRECT, 1, 6, 1003)]
    return made


def told_users(event: Applied) -> list[list[int]]:
    return [list(one.users) for one in msgspec.json.decode(event.tell, type=list[Told])]


def test_a_change_becomes_events_that_tell_exactly_its_pushes_in_their_order() -> None:
    made = changes()
    told = [
        push_of(one)
        for event in events_of(made, 200)
        for one in msgspec.json.decode(event.tell, type=list[Told])
    ]
    wanted = pushes_of(made, 200)
    assert [(tuple(p.users), p.frame, p.conversation, p.origin) for p in told] == [
        (tuple(p.users), p.frame, p.conversation, p.origin) for p in wanted
    ]


def test_a_direct_read_is_two_events_each_in_the_order_of_its_own_user() -> None:
    own, receipt = events_of(changes(), 200)[1:3]
    assert isinstance(own, ReadMoved)
    assert isinstance(receipt, ReceiptMoved)
    assert (own.user, own.change_id, events.log_key(own)) == (1, 11, b"u1")
    assert (receipt.user, receipt.change_id, events.log_key(receipt)) == (2, 21, b"u2")
    assert own.key == receipt.key == "rs:d:1"
    assert own.value == receipt.value == events.CursorValue(5, 5, 4)
    assert [told_users(own), told_users(receipt)] == [[[1]], [[2]]]


def test_the_log_key_of_each_event() -> None:
    assert [key for key, _ in keyed(events_of(changes(), 200))] == [b"head:g", b"u1", b"u2", b"u1", b"u1"]
    queued = ReadQueued(key="u9", value=[Marked("d", 3)], user=9, at=1, origin="s", device="p")
    assert keyed([queued])[0][0] == b"u9"


def test_a_delivery_moves_no_read_cursor_and_no_version() -> None:
    (delivered,) = [event for event in events_of(changes(), 200) if type(event) is CursorMoved]
    assert delivered.value == events.CursorValue(0, 6, 0)


def test_in_a_large_group_the_senders_are_not_told() -> None:
    group_read = events_of(changes(), 2)[3]
    assert len(msgspec.json.decode(group_read.tell)) == 1


@pytest.mark.parametrize("index", range(5))
def test_applied_events_survive_the_wire(index: int) -> None:
    event = events_of(changes(), 200)[index]
    back = decode(encode(event))
    assert type(back) is type(event)
    assert encode(back) == encode(event)


@pytest.mark.parametrize("kind", [ReadQueued, DeliveredQueued])
def test_queued_events_survive_the_wire(kind: type[ReadQueued]) -> None:
    event = kind(key="u9", value=[Marked("d", 3)], user=9, at=1, origin="s", device="p")
    back = decode(encode(event))
    assert type(back) is kind
    assert back == event


def test_an_event_is_the_articles_key_operation_and_value() -> None:
    document = json.loads(encode(events_of(changes(), 200)[0]))
    assert document["key"] == "head:g"
    assert document["operation"] == "sent"
    assert document["value"] == {"last_seq": 9, "sent_time": 1000, "sender": 1}
    assert isinstance(events_of(changes(), 200)[0], MessageSent)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"operation":"explode"}',
        b'{"operation":"read","key":"rs:d:1","value":{"read_seq":"5"},"tell":[],"user":1,"change_id":1}',
        b'{"operation":"read","key":"rs:d:1","value":{"read_seq":5},"tell":[]}',
    ],
)
def test_what_is_no_event_is_poison(value: bytes) -> None:
    with pytest.raises(Poison):
        decode(value)
