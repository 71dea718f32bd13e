from __future__ import annotations

import json

import pytest

from bench.calibrate.echo import ANSWERS
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
    reply = {**ANSWERS[kind](ASKED[kind]), "reply_to": "1"}
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


def test_each_message_has_a_seq_of_its_own() -> None:
    first, second = (ANSWERS["SEND"](ASKED["SEND"]) for _ in range(2))
    assert first["seq"] < second["seq"]
