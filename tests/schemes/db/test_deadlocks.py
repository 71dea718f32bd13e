"""Several servers on one MySQL, several devices of one person, readers and senders: no deadlock, ever.

Each server has locks of its own, so between servers only the order of the statements helps."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit, urlunsplit

import pytest
import pytest_asyncio

from bench.services import Stack
from schemes.db.scheme import Database
from schemes.ports import Caller, Marked, Refused, SyncFrom, Trace
from schemes.protocol import SeedConversation
from schemes.read_state import Conversation, Push
from schemes.stores import transactions
from schemes.stores.driver import Session
from schemes.stores.members import Member, lock
from schemes.stores.mysql import MySQL
from schemes.stores.rows import QueuedMark
from schemes.stores.times import now_ms

pytestmark = pytest.mark.services
SERVERS = 3
SECONDS = 3.0
ENOUGH = 240
"""Operations, however long they take."""
PEOPLE = 6


class Work:
    """What all do together, for so many seconds, and on until it is enough."""

    def __init__(self) -> None:
        self.done = 0
        self._until = time.monotonic() + SECONDS

    def goes_on(self) -> bool:
        return self.done < ENOUGH or time.monotonic() < self._until


class Deaf:
    """A hub without sessions."""

    def publish(self, push: Push) -> None:
        pass

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest_asyncio.fixture(params=["flags", "cursor"])
async def servers(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[list[Database]]:
    url = urlunsplit(urlsplit(stack.services["mysql"].url)._replace(path="/deadlock_tests"))
    made = [
        Database(MySQL(url, model=request.param, pool_size=8), Deaf(), node=node, receipt_members=200)
        for node in range(SERVERS)
    ]
    for server in made:
        await server.start()
    await made[0].reset()
    rooms = [
        SeedConversation(f"d{a}-{b}", "direct", [a, b], 5, [0, 0])
        for a in range(1, PEOPLE + 1)
        for b in range(a + 1, PEOPLE + 1)
    ]
    rooms += [SeedConversation("g", "group", list(range(1, PEOPLE + 1)), 20, [0] * PEOPLE)]
    await made[0].seed(rooms, done=True, warm=False)
    yield made
    for server in made:
        await server.close()


def _rooms(user: int) -> list[str]:
    others = (other for other in range(1, PEOPLE + 1) if other != user)
    return ["g", *(f"d{min(user, other)}-{max(user, other)}" for other in others)]


async def _device(server: Database, user: int, number: int, work: Work) -> None:
    """One device in a closed loop: sends, reads one or many, confirms delivery, in random order."""
    rng, caller = random.Random(user * 100 + number), Caller(user, f"d{number}", f"s{user}-{number}")
    ids = itertools.count()
    while work.goes_on():
        rooms = rng.sample(_rooms(user), rng.choice((1, 1, 2, PEOPLE)))
        heads = await server.store.heads(rooms, Trace())
        items = [Marked(room, max(0, heads[room].last_seq - rng.randint(0, 2))) for room in rooms]
        match rng.randrange(4):
            case 0:
                await server.send(caller, rooms[0], f"{user}-{number}-{next(ids)}", "body", Trace())
            case 1:
                await server.delivered(caller, items, Trace())
            case 2 | 3:
                await server.read(caller, items, Trace())
        work.done += 1


async def _consumer(server: Database, work: Work) -> None:
    """Applies batches of everyone's marks, as a queue's consumer would, at the same time."""
    rng = random.Random(9)
    while work.goes_on():
        people = [rng.randint(1, PEOPLE) for _ in range(10)]
        marks = [QueuedMark(user, rng.choice(_rooms(user)), rng.randint(1, 60), now_ms()) for user in people]
        await server.store.apply_delivered(marks, Trace())
        await server.store.apply_reads(marks, Trace())
        work.done += 1


async def test_no_deadlock_between_servers_devices_and_a_consumer(servers: list[Database]) -> None:
    work = Work()
    devices = [
        _device(server, user, number, work)
        for number, server in enumerate(servers)
        for user in range(1, PEOPLE + 1)
    ]
    await asyncio.gather(*devices, _consumer(servers[0], work))
    stats = [server.store.stats() for server in servers]
    assert [s["deadlocks"] for s in stats] == [0] * SERVERS
    assert [s["retries_exhausted"] for s in stats] == [0] * SERVERS
    await _consistent(servers[0])


async def test_both_sides_of_one_chat_on_two_servers(servers: list[Database]) -> None:
    """Each READ moves both people's change ids, which the other server has looked up ahead."""
    until = time.monotonic() + SECONDS
    sides = [_side(server, user, until) for server, user in zip(servers, (1, 2, 1), strict=True)]
    sides += [_side(servers[1], 3, until), _side(servers[2], 2, until)]
    await asyncio.gather(*sides)
    stats = [server.store.stats() for server in servers]
    for harm in ("deadlocks", "lock_waits", "retries_exhausted"):
        assert [s[harm] for s in stats] == [0] * SERVERS
    assert sum(s["overtaken"] for s in stats) > 0
    await _consistent(servers[0])


async def _side(server: Database, user: int, until: float) -> None:
    """Reads what the peers wrote, and answers, as fast as it can."""
    peers, caller, done = {1: [2, 3], 2: [1], 3: [1]}[user], Caller(user, "d", f"s{user}"), 0
    while time.monotonic() < until:
        rooms = [f"d{min(user, peer)}-{max(user, peer)}" for peer in peers]
        heads = await server.store.heads(rooms, Trace())
        await server.read(caller, [Marked(room, heads[room].last_seq) for room in rooms], Trace())
        done += 1
        for room in rooms:
            await server.send(caller, room, f"{user}-{id(server)}-{done}-{room}"[-36:], "body", Trace())


async def _consistent(server: Database) -> None:
    """What must hold after any interleaving: numbers without gaps, and counts that agree."""
    rows = (await server.dump("store", "", 1000))[0]
    for row in rows:
        assert row.read_seq <= row.delivered_seq <= row.last_seq
    for user in range(1, PEOPLE + 1):
        page = await server.state(user, None, None, 100, Trace())
        assert [c.unread for c in page.conversations] == [c.last_seq - c.read_seq for c in page.conversations]
        assert page.total_unread == sum(c.unread for c in page.conversations)
        changes = await _changes(server, user)
        assert [change[0] for change in changes] == list(range(1, page.change_id + 1))
        versions: dict[str, list[tuple[int, int, int]]] = {}
        for _, room, actor, version, from_seq, up_to_seq in changes:
            if actor == f"u{user}":
                versions.setdefault(room, []).append((version, from_seq, up_to_seq))
        for moves in versions.values():
            assert [version for version, _, _ in moves] == list(range(1, len(moves) + 1))
            assert all(left[2] <= right[1] for left, right in itertools.pairwise(moves))
    for room in _rooms(1):
        history, last = [], 0
        while page_of := await server.history(1, room, last + 1, 100, Trace()):
            history += [message.seq for message in page_of]
            last = history[-1]
        assert history == list(range(1, last + 1))
        assert last == (await server.store.heads([room], Trace()))[room].last_seq


async def _changes(server: Database, user: int) -> list[tuple[int, str, str, int, int, int]]:
    found, since = [], 0
    while True:
        page = await server.sync(user, SyncFrom(since, None), 500, False, Trace())
        found += [
            (c.change_id, c.conversation_id, c.actor_id, c.version, c.from_seq, c.up_to_seq)
            for c in page.changes
        ]
        if page.done:
            return found
        since = page.next_change_id


async def test_the_wrong_order_would_have_shown(
    servers: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with members' rows locked one by one in any order, it does deadlock."""

    async def unsorted(session: Session, keys: Sequence[tuple[int, Conversation]]) -> list[Member]:
        one_by_one = random.sample(keys, len(keys))
        found = [member for key in one_by_one for member in await lock(session, [key])]
        return sorted(found, key=lambda member: member.conversation.conversation_id)

    monkeypatch.setattr(transactions, "lock", unsorted)
    until = time.monotonic() + SECONDS
    readers = [_reader(servers[number % SERVERS], until) for number in range(8)]
    await asyncio.gather(*readers)
    assert sum(server.store.stats()["deadlocks"] for server in servers) > 0


async def _reader(server: Database, until: float) -> None:
    """A device that confirms all its conversations again and again, past the locks of its server."""
    wanted = [(await server.store.conversation(room, Trace()), 1) for room in sorted(_rooms(1))]
    while time.monotonic() < until and not server.store.stats()["deadlocks"]:
        with contextlib.suppress(Refused):  # a victim four times over
            await server.store.deliver(1, wanted, now_ms(), Trace())
