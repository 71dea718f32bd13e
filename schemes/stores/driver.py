"""How MySQL is reached: the two drivers behind one URL, and what their errors mean.

`mysql+aiomysql://` (also plain `mysql://`) and `mysql+asyncmy://` take the same code path: one connection,
one plain tuple cursor that is reused for every statement.  Nothing above this module knows which it is."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

from schemes.stores import distance

CONNECT_TIMEOUT_S: Final = 1.0
LOCK_WAIT_TIMEOUT_S: Final = 1
GROUP_CONCAT_BYTES: Final = 8192
"""Room for the 200 ids that are looked up ahead, 20 bytes each; MySQL's own default is 1,024."""

_DRIVERS: Final = {"mysql": "aiomysql", "mysql+aiomysql": "aiomysql", "mysql+asyncmy": "asyncmy"}
DUPLICATE: Final = 1062
_NO_DATABASE: Final = 1049
DEADLOCK: Final = 1213
_LOCK_WAIT: Final = 1205
_LOST: Final = frozenset({1053, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2014, 2055, 4031})
_UNAVAILABLE: Final = frozenset(
    # disk full, out of memory, too many connections, refused sign-in, read-only, interrupted, timed out
    {
        1021,
        1037,
        1038,
        1040,
        1041,
        1044,
        1045,
        1114,
        1129,
        1130,
        1203,
        1226,
        1290,
        1317,
        1698,
        1792,
        1836,
        1969,
    }
    | {2002, 2003, 2005, 3024}
)


class StoreError(Exception):
    """MySQL refused or failed; `errno` is its error number, 0 where there was none."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(f"({errno}) {message}" if errno else message)
        self.errno = errno


class ConnectionLost(StoreError):
    """The connection is gone: whether its last statement took effect is unknown."""


class Contention(StoreError):
    """1213 deadlock or 1205 lock wait: the whole transaction may be tried again."""


class DuplicateKey(StoreError):
    """1062: a unique key holds this value already."""


class Unavailable(StoreError):
    """The server is there, or was asked to be, but cannot serve now."""


class NoDatabase(StoreError):
    """1049: the database of the URL does not exist."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed `mysql[+driver]://user:password@host:port/database` URL."""

    driver: str
    host: str
    port: int
    user: str
    password: str
    database: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises ValueError with what is wrong with the URL; never repeats the password."""
        parts = urlsplit(url)
        if parts.scheme not in _DRIVERS:
            raise ValueError(f"expected a MySQL URL with one of {', '.join(_DRIVERS)}, got {parts.scheme!r}")
        database = unquote(parts.path.strip("/"))
        if not parts.hostname or not database or not database.replace("_", "").replace("-", "").isalnum():
            raise ValueError("expected a MySQL URL like mysql+aiomysql://user:password@host:3306/database")
        return cls(
            driver=_DRIVERS[parts.scheme],
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            database=database,
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


class Session:
    """One connection and the one cursor on it.

    `notes` counts, for the work ledger, what happened in the transaction under way: whoever commits takes
    them. Every method raises StoreError for what MySQL or the network did; any other error is a bug of
    ours."""

    __slots__ = ("_connection", "_cursor", "_failures", "fresh", "notes")

    def __init__(self, connection: Any, cursor: Any, failures: tuple[type[BaseException], ...]) -> None:
        self._connection = connection
        self._cursor = cursor
        self._failures = failures
        self.fresh = True
        self.notes: Counter[str] = Counter()

    async def rows(self, sql: str, args: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        """All rows of a SELECT, as tuples."""
        if distance.rtt_ns:
            await distance.way()
        try:
            await self._cursor.execute(sql, args)
            found: Sequence[tuple[Any, ...]] = await self._cursor.fetchall()
        except self._failures as why:
            _raise(why)
        if distance.rtt_ns:
            await distance.way()
        return found

    async def write(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Runs any other statement; the number of rows that it changed."""
        if distance.rtt_ns:
            await distance.way()
        try:
            await self._cursor.execute(sql, args)
        except self._failures as why:
            _raise(why)
        if distance.rtt_ns:
            await distance.way()
        return int(self._cursor.rowcount)

    @property
    def last_id(self) -> int:
        """LAST_INSERT_ID() of the last write."""
        return int(self._cursor.lastrowid)

    def close(self) -> None:
        """Hangs up at once; the server rolls an open transaction back."""
        self._connection.close()


async def connect(target: Target, *, database: bool = True, autocommit: bool = True) -> Session:
    """A new session: READ COMMITTED, UTC, strict, lock waits bounded.  Without autocommit the first statement
    opens a transaction, which saves a round trip for BEGIN.

    Raises ConnectionLost or Unavailable, and NoDatabase where `database` is asked for but missing."""
    driver = importlib.import_module(target.driver)
    failures = _failures(target.driver)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            connection = await driver.connect(
                host=target.host,
                port=target.port,
                user=target.user,
                password=target.password,
                db=target.database if database else None,
                charset="utf8mb4",
                autocommit=autocommit,
                connect_timeout=CONNECT_TIMEOUT_S,
            )
            session = Session(connection, await connection.cursor(), failures)
            await _prepare(session)
    except failures as why:
        _raise(why)
    return session


async def _prepare(session: Session) -> None:
    await session.write("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    await session.write(
        "SET SESSION time_zone = '+00:00', sql_mode = 'TRADITIONAL', innodb_lock_wait_timeout = %s,"
        " group_concat_max_len = %s",
        (LOCK_WAIT_TIMEOUT_S, GROUP_CONCAT_BYTES),
    )


def _failures(driver: str) -> tuple[type[BaseException], ...]:
    """What either driver raises for trouble; RuntimeError is uvloop's word for a closed transport."""
    errors = importlib.import_module("asyncmy.errors" if driver == "asyncmy" else "pymysql.err")
    return (errors.MySQLError, OSError, EOFError, RuntimeError)


def _raise(why: BaseException) -> NoReturn:
    """Raises what a driver's error means, from that error."""
    meaning = translate(why)
    if meaning is why:
        raise why
    raise meaning from why


def translate(why: BaseException) -> BaseException:
    """The StoreError that a driver's error means, or the error itself where it tells of a bug of ours."""
    if isinstance(why, StoreError):
        return why
    errno = why.args[0] if why.args and isinstance(why.args[0], int) else 0
    message = str(why.args[1]) if len(why.args) > 1 else str(why)
    for errnos, meaning in _MEANINGS:
        if errno in errnos:
            return meaning(errno, message)
    if isinstance(why, TimeoutError):
        return Unavailable(0, f"no connection within {CONNECT_TIMEOUT_S} s")
    if isinstance(why, OSError | EOFError) or type(why).__name__ in ("InterfaceError", "InternalError"):
        return ConnectionLost(errno, message)
    if isinstance(why, RuntimeError) and "closed" in message:
        return ConnectionLost(0, message)
    return why


_MEANINGS: Final[tuple[tuple[frozenset[int], type[StoreError]], ...]] = (
    (frozenset({DUPLICATE}), DuplicateKey),
    (frozenset({DEADLOCK, _LOCK_WAIT}), Contention),
    (_LOST, ConnectionLost),
    (_UNAVAILABLE, Unavailable),
    (frozenset({_NO_DATABASE}), NoDatabase),
)
