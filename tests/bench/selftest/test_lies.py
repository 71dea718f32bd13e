"""Each lie, told once: what the client gets in place of the truth, and what is written down about it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.selftest.lies import DELAY_S, KINDS, SETTLED_NS, Frame, Liar, Planted, Session, kind_of

S = 1_000_000_000


def conversation(kind: str) -> str:
    return next(name for n in range(1, 1000) if kind_of(name := f"d{n}") == kind)


def session(liar: Liar, *, cuttable: bool = False) -> Session:
    for n in range(1, 1000):
        found = Session()
        liar.asked(found, {"type": "HELLO", "id": "0", "user_id": f"u{n}", "device_id": "device-1"}, 0)
        if found.cuttable == cuttable:
            return found
    raise AssertionError


def said(liar: Liar, of: Session, frame: Frame, at: int = 0) -> list[tuple[Frame, float]]:
    """What the client gets: (frame, delay)."""
    raw = msgspec.json.encode(frame)
    outs = liar.said(of, frame, raw, at)
    return [(frame if out.frame is None else msgspec.json.decode(out.frame), out.delay_s) for out in outs]


def message(name: str, seq: int) -> Frame:
    return {"type": "MESSAGE", "conversation_id": name, "seq": seq, "sender_id": "u9"}


def update(name: str, up_to: int, **more: Any) -> Frame:
    return {"type": "UPDATE", "key": f"read/{name}/u9", "value": {"up_to_seq": up_to}, "change_id": 4} | more


def state(name: str, read_seq: int, unread: int = 0) -> Frame:
    item = {"conversation_id": name, "read_seq": read_seq, "version": read_seq * 10, "unread": unread}
    return {"type": "STATE_RESULT", "reply_to": "7", "conversations": [item]}


def ask_state(liar: Liar, of: Session, at: int) -> None:
    assert liar.asked(of, {"type": "STATE", "id": "7"}, at).forward


def only(liar: Liar) -> Planted:
    (lie,) = liar.planted
    return lie


def test_a_push_is_held() -> None:
    liar, name = Liar(1), conversation("late_push")
    frame = update(name, 5)
    assert said(liar, session(liar), frame) == [(frame, DELAY_S)]
    assert (only(liar).kind, only(liar).value, only(liar).actor) == ("late_push", 5, 8)


def test_a_push_is_dropped() -> None:
    liar, name = Liar(1), conversation("dropped_push")
    of = session(liar)
    assert said(liar, of, message(name, 3)) == []
    assert said(liar, of, update(name, 3)) == []
    assert [lie.kind for lie in liar.planted] == ["dropped_push"] * 2


def test_an_update_outside_of_the_change_log_is_not_dropped_since_a_later_one_may_stand_for_it() -> None:
    liar, name = Liar(1), conversation("dropped_push")
    frame = update(name, 3, change_id=None)
    assert said(liar, session(liar), frame) == [(frame, 0.0)]
    assert not liar.planted


def test_a_push_comes_twice() -> None:
    liar, name = Liar(1), conversation("duplicated_push")
    frame = message(name, 3)
    assert said(liar, session(liar), frame) == [(frame, 0.0)] * 2


def test_a_message_is_overtaken_by_the_next_one() -> None:
    liar, name = Liar(1), conversation("reordered_push")
    of = session(liar)
    assert said(liar, of, message(name, 3)) == []
    got = said(liar, of, message(name, 4), at=2 * S)
    assert [frame["seq"] for frame, _ in got] == [4, 3]
    assert only(liar).at_ns == 2 * S


def test_a_message_that_nothing_overtakes_goes_alone_and_is_no_error() -> None:
    liar, name = Liar(1), conversation("reordered_push")
    of = session(liar)
    said(liar, of, message(name, 3))
    frame = liar.give_up(of, name, S)
    assert frame is not None
    assert msgspec.json.decode(frame)["seq"] == 3
    assert not only(liar).effective
    assert liar.give_up(of, name, S) is None


def test_a_state_shows_what_was_before() -> None:
    liar, name = Liar(1), conversation("stale_answer")
    of = session(liar)
    for at, value in ((0, 4), (S, 6)):
        ask_state(liar, of, at)
        said(liar, of, state(name, value), at)
    ask_state(liar, of, S + SETTLED_NS + 1)
    ((frame, _),) = said(liar, of, state(name, 6), 2 * S)
    assert (frame["conversations"][0]["read_seq"], frame["conversations"][0]["version"]) == (4, 40)
    assert (only(liar).request, only(liar).value) == ("7", 4)


def test_a_state_that_was_asked_for_too_soon_after_the_change_is_left_alone() -> None:
    liar, name = Liar(1), conversation("stale_answer")
    of = session(liar)
    for at, value in ((0, 4), (S, 6)):
        ask_state(liar, of, at)
        said(liar, of, state(name, value), at)
    ask_state(liar, of, S + SETTLED_NS // 2)
    ((frame, _),) = said(liar, of, state(name, 6), 2 * S)
    assert frame["conversations"][0]["read_seq"] == 6
    assert not liar.planted


def read(name: str, up_to: int) -> Frame:
    return {"type": "READ", "id": "8", "items": [{"conversation_id": name, "up_to_seq": up_to}]}


def test_a_read_is_acknowledged_and_dropped_and_so_are_later_ones_of_its_cursor() -> None:
    liar, name = Liar(1), conversation("lost_ack")
    of = session(liar)
    ask_state(liar, of, 0)
    said(liar, of, state(name, 4), 0)
    for number, up_to in enumerate((6, 7), 1):
        asked = liar.asked(of, read(name, up_to), S)
        assert not asked.forward
        assert asked.answer is not None
        (item,) = asked.answer["items"]
        assert (item["applied"], item["read_seq"], item["version"]) == (True, up_to, 40 + number)
    assert [lie.effective for lie in liar.planted] == [True, True]


def test_a_message_of_ones_own_makes_what_was_lost_good() -> None:
    liar, name = Liar(1), conversation("lost_ack")
    of = session(liar)
    ask_state(liar, of, 0)
    said(liar, of, state(name, 4), 0)
    liar.asked(of, read(name, 6), S)
    liar.asked(of, {"type": "SEND", "id": "9", "conversation_id": name}, S)
    said(liar, of, {"type": "ACK", "reply_to": "9", "seq": 8}, S)
    assert not only(liar).effective


@pytest.mark.parametrize(("unread", "shown"), [(0, {1}), (5, {4, 6})])
def test_unread_drifts_by_one_and_is_never_negative(unread: int, shown: set[int]) -> None:
    liar, name = Liar(1), conversation("unread_drift")
    of = session(liar)
    seen = set()
    for _ in range(2):
        ask_state(liar, of, 0)
        ((frame, _),) = said(liar, of, state(name, 4, unread), 0)
        seen.add(frame["conversations"][0]["unread"])
    assert seen == shown


@pytest.mark.parametrize(
    ("sent_at", "noticeable"),
    [(0, True), (S // 2, True), (S * 9 // 10, False), (S * 11 // 10, False), (2 * S, True)],
)
def test_a_drift_while_somebody_sends_is_one_that_nobody_can_notice(sent_at: int, noticeable: bool) -> None:
    liar, name = Liar(1), conversation("unread_drift")
    of = session(liar)
    sending = {"type": "SEND", "id": "9", "conversation_id": name}
    if sent_at < S:
        liar.asked(of, sending, sent_at)
    ask_state(liar, of, S)
    said(liar, of, state(name, 4, 5), S + S // 100)
    if sent_at > S:
        liar.asked(of, sending, sent_at)
    assert only(liar).effective is noticeable


def test_half_of_the_cut_requests_are_carried_out() -> None:
    liar, name = Liar(1), conversation("cut")
    of = session(liar, cuttable=True)
    asked = [liar.asked(of, read(name, 5), 0) for _ in range(4)]
    assert all(one.cut for one in asked)
    assert [one.forward for one in asked] == [True, False, True, False]


def test_devices_that_may_be_cut_get_their_pushes_as_they_are() -> None:
    liar = Liar(1)
    of = session(liar, cuttable=True)
    for kind in KINDS:
        frame = message(conversation(kind), 3)
        assert said(liar, of, frame) == [(frame, 0.0)]
    assert not liar.planted


@pytest.mark.parametrize(("dose", "planted"), [(1, 100), (10, 10), (1000, 1)])
def test_one_in_so_many_is_planted_and_at_least_one(dose: int, planted: int) -> None:
    liar, name = Liar(dose), conversation("duplicated_push")
    of = session(liar)
    for seq in range(100):
        said(liar, of, message(name, seq))
    assert (liar.events["duplicated_push"], len(liar.planted)) == (100, planted)


def test_kinds_that_were_not_asked_for_are_not_told() -> None:
    liar, name = Liar(1, ("cut",)), conversation("duplicated_push")
    frame = message(name, 3)
    assert said(liar, session(liar), frame) == [(frame, 0.0)]


def test_an_answer_is_swallowed_after_the_read_was_carried_out() -> None:
    liar, name = Liar(1), conversation("silent")
    of = session(liar)
    assert liar.asked(of, read(name, 5), 0).forward
    assert said(liar, of, {"type": "ACK", "reply_to": "8", "items": []}) == []
    assert (only(liar).kind, only(liar).request) == ("silent", "8")


def test_a_device_that_is_none_of_the_load_is_told_the_truth() -> None:
    liar, of = Liar(1), Session()
    liar.asked(of, {"type": "HELLO", "id": "0", "user_id": "u1", "device_id": "probe-send"}, 0)
    for kind in KINDS:
        frame = message(conversation(kind), 3)
        assert said(liar, of, frame) == [(frame, 0.0)]
    assert not liar.planted
