"""Named places where a test can stop, delay, break or kill a server, so that a race happens when told to.

Off unless the process was started with `--failpoints`; then a place costs one look at `on`:

    if failpoints.on:
        await failpoints.hit("after_db_commit")

One registry per process, as in TiKV's fail-rs and etcd's gofail: the places lie in four rooms, and no
interface should carry what only tests use.  A server is told through `/control` (frame FAILPOINT), the
consumer of `queue` through a socket file of its own (`serve`).  A rule matches by conversation, user and
operation id; each hit is kept and logged, in one line that is out before a crash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from schemes import protocol as p
from schemes.ports import Refused, clock_ns

log = logging.getLogger(__name__)

on = False
"""Whether this process has failpoints.  Set by `switch_on` and `switch_off` alone."""

SERVER: Final = "server"
CONSUMER: Final = "consumer"


class Point(NamedTuple):
    """In which process it is, and what `drop` leaves out there (empty: there is nothing to leave out)."""

    process: str
    dropped: str = ""


POINTS: Final[dict[str, Point]] = {
    "in_txn_before_commit": Point(SERVER),
    "after_db_commit": Point(SERVER),
    "before_cache_del": Point(SERVER, "the delete, which nobody hears of"),
    "after_db_select_before_cache_set": Point(SERVER, "the fill"),
    "before_cache_set": Point(SERVER, "the fill"),
    "before_push": Point(SERVER, "the pushes"),
    "sync_after_query_before_reply": Point(SERVER),
    "after_commit_before_produce": Point(SERVER, "the events, which are acknowledged all the same"),
    "after_ack_before_produce": Point(SERVER, "the event, which counts as produced"),
    "after_produce_before_ack": Point(SERVER),
    "relay_after_produce_before_mark": Point(SERVER),
    "consumer_after_poll": Point(CONSUMER, "the record, which is passed by and committed"),
    "consumer_after_apply_before_commit": Point(CONSUMER),
}
"""`after_ack_before_produce` is where the log's pump gives an event to the producer: after the
acknowledgement where a server doesn't wait for the broker, before it where it does."""

ARMING: Final = ("note", "pause", "sleep", "crash", "error", "drop")
ASKING: Final = ("release", "wait", "hits", "clear")


class Asker(NamedTuple):
    """Whose doing it is: 0 and empty where that is unknown."""

    user: int = 0
    op_id: str = ""
    conversations: tuple[str, ...] = ()


NOBODY: Final = Asker()
_asker: ContextVar[Asker] = ContextVar("asker", default=NOBODY)


def begin(asker: Asker) -> None:
    """From here on, everything in this task and in those that it starts is the doing of `asker`."""
    _asker.set(asker)


def asker() -> Asker:
    return _asker.get()


class Match(NamedTuple):
    """Whom a rule is for; what is empty fits everybody."""

    user: int
    op_id: str
    conversation: str

    def fits(self, asker: Asker) -> bool:
        return (
            self.user in (0, asker.user)
            and self.op_id in ("", asker.op_id)
            and (not self.conversation or self.conversation in asker.conversations)
        )


@dataclass(eq=False)
class _Rule:
    """`left`: how often it still acts; None: for ever."""

    action: str
    match: Match
    left: int | None
    ms: int
    go: asyncio.Event = field(default_factory=asyncio.Event)


class _Registry:
    """The rules and the hits of one process."""

    def __init__(self, process: str) -> None:
        self.process = process
        self.hits: list[p.FailpointHit] = []
        self._rules: dict[str, list[_Rule]] = {}
        self._news = asyncio.Event()

    def arm(self, name: str, rule: _Rule) -> None:
        self._rules.setdefault(name, []).append(rule)

    def take(self, name: str, asker: Asker) -> _Rule | None:
        """The first rule for this asker, one time less; the hit is noted."""
        for rule in self._rules.get(name, ()):
            if rule.left != 0 and rule.match.fits(asker):
                if rule.left is not None:
                    rule.left -= 1
                self._note(name, rule, asker)
                return rule
        return None

    def release(self, name: str, match: Match) -> None:
        """Those who pause at `name` go on, and its rules are gone: of the match that is given, or all."""
        rules = self._rules.get(name, [])
        gone = [rule for rule in rules if match in (rule.match, Match(0, "", ""))]
        self._rules[name] = [rule for rule in rules if rule not in gone]
        for rule in gone:
            rule.go.set()

    def clear(self) -> None:
        for name in list(self._rules):
            self.release(name, Match(0, "", ""))
        self.hits.clear()

    def hits_of(self, name: str, match: Match) -> list[p.FailpointHit]:
        """In the order of time; all of them without a name."""
        return [
            hit
            for hit in self.hits
            if name in ("", hit.name)
            and match.fits(Asker(p.user_number(hit.user), hit.op_id, (hit.conversation,)))
        ]

    async def wait(self, name: str, match: Match, count: int, timeout_s: float) -> None:
        """Until there are `count` hits, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len(self.hits_of(name, match)) < count:
                    await self._news.wait()

    def _note(self, name: str, rule: _Rule, asker: Asker) -> None:
        conversation = rule.match.conversation or next(iter(asker.conversations), "")
        hit = p.FailpointHit(name, rule.action, conversation, f"u{asker.user}", asker.op_id, clock_ns())
        self.hits.append(hit)
        log.warning("failpoint %s", p.encode(hit).decode())
        self._news.set()
        self._news = asyncio.Event()


_registry = _Registry(SERVER)


def switch_on(process: str = SERVER) -> None:
    """With no rule and no hit."""
    global on, _registry
    on, _registry = True, _Registry(process)


def switch_off() -> None:
    """Lets go of whoever pauses."""
    global on, _registry
    _registry.clear()
    on, _registry = False, _Registry(SERVER)


# --- where something may happen ---------------------------------------------------------------------------


def _refused(text: str) -> Exception:
    return Refused("UNAVAILABLE", text)


async def hit(
    name: str,
    conversations: Sequence[str] | None = None,
    *,
    failing: Callable[[str], Exception] = _refused,
) -> bool:
    """Does what this request (`conversations`: what it is about at this place) is to meet here.

    True: leave out what follows.  Raises `failing(text)` where an error was asked for."""
    here = asker()
    if conversations is not None:
        here = here._replace(conversations=tuple(conversations))
    return bool(await hit_each(name, [here], failing=failing))


async def hit_each(
    name: str, askers: Sequence[Asker], *, failing: Callable[[str], Exception] = _refused
) -> set[int]:
    """The same for a batch of several askers' doings; the indexes of those to leave out."""
    rules = [_registry.take(name, here) for here in askers]
    for rule in rules:
        if rule is None:
            continue
        if rule.action == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif rule.action == "error":
            raise failing(f"the failpoint {name} says so")
        elif rule.action == "sleep":
            await asyncio.sleep(rule.ms / 1000)
        elif rule.action == "pause":
            await rule.go.wait()
    return {i for i, rule in enumerate(rules) if rule is not None and rule.action == "drop"}


# --- who may tell ---------------------------------------------------------------------------------------


async def answer(request: p.ControlRequest) -> p.ControlReply:
    """Carries out one FAILPOINT frame.  Raises Refused: UNSUPPORTED where this process has no failpoints,
    BAD_REQUEST for what no point can do."""
    if not on:
        raise Refused("UNSUPPORTED", "this process was started without --failpoints")
    name, action = request.name, request.action
    match = _match(request)
    if action in (*ARMING, "release", "wait") and name not in POINTS:
        raise Refused("BAD_REQUEST", f"no failpoint {name!r}; known: {', '.join(POINTS)}")
    if action in ARMING:
        _check(request)
        _registry.arm(name, _Rule(action, match, request.count or None, request.ms))
    elif action == "release":
        _registry.release(name, match)
    elif action == "wait":
        await _registry.wait(name, match, request.count, request.timeout_ms / 1000)
    elif action == "clear":
        _registry.clear()
    elif action != "hits":
        known = ", ".join((*ARMING, *ASKING))
        raise Refused("BAD_REQUEST", f"action is one of {known}, got {action!r}")
    return p.ControlReply("FAILPOINT", hits=_registry.hits_of(name, match))


def _match(request: p.ControlRequest) -> Match:
    try:
        user = p.user_number(request.user) if request.user else 0
    except ValueError as why:
        raise Refused("BAD_REQUEST", str(why)) from None
    return Match(user, request.op_id, request.conversation)


def _check(request: p.ControlRequest) -> None:
    point = POINTS[request.name]
    if point.process != _registry.process:
        raise Refused("BAD_REQUEST", f"{request.name} is in the {point.process}, not here: tell it there")
    if request.action == "drop" and not point.dropped:
        raise Refused("BAD_REQUEST", f"at {request.name} there is nothing to drop")
    if request.action == "sleep" and request.ms <= 0:
        raise Refused("BAD_REQUEST", f"sleep wants ms above 0, got {request.ms}")
    if request.count < 0:
        raise Refused("BAD_REQUEST", f"count is 0 (for ever) or more, got {request.count}")


@contextlib.asynccontextmanager
async def serve(path: Path) -> AsyncIterator[None]:
    """Takes FAILPOINT frames, one per line, through a socket file: for a process without a control door.

    Whoever can open the file can kill the process: it belongs into a private folder.  Raises OSError."""
    server = await asyncio.start_unix_server(_converse, path)
    try:
        yield
    finally:
        server.close()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(p.encode(await _reply(line)) + b"\n")
            await writer.drain()
    writer.close()


async def _reply(line: bytes) -> p.ControlReply:
    try:
        request = p.decode_control(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as why:
        return p.ControlReply("ERROR", code="BAD_REQUEST", message=str(why))
    try:
        if request.type != "FAILPOINT":
            raise Refused("UNSUPPORTED", f"only FAILPOINT is taken here, not {request.type!r}")
        reply = await answer(request)
    except Refused as why:
        reply = p.ControlReply("ERROR", code=why.code, message=str(why))
    reply.reply_to = request.id
    return reply
