"""Rows about who is told of what, and who is not."""

from __future__ import annotations

import asyncio

from bench.conformance.case import Case, expect, expect_error, expect_fields
from bench.conformance.client import Unmet
from bench.conformance.contract import row
from bench.conformance.rooms import Room

BODY = "häßlich \u2028 ok"
CONCURRENT = 20


def _mark(room: Room, seq: int) -> dict[str, object]:
    return {"conversation_id": room.id, "up_to_seq": seq}


# --- pushes -----------------------------------------------------------------------------------------------


@row("pushes", "MESSAGE goes to the members' devices but the sending socket, as it was sent")
async def a_message_goes_to_all_but_the_sending_socket(case: Case) -> None:
    room = case.rooms.direct()
    sending, own = await case.device(room.users[0]), await case.device(room.users[0], "laptop")
    peer = await case.device(room.users[1])
    sent = await case.send(sending, room, "m", BODY)
    wanted = {name: sent[name] for name in ("message_id", "seq", "sent_time")}
    for device in (own, peer):
        message = await device.message(room.id, sent["seq"])
        expect_fields(message, **wanted, sender_id=room.users[0], client_msg_id=case.once("m"), body=BODY)
    await case.quiet()
    expect("pushes at the sending socket", [], sending.messages(room.id))


@row("pushes", "a READ goes to the reader's other devices, with unread, and to the direct peer, without")
async def a_read_goes_to_own_devices_and_the_peer(case: Case) -> None:
    room = case.rooms.direct()
    reading, own = await case.device(room.users[0]), await case.device(room.users[0], "laptop")
    peer = await case.device(room.users[1])
    seq = await case.several(peer, room, 1)
    await case.read(reading, room, seq)
    key = f"read/{room.id}/{room.users[0]}"
    at_own, at_peer = await own.update(key, seq), await peer.update(key, seq)
    expect("version at the peer", at_own["version"], at_peer["version"])
    expect_fields(at_own, origin_device=case.hello(room.users[0])["device_id"])
    expect_fields(at_own["value"], up_to_seq=seq, unread=0)
    expect("unread at the peer", "absent", at_peer["value"].get("unread", "absent"))
    await case.quiet()
    expect("pushes at the reading socket", [], reading.updates(key))


@row("pushes", "a SEND that covers messages of others is told like a READ, and no other is")
async def a_send_that_reads_is_told_like_a_read(case: Case) -> None:
    room = case.rooms.direct()
    sending, own = await case.device(room.users[0]), await case.device(room.users[0], "laptop")
    peer = await case.device(room.users[1])
    await case.several(peer, room, 1)
    seq = (await case.send(sending, room, "answer"))["seq"]
    key = f"read/{room.id}/{room.users[0]}"
    for device in (own, peer):
        expect_fields((await device.update(key, seq))["value"], up_to_seq=seq)
    await case.send(sending, room, "one more")
    await case.quiet()
    for device in (own, peer):
        expect("told of reading", [seq], [push["value"]["up_to_seq"] for push in device.updates(key)])


@row("pushes", "the change_id of a push is that of its row in the log of whoever is told")
async def pushes_carry_the_change_id_of_the_log(case: Case) -> None:
    room = case.rooms.direct()
    reading, own = await case.device(room.users[0]), await case.device(room.users[0], "laptop")
    peer = await case.device(room.users[1])
    seq = await case.several(peer, room, 1)
    await case.read(reading, room, seq)
    for device in (own, peer):
        told = await device.update(f"read/{room.id}/{room.users[0]}", seq)
        page = await device.want("SYNC", "SYNC_RESULT", since_change_id=told["change_id"] - 1, limit=1)
        expect("changes there", 1, len(page["changes"]))
        expect_fields(
            page["changes"][0], change_id=told["change_id"], conversation_id=room.id, up_to_seq=seq,
            actor_id=room.users[0], version=told["version"],
        )  # fmt: skip


@row("pushes", "in a group the senders of what was read are told, without change_id, and nobody else")
async def in_groups_the_senders_are_told(case: Case) -> None:
    group = case.rooms.group()
    first, second, third, reader = [await case.device(user) for user in group.users[:4]]
    own = await case.device(group.users[3], "laptop")
    end = int((await case.state(reader, group))["last_seq"])
    await case.read(reader, group, end)
    await case.several(first, group, 1)
    seq = await case.several(second, group, 1)
    await case.shows(reader, group, last_seq=seq)
    await case.read(reader, group, seq)
    key = f"read/{group.id}/{group.users[3]}"
    for sender in (first, second):
        told = await sender.update(key, seq)
        expect("change_id at a sender", "absent", told.get("change_id", "absent"))
    if not isinstance((await own.update(key, seq)).get("change_id"), int):
        raise Unmet("a change_id at the reader's own device", own.updates(key)[-1])
    await case.quiet()
    expect("pushes at a member who sent nothing", [], [u for u in third.updates(key) if _beyond(u, end)])


def _beyond(update: dict[str, object], seq: int) -> bool:
    value = update["value"]
    return isinstance(value, dict) and bool(value["up_to_seq"] > seq)


@row("pushes", "DELIVERED goes to the direct peer only, without change_id")
async def delivered_goes_to_the_direct_peer(case: Case) -> None:
    room = case.rooms.direct()
    device, own = await case.device(room.users[0]), await case.device(room.users[0], "laptop")
    peer = await case.device(room.users[1])
    seq = await case.several(peer, room, 1)
    await device.want("DELIVERED", "ACK", items=[_mark(room, seq)])
    key = f"delivered/{room.id}/{room.users[0]}"
    told = await peer.update(key, seq)
    expect("change_id", "absent", told.get("change_id", "absent"))
    await case.quiet()
    expect("pushes at own devices", [], own.updates(key))


@row("pushes", "a stale READ tells nobody")
async def a_stale_read_tells_nobody(case: Case) -> None:
    room = case.rooms.direct()
    reader, peer = [await case.device(user) for user in room.users]
    seq = await case.several(peer, room, 2)
    await case.read(reader, room, seq)
    key = f"read/{room.id}/{room.users[0]}"
    await peer.update(key, seq)
    await case.read(reader, room, seq)
    await case.read(reader, room, seq - 1)
    await case.quiet()
    expect("pushes of one advance", 1, len(peer.updates(key)))


@row("pushes", "only who has subscribed to * or to the conversation is told")
async def only_subscribers_are_told(case: Case) -> None:
    room, other = case.rooms.direct(), case.rooms.direct()
    sender, user = await case.device(room.users[0]), room.users[1]
    deaf = await case.device(user, "deaf", sub=False)
    here, elsewhere = [await case.device(user, name, sub=False) for name in ("here", "elsewhere")]
    await here.want("SUB", "ACK", keys=[f"conv/{room.id}"])
    await elsewhere.want("SUB", "ACK", keys=[f"conv/{other.id}"])
    await here.message(room.id, await case.several(sender, room, 1))
    await case.quiet()
    for name, client in (("without SUB", deaf), ("with another conversation's SUB", elsewhere)):
        expect(f"pushes at a device {name}", [], client.messages(room.id))


@row("pushes", "UNSUB takes a subscription back", optional=True)
async def unsub_takes_back(case: Case) -> None:
    room = case.rooms.direct()
    sender, left = [await case.device(user) for user in room.users]
    await left.want("UNSUB", "ACK", keys=["*"])
    await case.several(sender, room, 1)
    await case.quiet()
    expect("pushes after UNSUB", [], left.messages(room.id))


@row("pushes", "messages that are sent at the same time are pushed in the order of their seqs")
async def pushes_come_in_order(case: Case) -> None:
    room = case.rooms.direct()
    senders = [await case.device(user) for user in room.users]
    observer = await case.device(room.users[1], "observer")
    first = int((await case.state(observer, room))["last_seq"]) + 1
    await asyncio.gather(*(case.send(senders[n % 2], room, f"o{n}") for n in range(CONCURRENT)))
    await observer.message(room.id, first + CONCURRENT - 1)
    await case.quiet()
    seqs = [message["seq"] for message in observer.messages(room.id)]
    expect("the seqs", list(range(first, first + CONCURRENT)), seqs)


# --- isolation --------------------------------------------------------------------------------------------


@row("isolation", "who is no member may not send, mark or ask: NOT_MEMBER, and nothing changes")
async def strangers_change_and_see_nothing(case: Case) -> None:
    room = case.rooms.direct()
    member = await case.device(room.users[0])
    stranger = await case.device(case.rooms.stranger(room))
    before = await case.state(member, room)
    for kind, fields in (
        ("READ", {"op_id": "s", "items": [_mark(room, 1)]}),
        ("DELIVERED", {"items": [_mark(room, 1)]}),
        ("SEND", {"conversation_id": room.id, "client_msg_id": case.once("s"), "body": "x"}),
        ("STATE", {"conversations": [room.id]}),
        ("READ", {"op_id": "n", "items": [{"conversation_id": "nowhere", "up_to_seq": 1}]}),
    ):
        expect_error(await stranger.ask(kind, **fields), "NOT_MEMBER")
    await case.quiet()
    expect("the state", before, await case.state(member, room))


@row("isolation", "who is no member may not read the messages: NOT_MEMBER", optional=True)
async def strangers_read_no_history(case: Case) -> None:
    room = case.rooms.direct()
    member = await case.device(room.users[0])
    await member.want("HISTORY", "HISTORY_RESULT", conversation_id=room.id, from_seq=1, limit=1)
    stranger = await case.device(case.rooms.stranger(room))
    reply = await stranger.ask("HISTORY", conversation_id=room.id, from_seq=1, limit=1)
    expect_error(reply, "NOT_MEMBER")


@row("isolation", "who is no member is told nothing, whatever they subscribe to")
async def strangers_are_told_nothing(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    stranger = await case.device(case.rooms.stranger(room))
    await stranger.ask("SUB", keys=[f"conv/{room.id}"])
    await case.read(reader, room, await case.several(sender, room, 1))
    await case.quiet()
    key = f"read/{room.id}/{room.users[1]}"
    expect("pushes at a stranger", [], stranger.messages(room.id) + stranger.updates(key))
