"""Every statement that the store sends, recorded as it is sent and explained on a seed of 2,000 people: none
may scan a table, and those that an optimiser could get wrong must use the index they were written for."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pymysql
import pytest
import pytest_asyncio

from schemes.ports import SyncFrom, Trace
from schemes.read_state import Conversation
from schemes.stores import outbox
from schemes.stores.driver import Session
from schemes.stores.mysql import MySQL
from schemes.stores.rows import AHEAD_SEQS, Draft, QueuedMark, Stored
from schemes.stores.times import now_ms
from tests.schemes.stores.support import connect, population

pytestmark = [pytest.mark.services, pytest.mark.asyncio(loop_scope="module")]
Plan = list[dict[str, Any]]

ROWS_MAX = 250
"""Far more than any of a person's conversations, far less than any table."""
WALKS = {("dump", "m"), ("take and delete", "outbox")}
"""The statements that walk a table from its front, a page at a time."""
IMPLIED = "send, which implies reading"


class Recorder:
    """What is sent to MySQL, by name of the operation, with the plan that MySQL had for it at that moment:
    afterwards a cursor may have moved, and "impossible WHERE" would be all that it says."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self.plans: dict[str, list[tuple[str, Plan]]] = {}
        self._connection = connection
        self._now: list[tuple[str, Plan]] = []

    def explain(self, sql: str, args: Sequence[Any]) -> None:
        if sql.split(maxsplit=1)[0] not in ("SELECT", "(SELECT", "UPDATE", "DELETE"):
            return
        with self._connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql.removesuffix(' FOR UPDATE')}", tuple(args))
            self._now.append((sql, list(cursor.fetchall())))
        self._connection.rollback()  # to explain an UPDATE of several tables MariaDB locks rows

    def file(self, operation: str) -> None:
        """All since the last call was this operation."""
        self.plans.setdefault(operation, []).extend(self._now)
        self._now = []


@pytest.fixture(scope="module", params=["flags", "cursor"])
def seeded_model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(mysql_url: Callable[[str], str], seeded_model: str) -> AsyncIterator[Recorder]:
    store = MySQL(mysql_url("plan_tests"), model=seeded_model, pool_size=4)
    await store.start()
    await store.reset()
    await store.seed(population(), done=True)
    with connect(mysql_url("plan_tests")) as connection, pytest.MonkeyPatch.context() as patch:
        recorder = Recorder(connection)
        for name in ("rows", "write"):
            patch.setattr(Session, name, _recording(recorder, getattr(Session, name)))
        await _do_everything(store, recorder)
    yield recorder
    await store.close()


def _recording(recorder: Recorder, send: Callable[..., Any]) -> Callable[..., Any]:
    async def recorded(self: Session, sql: str, args: Sequence[Any] = ()) -> Any:
        recorder.explain(sql, args)
        return await send(self, sql, args)

    return recorded


async def _do_everything(store: MySQL, recorder: Recorder) -> None:
    trace, at = Trace(), now_ms()
    group = await store.conversation("g0", trace)
    direct = await store.conversation("d0", trace)
    recorder.file("conversation")
    reader, peer = direct.members
    for number in range(3):
        draft = Draft((at << 22) + number, peer, f"plan-{number}", "body", at)
        await store.send(direct, draft, trace)
    recorder.file("send")
    reply = Draft((at << 22) + 10, reader, "reply", "body", at)
    await store.send(direct, reply, trace)
    recorder.file(IMPLIED)
    assert (await store.send(direct, reply, trace)).duplicate
    recorder.file("send again")
    for number in (11, 12):
        last = await store.send(direct, Draft((at << 22) + number, peer, f"l{number}", "body", at), trace)
    newest = await store.send(group, Draft((at << 22) + 13, group.members[0], "g", "body", at), trace)
    recorder.file("send to a group")
    await store.deliver(reader, [(direct, last.sent.seq)], at, trace)
    recorder.file("deliver")
    await store.read(reader, [(direct, last.sent.seq - 1)], at, trace)
    recorder.file("read")
    await store.read(group.members[1], [(group, newest.sent.seq)], at, trace)
    recorder.file("read in a group")
    several = [await store.conversation(name, trace) for name in await _first_two(store, reader)]
    for number, chat in enumerate(several):
        await _send(store, chat, _peer(chat, reader), (at << 22) + 20 + number)
    recorder.file("send")
    heads = await store.heads([chat.conversation_id for chat in several], trace)
    recorder.file("heads")
    both = [(chat, heads[chat.conversation_id].last_seq) for chat in several]
    await store.deliver(reader, both, at, trace)
    recorder.file("deliver of several")
    await store.read(reader, both, at, trace)
    recorder.file("read of several")
    for number in range(AHEAD_SEQS + 1):
        last = await _send(store, direct, peer, (at << 22) + 100 + number)
    recorder.file("send")
    await store.read(reader, [(direct, last.sent.seq)], at, trace)
    recorder.file("read of a long span")
    marks = [QueuedMark(user, "g0", newest.sent.seq, at) for user in group.members[2:]]
    await store.apply_delivered(marks, trace)
    recorder.file("apply_delivered")
    await store.apply_reads(marks, trace)
    recorder.file("apply_reads")
    await store.position(reader, trace)
    recorder.file("position")
    await store.page(reader, (await store.page(reader, None, 3, trace))[2], 3, trace)
    recorder.file("page")
    await store.states(reader, None, trace)
    await store.states(reader, ["d0"], trace, counted=True)
    recorder.file("states")
    await store.total_unread(reader, trace)
    recorder.file("total_unread")
    await store.cursors([(user, "g0") for user in group.members], trace)
    recorder.file("cursors")
    await store.heads(["d0", "g0", "d1", "d2"], trace)
    recorder.file("heads")
    await store.highest_seq("g0", [newest.sent.message_id], trace)
    recorder.file("highest_seq")
    await store.history("g0", 5, 10, trace)
    recorder.file("history")
    await store.sync(reader, SyncFrom(0, None), 500, True, trace)
    recorder.file("sync")
    await store.sync(reader, SyncFrom(None, at), 500, False, trace)
    recorder.file("sync by time")
    await store.dump("", 100)
    await store.dump("5/d0", 100)
    recorder.file("dump")
    await store.held(reader, "d0")
    recorder.file("held")
    await _use_the_outbox(store, reader, direct, recorder)


async def _use_the_outbox(store: MySQL, reader: int, chat: Conversation, recorder: Recorder) -> None:
    """A relay's statements, with more rows than any may touch."""
    trace, at = Trace(), now_ms()
    events = [(b"u%d" % number, b"event") for number in range(2 * ROWS_MAX)]

    async def leave(session: Session, _: object) -> None:
        await outbox.add(session, events, at)

    last = await _send(store, chat, _peer(chat, reader), (at << 22) + 1000)
    recorder.file("send")
    await store.deliver(reader, [(chat, last.sent.seq)], at, trace, leave)
    recorder.file("deliver with an event")
    relay = store.outbox()
    assert await relay.claim()
    recorder.file("claim")
    await relay.delete((await relay.take(ROWS_MAX))[:3])
    recorder.file("take and delete")
    assert (await relay.look()).rows == 2 * ROWS_MAX - 3
    recorder.file("look")
    relay.hang_up()


async def _first_two(store: MySQL, user: int) -> list[str]:
    """Two direct conversations of the user, ascending."""
    _, found = await store.states(user, None, Trace())
    return sorted(state.conversation_id for state in found if state.peer is not None)[:2]


def _peer(conversation: Conversation, user: int) -> int:
    peer = conversation.peer_of(user)
    assert peer is not None
    return peer


async def _send(store: MySQL, conversation: Conversation, sender: int, message_id: int) -> Stored:
    draft = Draft(message_id, sender, f"m{message_id}", "body", now_ms())
    return await store.send(conversation, draft, Trace())


async def test_no_statement_scans_a_table(recorded: Recorder) -> None:
    public = {name for name, _ in inspect.getmembers(MySQL, inspect.iscoroutinefunction) if name[0] != "_"}
    assert public - {"start", "close", "reset", "seed", "member"} <= set(recorded.plans)
    for operation, statements in recorded.plans.items():
        for sql, plan in statements:
            for step in _tables(plan):
                assert step["type"] != "ALL", (operation, sql, step)
                if (operation, step["table"]) in WALKS:
                    continue
                assert step["type"] != "index", (operation, sql, step)
                assert int(step["rows"] or 0) <= ROWS_MAX, (operation, sql, step)


async def test_the_rows_of_a_reader_are_found_and_changed_by_the_right_index(
    recorded: Recorder, seeded_model: str
) -> None:
    if seeded_model == "cursor":
        touched = {step["table"] for _, plan in recorded.plans["read"] for step in _tables(plan)}
        assert "message_read_status" not in touched
        return
    look_up = ("SELECT", "range", "idx_conv_user")
    one = ("UPDATE", "const", "PRIMARY")
    marked = ("UPDATE", "range", "PRIMARY")
    for operation in ("deliver", "deliver with an event", "read", "read in a group", IMPLIED):
        assert _of_flags(recorded.plans[operation]) in ([look_up, one], [look_up, marked]), operation
    found = ("(SELECT", "range", "idx_conv_user")
    assert _of_flags(recorded.plans["deliver of several"]) == [found, found, marked]
    assert _of_flags(recorded.plans["read of several"]) == [found, found, marked]
    assert _of_flags(recorded.plans["read of a long span"]) == [look_up, found, marked]


@pytest.mark.parametrize(
    "operation", ["read", "read in a group", "deliver", "deliver with an event", IMPLIED]
)
async def test_what_was_seen_is_moved_by_primary_keys_alone(recorded: Recorder, operation: str) -> None:
    """In the order of the locks: the member, its rows, the change ids ascending."""
    (plan,) = [plan for sql, plan in recorded.plans[operation] if sql.startswith(_MOVE)]
    assert {step["key"] for step in plan} == {"PRIMARY"}
    heads = [step["table"] for step in plan if step["table"] not in ("m", "r")]
    before = [step["table"] for step in plan[: len(plan) - len(heads)]]
    assert before in (["m"], ["m", "r"])
    assert heads == sorted(heads, key=lambda alias: int(alias[1:]))
    assert bool(heads) == (not operation.startswith("deliver"))


_MOVE = "UPDATE conversation_members m "


def _of_flags(statements: list[tuple[str, Plan]]) -> list[tuple[str, str, str]]:
    """(verb, access type, index) of each access to the rows of messages."""
    return [
        (sql.split()[0], step["type"], step["key"])
        for sql, plan in statements
        for step in plan
        if step["table"] in ("message_read_status", "r")
    ]


@pytest.mark.parametrize(
    ("operation", "table", "key"),
    [
        ("conversation", "m", "idx_members"),
        ("page", "m", "PRIMARY"),
        ("page", "c", "PRIMARY"),
        ("page", "p", "PRIMARY"),
        ("states", "m", "PRIMARY"),
        ("total_unread", "m", "PRIMARY"),
        ("cursors", "conversation_members", "PRIMARY"),
        ("heads", "conversations", "PRIMARY"),
        ("highest_seq", "messages", "uk_message_id"),
        ("history", "messages", "PRIMARY"),
        ("send again", "messages", "uk_client"),
        ("sync", "messages", "PRIMARY"),
        ("sync", "user_change_log", "PRIMARY"),
        ("sync by time", "user_change_log", "idx_user_time"),
        ("apply_reads", "m", "PRIMARY"),
        ("dump", "m", "PRIMARY"),
        ("read of several", "user_sync_heads", "PRIMARY"),
        ("take and delete", "outbox", "PRIMARY"),
        ("look", "o", "PRIMARY"),
    ],
)
async def test_each_question_has_its_index(recorded: Recorder, operation: str, table: str, key: str) -> None:
    keys = {
        step["key"] for _, plan in recorded.plans[operation] for step in plan if step["table"] == table
    } - {None}
    assert key in keys, recorded.plans[operation]
    if operation != "sync by time":
        assert keys == {key}, recorded.plans[operation]


async def test_unread_is_counted_by_the_article_s_index(recorded: Recorder, seeded_model: str) -> None:
    for operation in ("page", "total_unread"):
        counts = [step for _, plan in recorded.plans[operation] for step in plan if step["table"] == "r"]
        if seeded_model == "cursor":
            assert counts == []
        else:
            assert {step["key"] for step in counts} == {"idx_conv_user"}


def _tables(plan: Plan) -> list[dict[str, Any]]:
    """The steps that touch a table; not derived ones, unions and "no table used"."""
    return [step for step in plan if step["table"] and not step["table"].startswith("<")]
