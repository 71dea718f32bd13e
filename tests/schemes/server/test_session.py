"""The session core by itself: frames in, actions out, no socket and no clock."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from schemes import protocol as p
from schemes.ports import DeliveredOutcome, ReadOutcome, Refused, SendOutcome, StatePage, SyncPage
from schemes.server.session import REFUSALS_MAX, Action, Call, Close, ServerConfig, Session

SECRET = b"test"
WALL_S = 1_800_000_000.0
CONFIG = ServerConfig("memory", "none", p.AckMeaning("volatile", "volatile"), secret=SECRET)


class Talk:
    """A session with a clock that stands still unless it is moved."""

    def __init__(self, config: ServerConfig = CONFIG) -> None:
        self.session = Session(config, "s-1")
        self.now_s = 100.0

    def say(self, kind: str, **fields: Any) -> Action:
        return self.raw(json.dumps({"type": kind, "id": "7", **fields}).encode())

    def raw(self, data: bytes) -> Action:
        return self.session.receive(data, self.now_s, int(self.now_s * 1e9), WALL_S)

    def hello(self, **fields: Any) -> Action:
        token = p.make_token(SECRET, "u1", "d1", int(WALL_S) + 60)
        return self.say("HELLO", **{"user_id": "u1", "device_id": "d1", "token": token} | fields)

    def answer(self, call: Action, outcome: Any) -> dict[str, Any]:
        assert isinstance(call, Call)
        reply: dict[str, Any] = json.loads(
            self.session.answer(call, outcome, int(self.now_s * 1e9) + 5_000, WALL_S)
        )
        return reply

    def open(self, **fields: Any) -> dict[str, Any]:
        return self.answer(self.hello(**fields), (3, 41))


def error_of(action: Action) -> str:
    assert isinstance(action, bytes)
    frame = json.loads(action)
    assert frame["type"] == "ERROR"
    assert frame["reply_to"] == "7"
    return str(frame["code"])


def read(seq: int = 1) -> dict[str, Any]:
    return {"items": [{"conversation_id": "c1", "up_to_seq": seq}]}


def test_hello_opens_and_welcome_says_everything() -> None:
    welcome = Talk().open()
    assert (welcome["epoch"], welcome["change_id"], welcome["session_id"]) == (3, 41, "s-1")
    assert welcome["limits"]["in_flight"] == 64
    assert welcome["ack"] == {"send": "volatile", "read": "volatile"}


@pytest.mark.parametrize(
    ("fields", "close", "code"),
    [
        ({"user_id": "17"}, 4400, "BAD_REQUEST"),
        ({"user_id": "u-1"}, 4400, "BAD_REQUEST"),
        ({"user_id": "u99999999999999999999"}, 4400, "BAD_REQUEST"),
        ({"device_id": ""}, 4400, "BAD_REQUEST"),
        ({"device_id": "a|b"}, 4400, "BAD_REQUEST"),
        ({"protocol": [2]}, 4400, "UNSUPPORTED"),
        ({"token": "x.y"}, 4401, "UNAUTHENTICATED"),
        ({"token": ""}, 4401, "UNAUTHENTICATED"),
    ],
)
def test_a_bad_hello_closes(fields: dict[str, Any], close: int, code: str) -> None:
    action = Talk().hello(**fields)
    assert isinstance(action, Close)
    assert action.code == close
    assert error_of(action.first) == code


def test_before_welcome_everything_else_closes() -> None:
    for action in (Talk().say("PING"), Talk().say("READ", **read()), Talk().raw(b"{"), Talk().raw(b"\xff")):
        assert isinstance(action, Close)
        assert action.code == 4400
    talk = Talk()
    assert isinstance(talk.hello(), Call)
    early = talk.say("PING")
    assert isinstance(early, Close)


def test_auth_off_takes_anybody() -> None:
    config = ServerConfig("memory", "none", p.AckMeaning("volatile", "volatile"), auth=False)
    assert isinstance(Talk(config).hello(token=""), Call)


def test_a_mutation_waits_for_the_one_before_and_a_query_overtakes() -> None:
    talk = Talk()
    talk.open()
    first = talk.say("READ", **read(1))
    assert talk.say("READ", **read(2)) is None
    assert isinstance(talk.say("STATE"), Call)
    assert talk.session.in_flight == 3
    assert talk.session.next_call() is None
    talk.answer(first, [ReadOutcome("c1", True, 1, 0, 1, 5)])
    second = talk.session.next_call()
    assert second is not None
    assert second.items[0].up_to_seq == 2
    assert talk.session.next_call() is None


def test_a_refused_mutation_lets_the_next_one_go() -> None:
    talk = Talk()
    talk.open()
    first = talk.say("READ", **read(1))
    assert isinstance(first, Call)
    talk.say("READ", **read(2))
    error = json.loads(talk.session.refuse(first, Refused("SEQ_AHEAD", "no", current={"last_seq": 0}), 0))
    assert (error["code"], error["current"]) == ("SEQ_AHEAD", {"last_seq": 0})
    assert talk.session.next_call() is not None


def test_answers_carry_the_outcome() -> None:
    talk = Talk()
    talk.open(trace=True)
    sent = talk.answer(
        talk.say("SEND", conversation_id="c", client_msg_id="m", body=""),
        SendOutcome(9, 4, 1234, duplicate=True),
    )
    assert (sent["message_id"], sent["seq"], sent["sent_time"], sent["duplicate"]) == ("9", 4, 1234, True)
    assert sent["t"]["server"] == 5
    queued = talk.answer(talk.say("READ", **read()), [ReadOutcome("c1", None, 1, None, None, None)])
    assert queued["items"] == [
        {
            "conversation_id": "c1",
            "applied": None,
            "read_seq": 1,
            "unread": None,
            "version": None,
            "read_time": None,
        }
    ]
    reached = talk.answer(talk.say("DELIVERED", **read()), [DeliveredOutcome("c1", False, 3)])
    assert reached["items"] == [{"conversation_id": "c1", "applied": False, "delivered_seq": 3}]
    state = talk.answer(talk.say("STATE"), StatePage([], None, 5, "next"))
    assert (state["done"], state["cursor"], "total_unread" in state) == (False, "next", False)
    sync = talk.answer(talk.say("SYNC", since_change_id=2), SyncPage([], [], 2, done=True, total_unread=0))
    assert (sync["changed_count"], sync["done"], sync["total_unread"]) == (0, True, 0)
    history = talk.answer(talk.say("HISTORY", conversation_id="c", from_seq=1, limit=1), [])
    assert history["done"] is True


def test_the_rate_limit_refuses_and_recovers() -> None:
    talk = Talk()
    talk.open()
    burst = CONFIG.limits.ops_burst
    assert all(b"PONG" in (talk.say("PING") or b"") for _ in range(burst))  # type: ignore[operator]
    assert error_of(talk.say("PING")) == "RATE_LIMITED"
    talk.now_s += 2 / CONFIG.limits.ops_per_s
    assert b"PONG" in (talk.say("PING") or b"")  # type: ignore[operator]


def test_ignoring_the_rate_limit_closes() -> None:
    talk = Talk()
    talk.open()
    actions = [talk.say("PING") for _ in range(CONFIG.limits.ops_burst + REFUSALS_MAX + 1)]
    assert isinstance(actions[-1], Close)
    assert actions[-1].code == 4429
    assert not any(isinstance(action, Close) for action in actions[:-1])


def test_subscriptions_are_this_sessions_own() -> None:
    talk, other = Talk(), Talk()
    talk.open()
    other.open()
    assert not talk.session.wants("a")
    talk.say("SUB", keys=["conv/a", "conv/b"])
    assert (talk.session.wants("a"), talk.session.wants("c"), other.session.wants("a")) == (
        True,
        False,
        False,
    )
    talk.say("SUB", keys=["*"])
    talk.say("UNSUB", keys=["conv/a"])
    assert talk.session.wants("a")
    talk.say("UNSUB", keys=["*"])
    assert (talk.session.wants("a"), talk.session.wants("b")) == (False, True)


def test_too_many_subscriptions_are_refused_and_change_nothing() -> None:
    talk = Talk()
    talk.open()
    assert error_of(talk.say("SUB", keys=[f"conv/{n}" for n in range(1001)])) == "TOO_LARGE"
    assert not talk.session.wants("1")


def test_a_second_hello_is_refused() -> None:
    talk = Talk()
    talk.open()
    assert error_of(talk.hello()) == "BAD_REQUEST"


def frames(rng: random.Random) -> bytes:
    """A frame that is almost right: a good one with something cut, doubled, flipped or replaced."""
    kinds = [*p.CLIENT_TYPES, *p.RESERVED, "", "x"]
    values: list[Any] = [
        None, True, -1, 0, 1, 2**53, 2**70, 1.5, "", "*", "c1", "conv/c1", "u1", [], {}, ["conv/x"], ["*", 3],
        [{"conversation_id": "c1", "up_to_seq": 1}], [{"conversation_id": "ü" * 70}], "\u0000", "a" * 5000,
    ]  # fmt: skip
    names = [
        "id", "user_id", "device_id", "token", "protocol", "keys", "conversation_id", "client_msg_id", "body",
        "items", "op_id", "cursor", "limit", "conversations", "since_change_id", "last_sync_time", "detail",
        "from_seq", "resume",
    ]  # fmt: skip
    frame = {"type": rng.choice(kinds)} | {
        rng.choice(names): rng.choice(values) for _ in range(rng.randrange(6))
    }
    data = bytearray(json.dumps(frame).encode())
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        place = rng.randrange(len(data))
        data[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(data)


@pytest.mark.parametrize("many", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_fuzzed_frames_crash_nothing(many: int) -> None:
    """Every frame gets an action of a known kind; calls that come of it are answered, so that all goes on."""
    rng = random.Random(20261125)
    talk = Talk()
    talk.open()
    kinds: dict[str, int] = {}
    for _ in range(many):
        talk.now_s += 0.011
        action = talk.raw(frames(rng))
        kinds[type(action).__name__] = kinds.get(type(action).__name__, 0) + 1
        if isinstance(action, Call):
            talk.session.refuse(action, Refused("UNAVAILABLE", "fuzz"), 0)
        elif isinstance(action, Close):
            talk = Talk()
            talk.open()
        else:
            assert isinstance(action, bytes)
    assert kinds["Call"] > many / 200, kinds
    assert kinds["bytes"] > many / 2, kinds
