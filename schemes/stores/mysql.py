"""Read state in MySQL: what every scheme writes through, whatever it puts in front.

    store = MySQL(url, model="flags"|"cursor", pool_size=32, receipt_members=200)
    await store.start()                 creates database and tables where missing, opens the pool
    await store.close()

    # who is in a conversation: fixed during a run, kept in a bounded LRU; Refused("NOT_MEMBER")
    await store.conversation(conversation_id, trace) -> Conversation
    await store.member(user, conversation_id, trace) -> Conversation
    store.learn(user, [(conversation_id, direct peer|None), ...])      what `states` and `page` do themselves

    # reads, one statement each
    await store.position(user, trace) -> (epoch, change_id)
    await store.states(user, conversations|None, trace, counted=False)
                                        -> (change_id, list[MemberState]), newest first, with unread if
                                           counted; conversations that the user is not in are absent
    await store.page(user, cursor|None, limit, trace)
                                        -> (change_id, list[MemberState], next cursor|None), counted
    await store.total_unread(user, trace) -> int
    await store.cursors([(user, conversation_id), ...], trace) -> dict[(user, conversation_id), Cursor]
    await store.heads([conversation_id, ...], trace) -> dict[conversation_id, Head]
    await store.highest_seq(conversation_id, message_ids, trace) -> int        Refused("NOT_FOUND")
    await store.sync(user, since, limit, messages, trace) -> SyncPage
    await store.history(conversation_id, from_seq, limit, trace) -> list[StoredMessage]

    # writes, one transaction each, tried again on deadlock and lock wait; conversations come from `member`;
    # the first three take `also`, which is called with the result before COMMIT, in the same transaction
    await store.send(conversation, draft, trace) -> Stored(sent, advanced|None, duplicate)
    await store.read(user, [(conversation, up_to_seq), ...], at, trace) -> list[Marking]      ascending by id
    await store.deliver(user, [(conversation, up_to_seq), ...], at, trace) -> list[Marking]   ascending by id
    await store.apply_reads(list[QueuedMark], trace) -> list[Advanced]          any order; sorted inside
    await store.apply_delivered(list[QueuedMark], trace) -> list[Reached]

    # the harness's door
    await store.reset();  await store.seed(conversations, done=...)
    await store.dump(after, limit) -> (list[DumpRow], next|None)      ascending by (user, conversation)
    await store.held(user, conversation_id) -> DumpRow|None
    store.outbox() -> Outbox                     a relay's connection (`outbox.py`)
    store.stats() -> dict[str, int]

Everything raises Refused("UNAVAILABLE") when MySQL is away or does not answer within OPERATION_S.  Time spent
waiting for a connection is added to `trace.wait`, time in MySQL to `trace.store`."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from schemes.ports import Refused, SyncFrom, SyncPage, Trace
from schemes.protocol import DumpRow, SeedConversation, StoredMessage
from schemes.read_state import Advanced, Conversation, Reached, Sent
from schemes.stores import catch_up, one_mark, queries, tables, transactions
from schemes.stores.directory import Directory, not_member
from schemes.stores.driver import DuplicateKey, Session, StoreError, Target
from schemes.stores.model import make
from schemes.stores.mysql_connections import Also, Connections, Work
from schemes.stores.outbox import Outbox
from schemes.stores.rows import Cursor, Draft, Head, Marking, MemberState, QueuedMark, Stored
from schemes.stores.seeding import Seeder
from schemes.stores.times import stamp

T = TypeVar("T")

NOTES: Final = (
    "sends_reading",
    "sends_reading_direct",
    "sends_reading_rows",
    "sends_locked",
    "looked_in_vain",
    "reads_rows",
    "reads_locked",
    "delivered_rows",
    "deliveries_locked",
    "deliveries_applied",
    "locks",
    "locks_again",
    "advances",
    "advanced",
    "advanced_rows",
    "advanced_told",
    "unread_counts",
    "logged",
    "logged_many",
    "logged_users",
    "logged_lines",
)
"""What nobody outside can know of the writes, for the work ledger (`ledger.py`): how many of them went which
way, how many messages their cursors passed (`_rows`), what was logged.  `reads_locked` and
`deliveries_locked` are of a single conversation."""
_KEYS_MAX: Final = 500


class MySQL:
    """The store.  One per process; all its methods belong to one event loop."""

    def __init__(
        self, url: str, *, model: str = "flags", pool_size: int = 32, receipt_members: int = 200
    ) -> None:
        self._target = Target.parse(url)
        self._model = make(model)
        self._receipt_members = receipt_members
        self._notes: Counter[str] = Counter(dict.fromkeys(NOTES, 0))
        self._connections = Connections(self._target, pool_size, self._notes)
        self._directory = Directory()
        self._seeder: Seeder | None = None
        self._counters = dict.fromkeys(("reads", "duplicates", "directory_misses"), 0)

    @property
    def model(self) -> str:
        return self._model.name

    async def start(self) -> None:
        """Raises Refused("UNAVAILABLE") that says why MySQL cannot be used."""
        try:
            await tables.create(self._target)
            await self._connections.warm()
        except StoreError as why:
            raise Refused("UNAVAILABLE", f"MySQL at {self._target}: {why}") from why

    async def close(self) -> None:
        if self._seeder is not None:
            await self._seeder.abandon()
        self._connections.flush()

    # --- membership -------------------------------------------------------------------------------------

    async def conversation(self, conversation_id: str, trace: Trace) -> Conversation:
        found = self._directory.find(conversation_id)
        if found is not None:
            return found
        self._counters["directory_misses"] += 1
        rows = await self._query(queries.MEMBERS, (conversation_id, queries.MEMBERS_MAX), trace)
        # collations ignore trailing spaces; ids do not
        if not rows or rows[0][0] != conversation_id:
            raise not_member(conversation_id)
        found = Conversation(
            conversation_id, queries.KINDS[rows[0][1]], tuple(sorted(row[2] for row in rows))
        )
        self._directory.add(found)
        return found

    async def member(self, user: int, conversation_id: str, trace: Trace) -> Conversation:
        return self._directory.check(user, await self.conversation(conversation_id, trace))

    def learn(self, user: int, conversations: Iterable[tuple[str, int | None]]) -> None:
        """(conversation, direct peer) as a cache showed them to the user: nobody need look for them again."""
        self._directory.learn(user, conversations)

    def forget(self) -> None:
        """Membership may have changed: another process wiped and seeded the tables."""
        self._directory.clear()

    # --- reads ------------------------------------------------------------------------------------------

    async def position(self, user: int, trace: Trace) -> tuple[int, int]:
        """(epoch, change_id); (1, 0) for a person who is in no conversation."""
        rows = await self._query(queries.POSITION, (user,), trace)
        return (rows[0][0], rows[0][1]) if rows else (1, 0)

    async def states(
        self, user: int, conversations: Sequence[str] | None, trace: Trace, *, counted: bool = False
    ) -> tuple[int, list[MemberState]]:
        """All or the named (at most 500) conversations of a person, and the change id of that moment."""
        named = conversations or ()
        if conversations is not None and not named:
            return (await self.position(user, trace))[1], []
        sql = queries.states(self._model.unread_sql if counted else "NULL", len(named))
        rows = await self._query(sql, (user, *named, queries.MEMBERS_MAX, user), trace)
        change_id, found = queries.state_rows(rows)
        self.learn(user, ((state.conversation_id, state.peer) for state in found))
        return change_id, found

    async def page(
        self, user: int, cursor: str | None, limit: int, trace: Trace
    ) -> tuple[int, list[MemberState], str | None]:
        """Raises Refused("BAD_REQUEST") for a cursor that this server did not give out."""
        sql = queries.states(self._model.unread_sql, after=cursor is not None)
        after = () if cursor is None else _decode_cursor(cursor)
        rows = await self._query(sql, (user, *after, limit + 1, user), trace)
        change_id, found = queries.state_rows(rows)
        self.learn(user, ((state.conversation_id, state.peer) for state in found))
        more = _encode_cursor(found[limit - 1]) if len(found) > limit else None
        return change_id, found[:limit], more

    async def total_unread(self, user: int, trace: Trace) -> int:
        """Over all conversations of the person."""
        sql = queries.TOTAL.format(unread=self._model.unread_sql)
        return int((await self._query(sql, (user,), trace))[0][0])

    async def cursors(self, keys: Sequence[tuple[int, str]], trace: Trace) -> dict[tuple[int, str], Cursor]:
        found: dict[tuple[int, str], Cursor] = {}
        for start in range(0, len(keys), _KEYS_MAX):
            chunk = keys[start : start + _KEYS_MAX]
            sql = queries.CURSORS.format(keys=queries.pairs(len(chunk)))
            for row in await self._query(sql, queries.flat(chunk), trace):
                found[row[0], row[1]] = queries.cursor(row)
        return found

    async def heads(self, conversations: Sequence[str], trace: Trace) -> dict[str, Head]:
        found: dict[str, Head] = {}
        for start in range(0, len(conversations), _KEYS_MAX):
            chunk = conversations[start : start + _KEYS_MAX]
            sql = queries.HEADS.format(keys=queries.marks(len(chunk)))
            for row in await self._query(sql, chunk, trace):
                found[row[0]] = queries.head(row)
        return found

    async def highest_seq(self, conversation_id: str, message_ids: Sequence[int], trace: Trace) -> int:
        """Raises Refused("NOT_FOUND") unless all of them are messages of this conversation."""
        wanted = sorted(set(message_ids))
        sql = queries.SEQS.format(ids=queries.marks(len(wanted)))
        ((count, highest),) = await self._query(sql, (*wanted, conversation_id), trace)
        if count != len(wanted):
            raise Refused("NOT_FOUND", f"{len(wanted) - count} of the messages are not in {conversation_id}")
        return int(highest)

    async def sync(self, user: int, since: SyncFrom, limit: int, messages: bool, trace: Trace) -> SyncPage:
        """A page of what changed; `total_unread` is on the last one."""
        page = await self._read(
            lambda session: catch_up.page(session, user, since, limit, messages=messages), trace
        )
        if page.done and not page.reset_required:
            page.total_unread = await self.total_unread(user, trace)
        return page

    async def history(
        self, conversation_id: str, from_seq: int, limit: int, trace: Trace
    ) -> list[StoredMessage]:
        rows = await self._query(queries.HISTORY, (conversation_id, from_seq, limit), trace)
        return [
            StoredMessage(
                str(message_id),
                seq,
                f"u{sender}",
                client.decode(),
                sent,
                (body or b"").decode(errors="replace"),
            )
            for message_id, seq, sender, client, sent, body in rows
        ]

    # --- writes -----------------------------------------------------------------------------------------

    async def send(
        self, conversation: Conversation, draft: Draft, trace: Trace, also: Also[Stored] | None = None
    ) -> Stored:
        """Appends a message, or finds the one that the sender gave this client_msg_id before."""
        try:
            return await self._transact(
                lambda session, ahead: transactions.send(
                    session, self._model, conversation, draft, self._receipt_members, ahead=ahead
                ),
                trace,
                also,
            )
        except DuplicateKey as why:
            return await self._sent_before(draft, why, trace)

    async def _sent_before(self, draft: Draft, why: DuplicateKey, trace: Trace) -> Stored:
        rows = await self._query(queries.BY_CLIENT_ID, (draft.sender, draft.client_msg_id), trace)
        if not rows:
            raise why  # another key: two servers with the same node number
        self._counters["duplicates"] += 1
        conversation_id, message_id, seq, at = rows[0]
        conversation = await self.conversation(conversation_id, trace)
        sent = Sent(conversation, message_id, seq, draft.sender, draft.client_msg_id, at, draft.body)
        return Stored(sent, None, duplicate=True)

    async def read(
        self,
        user: int,
        wanted: Sequence[tuple[Conversation, int]],
        at: int,
        trace: Trace,
        also: Also[list[Marking]] | None = None,
    ) -> list[Marking]:
        """All or none.  Raises Refused("SEQ_AHEAD")."""
        return await self._transact(
            lambda session, ahead: transactions.read(
                session, self._model, user, wanted, at, self._receipt_members, ahead=ahead
            ),
            trace,
            also,
        )

    async def deliver(
        self,
        user: int,
        wanted: Sequence[tuple[Conversation, int]],
        at: int,
        trace: Trace,
        also: Also[list[Marking]] | None = None,
    ) -> list[Marking]:
        """All or none.  Raises Refused("SEQ_AHEAD")."""
        if also is not None:
            return await self._transact(
                lambda session, ahead: transactions.deliver(
                    session, self._model, user, wanted, at, ahead=ahead
                ),
                trace,
                also,
            )
        return await self._connections.bounded(self._deliver(user, wanted, at, trace))

    async def _deliver(
        self, user: int, wanted: Sequence[tuple[Conversation, int]], at: int, trace: Trace
    ) -> list[Marking]:
        if len(wanted) == 1:
            marking = await self._deliver_one(user, *wanted[0], at, trace)
            if marking is not None:
                return [marking]
        return await self._connections.transact(
            lambda session, _: transactions.deliver(session, self._model, user, wanted, at, ahead=False),
            trace,
        )

    async def _deliver_one(
        self, user: int, conversation: Conversation, up_to_seq: int, at: int, trace: Trace
    ) -> Marking | None:
        """The usual case in two statements, the second a transaction by itself; None where it takes more."""
        seen = await self._connections.read(
            lambda session: one_mark.look_to_deliver(session, self._model, user, conversation, up_to_seq),
            trace,
        )
        transactions.check_head(seen, up_to_seq)
        if up_to_seq <= seen.delivered_seq:
            return Marking(conversation.conversation_id, seen.delivered_seq, seen.version, 0, at)
        if not one_mark.reaches(seen.delivered_seq, up_to_seq):
            return None
        moved = await self._connections.write_once(
            lambda session: one_mark.move_delivered(session, self._model, seen, up_to_seq, stamp(at)), trace
        )
        if not moved:
            return None
        self._notes["delivered_rows"] += up_to_seq - seen.delivered_seq
        reached = Reached(conversation, user, up_to_seq, at)
        return Marking(conversation.conversation_id, up_to_seq, seen.version, 0, at, reached=reached)

    async def apply_reads(self, marks: Iterable[QueuedMark], trace: Trace) -> list[Advanced]:
        """Applies a batch in one transaction: forward only, so applying it again changes nothing.

        Gives what really moved, with versions and change ids, ascending by (user, conversation); marks of
        people who are not members are dropped."""
        batch = await self._sorted(marks, trace)
        return await self._transact(
            lambda session, _: transactions.apply_reads(session, self._model, batch, self._receipt_members),
            trace,
        )

    async def apply_delivered(self, marks: Iterable[QueuedMark], trace: Trace) -> list[Reached]:
        """As `apply_reads`."""
        batch = await self._sorted(marks, trace)
        return await self._transact(
            lambda session, _: transactions.apply_delivered(session, self._model, batch), trace
        )

    async def _sorted(
        self, marks: Iterable[QueuedMark], trace: Trace
    ) -> list[tuple[Conversation, QueuedMark]]:
        batch = []
        for mark in sorted(marks, key=lambda mark: (mark.user, mark.conversation_id)):
            conversation = await self.conversation(mark.conversation_id, trace)
            batch.append((self._directory.check(mark.user, conversation), mark))
        return batch

    # --- the harness's door -----------------------------------------------------------------------------

    async def reset(self) -> None:
        """Empties every table; secondary keys are there afterwards."""
        if self._seeder is not None:
            await self._seeder.abandon()
            self._seeder = None
        self._directory.clear()
        await tables.empty(self._target)

    async def seed(self, conversations: Sequence[SeedConversation], *, done: bool) -> None:
        """Loads conversations; with `done`, waits until everything is in the tables and analysed."""
        if self._seeder is None:
            self._seeder = await Seeder.open(self._target, self._model.name)
        await self._seeder.add(conversations)
        if done:
            seeder, self._seeder = self._seeder, None
            await seeder.finish()

    async def dump(self, after: str, limit: int) -> tuple[list[DumpRow], str | None]:
        """Every member's cursors, ascending by (user, conversation), after '' or what the last page gave."""
        user, _, conversation_id = after.partition("/")
        where, args = ("TRUE", ()) if not after else (_BEYOND, (int(user), int(user), conversation_id))
        rows = await self._query(queries.DUMP.format(where=where), (*args, limit), Trace())
        found = [DumpRow(*row) for row in rows]
        more = f"{found[-1].user_id}/{found[-1].conversation_id}" if len(found) == limit else None
        return found, more

    async def held(self, user: int, conversation_id: str) -> DumpRow | None:
        sql = queries.DUMP.format(where="m.user_id = %s AND m.conversation_id = %s")
        rows = await self._query(sql, (user, conversation_id, 1), Trace())
        return DumpRow(*rows[0]) if rows else None

    def outbox(self) -> Outbox:
        """A relay's own connection to the events that transactions left here."""
        return Outbox(self._target)

    def stats(self) -> dict[str, int]:
        """Counters since the start."""
        return {**self._notes, **self._counters, **self._connections.counters}

    # --- how they go to MySQL ---------------------------------------------------------------------------

    async def _query(self, sql: str, args: Sequence[Any], trace: Trace) -> Sequence[tuple[Any, ...]]:
        return await self._read(lambda session: session.rows(sql, args), trace)

    async def _read(self, work: Callable[[Session], Awaitable[T]], trace: Trace) -> T:
        self._counters["reads"] += 1
        return await self._connections.bounded(self._connections.read(work, trace))

    async def _transact(self, work: Work[T], trace: Trace, also: Also[T] | None = None) -> T:
        return await self._connections.bounded(self._connections.transact(work, trace, also))


_BEYOND: Final = "(m.user_id > %s OR (m.user_id = %s AND m.conversation_id > %s))"


def _encode_cursor(state: MemberState) -> str:
    return base64.urlsafe_b64encode(f"{state.last_sent_ms}/{state.conversation_id}".encode()).decode()


def _decode_cursor(cursor: str) -> tuple[str, str, str]:
    try:
        sent_ms, slash, conversation_id = base64.urlsafe_b64decode(cursor).decode().partition("/")
        at = stamp(int(sent_ms))
    except (ValueError, OverflowError) as why:
        raise Refused("BAD_REQUEST", f"{cursor!r} is not a cursor of this server") from why
    if not slash:
        raise Refused("BAD_REQUEST", f"{cursor!r} is not a cursor of this server")
    return at, at, conversation_id
