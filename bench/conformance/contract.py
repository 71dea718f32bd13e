"""The rows of the protocol, and what became of each when it was tried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from bench.conformance.case import Case, Server
from bench.conformance.client import Frame, Unmet, Unsupported
from bench.conformance.rooms import NoRoom

Try = Callable[[Case], Awaitable[None]]
TOKENS: Final = "tokens"
CONTROL: Final = "control"
SECTIONS: Final = (
    "handshake", "auth", "SEND", "READ", "DELIVERED", "STATE", "SYNC", "HISTORY", "pushes", "errors",
    "limits", "resume", "isolation", "trace", "control",
)  # fmt: skip


class Verdict(Enum):
    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class Row:
    """One sentence of the protocol.  `optional`: a server may answer UNSUPPORTED instead.  `needs`: TOKENS or
    CONTROL, which the caller must have the secret of, or a word that WELCOME must have in `caps`."""

    name: str
    section: str
    says: str
    attempt: Try
    optional: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Result:
    """`expected` and `came` where it does not hold; `why_not` where it is not available."""

    row: Row
    verdict: Verdict
    expected: str = ""
    came: str = ""
    why_not: str = ""


_ROWS: Final[list[Row]] = []


def row(section: str, says: str, *, optional: bool = False, needs: str = "") -> Callable[[Try], Try]:
    """Makes a function a row; its name with dashes is the row's."""

    def register(attempt: Try) -> Try:
        name = getattr(attempt, "__name__", "").replace("_", "-")
        _ROWS.append(Row(name, section, says, attempt, optional, needs))
        return attempt

    return register


def rows() -> list[Row]:
    """All of them, section by section."""
    from bench.conformance import changes, opening, queries, telling  # noqa: F401  they register themselves

    return sorted(_ROWS, key=lambda known: SECTIONS.index(known.section))


async def conform(server: Server, chosen: Iterable[Row]) -> list[Result]:
    """Tries the rows one after the other.  Raises Unmet if the server cannot be greeted at all."""
    welcome = await _greet(server)
    try:
        server = await _with_door(server)
        return [await _result(server, welcome, number, row) for number, row in enumerate(chosen)]
    finally:
        if server.door is not None:
            await server.door.close()


async def _greet(server: Server) -> Frame:
    case = Case(server, -1)
    try:
        client = await case.device(server.rooms.direct().users[0], sub=False)
        return client.welcome
    finally:
        await case.close()


async def _with_door(server: Server) -> Server:
    """The same with an open `/control`, if its secret is known.  Raises Unmet."""
    if server.control_secret is None or server.door is not None:
        return server
    door = await Case(server, -1).dial(server.control_url)
    await door.want("AUTH", "OK", secret=server.control_secret)
    return replace(server, door=door)


async def _result(server: Server, welcome: Frame, number: int, row: Row) -> Result:
    if why_not := _missing(server, welcome, row):
        return Result(row, Verdict.NOT_AVAILABLE, why_not=why_not)
    case = Case(server, number)
    try:
        await row.attempt(case)
    except Unmet as why:
        return Result(row, Verdict.DOES_NOT_HOLD, why.expected, why.came)
    except NoRoom as why:
        return Result(row, Verdict.NOT_AVAILABLE, why_not=str(why))
    except Unsupported as why:
        if row.optional:
            return Result(row, Verdict.NOT_AVAILABLE, why_not=str(why))
        return Result(row, Verdict.DOES_NOT_HOLD, "a server that offers this", str(why))
    except (KeyError, TypeError, ValueError, AttributeError) as why:  # a frame without what it must have
        return Result(row, Verdict.DOES_NOT_HOLD, "frames as docs/protocol.md has them", _misshapen(why))
    finally:
        await asyncio.shield(case.close())
    return Result(row, Verdict.HOLDS)


def _missing(server: Server, welcome: Frame, row: Row) -> str:
    """Why this row cannot be tried here; empty if it can."""
    if row.needs == TOKENS:
        return "" if server.token_secret is not None else "no --token-secret was given"
    if row.needs == CONTROL:
        return "" if server.door is not None else "no --control-secret was given"
    caps = welcome.get("caps")
    if row.needs and row.needs not in (caps if isinstance(caps, list) else ()):
        return f"{row.needs!r} is not in the caps of WELCOME"
    return ""


def _misshapen(why: Exception) -> str:
    return f"a frame without {why}" if isinstance(why, KeyError) else f"{type(why).__name__}: {why}"
