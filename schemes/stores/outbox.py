"""The outbox: events that wait in MySQL until the broker has them.

`add` is the last statement of the transaction that changed something, so an event is there if and only if its
change is.  By then the transaction holds the rows that order the changes of a person and of a conversation
(`transactions.py`), so of one person, and of one conversation, `outbox_id` ascends in the order of the
commits, and whoever sees a row sees those before it.  Across people it does not: a lower id may be committed
later.  So nobody may remember how far they read; rows are taken from the front and deleted one by one.

`Outbox` is the relay's connection.  Only one relay may work at a time, or the order would be lost: it holds
a lock of MySQL's by name (GET_LOCK), which is the connection's own and ends with it, however the process
ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from schemes.stores.driver import Session, Target, Unavailable, connect
from schemes.stores.queries import marks
from schemes.stores.times import ms_of, stamp

T = TypeVar("T")

STATEMENT_S: Final = 4.5
SILENCE_S: Final = 10
"""After so long without a statement MySQL hangs up on a relay, whose lock is then free: it is a bound for
machines that vanish without a word.  A process that dies is noticed at once."""
_ADD: Final = "INSERT INTO outbox (partition_key, payload, created_at) VALUES {rows}"
_TAKE: Final = (
    f"SELECT outbox_id, partition_key, payload, {ms_of('created_at')} FROM outbox ORDER BY outbox_id LIMIT %s"
)
_DELETE: Final = "DELETE FROM outbox WHERE outbox_id IN ({ids})"
_LOOK: Final = (
    f"SELECT ends.highest - ends.lowest + 1, {ms_of('o.created_at')}"
    " FROM (SELECT MIN(outbox_id) lowest, MAX(outbox_id) highest FROM outbox) ends"
    " JOIN outbox o ON o.outbox_id = ends.lowest"
)
_LOCK: Final = "SELECT GET_LOCK(CONCAT('outbox-', MD5(DATABASE())), 0)"


class Row(NamedTuple):
    outbox_id: int
    key: bytes
    payload: bytes
    created_ms: int


class Waiting(NamedTuple):
    """How many rows there are, at most (a gap in the ids counts), and since when, ms UTC, the first waits."""

    rows: int = 0
    since_ms: int = 0


async def add(session: Session, events: Sequence[tuple[bytes, bytes]], at_ms: int) -> None:
    """Puts events, each a key and its text, both UTF-8, in this order into the transaction under way."""
    if not events:
        return
    created_at = stamp(at_ms)
    # as text: aiomysql 0.3 cannot send bytes, for it imports a function that PyMySQL 1.2 has taken away
    args = [part for key, payload in events for part in (key.decode(), payload.decode(), created_at)]
    await session.write(_ADD.format(rows=", ".join(["(%s, %s, %s)"] * len(events))), args)


class Outbox:
    """One relay's connection.  One call at a time; all raise StoreError, after which it connects anew."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._session: Session | None = None
        self.claimed = False

    async def claim(self) -> bool:
        """Whether this is the only relay now; asks again each time until it is."""
        if not self.claimed:
            ((got,),) = await self._rows(_LOCK)
            self.claimed = got == 1
        return self.claimed

    async def take(self, limit: int) -> list[Row]:
        """The first rows, which stay where they are."""
        return [Row(*row) for row in await self._rows(_TAKE, (limit,))]

    async def delete(self, rows: Sequence[Row]) -> None:
        """Rows that the broker has."""
        ids = [row.outbox_id for row in rows]
        await self._send(Session.write, _DELETE.format(ids=marks(len(ids))), ids)

    async def look(self) -> Waiting:
        rows = await self._rows(_LOOK)
        return Waiting(*map(int, rows[0])) if rows else Waiting()

    def hang_up(self) -> None:
        """Gives the claim back.  The next call connects anew."""
        self.claimed = False
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def _rows(self, sql: str, args: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        return await self._send(Session.rows, sql, args)

    async def _send(self, how: Callable[[Session, str, Sequence[Any]], Awaitable[T]], *statement: Any) -> T:
        try:
            async with asyncio.timeout(STATEMENT_S):
                return await how(await self._connected(), *statement)
        except TimeoutError as why:
            self.hang_up()
            raise Unavailable(0, f"MySQL did not answer the relay within {STATEMENT_S} s") from why
        except BaseException:  # cancelled between a statement and its answer, or failed
            self.hang_up()
            raise

    async def _connected(self) -> Session:
        if self._session is None:
            self._session = await connect(self._target)
            await self._session.write("SET SESSION wait_timeout = %s", (SILENCE_S,))
        return self._session
