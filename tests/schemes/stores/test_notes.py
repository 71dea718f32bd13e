"""What the store notes for the work ledger: which way a write went, and how far its cursor moved."""

from __future__ import annotations

import itertools

import pytest

from schemes.ports import Trace
from schemes.protocol import SeedConversation
from schemes.read_state import Conversation
from schemes.stores.mysql import NOTES, MySQL
from schemes.stores.rows import AHEAD_SEQS, Draft, QueuedMark
from schemes.stores.times import now_ms

pytestmark = pytest.mark.services

ANN, BOB = 1, 2
ROOM = SeedConversation("d", "direct", [ANN, BOB], 6, [6, 6])
OTHER = SeedConversation("e", "direct", [ANN, 3], 6, [6, 6])
_ids = itertools.count(now_ms() << 22)


@pytest.fixture
async def room(store: MySQL) -> Conversation:
    await store.seed([ROOM, OTHER], done=True)
    return await store.conversation("d", Trace())


async def send(store: MySQL, where: Conversation, user: int) -> int:
    number = next(_ids)
    draft = Draft(number, user, f"m{number}", "hello", now_ms())
    return (await store.send(where, draft, Trace())).sent.seq


def noted(store: MySQL) -> dict[str, int]:
    return {name: n for name, n in store.stats().items() if name in NOTES and n}


async def test_a_send_with_nothing_unread_needs_no_note(store: MySQL, room: Conversation) -> None:
    await send(store, room, ANN)
    assert noted(store) == {}


async def test_a_read_notes_how_many_messages_it_passed(store: MySQL, room: Conversation) -> None:
    for _ in range(3):
        await send(store, room, ANN)
    await store.deliver(BOB, [(room, 8)], now_ms(), Trace())
    await store.read(BOB, [(room, 9)], now_ms(), Trace())
    await store.read(BOB, [(room, 9)], now_ms(), Trace())
    assert noted(store) == {"delivered_rows": 2, "reads_rows": 3}


async def test_a_send_that_implies_a_read_is_noted_without_its_own_message(
    store: MySQL, room: Conversation
) -> None:
    await send(store, room, ANN)
    await send(store, room, ANN)
    await send(store, room, BOB)
    assert noted(store) == {"sends_reading": 1, "sends_reading_direct": 1, "sends_reading_rows": 2}


async def test_a_span_too_long_to_be_looked_up_is_locked(store: MySQL, room: Conversation) -> None:
    for _ in range(AHEAD_SEQS + 1):
        await send(store, room, ANN)
    await store.read(BOB, [(room, 6 + AHEAD_SEQS + 1)], now_ms(), Trace())
    found = noted(store)
    assert (found["reads_locked"], found["locks"], found["advances"], found["advanced"]) == (1, 1, 1, 1)
    assert found["advanced_rows"] == AHEAD_SEQS + 1
    assert (found["logged"], found["logged_users"], found["logged_lines"]) == (1, 2, 2)
    assert "reads_rows" not in found


async def test_a_batch_notes_what_it_moved(store: MySQL, room: Conversation) -> None:
    await send(store, room, ANN)
    marks = [QueuedMark(BOB, "d", 7, now_ms()), QueuedMark(BOB, "d", 7, now_ms())]
    await store.apply_delivered(marks, Trace())
    await store.apply_reads(marks, Trace())
    found = noted(store)
    assert (found["deliveries_applied"], found["advances"], found["locks"]) == (1, 1, 2)
    assert (found["delivered_rows"], found["advanced_rows"]) == (1, 1)


async def test_what_was_rolled_back_leaves_no_note_but_its_rollback(store: MySQL, room: Conversation) -> None:
    await send(store, room, ANN)
    number = next(_ids)
    draft = Draft(number, BOB, "same", "hello", now_ms())
    await store.send(room, draft, Trace())
    await send(store, room, ANN)
    before = noted(store)
    again = Draft(next(_ids), BOB, "same", "hello", now_ms())
    assert (await store.send(room, again, Trace())).duplicate
    assert noted(store) == before  # though it had read what was unread
    assert store.stats()["rollbacks"] == 1
