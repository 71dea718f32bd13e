"""Fills MySQL in bulk: rows are made in one thread and loaded by LOAD DATA LOCAL INFILE in others, one
connection and one thread for each table.

Once a load is larger than one chunk, and began on empty tables, secondary keys are off until its end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pymysql

from schemes.ports import Refused
from schemes.protocol import SEED_SPACING_MS, SeedConversation
from schemes.read_state import DIRECT, seeded_read_seq, seeded_sender
from schemes.stores import tables
from schemes.stores.driver import DUPLICATE, Target, connect
from schemes.stores.times import now_ms, stamp

CHUNK_BYTES: Final = 8 << 20
CHUNKS_WAITING: Final = 3
"""Per table; who makes rows faster than MySQL takes them, waits."""
COLUMNS: Final[dict[str, str]] = {
    "conversations": "conversation_id, kind, last_seq, last_sent_at, created_at",
    "conversation_members": "user_id, conversation_id, peer_id, delivered_seq, read_seq,"
    " delivered_at, read_at",
    "messages": "conversation_id, seq, message_id, sender_id, client_msg_id, sent_time, body",
    "message_read_status": "message_id, conversation_id, seq, sender_id, receiver_id, sent_time,"
    " delivered, delivered_time, read_status, read_time",
    "read_advances": "conversation_id, user_id, up_to_seq, read_at",
    "user_sync_heads": "user_id",
}
_FIRST_LIVE_ID: Final = 1 << 48
"""Ids of seeded messages count from 1 on, far below those of live ones (milliseconds since 2024, shifted)."""
_NO_LOCAL_INFILE: Final = ((1148,), (3948,), (4166,))
_NULL: Final = "\\N"
_BODY: Final = "seeded"
_AT_ONCE: Final = 1000
"""Conversations between two looks at the chunks: a frame full of groups makes a hundred times its size."""


def seeded_message_id(number: int) -> int:
    """The id of the `number`-th (from 1) seeded message: as MessageIds of node 0, 4,096 to a millisecond."""
    return (number >> 12) << 22 | number & 0xFFF


class Rows:
    """Makes the rows of seeded conversations, as lines of tab-separated text per table."""

    def __init__(self, model: str, at_ms: int, messages_before: int) -> None:
        self._flags = model == "flags"
        self._at_ms = at_ms
        self._now = stamp(at_ms)
        self._read = f"1\t{self._now}\t1\t{self._now}\n"
        self._unread = f"0\t{_NULL}\t0\t{_NULL}\n"
        self._number = messages_before
        self._stamps: list[str] = []
        self._users: set[int] = set()
        self.lines: dict[str, list[str]] = {table: [] for table in COLUMNS}

    def add(self, conversations: Iterable[SeedConversation]) -> None:
        """Raises Refused("BAD_REQUEST") for a conversation that cannot be loaded."""
        for conversation in conversations:
            _check(conversation)
            read_seqs = [
                seeded_read_seq(conversation.members, index, conversation.history, read_seq)
                for index, read_seq in enumerate(conversation.read_seq)
            ]
            self._add_head(conversation)
            self._add_members(conversation, read_seqs)
            self._add_messages(conversation, read_seqs)

    def take(self) -> dict[str, bytes]:
        """The text of each table that has some, and starts anew."""
        made = {table: "".join(lines).encode() for table, lines in self.lines.items() if lines}
        self.lines = {table: [] for table in COLUMNS}
        return made

    def _add_head(self, conversation: SeedConversation) -> None:
        kind = 1 if conversation.kind == DIRECT else 2
        sent = self._now if conversation.history else stamp(0)
        self.lines["conversations"].append(
            f"{conversation.id}\t{kind}\t{conversation.history}\t{sent}\t{self._now}\n"
        )

    def _add_members(self, conversation: SeedConversation, read_seqs: Sequence[int]) -> None:
        members, now = conversation.members, self._now
        for index, (user, read_seq) in enumerate(zip(members, read_seqs, strict=True)):
            peer = members[1 - index] if conversation.kind == DIRECT else _NULL
            at = now if read_seq else _NULL
            self.lines["conversation_members"].append(
                f"{user}\t{conversation.id}\t{peer}\t{read_seq}\t{read_seq}\t{at}\t{at}\n"
            )
            if read_seq and not self._flags:
                self.lines["read_advances"].append(f"{conversation.id}\t{user}\t{read_seq}\t{now}\n")
            if user not in self._users:
                self._users.add(user)
                self.lines["user_sync_heads"].append(f"{user}\n")

    def _add_messages(self, conversation: SeedConversation, read_seqs: Sequence[int]) -> None:
        messages, flags = self.lines["messages"], self.lines["message_read_status"]
        receivers = sorted(zip(conversation.members, read_seqs, strict=True)) if self._flags else ()
        for seq in range(1, conversation.history + 1):
            self._number += 1
            message_id = seeded_message_id(self._number)
            sender = seeded_sender(conversation.members, seq)
            sent = self._stamp(conversation.history - seq)
            messages.append(
                f"{conversation.id}\t{seq}\t{message_id}\t{sender}\tseed-{message_id}\t{sent}\t{_BODY}\n"
            )
            head = f"{message_id}\t{conversation.id}\t{seq}\t{sender}\t"
            for user, read_seq in receivers:
                if user != sender:
                    state = self._read if seq <= read_seq else self._unread
                    flags.append(f"{head}{user}\t{sent}\t{state}")

    def _stamp(self, steps_back: int) -> str:
        while len(self._stamps) <= steps_back:
            self._stamps.append(stamp(self._at_ms - len(self._stamps) * SEED_SPACING_MS))
        return self._stamps[steps_back]


def _check(conversation: SeedConversation) -> None:
    """Anything else would load, and break later."""
    members = conversation.members
    if not conversation.id.isprintable() or "\\" in conversation.id or not 0 < len(conversation.id) <= 64:
        raise Refused("BAD_REQUEST", f"{conversation.id!r} cannot be a conversation id")
    if len(set(members)) != len(members) or not members or len(conversation.read_seq) != len(members):
        raise Refused("BAD_REQUEST", f"{conversation.id}: members must be distinct, with one read_seq each")
    if conversation.kind == DIRECT and len(members) != 2:
        raise Refused(
            "BAD_REQUEST", f"{conversation.id}: a direct conversation has 2 members, not {len(members)}"
        )


class Seeder:
    """One bulk load, from the first SEED to the one that says done."""

    def __init__(self, target: Target, rows: Rows, *, bulk: bool) -> None:
        self._target = target
        self._rows = rows
        self._may_drop_keys = bulk
        self._dropped = False
        self._folder = tempfile.TemporaryDirectory(prefix="readstate-seed-")
        self._maker = ThreadPoolExecutor(1, "seed-rows")
        self._loaders = {table: _Loader(target, table, Path(self._folder.name)) for table in COLUMNS}
        self._waiting: dict[str, list[bytes]] = {table: [] for table in COLUMNS}

    @classmethod
    async def open(cls, target: Target, model: str) -> Seeder:
        """Continues the numbering of messages where an earlier load ended."""
        session = await connect(target)
        try:
            ((before,),) = await session.rows(
                "SELECT COALESCE(MAX(message_id), 0) FROM messages WHERE message_id < %s", (_FIRST_LIVE_ID,)
            )
            empty = not await session.rows("SELECT 1 FROM messages LIMIT 1")
        finally:
            session.close()
        number = (before >> 22) << 12 | before & 0xFFF
        return cls(target, Rows(model, now_ms(), number), bulk=empty)

    async def add(self, conversations: Sequence[SeedConversation]) -> None:
        """Makes the rows, and loads tables that have a chunk of them."""
        loop = asyncio.get_running_loop()
        ordered = sorted(conversations, key=lambda conversation: conversation.id)
        for start in range(0, len(ordered), _AT_ONCE):
            made = await loop.run_in_executor(self._maker, self._make, ordered[start : start + _AT_ONCE])
            for table, text in made.items():
                self._waiting[table].append(text)
                if sum(map(len, self._waiting[table])) >= CHUNK_BYTES:
                    await self._drop_keys()
                    await self._load(table)

    async def finish(self) -> None:
        """Loads the rest, puts the keys back and analyses; then the store is as if it had grown so."""
        try:
            for table in COLUMNS:
                await self._load(table)
            await asyncio.gather(*(self._complete(table) for table in COLUMNS))
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Stops the threads and deletes the files."""
        for loader in self._loaders.values():
            await loader.close()
        self._maker.shutdown(wait=False)
        self._folder.cleanup()

    def _make(self, conversations: Sequence[SeedConversation]) -> dict[str, bytes]:
        self._rows.add(conversations)
        return self._rows.take()

    async def _load(self, table: str) -> None:
        chunks, self._waiting[table] = self._waiting[table], []
        if chunks:
            await self._loaders[table].put(b"".join(chunks))

    async def _drop_keys(self) -> None:
        if self._dropped or not self._may_drop_keys:
            return
        self._dropped = True
        session = await connect(self._target)
        try:
            for table in COLUMNS:
                await tables.drop_keys(session, table)
        finally:
            session.close()

    async def _complete(self, table: str) -> None:
        await self._loaders[table].drain()
        session = await connect(self._target)
        try:
            if self._dropped:
                await tables.add_keys(session, table)
            await session.rows(f"ANALYZE TABLE {table}")
        finally:
            session.close()


class _Loader:
    """Loads chunks of one table, in order, on a thread and a connection of its own."""

    def __init__(self, target: Target, table: str, folder: Path) -> None:
        self._target = target
        self._sql = (
            f"LOAD DATA LOCAL INFILE %s IGNORE INTO TABLE {table} CHARACTER SET utf8mb4 ({COLUMNS[table]})"
        )
        self._sorted = table == "conversation_members"
        self._tolerated = DUPLICATE if table == "user_sync_heads" else 0
        self._file = folder / f"{table}.tsv"
        self._thread = ThreadPoolExecutor(1, f"seed-{table}")
        self._pending: list[asyncio.Future[None]] = []
        self._connection: Any = None

    async def put(self, text: bytes) -> None:
        """Raises what an earlier chunk raised."""
        self._pending.append(asyncio.get_running_loop().run_in_executor(self._thread, self._load, text))
        if len(self._pending) > CHUNKS_WAITING:
            await self._pending.pop(0)

    async def drain(self) -> None:
        pending, self._pending = self._pending, []
        await asyncio.gather(*pending)

    async def close(self) -> None:
        await asyncio.gather(*self._pending, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._hang_up)
        self._thread.shutdown()

    def _load(self, text: bytes) -> None:
        self._file.write_bytes(_in_key_order(text) if self._sorted else text)
        try:
            warning = self._run()
        except pymysql.err.MySQLError as why:
            advice = "; start MySQL with --local-infile=ON" if why.args[:1] in _NO_LOCAL_INFILE else ""
            raise Refused("UNAVAILABLE", f"a bulk load failed: {why}{advice}") from why
        if warning is not None and warning[1] != self._tolerated:
            raise Refused("BAD_REQUEST", f"a row could not be loaded: {warning[2]}")

    def _run(self) -> Any:
        """The first warning of the load, or None."""
        if self._connection is None:
            self._connection = _connect(self._target)
        with self._connection.cursor() as cursor:
            cursor.execute(self._sql, (str(self._file),))
            cursor.execute("SHOW WARNINGS LIMIT 1")
            return cursor.fetchone()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _in_key_order(text: bytes) -> bytes:
    """Members come by conversation and are kept by user: sorted by their key they load twice as fast."""
    lines = text.splitlines(keepends=True)
    lines.sort(key=lambda line: int(line[: line.index(b"\t")]))
    return b"".join(lines)


def _connect(target: Target) -> Any:
    """A blocking connection.  MySQL 8 has LOCAL INFILE off unless started with --local-infile=ON."""
    connection = pymysql.connect(
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password,
        database=target.database,
        charset="utf8mb4",
        autocommit=True,
        local_infile=True,
    )
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION unique_checks = 0, foreign_key_checks = 0, time_zone = '+00:00'")
    return connection
