"""Rows about what is asked: STATE, SYNC, HISTORY, stage times, and the control door's view of the same."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.conformance.case import Case, expect, expect_fields
from bench.conformance.client import Client, Frame, Unmet
from bench.conformance.contract import CONTROL, row
from bench.conformance.rooms import Room

BEYOND = 1 << 40
HOUR_MS = 3_600_000


# --- STATE ------------------------------------------------------------------------------------------------


@row("STATE", "unread counts what others sent after the cursor")
async def unread_counts_what_others_sent(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    before = await case.state(reader, room)
    seq = await case.several(sender, room, 4)
    expect("last_seq", before["last_seq"] + 4, seq)
    await case.shows(reader, room, last_seq=seq, unread=before["unread"] + 4)
    await case.read(reader, room, seq - 1)
    await case.shows(reader, room, unread=1)


@row("STATE", "pages end, name every conversation once, and only the last one has total_unread: the sum")
async def state_pages_and_sums(case: Case) -> None:
    rooms = case.rooms.hub()
    me = await case.device(rooms[0].users[0])
    for number, room in enumerate(rooms):
        await case.several(await case.device(room.users[1]), room, number + 1)
    await case.settle()
    pages = await _pages(me, limit=2)
    states = [state for page in pages for state in page["conversations"]]
    names = [state["conversation_id"] for state in states]
    expect("each conversation once", sorted(set(names)), sorted(names))
    if missing := {room.id for room in rooms} - set(names):
        raise Unmet(f"{', '.join(sorted(missing))} among the conversations", names)
    totals = [page.get("total_unread") for page in pages]
    wanted = [None] * (len(pages) - 1) + [sum(state["unread"] for state in states)]
    expect("total_unread of the pages", wanted, totals)


@row("STATE", "the conversation with the newest message comes first")
async def state_comes_newest_first(case: Case) -> None:
    rooms = case.rooms.hub()
    me = await case.device(rooms[0].users[0])
    for room in rooms:
        await case.several(me, room, 1)
        await asyncio.sleep(0.005)  # times are milliseconds
    wanted = [room.id for room in reversed(rooms)]

    async def first() -> list[str]:
        await case.settle()
        page = await me.want("STATE", "STATE_RESULT", limit=len(rooms))
        return [state["conversation_id"] for state in page["conversations"]]

    expect("the first conversations", wanted, await case.eventually(first, lambda names: names == wanted))


@row("STATE", "STATE of named conversations has just these")
async def state_of_named_conversations(case: Case) -> None:
    rooms = case.rooms.hub()[1:3]
    me = await case.device(rooms[0].users[0])
    named = sorted(room.id for room in rooms)
    page = await me.want("STATE", "STATE_RESULT", conversations=named)
    expect("the conversations", named, sorted(state["conversation_id"] for state in page["conversations"]))
    expect_fields(page, done=True)


@row("STATE", "a direct conversation says how far the peer has read")
async def state_shows_the_peers_cursor(case: Case) -> None:
    room = case.rooms.direct()
    me, peer = [await case.device(user) for user in room.users]
    seq = await case.several(me, room, 2)
    await case.read(peer, room, seq - 1)
    await case.shows(me, room, kind="direct", peer_read_seq=seq - 1)


@row("STATE", "a group says its kind, and no peer_read_seq")
async def state_of_a_group(case: Case) -> None:
    group = case.rooms.group()
    state = await case.state(await case.device(group.users[0]), group)
    expect_fields(state, kind="group")
    expect("peer_read_seq of a group", None, state.get("peer_read_seq"))


async def _pages(client: Client, limit: int) -> list[Frame]:
    pages: list[Frame] = []
    more: dict[str, Any] = {}
    while True:
        pages.append(await client.want("STATE", "STATE_RESULT", limit=limit, **more))
        if pages[-1]["done"]:
            return pages
        if not pages[-1]["conversations"]:
            raise Unmet("an end of the pages", pages[-1])
        more = {"cursor": pages[-1]["cursor"]}


# --- SYNC -------------------------------------------------------------------------------------------------


async def _position(client: Client) -> int:
    return int((await client.want("STATE", "STATE_RESULT", limit=1))["change_id"])


async def _level(case: Case, me: Client, peer: Client, room: Room) -> None:
    """Both have read everything, so that what follows logs nothing but what it reads."""
    await case.several(me, room, 1)
    seq = await case.several(peer, room, 1)
    await case.read(me, room, seq)
    await case.shows(me, room, read_seq=seq, peer_read_seq=seq)


async def _read_by_turns(case: Case, me: Client, peer: Client, room: Room) -> list[tuple[str, str, int]]:
    """Two changes in my log: I read, the peer reads.  (conversation, who, up to)."""
    theirs = await case.several(peer, room, 1)
    await case.read(me, room, theirs)
    await case.shows(me, room, read_seq=theirs)
    mine = await case.several(me, room, 1)
    await case.read(peer, room, mine)
    await case.shows(me, room, peer_read_seq=mine)
    return [(room.id, room.users[0], theirs), (room.id, room.users[1], mine)]


@row("SYNC", "every change comes once, in order and without gaps, over any number of pages")
async def sync_gives_every_change_once(case: Case) -> None:
    rooms = case.rooms.hub()[:2]
    me, *peers = [await case.device(user) for user in (rooms[0].users[0], *(r.users[1] for r in rooms))]
    for peer, room in zip(peers, rooms, strict=True):
        await _level(case, me, peer, room)
    since, wanted = await _position(me), []
    for peer, room in zip(peers, rooms, strict=True):
        wanted += await _read_by_turns(case, me, peer, room)
    found: list[Frame] = []
    position = since
    for _ in range(10):
        page = await me.want("SYNC", "SYNC_RESULT", since_change_id=position, limit=3)
        found, position = found + page["changes"], page["next_change_id"]
        if page["done"]:
            break
    expect("the changes", wanted, [(c["conversation_id"], c["actor_id"], c["up_to_seq"]) for c in found])
    expect("the change ids", list(range(since + 1, since + 5)), [c["change_id"] for c in found])
    expect("next_change_id", since + 4, position)


@row("SYNC", "a position beyond the log is answered with reset_required")
async def sync_beyond_the_log_says_reset(case: Case) -> None:
    me = await case.device(case.rooms.direct().users[0])
    page = await me.want("SYNC", "SYNC_RESULT", since_change_id=BEYOND)
    expect_fields(page, reset_required=True, changes=[])


@row("SYNC", "detail: messages lists what I read of others, and what the peer read of mine", optional=True)
async def sync_lists_messages_of_either_side(case: Case) -> None:
    room = case.rooms.direct()
    me, peer = [await case.device(user) for user in room.users]
    await _level(case, me, peer, room)
    since = await _position(me)
    theirs = [await case.send(peer, room, f"theirs{n}") for n in range(2)]
    await case.read(me, room, theirs[0]["seq"])
    await case.shows(me, room, read_seq=theirs[0]["seq"])
    mine = await case.send(me, room, "mine")  # implies reading their second one
    await case.read(peer, room, mine["seq"])
    await case.shows(me, room, peer_read_seq=mine["seq"])
    page = await me.want("SYNC", "SYNC_RESULT", since_change_id=since, detail="messages")
    wanted = sorted(sent["message_id"] for sent in (*theirs, mine))
    expect("the messages", wanted, sorted(m["message_id"] for m in page["updated_messages"]))
    expect("changed_count", len(wanted), page["changed_count"])


@row("SYNC", "the time at which a message was first read is never rewritten", optional=True)
async def first_read_time_is_never_rewritten(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    since = await _position(reader)
    seq = await case.several(sender, room, 3)
    await case.read(reader, room, seq - 1)
    await case.shows(reader, room, read_seq=seq - 1)
    first = await _read_times(reader, since)
    await asyncio.sleep(0.02)
    await case.read(reader, room, seq)
    await case.shows(reader, room, read_seq=seq)
    await case.read(reader, room, seq - 2)
    await case.settle()
    times = await _read_times(reader, since)
    expect("the times of what was read first", first, {name: times.get(name) for name in first})
    expect("messages with a time", len(first) + 1, len(times))


async def _read_times(client: Client, since: int) -> dict[str, int]:
    page = await client.want("SYNC", "SYNC_RESULT", since_change_id=since, detail="messages")
    times: dict[str, int] = {}
    for message in page["updated_messages"]:
        if message["message_id"] in times:
            raise Unmet("each message once", page["updated_messages"])
        times[message["message_id"]] = message["read_time"]
    return times


@row("SYNC", "a time instead of a position leaves nothing out", needs="sync_time")
async def sync_from_a_time(case: Case) -> None:
    room = case.rooms.direct()
    me, peer = [await case.device(user) for user in room.users]
    now = (await me.want("PING", "PONG"))["server_time"]
    seq = await case.several(peer, room, 1)
    await case.read(me, room, seq)
    await case.shows(me, room, read_seq=seq)
    page = await me.want("SYNC", "SYNC_RESULT", last_sync_time=now)
    if seq not in [c["up_to_seq"] for c in page["changes"] if c["conversation_id"] == room.id]:
        raise Unmet(f"the change of {room.id} to {seq}", page["changes"])
    later = await me.want("SYNC", "SYNC_RESULT", last_sync_time=now + HOUR_MS)
    expect_fields(later, changes=[], done=True)


# --- HISTORY ----------------------------------------------------------------------------------------------


async def _history(client: Client, room: Room, seq: int, limit: int) -> Frame:
    return await client.want("HISTORY", "HISTORY_RESULT", conversation_id=room.id, from_seq=seq, limit=limit)


@row("HISTORY", "messages come ascending from from_seq, a page at a time, as they were sent", optional=True)
async def history_pages_upwards(case: Case) -> None:
    room = case.rooms.direct()
    sender, reader = [await case.device(user) for user in room.users]
    last = await case.several(sender, room, 3)
    sent = await case.send(sender, room, "text", "häßlich \u2028 ok")
    page = await _history(reader, room, last - 2, 3)
    expect("the seqs", [last - 2, last - 1, last], [m["seq"] for m in page["messages"]])
    page = await _history(reader, room, last + 1, 3)
    wanted = {"message_id": sent["message_id"], "body": "häßlich \u2028 ok", "sender_id": room.users[0]}
    expect("messages on the last page", 1, len(page["messages"]))
    expect_fields(page["messages"][0], **wanted, client_msg_id=case.once("text"))
    expect_fields(page, done=True)


@row("HISTORY", "what a push told of can be read", optional=True)
async def a_push_comes_after_its_change(case: Case) -> None:
    room = case.rooms.direct()
    sender, receiver = [await case.device(user) for user in room.users]
    seq = int((await case.state(sender, room))["last_seq"])
    for number in range(5):
        pending = asyncio.ensure_future(case.send(sender, room, f"t{number}"))
        seq += 1
        await receiver.message(room.id, seq)
        page = await receiver.want(
            "HISTORY", "HISTORY_RESULT", conversation_id=room.id, from_seq=seq, limit=1
        )
        expect("the seqs", [seq], [message["seq"] for message in page["messages"]])
        await pending


# --- trace ------------------------------------------------------------------------------------------------


@row("trace", "with trace: true replies say where their time went, in parts of the server's", needs="trace")
async def stage_times_are_parts(case: Case) -> None:
    room = case.rooms.direct()
    me = await case.device(room.users[0], trace=True)
    began = time.monotonic()
    replies = [await case.send(me, room, "m"), await me.want("STATE", "STATE_RESULT", limit=2)]
    took_us = (time.monotonic() - began) * 1e6
    for reply in replies:
        times = reply["t"]
        parts = sum(times.get(stage, 0) for stage in ("wait", "store", "cache", "queue"))
        if not 0 <= parts <= times["server"] + len(times) or times["server"] > took_us:
            raise Unmet("stages that add up to no more than the server's time, in µs", times)


# --- the control door -------------------------------------------------------------------------------------


@row("control", "DRAIN is answered, and then nothing is on its way", needs=CONTROL, optional=True)
async def drain_is_answered(case: Case) -> None:
    assert case.server.door is not None
    reply = await case.server.door.want("DRAIN", "DRAINED", timeout_ms=5000)
    expect("what is left", {}, reply.get("left") or {})


@row("control", "DUMP shows the same cursors as STATE", needs=CONTROL, optional=True)
async def dump_shows_what_state_shows(case: Case) -> None:
    assert case.server.door is not None
    room = case.rooms.direct()
    me, peer = [await case.device(user) for user in room.users]
    seq = await case.several(peer, room, 2)
    await case.read(me, room, seq - 1)
    state = await case.shows(me, room, read_seq=seq - 1)
    after, found = "", None
    while found is None:
        page = await case.server.door.want("DUMP", "DUMP", source="store", after=after)
        mine = [r for r in page["rows"] if [r[0], f"u{r[1]}"] == [room.id, room.users[0]]]
        found, after = (mine[0] if mine else None), page.get("after") or ""
        if not after:
            break
    names = ("read_seq", "delivered_seq", "version", "last_seq")
    expect("the row in the store", [state[name] for name in names], found[2:] if found else None)


@row("control", "the door opens with the right secret only", needs=CONTROL)
async def the_door_needs_its_secret(case: Case) -> None:
    door = await case.dial(case.server.control_url)
    try:
        reply = await door.ask("AUTH", secret="not the secret")
    except Unmet:
        return  # closed without an answer
    if reply.get("type") != "ERROR":
        raise Unmet("a closed door", reply)
