"""The domain's rules, one by one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from schemes.read_state import (
    Advanced,
    Changes,
    Conversation,
    MessageIds,
    Reached,
    advance,
    pushes_of,
    seeded_read_seq,
    seeded_sender,
    unread,
)

DIRECT = Conversation("d1", "direct", (1, 2))
GROUP = Conversation("g1", "group", (1, 2, 3))


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_a_cursor_is_a_max_register(values: list[int]) -> None:
    cursor = 0
    for value in values:
        cursor = advance(cursor, value)
    assert cursor == max(values)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_unread_is_never_negative(last_seq: int, read_seq: int) -> None:
    assert unread(last_seq, read_seq) == max(0, last_seq - read_seq)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(0, 1023))
def test_message_ids_increase_even_if_the_clock_steps_back(steps: list[int], node: int) -> None:
    ids = MessageIds(node)
    now = MessageIds.EPOCH_MS + 10_000
    made = [ids.next(now - step * 500) for step in steps]
    assert made == sorted(set(made))
    assert {number >> 12 & 1023 for number in made} == {node}
    assert all(number < 2**63 for number in made)


@given(
    st.lists(st.integers(1, 99), min_size=2, max_size=7, unique=True), st.integers(0, 30), st.integers(0, 40)
)
def test_nobody_is_behind_their_own_last_message(members: list[int], history: int, read_seq: int) -> None:
    for index, member in enumerate(members):
        own = max((seq for seq in range(1, history + 1) if seeded_sender(members, seq) == member), default=0)
        expected = min(history, max(own, read_seq))
        assert seeded_read_seq(members, index, history, read_seq) == expected


def moved(conversation: Conversation, senders: tuple[int, ...] = ()) -> Changes:
    changes = Changes("s-1", "phone")
    peer = 9 if conversation is DIRECT else None
    changes.advanced.append(Advanced(conversation, 1, 2, 4, 7, 1234, 0, 5, peer, senders))
    return changes


def test_the_reader_and_the_direct_peer_each_get_their_own_change_id() -> None:
    own, peer = pushes_of(moved(DIRECT), 200)
    assert (own.users, peer.users, own.origin) == ((1,), (2,), "s-1")
    at_own, at_peer = json.loads(own.frame), json.loads(peer.frame)
    assert (at_own["change_id"], at_peer["change_id"]) == (5, 9)
    assert at_own["value"] == {"up_to_seq": 4, "read_time": 1234, "unread": 0}
    assert at_peer["value"] == {"up_to_seq": 4, "read_time": 1234}
    assert (at_own["key"], at_own["version"]) == ("read/d1/u1", 7)


def test_large_groups_get_no_receipts() -> None:
    assert [push.users for push in pushes_of(moved(GROUP, (1, 2)), 3)] == [(1,), (2,)]
    assert [push.users for push in pushes_of(moved(GROUP, (1, 2)), 2)] == [(1,)]


def test_delivered_is_told_to_the_direct_peer_only() -> None:
    changes = Changes("s-1", "phone")
    changes.reached = [Reached(DIRECT, 1, 4, 99), Reached(GROUP, 1, 4, 99)]
    (push,) = pushes_of(changes, 200)
    assert push.users == (2,)
    assert json.loads(push.frame) == {
        "type": "UPDATE", "key": "delivered/d1/u1", "value": {"up_to_seq": 4}, "version": 4, "at": 99,
        "origin_device": "phone",
    }  # fmt: skip
