"""What every scheme must do, whatever it keeps state in: one suite over the wire for all arms.

`mutants/` holds seeded bugs, each of which must turn at least one of these tests red."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from schemes import protocol as p
from tests.contract.client import QUIET_S, Client, Frame
from tests.contract.world import HISTORY, SECRET, Room, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
Item = dict[str, Any]


def upto(room: Room, seq: int) -> Item:
    return {"conversation_id": room.id, "up_to_seq": seq}


async def send(client: Client, room: Room, client_msg_id: str, body: str = "hello") -> Frame:
    return await client.ask("SEND", conversation_id=room.id, client_msg_id=client_msg_id, body=body)


async def read(client: Client, room: Room, seq: int) -> Item:
    reply = await client.ask("READ", op_id=f"r{seq}", items=[upto(room, seq)])
    assert reply["type"] == "ACK", reply
    item: Item = reply["items"][0]
    return item


async def state(world: World, client: Client, room: Room) -> Item:
    """One conversation's state, after everything on its way has arrived."""
    await world.settle()
    reply = await client.ask("STATE", conversations=[room.id])
    assert reply["type"] == "STATE_RESULT", reply
    (item,) = reply["conversations"]
    found: Item = item
    return found


async def quiet(world: World) -> None:
    """Time for what should not come to come."""
    await world.settle()
    await asyncio.sleep(QUIET_S)


# --- cursors ----------------------------------------------------------------------------------------------


async def test_a_read_cursor_moves_forward(world: World) -> None:
    room = await world.direct()
    reader = await world.device(room.users[0])
    item = await read(reader, room, 6)
    if not world.arm.queued_reads:
        assert (item["applied"], item["read_seq"], item["unread"]) == (True, 6, 0)
        assert item["version"] == 1
        assert abs(item["read_time"] - time.time() * 1000) < 5000
    assert (await state(world, reader, room))["read_seq"] == 6


async def test_a_stale_read_succeeds_and_changes_nothing(world: World) -> None:
    room = await world.direct()
    reader = await world.device(room.users[0])
    await read(reader, room, 6)
    before = await state(world, reader, room)
    item = await read(reader, room, 2)
    if not world.arm.queued_reads:
        assert (item["applied"], item["read_seq"], item["version"]) == (False, 6, 1)
    assert await state(world, reader, room) == before


async def test_every_advance_has_a_higher_version(world: World) -> None:
    room = await world.fresh()
    sender, reader = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(4):
        await send(sender, room, f"v{number}")
    versions = []
    for seq in (1, 3, 4):
        await read(reader, room, seq)
        versions.append((await state(world, reader, room))["version"])
    assert versions == sorted(set(versions))
    assert versions[0] > 0


async def test_racing_devices_of_one_person_end_at_the_highest(world: World) -> None:
    room = await world.fresh()
    sender = await world.device(room.users[0])
    readers = [await world.device(room.users[1], f"d{n}") for n in range(3)]
    for number in range(12):
        await send(sender, room, f"m{number}")
    order = [5, 1, 9, 3, 12, 2, 8, 4, 11, 6, 10, 7]
    await asyncio.gather(*(read(readers[i % 3], room, seq) for i, seq in enumerate(order)))
    final = await state(world, readers[0], room)
    assert (final["read_seq"], final["unread"]) == (12, 0)
    seen = [f["version"] for f in readers[0].updates(f"read/{room.id}/{room.users[1]}")]
    assert seen == sorted(seen)


async def test_read_implies_delivered_and_a_push_does_not(world: World) -> None:
    room = await world.fresh()
    sender, reader = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(3):
        await send(sender, room, f"m{number}")
    await reader.message(room.id, 3)
    assert (await state(world, reader, room))["delivered_seq"] == 0
    await read(reader, room, 2)
    assert (await state(world, reader, room))["delivered_seq"] == 2


async def test_delivered_moves_forward_only(world: World) -> None:
    room = await world.fresh()
    sender, device = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(3):
        await send(sender, room, f"m{number}")
    reply = await device.ask("DELIVERED", items=[upto(room, 3)])
    assert reply["items"][0]["delivered_seq"] == 3
    reply = await device.ask("DELIVERED", items=[upto(room, 1)])
    assert reply["type"] == "ACK"
    found = await state(world, device, room)
    assert (found["delivered_seq"], found["read_seq"], found["unread"]) == (3, 0, 3)


async def test_first_read_time_is_never_rewritten(world: World) -> None:
    room = await world.fresh()
    sender = await world.device(room.users[0])
    phone, laptop = await world.device(room.users[1], "phone"), await world.device(room.users[1], "laptop")
    ids = [(await send(sender, room, f"m{n}"))["message_id"] for n in range(4)]
    await read(phone, room, 2)
    await world.settle()
    first = await phone.update_times(room.id)
    await asyncio.sleep(0.02)
    await read(laptop, room, 4)
    await world.settle()
    await read(laptop, room, 1)
    await world.settle()
    times = await phone.update_times(room.id)
    assert {i: times[i] for i in ids[:2]} == first
    assert set(times) == set(ids)
    assert min(times[i] for i in ids[2:]) > max(first.values())


async def test_one_read_marks_several_conversations_or_none(world: World) -> None:
    rooms = await world.hub()
    reader = await world.device(rooms[0].users[0])
    for room in rooms[:3]:
        peer = await world.device(room.users[1])
        await send(peer, room, "m")
    stranger = await world.direct()
    refused = await reader.ask("READ", items=[upto(rooms[0], 1), upto(stranger, 1)])
    assert refused["code"] == "NOT_MEMBER"
    assert (await state(world, reader, rooms[0]))["read_seq"] == 0
    reply = await reader.ask("READ", items=[upto(room, 1) for room in reversed(rooms[:3])])
    assert [item["conversation_id"] for item in reply["items"]] == [room.id for room in reversed(rooms[:3])]
    for room in rooms[:3]:
        assert (await state(world, reader, room))["read_seq"] == 1


async def test_a_conversation_named_twice_takes_the_higher(world: World) -> None:
    room = await world.fresh()
    sender, reader = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(3):
        await send(sender, room, f"m{number}")
    reply = await reader.ask("READ", items=[upto(room, 3), upto(room, 1)])
    assert [item["read_seq"] for item in reply["items"]] in ([3, 3], [3, 1])
    assert (await state(world, reader, room))["read_seq"] == 3


async def test_message_ids_mean_up_to_the_highest(world: World) -> None:
    room = await world.fresh()
    sender, reader = await world.device(room.users[0]), await world.device(room.users[1])
    ids = [(await send(sender, room, f"m{n}"))["message_id"] for n in range(3)]
    reply = await reader.ask("READ", items=[{"conversation_id": room.id, "message_ids": [ids[1], ids[0]]}])
    assert reply["type"] == "ACK", reply
    assert (await state(world, reader, room))["read_seq"] == 2
    other = await world.direct()
    stranger = await world.device(other.users[0])
    reply = await stranger.ask("READ", items=[{"conversation_id": other.id, "message_ids": [ids[0]]}])
    assert reply["code"] == "NOT_FOUND"


# --- unread -----------------------------------------------------------------------------------------------


async def test_unread_counts_what_others_sent_after_the_cursor(world: World) -> None:
    room = await world.fresh()
    sender, reader = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(5):
        await send(sender, room, f"m{number}")
    assert (await state(world, reader, room))["unread"] == 5
    item = await read(reader, room, 2)
    assert item["unread"] in (3, None if world.arm.queued_reads else 3)
    found = await state(world, reader, room)
    assert (found["last_seq"], found["read_seq"], found["unread"]) == (5, 2, 3)


async def test_own_messages_are_never_unread(world: World) -> None:
    room = await world.group()
    sender, other = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(3):
        await send(sender, room, f"m{number}")
    mine = await state(world, sender, room)
    assert (mine["unread"], mine["read_seq"], mine["last_seq"]) == (0, HISTORY + 3, HISTORY + 3)
    assert (await state(world, other, room))["unread"] == 3


async def test_sending_implies_reading_what_came_before(world: World) -> None:
    room = await world.fresh()
    first, second = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(3):
        await send(first, room, f"m{number}")
    before = (await second.ask("SYNC", since_change_id=0))["next_change_id"]
    await send(second, room, "reply")
    found = await state(world, second, room)
    assert (found["read_seq"], found["unread"]) == (4, 0)
    told = await first.update(f"read/{room.id}/{room.users[1]}", 3)
    assert told["change_id"] >= 1
    changes = (await second.ask("SYNC", since_change_id=before))["changes"]
    assert [(c["from_seq"], c["up_to_seq"]) for c in changes] == [(0, 4)]


async def test_total_unread_is_the_sum(world: World) -> None:
    rooms = await world.hub()
    reader = await world.device(rooms[0].users[0])
    for number, room in enumerate(rooms):
        peer = await world.device(room.users[1])
        for message in range(number):
            await send(peer, room, f"m{message}")
    await read(reader, rooms[4], 3)
    await world.settle()
    page = await reader.ask("STATE", limit=100)
    assert page["done"] is True
    by_room = {c["conversation_id"]: c["unread"] for c in page["conversations"]}
    assert by_room == {room.id: (1 if n == 4 else n) for n, room in enumerate(rooms)}
    assert page["total_unread"] == sum(by_room.values()) == 18


# --- SEND -------------------------------------------------------------------------------------------------


async def test_send_numbers_messages_without_gaps(world: World) -> None:
    room = await world.group()
    senders = [await world.device(user) for user in room.users]
    replies = await asyncio.gather(*(send(senders[n % 4], room, f"m{n}") for n in range(20)))
    assert sorted(reply["seq"] for reply in replies) == list(range(HISTORY + 1, HISTORY + 21))
    assert len({reply["message_id"] for reply in replies}) == 20
    assert (await state(world, senders[0], room))["last_seq"] == HISTORY + 20


async def test_a_repeated_send_returns_the_first(world: World) -> None:
    room = await world.direct()
    sender, other = await world.device(room.users[0]), await world.device(room.users[1])
    first = await send(sender, room, "once")
    again = await send(sender, room, "once", body="different")
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert {k: first[k] for k in ("message_id", "seq", "sent_time")} == {
        k: again[k] for k in ("message_id", "seq", "sent_time")
    }
    await quiet(world)
    assert len(other.messages(room.id)) == 1
    assert (await state(world, other, room))["last_seq"] == HISTORY + 1


async def test_concurrent_retries_store_one_message(world: World) -> None:
    room = await world.direct()
    devices = [await world.device(room.users[0], f"d{n}") for n in range(3)]
    replies = await asyncio.gather(*(send(d, room, f"m{n % 4}") for d in devices for n in range(8)))
    assert sorted({reply["seq"] for reply in replies}) == list(range(HISTORY + 1, HISTORY + 5))
    assert sum(not reply["duplicate"] for reply in replies) == 4
    assert (await state(world, devices[0], room))["last_seq"] == HISTORY + 4


async def test_the_same_client_id_of_another_sender_is_another_message(world: World) -> None:
    room = await world.direct()
    first, second = await world.device(room.users[0]), await world.device(room.users[1])
    a, b = await send(first, room, "same"), await send(second, room, "same")
    assert a["message_id"] != b["message_id"]
    assert not b["duplicate"]


# --- who is told ------------------------------------------------------------------------------------------


async def test_a_message_goes_to_the_members_devices_but_the_sending_socket(world: World) -> None:
    room = await world.group()
    sending = await world.device(room.users[0], "phone")
    others = [await world.device(room.users[0], "laptop"), *[await world.device(u) for u in room.users[1:]]]
    outsider = await world.device((await world.direct()).users[0])
    reply = await send(sending, room, "m", body="häßlich \u2028 ok")
    for device in others:
        message = await device.message(room.id, HISTORY + 1)
        assert message["message_id"] == reply["message_id"]
        assert (message["sender_id"], message["body"]) == (room.users[0], "häßlich \u2028 ok")
        assert message["sent_time"] == reply["sent_time"]
        assert message["client_msg_id"] == "m"
    await quiet(world)
    assert sending.messages(room.id) == []
    assert outsider.pushes == []


async def test_a_read_goes_to_own_devices_and_the_direct_peer(world: World) -> None:
    room = await world.direct()
    reading, own = await world.device(room.users[0], "phone"), await world.device(room.users[0], "laptop")
    peer = await world.device(room.users[1])
    await read(reading, room, 6)
    key = f"read/{room.id}/{room.users[0]}"
    at_own, at_peer = await own.update(key, 6), await peer.update(key, 6)
    assert at_own["version"] == at_peer["version"] == 1
    assert at_own["origin_device"] == "phone"
    assert (at_own["change_id"], at_peer["change_id"]) == (1, 1)
    assert at_own["value"]["unread"] == 0
    assert "unread" not in at_peer["value"]
    assert {"type", "key", "value", "version"} <= set(at_own)
    await quiet(world)
    assert reading.updates(key) == []


async def test_in_groups_the_senders_of_what_was_read_are_told(world: World) -> None:
    room = await world.group()
    first, second, third, reader = [await world.device(user) for user in room.users]
    own = await world.device(room.users[3], "laptop")
    await send(first, room, "a")
    await send(second, room, "b")
    await reader.message(room.id, HISTORY + 2)
    await read(reader, room, HISTORY + 2)
    key = f"read/{room.id}/{room.users[3]}"
    for sender in (first, second):
        assert "change_id" not in await sender.update(key, HISTORY + 2)
    assert (await own.update(key, HISTORY + 2))["change_id"] == 1
    await quiet(world)
    assert third.updates(key) == []


async def test_delivered_goes_to_the_direct_peer_only(world: World) -> None:
    room, group = await world.direct(), await world.group()
    device, own = await world.device(room.users[0], "phone"), await world.device(room.users[0], "laptop")
    peer = await world.device(room.users[1])
    await send(peer, room, "m")
    await device.ask("DELIVERED", items=[upto(room, HISTORY + 1)])
    key = f"delivered/{room.id}/{room.users[0]}"
    told = await peer.update(key, HISTORY + 1)
    assert (told["version"], "change_id" in told) == (HISTORY + 1, False)
    member, other = await world.device(group.users[0]), await world.device(group.users[1])
    await send(other, group, "m")
    await member.ask("DELIVERED", items=[upto(group, HISTORY + 1)])
    await quiet(world)
    assert own.updates(key) == []
    assert other.updates(f"delivered/{group.id}/{group.users[0]}") == []


async def test_a_stale_read_tells_nobody(world: World) -> None:
    room = await world.direct()
    reader, peer = await world.device(room.users[0]), await world.device(room.users[1])
    await read(reader, room, 6)
    await peer.update(f"read/{room.id}/{room.users[0]}", 6)
    await read(reader, room, 6)
    await read(reader, room, 3)
    await quiet(world)
    assert len(peer.updates(f"read/{room.id}/{room.users[0]}")) == 1


async def test_only_subscribers_are_told(world: World) -> None:
    room, other = await world.direct(), await world.direct()
    deaf = await world.device(room.users[1], "deaf", sub=False)
    elsewhere = await world.device(room.users[1], "elsewhere", sub=False)
    await elsewhere.ask("SUB", keys=[f"conv/{other.id}"])
    here = await world.device(room.users[1], "here", sub=False)
    assert (await here.ask("SUB", keys=[f"conv/{room.id}"]))["count"] == 1
    left = await world.device(room.users[1], "left")
    assert (await left.ask("UNSUB", keys=["*"]))["count"] == 0
    sender = await world.device(room.users[0])
    await send(sender, room, "m")
    await here.message(room.id, HISTORY + 1)
    await quiet(world)
    assert deaf.pushes == elsewhere.pushes == left.pushes == []


async def test_pushes_of_concurrent_commits_come_in_order(world: World) -> None:
    room = await world.group()
    devices = [await world.device(user) for user in room.users]
    observer = await world.device(room.users[3], "observer")
    await asyncio.gather(*(send(devices[n % 3], room, f"m{n}") for n in range(30)))
    await observer.message(room.id, HISTORY + 30)
    seqs = [message["seq"] for message in observer.messages(room.id)]
    assert seqs == list(range(HISTORY + 1, HISTORY + 31))


async def test_a_push_comes_after_its_change_can_be_read(world: World) -> None:
    room = await world.direct()
    sender, receiver = await world.device(room.users[0]), await world.device(room.users[1])
    for number in range(10):
        pending = sender.begin("SEND", conversation_id=room.id, client_msg_id=f"m{number}", body="x")
        seq = HISTORY + 1 + number
        await receiver.message(room.id, seq)
        page = await receiver.ask("HISTORY", conversation_id=room.id, from_seq=seq, limit=1)
        assert [message["seq"] for message in page["messages"]] == [seq]
        await pending


# --- SYNC, STATE, HISTORY ---------------------------------------------------------------------------------


async def test_sync_gives_every_change_once_and_without_gaps(world: World) -> None:
    rooms = await world.hub()
    me = await world.device(rooms[0].users[0])
    expected: list[tuple[str, str, int]] = []
    for room in rooms[:4]:
        peer = await world.device(room.users[1])
        await send(peer, room, "theirs")
        await read(me, room, 1)
        expected.append((room.id, me_id(rooms), 1))
        await world.settle()
        await send(me, room, f"mine-{room.id}")
        await read(peer, room, 2)
        expected.append((room.id, room.users[1], 2))
        await world.settle()
    found: list[Frame] = []
    since = 0
    while True:
        page = await me.ask("SYNC", since_change_id=since, limit=3)
        assert len(page["changes"]) <= 3
        found += page["changes"]
        since = page["next_change_id"]
        if page["done"]:
            break
    assert [change["change_id"] for change in found] == list(range(1, 9))
    assert [(c["conversation_id"], c["actor_id"], c["up_to_seq"]) for c in found] == expected
    assert page["total_unread"] == 0


def me_id(rooms: list[Room]) -> str:
    return rooms[0].users[0]


async def test_sync_lists_the_messages_of_either_side(world: World) -> None:
    room = await world.fresh()
    me, peer = await world.device(room.users[0]), await world.device(room.users[1])
    theirs = [(await send(peer, room, f"t{n}"))["message_id"] for n in range(2)]
    await read(me, room, 2)
    await world.settle()
    mine = [(await send(me, room, f"m{n}"))["message_id"] for n in range(3)]
    await read(peer, room, 4)
    await world.settle()
    theirs.append((await send(peer, room, "t2"))["message_id"])
    await send(me, room, "m3")  # implies reading t2, and is not listed itself
    await world.settle()
    expected = [*theirs[:2], *mine, theirs[2]]
    for device in (me, peer):
        page = await device.ask("SYNC", since_change_id=0, detail="messages")
        assert sorted(m["message_id"] for m in page["updated_messages"]) == sorted(expected)
        assert page["changed_count"] == len(expected)


async def test_sync_from_a_time_overlaps_and_leaves_nothing_out(world: World) -> None:
    room = await world.direct()
    me = await world.device(room.users[0])
    now = int(time.time() * 1000)
    await read(me, room, 6)
    await world.settle()
    page = await me.ask("SYNC", last_sync_time=now)
    assert [change["change_id"] for change in page["changes"]] == [1]
    later = await me.ask("SYNC", last_sync_time=now + 3_600_000)
    assert (later["changes"], later["next_change_id"], later["done"]) == ([], 1, True)


async def test_sync_beyond_the_log_says_reset(world: World) -> None:
    me = await world.device((await world.direct()).users[0])
    page = await me.ask("SYNC", since_change_id=1_000_000)
    assert (page["reset_required"], page["changes"]) == (True, [])


async def test_state_pages_newest_first(world: World) -> None:
    rooms = await world.hub()
    me = await world.device(rooms[0].users[0])
    for room in rooms:
        await send(me, room, f"m-{room.id}")
        await asyncio.sleep(0.003)
    await world.settle()
    pages, cursor = [], None
    while True:
        page = await me.ask("STATE", limit=3, **({"cursor": cursor} if cursor else {}))
        pages.append([c["conversation_id"] for c in page["conversations"]])
        assert ("total_unread" in page) == page["done"]
        if page["done"]:
            break
        cursor = page["cursor"]
    assert [len(names) for names in pages] == [3, 3, 1]
    assert [name for names in pages for name in names] == [room.id for room in reversed(rooms)]


async def test_state_shows_how_far_the_direct_peer_read(world: World) -> None:
    room, group = await world.direct(), await world.group()
    me, peer = await world.device(room.users[1]), await world.device(room.users[0])
    assert (await state(world, me, room))["peer_read_seq"] == 5
    await read(peer, room, 6)
    found = await state(world, me, room)
    assert (found["peer_read_seq"], found["kind"]) == (6, "direct")
    member = await world.device(group.users[0])
    assert "peer_read_seq" not in await state(world, member, group)


async def test_history_pages_upwards(world: World) -> None:
    room = await world.group()
    me = await world.device(room.users[0])
    await send(me, room, "new", body="text")
    page = await me.ask("HISTORY", conversation_id=room.id, from_seq=1, limit=4)
    assert ([m["seq"] for m in page["messages"]], page["done"]) == ([1, 2, 3, 4], False)
    assert [m["sender_id"] for m in page["messages"]] == [room.users[n % 4] for n in range(4)]
    page = await me.ask("HISTORY", conversation_id=room.id, from_seq=5, limit=4)
    assert ([m["seq"] for m in page["messages"]], page["done"]) == ([5, 6, 7], True)
    assert (page["messages"][-1]["body"], page["messages"][-1]["client_msg_id"]) == ("text", "new")


async def test_the_store_holds_what_the_api_says(world: World) -> None:
    room = await world.direct()
    me, peer = await world.device(room.users[0]), await world.device(room.users[1])
    await send(peer, room, "m")
    await read(me, room, HISTORY + 1)
    found = await state(world, me, room)
    row = (await world.dump())[room.id, int(room.users[0][1:])]
    assert row[2:] == [found["read_seq"], found["delivered_seq"], found["version"], found["last_seq"]]


# --- sessions ---------------------------------------------------------------------------------------------


async def test_resume_needs_only_what_was_missed(world: World) -> None:
    room = await world.direct()
    first = await world.device(room.users[0], "phone")
    assert {"session_id", "epoch", "change_id", "limits", "caps", "ack"} <= set(first.welcome)
    position = {"epoch": first.welcome["epoch"], "last_change_id": first.welcome["change_id"]}
    await first.close()
    laptop = await world.device(room.users[0], "laptop")
    await read(laptop, room, 6)
    await world.settle()
    again = await world.device(room.users[0], "phone", resume=position)
    assert "reset_required" not in again.welcome
    assert again.welcome["session_id"] != first.welcome["session_id"]
    assert again.welcome["change_id"] == position["last_change_id"] + 1
    page = await again.ask("SYNC", since_change_id=position["last_change_id"])
    assert [c["up_to_seq"] for c in page["changes"]] == [6]
    position["epoch"] += 1
    other = await world.device(room.users[0], "tablet", resume=position)
    assert other.welcome["reset_required"] is True


async def test_a_newer_connection_replaces_that_of_the_same_device(world: World) -> None:
    room = await world.direct()
    older = await world.device(room.users[0], "phone")
    newer = await world.device(room.users[0], "phone")
    assert await older.closed() == 4409
    assert older.pushes[-1]["type"] == "GOODBYE"
    sender = await world.device(room.users[1])
    await send(sender, room, "m")
    await newer.message(room.id, HISTORY + 1)


async def test_strangers_neither_read_nor_mark_nor_send(world: World) -> None:
    room = await world.direct()
    stranger = await world.device((await world.direct()).users[0])
    refused = [
        await stranger.ask("READ", items=[upto(room, 1)]),
        await stranger.ask("DELIVERED", items=[upto(room, 1)]),
        await stranger.ask("SEND", conversation_id=room.id, client_msg_id="m", body="x"),
        await stranger.ask("HISTORY", conversation_id=room.id, from_seq=1, limit=1),
        await stranger.ask("STATE", conversations=[room.id]),
        await stranger.ask("READ", items=[{"conversation_id": "nowhere", "up_to_seq": 1}]),
    ]
    assert [reply["code"] for reply in refused] == ["NOT_MEMBER"] * 6
    member = await world.device(room.users[0])
    found = await state(world, member, room)
    assert (found["read_seq"], found["last_seq"]) == (5, HISTORY)


async def test_reading_ahead_is_refused_and_says_where_the_end_is(world: World) -> None:
    room = await world.direct()
    me = await world.device(room.users[0])
    for kind in ("READ", "DELIVERED"):
        reply = await me.ask(kind, items=[upto(room, HISTORY + 1)])
        assert (reply["code"], reply["current"]) == ("SEQ_AHEAD", {"last_seq": HISTORY})
    assert (await state(world, me, room))["read_seq"] == 5


async def test_what_is_not_offered_says_so(world: World) -> None:
    room = await world.direct()
    me = await world.device(room.users[0])
    assert (await me.ask("READERS", conversation_id=room.id, seq=1))["code"] == "UNSUPPORTED"
    assert (await me.ask("READ_ALL", op_id="a"))["code"] == "UNSUPPORTED"
    reply = await me.ask("READ", items=[upto(room, 6) | {"if_version": 0}])
    assert reply["code"] == "UNSUPPORTED"
    assert not {"readers", "if_version", "read_all"} & set(me.welcome["caps"])


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("READ", {"items": []}, "BAD_REQUEST"),
        ("READ", {"items": [{"conversation_id": "x"}]}, "BAD_REQUEST"),
        ("READ", {"items": [{"conversation_id": "x", "up_to_seq": 0}]}, "BAD_REQUEST"),
        ("READ", {"items": [{"conversation_id": "x", "up_to_seq": 1.5}]}, "BAD_REQUEST"),
        ("READ", {"items": [{"conversation_id": "x", "up_to_seq": 1}] * 101}, "TOO_LARGE"),
        ("READ", {"items": "x"}, "BAD_REQUEST"),
        ("SEND", {"conversation_id": "x", "client_msg_id": "m", "body": "ä" * 2049}, "TOO_LARGE"),
        ("SEND", {"conversation_id": "x", "client_msg_id": "", "body": "b"}, "BAD_REQUEST"),
        ("STATE", {"limit": 501}, "TOO_LARGE"),
        ("STATE", {"cursor": "nonsense"}, "BAD_REQUEST"),
        ("SYNC", {}, "BAD_REQUEST"),
        ("SYNC", {"since_change_id": 0, "limit": 501}, "TOO_LARGE"),
        ("HISTORY", {"conversation_id": "x", "from_seq": 1, "limit": 101}, "TOO_LARGE"),
        ("SUB", {"keys": ["user/1"]}, "UNSUPPORTED"),
        ("NONSENSE", {}, "UNSUPPORTED"),
    ],
)
async def test_bad_requests_are_refused_one_by_one(world: World, kind: str, fields: Item, code: str) -> None:
    me = await world.device((await world.direct()).users[0])
    reply = await me.ask(kind, **fields)
    assert (reply["type"], reply["code"]) == ("ERROR", code), reply
    assert reply["message"]
    assert (await me.ask("PING"))["type"] == "PONG"


async def test_pipelined_requests_are_all_answered_in_their_order(world: World) -> None:
    room = await world.fresh()
    sender, receiver = await world.device(room.users[0]), await world.device(room.users[1])
    sends = [
        sender.begin("SEND", conversation_id=room.id, client_msg_id=f"m{n}", body="x") for n in range(90)
    ]
    replies = await asyncio.gather(*sends)
    assert [reply["seq"] for reply in replies] == list(range(1, 91))
    await receiver.message(room.id, 90)


async def test_stage_times_are_parts_of_the_server_time(world: World) -> None:
    room = await world.direct()
    me = await world.device(room.users[0], trace=True)
    replies = [
        await send(me, room, "m"),
        await me.ask("READ", items=[upto(room, HISTORY)]),
        await me.ask("STATE", limit=5),
        await me.ask("SYNC", since_change_id=0),
    ]
    for reply in replies:
        times = reply["t"]
        parts = sum(times[stage] for stage in ("wait", "store", "cache", "queue"))
        assert 0 <= parts <= times["server"] + 4, reply
    untraced = await world.device(room.users[0], "other")
    assert "t" not in await untraced.ask("STATE", limit=5)


async def test_acknowledgements_say_what_they_promise(world: World) -> None:
    room = await world.direct()
    me = await world.device(room.users[0])
    meaning = me.welcome["ack"]
    assert (await send(me, room, "m"))["durability"] == meaning["send"]
    assert (await me.ask("READ", items=[upto(room, HISTORY)]))["durability"] == meaning["read"]
    expected = {"memory": "volatile"}.get(world.arm.scheme, "queued" if world.arm.queued_reads else "durable")
    assert meaning["read"] == expected


@pytest.mark.parametrize("token", ["", "a.b", "good-but-old", "of-another"])
async def test_a_bad_token_closes_that_connection(world: World, token: str) -> None:
    user = (await world.direct()).users[0]
    made = {
        "good-but-old": p.make_token(SECRET, user, "d1", int(time.time()) - 5),
        "of-another": p.make_token(SECRET, "u999999", "d1", int(time.time()) + 60),
    }.get(token, token)
    stranger = await world.stranger()
    reply = await stranger.ask("HELLO", user_id=user, device_id="d1", token=made)
    assert reply["code"] == "UNAUTHENTICATED"
    assert await stranger.closed() == 4401


async def test_nothing_goes_before_hello(world: World) -> None:
    stranger = await world.stranger()
    reply = await stranger.ask("STATE", limit=5)
    assert reply["code"] == "BAD_REQUEST"
    assert await stranger.closed() == 4400
