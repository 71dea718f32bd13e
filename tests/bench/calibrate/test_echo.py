from __future__ import annotations

import json
from collections import defaultdict

import pytest

from bench.calibrate.echo import ANSWERS, answer
from schemes import protocol

ASKED = {
    "HELLO": {"user_id": "u1", "device_id": "d"},
    "SUB": {"keys": []},
    "SEND": {"conversation_id": "c1", "client_msg_id": "x", "body": ""},
    "READ": {"items": [{"conversation_id": "c1", "up_to_seq": 3}]},
    "DELIVERED": {"items": [{"conversation_id": "c1", "up_to_seq": 3}]},
    "STATE": {"limit": 20},
    "SYNC": {"since_change_id": 1},
    "HISTORY": {"conversation_id": "c1", "from_seq": 1},
    "PING": {},
}


@pytest.mark.parametrize("kind", ASKED)
def test_it_answers_everything_that_a_client_may_ask_with_what_the_protocol_says(kind: str) -> None:
    reply = {**ANSWERS[kind](ASKED[kind], defaultdict(int)), "reply_to": "1"}
    text = json.dumps(reply).encode()
    expected = {
        "HELLO": "WELCOME", "STATE": "STATE_RESULT", "SYNC": "SYNC_RESULT", "HISTORY": "HISTORY_RESULT",
        "PING": "PONG",
    }  # fmt: skip
    assert json.loads(text)["type"] == expected.get(kind, "ACK")


def test_it_knows_every_request_of_the_protocol() -> None:
    requests = {name for name in vars(protocol) if isinstance(getattr(protocol, name), type)}
    asked = {"Hello", "Sub", "Send", "Delivered", "Read", "State", "Sync", "History", "Ping"}
    assert asked <= requests
    assert {name.upper() for name in asked} == set(ANSWERS)


def test_a_connection_s_messages_leave_no_hole_and_another_s_do_not_count() -> None:
    """A hole is waited for, and many holes cost the client more than the requests that are to be measured."""
    one, other = defaultdict[str, int](int), defaultdict[str, int](int)
    assert [ANSWERS["SEND"](ASKED["SEND"], one)["seq"] for _ in range(3)] == [1, 2, 3]
    assert ANSWERS["SEND"](ASKED["SEND"] | {"conversation_id": "c2"}, one)["seq"] == 1
    assert ANSWERS["SEND"](ASKED["SEND"], other)["seq"] == 1


def masked(text: bytes, opcode: int = 1) -> bytes:
    mask, size = b"\x01\x02\x03\x04", len(text)
    head = bytes((128 | opcode, 128 | size)) if size <= 125 else bytes((128 | opcode, 254)) + size.to_bytes(2)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))


def test_frames_are_answered_whole_whatever_pieces_they_come_in() -> None:
    ping = json.dumps({"type": "PING", "id": "7"}).encode()
    long = json.dumps({"type": "SEND", "id": "8", "conversation_id": "c1", "body": "x" * 300}).encode()
    data = masked(ping) + masked(long)
    replies, rest = answer(data[:-1], defaultdict(int))
    assert replies is not None
    assert json.loads(replies[2:]) == {"type": "PONG", "server_time": 0, "reply_to": "7"}
    replies, rest = answer(rest + data[-1:], defaultdict(int))
    assert replies is not None
    assert json.loads(replies[replies.index(b"{") :])["reply_to"] == "8"
    assert rest == b""


def test_it_answers_a_ping_and_lets_who_closes_go() -> None:
    assert answer(masked(b"hi", opcode=9), defaultdict(int)) == (b"\x8a\x02hi", b"")
    assert answer(masked(b"", opcode=8), defaultdict(int)) == (None, b"")
