"""Rows about a connection as such: handshake, authentication, resumption, errors and limits."""

from __future__ import annotations

import json
import time

from bench.conformance.case import Case, expect, expect_error, expect_fields
from bench.conformance.client import Frame, Unmet
from bench.conformance.contract import TOKENS, row
from schemes.protocol import SUBPROTOCOL, make_token

WELCOME_FIELDS = (
    "session_id", "epoch", "change_id", "server_time", "server", "ack", "caps", "limits",
)  # fmt: skip
CLOCK_MS = 60_000
"""How far the server's clock may be from ours for its times to be milliseconds UTC."""
PIPELINED = 40
BAD_REQUESTS: tuple[tuple[str, Frame], ...] = (
    ("READ", {"items": []}),
    ("READ", {"items": [{"conversation_id": "x"}]}),
    ("READ", {"items": [{"conversation_id": "x", "up_to_seq": "1"}]}),
    ("SEND", {"conversation_id": "x", "body": "no id"}),
    ("SUB", {}),
)


# --- handshake --------------------------------------------------------------------------------------------


@row("handshake", "the WebSocket chooses the subprotocol readstate.v1")
async def subprotocol_is_chosen(case: Case) -> None:
    expect("the subprotocol", SUBPROTOCOL, (await case.dial()).subprotocol)


@row("handshake", "HELLO is answered by WELCOME with all that a client must know")
async def hello_is_welcomed(case: Case) -> None:
    user = case.rooms.direct().users[0]
    client = await case.device(user)
    if missing := [name for name in WELCOME_FIELDS if name not in client.welcome]:
        raise Unmet(f"WELCOME with {', '.join(missing)}", client.welcome)
    if abs(client.welcome["server_time"] - time.time() * 1000) > CLOCK_MS:
        raise Unmet("server_time in milliseconds UTC", repr(client.welcome["server_time"]))
    other = await case.device(user, "laptop")
    if other.welcome["session_id"] == client.welcome["session_id"]:
        raise Unmet("a session_id of its own for each connection", other.welcome["session_id"])


@row("handshake", "nothing goes before HELLO: BAD_REQUEST, then close 4400")
async def nothing_goes_before_hello(case: Case) -> None:
    client = await case.dial()
    expect_error(await client.ask("STATE", limit=5), "BAD_REQUEST")
    expect("close code", 4400, await client.closed())


@row("handshake", "PING is answered by PONG with the server's time")
async def ping_is_answered(case: Case) -> None:
    client = await case.device(case.rooms.direct().users[0])
    pong = await client.want("PING", "PONG")
    if abs(pong["server_time"] - time.time() * 1000) > CLOCK_MS:
        raise Unmet("server_time in milliseconds UTC", pong)


@row("handshake", "SUB and UNSUB are answered with how many keys are subscribed", optional=True)
async def subscriptions_are_counted(case: Case) -> None:
    room = case.rooms.direct()
    client = await case.device(room.users[0], sub=False)
    expect_fields(await client.want("SUB", "ACK", keys=[f"conv/{room.id}"]), count=1)
    expect_fields(await client.want("UNSUB", "ACK", keys=[f"conv/{room.id}"]), count=0)


# --- auth -------------------------------------------------------------------------------------------------


async def _is_refused(case: Case, user: str, token: str) -> None:
    client = await case.dial()
    reply = await client.ask("HELLO", **case.hello(user) | {"token": token})
    expect_error(reply, "UNAUTHENTICATED")
    expect("close code", 4401, await client.closed())


@row("auth", "a token with a wrong signature is UNAUTHENTICATED, close 4401", needs=TOKENS)
async def a_forged_token_is_refused(case: Case) -> None:
    user = case.rooms.direct().users[0]
    claim = case.hello(user)["token"].partition(".")[0]
    await _is_refused(case, user, f"{claim}.{'0' * 64}")
    await _is_refused(case, user, "")


@row("auth", "an expired token is UNAUTHENTICATED, close 4401", needs=TOKENS)
async def an_expired_token_is_refused(case: Case) -> None:
    user = case.rooms.direct().users[0]
    device = case.hello(user)["device_id"]
    secret = (case.server.token_secret or "").encode()
    await _is_refused(case, user, make_token(secret, user, device, int(time.time()) - 60))


@row("auth", "a token is for one user and one device", needs=TOKENS)
async def a_token_of_another_is_refused(case: Case) -> None:
    user, other = case.rooms.direct().users
    await _is_refused(case, user, case.hello(other)["token"])
    await _is_refused(case, user, case.hello(user, "laptop")["token"])


# --- resume -----------------------------------------------------------------------------------------------


@row("resume", "after a HELLO with resume of the same epoch SYNC gives what was missed, and no more")
async def resume_gives_what_was_missed(case: Case) -> None:
    room = case.rooms.direct()
    phone, laptop = await case.device(room.users[0]), await case.device(room.users[0], "laptop")
    sender = await case.device(room.users[1])
    await case.several(sender, room, 1)
    since = (await phone.want("STATE", "STATE_RESULT", limit=1))["change_id"]
    position = {"epoch": phone.welcome["epoch"], "last_change_id": since}
    await phone.close()
    seq = await case.several(sender, room, 2)
    await case.read(laptop, room, seq)
    await case.shows(laptop, room, read_seq=seq)
    phone = await case.device(room.users[0], resume=position)
    expect("reset_required", False, phone.welcome.get("reset_required", False))
    missed = await phone.want("SYNC", "SYNC_RESULT", since_change_id=since)
    expect(
        "the missed changes",
        [(room.id, room.users[0], seq)],
        [(c["conversation_id"], c["actor_id"], c["up_to_seq"]) for c in missed["changes"]],
    )


@row("resume", "a position of another epoch is answered with reset_required")
async def another_epoch_needs_a_reset(case: Case) -> None:
    user = case.rooms.direct().users[0]
    client = await case.device(user)
    position = {"epoch": client.welcome["epoch"] + 1, "last_change_id": client.welcome["change_id"]}
    again = await case.device(user, "laptop", resume=position)
    expect_fields(again.welcome, reset_required=True)


@row("resume", "a newer connection of a device replaces the older: GOODBYE, close 4409")
async def a_newer_connection_replaces(case: Case) -> None:
    room = case.rooms.direct()
    older = await case.device(room.users[0])
    newer = await case.device(room.users[0])
    expect("close code", 4409, await older.closed())
    if not any(frame.get("type") == "GOODBYE" for frame in older.pushes):
        raise Unmet("GOODBYE before the close", older.pushes)
    sender = await case.device(room.users[1])
    await newer.message(room.id, await case.several(sender, room, 1))


# --- errors -----------------------------------------------------------------------------------------------


@row("errors", "a malformed request is answered with BAD_REQUEST, and the connection goes on")
async def bad_requests_are_refused_one_by_one(case: Case) -> None:
    client = await case.device(case.rooms.direct().users[0])
    for kind, fields in BAD_REQUESTS:
        expect_error(await client.ask(kind, **fields), "BAD_REQUEST")
    await client.want("PING", "PONG")


@row("errors", "a frame that is no JSON object costs an error, not the connection")
async def a_frame_that_is_no_json_is_refused(case: Case) -> None:
    client = await case.device(case.rooms.direct().users[0])
    await client.send_raw("{not json")
    error = await client.push("an ERROR", lambda frame: frame.get("type") == "ERROR")
    expect("code", "BAD_REQUEST", error.get("code"))
    await client.want("PING", "PONG")


@row("errors", "a type that is not offered is answered with UNSUPPORTED")
async def unknown_types_are_unsupported(case: Case) -> None:
    client = await case.device(case.rooms.direct().users[0])
    expect_error(await client.ask("NONSENSE"), "UNSUPPORTED")
    expect_error(await client.ask("SUB", keys=["user/1"]), "UNSUPPORTED")
    await client.want("PING", "PONG")


@row("errors", "fields that are not known are ignored")
async def unknown_fields_are_ignored(case: Case) -> None:
    client = await case.device(case.rooms.direct().users[0], future={"a": [1]})
    await client.want("STATE", "STATE_RESULT", limit=1, future=True)


@row("errors", "pipelined requests are all answered, mutations in their order")
async def pipelined_requests_are_answered(case: Case) -> None:
    room = case.rooms.direct()
    client = await case.device(room.users[0])
    first = int((await case.state(client, room))["last_seq"]) + 1
    asked = [
        client.begin("SEND", conversation_id=room.id, client_msg_id=case.once(f"p{n}"), body="x")
        for n in range(PIPELINED)
    ]
    seqs = [(await reply).get("seq") for reply in asked]
    expect("the seqs", list(range(first, first + PIPELINED)), seqs)


# --- limits -----------------------------------------------------------------------------------------------


def _limit(welcome: Frame, name: str) -> int:
    limit = welcome["limits"].get(name)
    if not isinstance(limit, int):
        raise Unmet(f"limits.{name} in WELCOME", welcome["limits"])
    return limit


@row("limits", "a batch above limits.batch is TOO_LARGE")
async def a_batch_above_its_limit_is_refused(case: Case) -> None:
    room = case.rooms.direct()
    client = await case.device(room.users[0])
    items = [{"conversation_id": room.id, "up_to_seq": 1}] * (_limit(client.welcome, "batch") + 1)
    for kind in ("READ", "DELIVERED"):
        expect_error(await client.ask(kind, op_id="b", items=items), "TOO_LARGE")


@row("limits", "a body above limits.body_bytes is TOO_LARGE, in bytes of UTF-8; one of that size is not")
async def a_body_above_its_limit_is_refused(case: Case) -> None:
    room = case.rooms.direct()
    client = await case.device(room.users[0])
    most = _limit(client.welcome, "body_bytes")
    body = "ä" * (most // 2) + "x" * (most % 2)
    refused = await client.ask(
        "SEND", conversation_id=room.id, client_msg_id=case.once("big"), body=body + "x"
    )
    expect_error(refused, "TOO_LARGE")
    await case.send(client, room, "just", body)


@row("limits", "a page above its limit is TOO_LARGE")
async def a_page_above_its_limit_is_refused(case: Case) -> None:
    client = await case.device(case.rooms.direct().users[0])
    for kind, limit in (("STATE", "state_conversations"), ("SYNC", "sync_changes")):
        since = {"since_change_id": 0} if kind == "SYNC" else {}
        expect_error(await client.ask(kind, limit=_limit(client.welcome, limit) + 1, **since), "TOO_LARGE")


@row("limits", "a frame above limits.frame_bytes closes with 1009")
async def a_frame_above_its_limit_closes(case: Case) -> None:
    client = await case.device(case.rooms.direct().users[0])
    big = {"type": "PING", "id": "1", "padding": "x" * _limit(client.welcome, "frame_bytes")}
    await client.send_raw(json.dumps(big))
    expect("close code", 1009, await client.closed())
