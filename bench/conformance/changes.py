"""Rows about what changes state: SEND, READ and DELIVERED."""

from __future__ import annotations

import asyncio
import time

from bench.conformance.case import Case, expect, expect_error, expect_fields, one
from bench.conformance.client import Unmet
from bench.conformance.contract import row
from bench.conformance.opening import CLOCK_MS

NOWHERE = "nowhere"


# --- SEND -------------------------------------------------------------------------------------------------


@row("SEND", "messages of a conversation are numbered one after the other, whoever sends them")
async def send_numbers_without_gaps(case: Case) -> None:
    room = case.rooms.direct()
    clients = [await case.device(user) for user in room.users]
    before = int((await case.state(clients[0], room))["last_seq"])
    replies = await asyncio.gather(*(case.send(clients[n % 2], room, f"n{n}") for n in range(10)))
    expect("the seqs", list(range(before + 1, before + 11)), sorted(reply["seq"] for reply in replies))
    expect("different message_ids", 10, len({reply["message_id"] for reply in replies}))
    if not all(isinstance(reply["message_id"], str) for reply in replies):
        raise Unmet("message_id as a string", replies[0])
    await case.shows(clients[0], room, last_seq=before + 10)


@row("SEND", "repeating a SEND with its client_msg_id returns the first message, duplicate: true")
async def a_repeated_send_returns_the_first(case: Case) -> None:
    room = case.rooms.direct()
    sender = await case.device(room.users[0])
    first, again = await case.send(sender, room, "once"), await case.send(sender, room, "once", "different")
    expect("duplicate of the first", False, first.get("duplicate", False))
    expect_fields(again, duplicate=True, **{k: first[k] for k in ("message_id", "seq", "sent_time")})
    await case.shows(sender, room, last_seq=first["seq"])


@row("SEND", "retries at the same time from several devices store one message")
async def concurrent_retries_store_one(case: Case) -> None:
    room = case.rooms.direct()
    devices = [await case.device(room.users[0], f"d{n}") for n in range(3)]
    before = int((await case.state(devices[0], room))["last_seq"])
    replies = await asyncio.gather(*(case.send(d, room, f"c{n % 3}") for d in devices for n in range(6)))
    expect("the seqs", [before + 1, before + 2, before + 3], sorted({reply["seq"] for reply in replies}))
    expect("replies that are no duplicates", 3, sum(not r.get("duplicate", False) for r in replies))


@row("SEND", "the same client_msg_id of another sender is another message")
async def client_ids_are_per_sender(case: Case) -> None:
    room = case.rooms.direct()
    replies = [await case.send(await case.device(user), room, "same") for user in room.users]
    expect("different message_ids", 2, len({reply["message_id"] for reply in replies}))
    expect("duplicate of the second", False, replies[1].get("duplicate", False))


@row("SEND", "sending implies reading: own messages, and what came before them, are never unread")
async def sending_implies_reading(case: Case) -> None:
    room = case.rooms.direct()
    first, second = [await case.device(user) for user in room.users]
    await case.several(first, room, 2)
    reply = await case.send(second, room, "answer")
    await case.shows(second, room, unread=0, read_seq=reply["seq"], last_seq=reply["seq"])
    await case.shows(first, room, unread=1, last_seq=reply["seq"])


@row("SEND", "the acknowledgement says what WELCOME says that it promises")
async def acknowledgements_say_what_they_promise(case: Case) -> None:
    room = case.rooms.direct()
    client = await case.device(room.users[0])
    reply = await case.send(client, room, "m")
    expect_fields(reply, durability=client.welcome["ack"]["send"])
    if abs(reply["sent_time"] - time.time() * 1000) > CLOCK_MS:
        raise Unmet("sent_time in milliseconds UTC", reply)
    items = [{"conversation_id": room.id, "up_to_seq": reply["seq"]}]
    read = await client.want("READ", "ACK", op_id="r", items=items)
    expect_fields(read, durability=client.welcome["ack"]["read"])


# --- READ -------------------------------------------------------------------------------------------------


@row("READ", "a READ moves the cursor, and its answer says where it is")
async def a_read_moves_the_cursor(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    seq = await case.several(sender, room, 3)
    item = await case.read(reader, room, seq - 1)
    expect_fields(item, conversation_id=room.id, read_seq=seq - 1)
    if not case.queued(reader):
        expect_fields(item, applied=True, unread=1)
    await case.shows(reader, room, read_seq=seq - 1, unread=1, last_seq=seq)


@row("READ", "a stale READ succeeds, applied: false, and changes nothing")
async def a_stale_read_changes_nothing(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    seq = await case.several(sender, room, 3)
    await case.read(reader, room, seq)
    before = await case.shows(reader, room, read_seq=seq)
    item = await case.read(reader, room, seq - 2)
    if not case.queued(reader):
        expect_fields(item, applied=False, read_seq=seq)
    await case.quiet()
    expect("the state", before, await case.state(reader, room))


@row("READ", "every advance has a higher version")
async def every_advance_has_a_higher_version(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    last = await case.several(sender, room, 3)
    versions = []
    for seq in (last - 2, last - 1, last):
        await case.read(reader, room, seq)
        versions.append((await case.shows(reader, room, read_seq=seq))["version"])
    if not 0 < versions[0] < versions[1] < versions[2]:
        raise Unmet("versions that grow", repr(versions))


@row("READ", "READs of one person's devices at the same time end at the highest")
async def racing_devices_end_at_the_highest(case: Case) -> None:
    room = case.rooms.direct()
    sender = await case.device(room.users[0])
    readers = [await case.device(room.users[1], f"d{n}") for n in range(3)]
    last = await case.several(sender, room, 9)
    order = [4, 8, 2, 0, 6, 3, 7, 1, 5]
    await asyncio.gather(*(case.read(readers[n % 3], room, last - back) for n, back in enumerate(order)))
    await case.shows(readers[0], room, read_seq=last, unread=0)


@row("READ", "one READ marks several conversations, or none if one of them is refused")
async def one_read_marks_all_or_none(case: Case) -> None:
    mine, also = case.rooms.hub()[:2]
    reader = await case.device(mine.users[0])
    ends = [await case.several(await case.device(room.users[1]), room, 1) for room in (mine, also)]
    before = (await case.state(reader, mine))["read_seq"]
    marks = [
        {"conversation_id": room.id, "up_to_seq": seq} for room, seq in zip((mine, also), ends, strict=True)
    ]
    foreign = {"conversation_id": NOWHERE, "up_to_seq": 1}
    expect_error(await reader.ask("READ", op_id="h", items=[marks[0], foreign]), "NOT_MEMBER")
    await case.quiet()
    expect_fields(await case.state(reader, mine), read_seq=before)
    reply = await reader.want("READ", "ACK", op_id="w", items=marks)
    expect("the items", [mine.id, also.id], [item["conversation_id"] for item in reply["items"]])
    for room, seq in zip((mine, also), ends, strict=True):
        await case.shows(reader, room, read_seq=seq)


@row("READ", "reading ahead is SEQ_AHEAD, and `current` says where the end is")
async def reading_ahead_is_refused(case: Case) -> None:
    room = case.rooms.direct()
    reader = await case.device(room.users[0])
    before = await case.state(reader, room)
    for kind in ("READ", "DELIVERED"):
        ahead = [{"conversation_id": room.id, "up_to_seq": before["last_seq"] + 1}]
        reply = await reader.ask(kind, op_id="a", items=ahead)
        expect_error(reply, "SEQ_AHEAD")
        expect_fields(reply, current={"last_seq": before["last_seq"]})
    await case.quiet()
    expect("the state", before, await case.state(reader, room))


@row("READ", "message_ids mean up to the highest of their seqs", optional=True)
async def message_ids_mean_their_highest(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    sent = [await case.send(sender, room, f"i{n}") for n in range(3)]
    ids = [sent[1]["message_id"], sent[0]["message_id"]]
    items = [{"conversation_id": room.id, "message_ids": ids}]
    reply = await reader.want("READ", "ACK", op_id="i", items=items)
    expect_fields(one(reply, "items"), read_seq=sent[1]["seq"])
    await case.shows(reader, room, read_seq=sent[1]["seq"])


@row("READ", "reading implies delivery")
async def reading_implies_delivery(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    seq = await case.several(sender, room, 3)
    await case.read(reader, room, seq - 1)
    await case.shows(reader, room, read_seq=seq - 1, delivered_seq=seq - 1)


# --- DELIVERED --------------------------------------------------------------------------------------------


@row("DELIVERED", "a delivery cursor moves forward only, and moves no read cursor")
async def delivered_moves_forward_only(case: Case) -> None:
    room = case.rooms.direct()
    sender, device = [await case.device(user) for user in room.users]
    read_before = (await case.state(device, room))["read_seq"]
    seq = await case.several(sender, room, 3)
    for up_to in (seq, seq - 2):
        items = [{"conversation_id": room.id, "up_to_seq": up_to}]
        item = one(await device.want("DELIVERED", "ACK", items=items), "items")
        if not case.queued(device):
            expect_fields(item, delivered_seq=seq)
    await case.shows(device, room, delivered_seq=seq, read_seq=read_before, unread=seq - read_before)


@row("DELIVERED", "a push is no delivery: only DELIVERED and READ move that cursor")
async def a_push_is_no_delivery(case: Case) -> None:
    room = case.rooms.direct()
    sender, receiver = [await case.device(user) for user in room.users]
    before = (await case.state(receiver, room))["delivered_seq"]
    seq = await case.several(sender, room, 1)
    await receiver.message(room.id, seq)
    await case.quiet()
    expect_fields(await case.state(receiver, room), last_seq=seq, delivered_seq=before)
