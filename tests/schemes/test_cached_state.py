"""STATE from cached values: what is missing is missing, unread is computed, pages cover everything once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from schemes.cached_state import KeysOf, Line, line, page
from schemes.ports import Refused
from schemes.stores.redis import Cursors, Head, Membership, RedisStore

REDIS = RedisStore("redis://localhost")
DIRECT = Membership("d", "direct", 8)
GROUP = Membership("g", "group", None)


def test_a_direct_conversation_is_three_keys_and_a_group_two() -> None:
    assert list(KeysOf(REDIS, 7, DIRECT)) == ["rs:d:7", "head:d", "rs:d:8"]
    assert list(KeysOf(REDIS, 7, GROUP)) == ["rs:g:7", "head:g"]


def test_a_direct_conversation_tells_how_far_the_peer_is() -> None:
    values = {"rs:d:7": b"3,5,2", "head:d": b"9,1000", "rs:d:8": b"4,9,1"}
    found = KeysOf(REDIS, 7, DIRECT).line(values)
    assert found is not None
    assert found.last_sent_ms == 1000
    state = found.state
    assert (state.read_seq, state.delivered_seq, state.version) == (3, 5, 2)
    assert (state.last_seq, state.unread, state.peer_read_seq) == (9, 6, 4)


def test_a_group_has_no_peer() -> None:
    found = KeysOf(REDIS, 7, GROUP).line({"rs:g:7": b"3,5,2", "head:g": b"9,1000"})
    assert found is not None
    assert found.state.peer_read_seq is UNSET


@pytest.mark.parametrize("lost", ["rs:d:7", "head:d", "rs:d:8"])
def test_one_missing_value_is_a_miss_of_the_conversation(lost: str) -> None:
    values = {"rs:d:7": b"3,5,2", "head:d": b"9,1000", "rs:d:8": b"4,9,1"}
    del values[lost]
    assert KeysOf(REDIS, 7, DIRECT).line(values) is None


def test_unread_is_never_negative_when_the_head_is_older_than_the_cursor() -> None:
    assert line(GROUP, Head(4, 1), Cursors(5, 5, 1), None).state.unread == 0


def _lines(sent: list[int]) -> list[Line]:
    return [
        line(Membership(f"c{number}", "group", None), Head(1, at), Cursors(0, 0, 0), None)
        for number, at in enumerate(sent)
    ]


@given(sent=st.lists(st.integers(0, 5), max_size=30), limit=st.integers(1, 10))
def test_pages_give_everything_once_newest_first(sent: list[int], limit: int) -> None:
    lines = _lines(sent)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        found, cursor = page(lines, cursor, limit)
        seen += [state.conversation_id for state in found]
        assert len(found) == limit or cursor is None
        if cursor is None:
            break
    at = {one.state.conversation_id: one.last_sent_ms for one in lines}
    assert sorted(seen) == sorted(at)
    assert [at[name] for name in seen] == sorted(sent, reverse=True)


@pytest.mark.parametrize("cursor", ["", "c1", "x:c1", "-1:c1", "²:c1"])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Refused, match="cursor"):
        page(_lines([1, 2, 3]), cursor, 1)
