"""Work on connections to MySQL: which of the two pools, how often it is tried again, and for how long.

A single statement and a read need no transaction; they have connections of their own, which commit by
themselves, so that transactions that wait for each other's locks do not keep them waiting.  Everything that
goes to MySQL goes through `bounded`, and is then refused with UNAVAILABLE where MySQL is away or too slow."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from schemes import failpoints
from schemes.ports import Refused, Trace, clock_ns
from schemes.stores.deadline import Deadline
from schemes.stores.driver import (
    DEADLOCK,
    ConnectionLost,
    Contention,
    NoDatabase,
    Session,
    StoreError,
    Target,
    Unavailable,
    connect,
)
from schemes.stores.one_mark import Overtaken
from schemes.stores.pool import Pool

T = TypeVar("T")
Work = Callable[[Session, bool], Awaitable[T]]
"""The statements of one transaction; with True it may look without locking first (and raise Overtaken)."""
Also = Callable[[Session, T], Awaitable[None]]
"""What else a transaction writes, from its result, last before COMMIT."""

OPERATION_S: Final = 4.5
"""Below the 5 s after which a client gives up: the refusal must still arrive."""
WAITING_MAX: Final = 512
"""Who comes when this many wait for a connection is refused at once: waiting longer than a client does helps
nobody, and what is given up on unanswered has cost as much as what is answered."""
OVERLOADED_RETRY_MS: Final = 500
RETRIES: Final = 3
_BACKOFF_S: Final = 0.005
COUNTED: Final = (
    "transactions",
    "commits",
    "rollbacks",
    "singles_abandoned",
    "deadlocks",
    "lock_waits",
    "overtaken",
    "retries_exhausted",
    "connections_lost",
    "unavailable",
    "overloaded",
)


class Connections:
    """All connections of one process to one MySQL, `size` of them, half for transactions."""

    def __init__(self, target: Target, size: int, notes: Counter[str]) -> None:
        """Raises ValueError below one.  `notes` gets what committed transactions noted (`Session.notes`)."""
        if size < 1:
            raise ValueError(f"a pool needs at least one connection, expected mysql-pool >= 1, got {size}")
        writers = max(1, size // 2)
        self._writers = Pool(lambda: connect(target, autocommit=False), writers)
        self._singles = Pool(lambda: connect(target), max(1, size - writers))
        self._deadline = Deadline(OPERATION_S)
        self.counters = dict.fromkeys(COUNTED, 0)
        """Since the start."""
        self._notes = notes

    async def warm(self) -> None:
        """Raises StoreError."""
        await self._writers.warm()
        await self._singles.warm()

    def flush(self) -> None:
        """Hangs up what is idle."""
        self._writers.flush()
        self._singles.flush()

    async def bounded(self, work: Awaitable[T]) -> T:
        """The result, or Refused("UNAVAILABLE") where MySQL is away or OPERATION_S are over.

        What was under way then is rolled back, or unknown if it was the COMMIT."""
        try:
            return await self._deadline.bound(work)
        except (ConnectionLost, Unavailable, NoDatabase) as why:
            self.counters["unavailable"] += 1
            raise Refused("UNAVAILABLE", f"MySQL: {why}") from why
        except TimeoutError as why:
            self.counters["unavailable"] += 1
            raise Refused("UNAVAILABLE", f"MySQL did not answer within {OPERATION_S} s") from why

    async def read(self, work: Callable[[Session], Awaitable[T]], trace: Trace) -> T:
        """Work without a transaction; an idle connection that turns out to be dead is replaced."""
        while True:
            session = await self._acquire(self._singles, trace)
            try:
                return await self._by_itself(session, work, trace)
            except ConnectionLost:
                if session.fresh:
                    raise

    async def write_once(self, work: Callable[[Session], Awaitable[None]], trace: Trace) -> bool:
        """One writing statement, committed by itself; unknown where its connection dies.  False where
        another was faster or MySQL chose it as a victim: nothing was written."""
        session = await self._acquire(self._singles, trace)
        try:
            await self._by_itself(session, work, trace)
        except (Overtaken, Contention) as why:
            self._count(why)
            self.counters["singles_abandoned"] += 1
            return False
        self.counters["transactions"] += 1
        return True

    async def _by_itself(self, session: Session, work: Callable[[Session], Awaitable[T]], trace: Trace) -> T:
        """Work on a connection that commits by itself, and is given back where MySQL has answered."""
        began = clock_ns()
        try:
            result = await work(session)
        except ConnectionLost:
            self._drop_lost(self._singles, session)
            raise
        except (StoreError, Overtaken):
            self._singles.release(session)
            raise
        except BaseException:  # cancelled too: an answer may still be on its way
            self._singles.discard(session)
            raise
        else:
            self._singles.release(session)
            return result
        finally:
            trace.store += clock_ns() - began

    async def transact(self, work: Work[T], trace: Trace, also: Also[T] | None = None) -> T:
        """One transaction, again from the start where MySQL chose it as a victim, or where another server
        was faster than what was looked up without a lock: then with one."""
        ahead, victim = True, 0
        while True:
            try:
                return await self._try(work, ahead, trace, also)
            except Overtaken as why:
                self._count(why)
                ahead = False
            except Contention as why:
                self._count(why)
                victim += 1
                if victim > RETRIES:
                    self.counters["retries_exhausted"] += 1
                    raise Unavailable(why.errno, f"a victim of contention {victim} times") from why
                await _pause(victim, trace)

    def _count(self, why: Overtaken | Contention) -> None:
        if isinstance(why, Overtaken):
            self.counters["overtaken"] += 1
        else:
            self.counters["deadlocks" if why.errno == DEADLOCK else "lock_waits"] += 1

    async def _try(self, work: Work[T], ahead: bool, trace: Trace, also: Also[T] | None) -> T:
        """An idle connection that turns out to be dead is replaced: nothing was committed on it."""
        while True:
            session = await self._acquire(self._writers, trace)
            session.notes.clear()
            began = clock_ns()
            committing = False
            try:
                result = await work(session, ahead)
                if also is not None:
                    await also(session, result)
                if failpoints.on:
                    await failpoints.hit("in_txn_before_commit")
                committing = True
                await session.write("COMMIT")
            except ConnectionLost:
                self._drop_lost(self._writers, session)
                if session.fresh or committing:
                    raise
            except Exception:  # whatever it was, the transaction must not stay open
                await self._roll_back(session)
                raise
            except BaseException:  # cancelled too: an answer may still be on its way
                self._writers.discard(session)
                raise
            else:
                self._writers.release(session)
                self.counters["transactions"] += 1
                self.counters["commits"] += 1
                self._notes.update(session.notes)
                return result
            finally:
                trace.store += clock_ns() - began

    async def _acquire(self, pool: Pool, trace: Trace) -> Session:
        """Raises Refused("OVERLOADED") where too many wait already: nothing happened, definitely."""
        if pool.waiting >= WAITING_MAX:
            self.counters["overloaded"] += 1
            why = f"{WAITING_MAX} requests wait for a connection to MySQL already"
            raise Refused("OVERLOADED", why, retry_ms=OVERLOADED_RETRY_MS)
        began = clock_ns()
        try:
            return await pool.acquire()
        finally:
            trace.wait += clock_ns() - began

    async def _roll_back(self, session: Session) -> None:
        """Leaves no transaction open: rolled back, or hung up where that cannot be known."""
        self.counters["rollbacks"] += 1
        try:
            await session.write("ROLLBACK")
        except StoreError:
            self._drop_lost(self._writers, session)
        except BaseException:  # cancelled too: an answer may still be on its way
            self._writers.discard(session)
            raise
        else:
            self._writers.release(session)

    def _drop_lost(self, pool: Pool, session: Session) -> None:
        """The server went away under this session, so the idle ones are dead too."""
        self.counters["connections_lost"] += 1
        pool.discard(session)
        self.flush()


async def _pause(victim: int, trace: Trace) -> None:
    began = clock_ns()
    await asyncio.sleep(_BACKOFF_S * 2 ** (victim - 1) * random.uniform(0.5, 1.5))
    trace.wait += clock_ns() - began
