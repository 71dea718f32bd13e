"""`bench statements`: one SEND, DELIVERED, READ, STATE and SYNC of a scheme, and what each really sent to the
stores, beside what the scheme's ledger declares for it.

On private services and a population of three people.  What happens by the clock alone (heartbeats, polls) is
heard first, when nothing is asked, and left out of the operations."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.conformance.client import Client, Patience
from bench.control import Control
from bench.services import Stack, bring_up
from bench.services.server import SchemeProcesses
from bench.services.wire import Heard, MysqlLog, RedisMonitor, TopicReader
from schemes import SCHEMES
from schemes.ledger import BY_THE_CLOCK, NOT_OF_SCHEMES, Counts, Range, declared_by, total
from schemes.protocol import SeedConversation, make_token

SETTLE_S: Final = 0.7
"""By then everything that an operation caused has happened, and a consumer has told what it did."""
IDLE_S: Final = 1.5
LIFE_S: Final = 3600
PEOPLE: Final = (1, 2, 3)
DIRECT: Final = "d1"
ROOMS: Final = (
    SeedConversation(DIRECT, "direct", [1, 2], 6, [6, 6]),
    SeedConversation("g1", "group", [1, 2, 3], 6, [6, 6, 6]),
)
NOT_ON_THE_WIRE: Final = ("mysql.Handler_", "mysql.autocommits", "redis.round_trips")
"""Counters of what a statement does, not of statements."""


@dataclass(frozen=True)
class Step:
    """One operation: what was heard of it, and what is declared, by counter (those on the wire alone)."""

    name: str
    heard: tuple[Heard, ...]
    declared: Mapping[str, Range]

    @property
    def counted(self) -> dict[str, int]:
        return dict(Counter(one.counter for one in self.heard))

    @property
    def wrong(self) -> list[str]:
        """Counters that are not as declared."""
        names = self.counted.keys() | self.declared.keys()
        meant = (name for name in names if name.removeprefix("redis.") not in NOT_OF_SCHEMES)
        return sorted(name for name in meant if not self._agrees(name))

    def _agrees(self, name: str) -> bool:
        low, high = self.declared.get(name, (0, 0))
        return low <= self.counted.get(name, 0) <= high


Asked = tuple[str, str, dict[str, Any], Counts, Counts]
"""What it is called, who asks (device), the frame, what it counts as, and as what where marks are queued."""


def watch(scheme: str, options: Mapping[str, str], logs: Path, say: Callable[[str], None]) -> list[Step]:
    """Raises ServicesError, ControlError or Unmet where something cannot be started or asked."""
    chosen = {name: about.default for name, about in SCHEMES[scheme].options.items()} | dict(options)
    with asyncio.Runner() as runner, contextlib.ExitStack() as leaving:
        stack = leaving.enter_context(bring_up(SCHEMES[scheme].needs, how="local", say=say))
        secret = secrets.token_urlsafe(16)
        processes = SchemeProcesses(
            scheme, chosen | _urls(stack), settings={}, secret=secret, logs=logs, auth="hmac"
        )
        leaving.enter_context(processes)
        processes.wait_ready()
        control = Control(processes.control_url, secret)
        leaving.callback(control.close)
        control.ask("RESET")
        control.seed([list(ROOMS)], warm=False)
        wire = _Wire(stack, chosen.get("topic", ""), runner)
        leaving.callback(wire.close)
        watching = _Watching(scheme, chosen, control, wire)
        clients = {name: runner.run(_sign_in(processes.url, secret, name)) for name in ("u1", "u2")}
        leaving.callback(lambda: [runner.run(client.close()) for client in clients.values()])
        watching.know_the_clock()
        return list(watching.steps(clients, runner))


def _urls(stack: Stack) -> dict[str, str]:
    names = {"mysql": "mysql-url", "redis": "redis-url", "kafka": "kafka-bootstrap"}
    return {names[name]: service.url for name, service in stack.services.items()}


async def _sign_in(url: str, secret: str, user: str) -> Client:
    client = await Client.dial(url, Patience())
    token = make_token(secret.encode(), user, "d", int(time.time()) + LIFE_S)
    await client.want("HELLO", "WELCOME", user_id=user, device_id="d", token=token)
    await client.ask("SUB", keys=["*"])
    await client.ask("HISTORY", conversation_id=DIRECT, from_seq=1)  # now its members are known
    return client


def operations() -> Iterator[Asked]:
    """In this order: what is read was sent before it."""

    def mark(kind: str, seq: int) -> dict[str, Any]:
        return {"type": kind, "items": [{"conversation_id": DIRECT, "up_to_seq": seq}]}

    def send(text: str) -> dict[str, Any]:
        return {"type": "SEND", "conversation_id": DIRECT, "client_msg_id": f"m-{text}", "body": text}

    sent = Counter({"send.direct": 1, "send.receivers": 1})
    queued = Counter({"read.unknown": 1}), Counter({"delivered.stale": 1})
    page, sync = Counter({"state.page": 1}), Counter({"sync.done": 1})
    yield "SEND", "u1", send("one"), sent, sent
    yield "DELIVERED", "u2", mark("DELIVERED", 7), Counter({"delivered.moved.direct": 1}), queued[1]
    yield "READ", "u2", mark("READ", 7), Counter({"read.moved.direct": 1}), queued[0]
    yield "READ that is stale", "u2", mark("READ", 7), Counter({"read.stale": 1}), queued[0]
    yield "STATE", "u2", {"type": "STATE", "limit": 20}, page, page
    yield "STATE again", "u2", {"type": "STATE", "limit": 20}, page, page
    yield "SYNC", "u2", {"type": "SYNC", "since_change_id": 0}, sync, sync
    yield "SEND, unread by the other", "u1", send("two"), sent, sent
    yield "SEND that implies a READ", "u2", send("three"), sent, sent


class _Wire:
    """All that is heard of a stack."""

    def __init__(self, stack: Stack, topic: str, runner: asyncio.Runner) -> None:
        services = stack.services
        self._runner = runner
        self._mysql = MysqlLog(services["mysql"].url) if "mysql" in services else None
        self._redis = RedisMonitor(services["redis"].url) if "redis" in services else None
        self._kafka = TopicReader(services["kafka"].url, topic) if "kafka" in services else None
        if self._kafka is not None:
            runner.run(self._kafka.start())

    def heard(self) -> list[Heard]:
        found = self._mysql.heard() if self._mysql is not None else []
        found += self._redis.heard() if self._redis is not None else []
        return found + (self._runner.run(self._kafka.heard()) if self._kafka is not None else [])

    def close(self) -> None:
        if self._mysql is not None:
            self._mysql.close()
        if self._redis is not None:
            self._redis.close()
        if self._kafka is not None:
            self._runner.run(self._kafka.close())


class _Watching:
    def __init__(self, scheme: str, options: Mapping[str, str], control: Control, wire: _Wire) -> None:
        self._declare = declared_by(SCHEMES[scheme].ledger)
        self._options = options
        self._queued = options.get("queue-order") == "queue_first"
        self._control = control
        self._wire = wire
        self._clock: set[str] = set()

    def know_the_clock(self) -> None:
        """What is heard when nothing is asked."""
        time.sleep(SETTLE_S)
        self._wire.heard()
        time.sleep(IDLE_S)
        self._clock = {shape(one) for one in self._wire.heard() if not one.scripted}

    def steps(self, clients: Mapping[str, Client], runner: asyncio.Runner) -> Iterator[Step]:
        for name, who, frame, counts, queued in operations():
            noted = self._noted()
            self._wire.heard()
            fields = {key: value for key, value in frame.items() if key != "type"}
            runner.run(clients[who].ask(frame["type"], **fields))
            time.sleep(SETTLE_S)
            heard = tuple(without(self._wire.heard(), self._clock))
            changed = self._noted()
            changed.subtract(noted)
            yield Step(name, heard, self._declared(queued if self._queued else counts, changed))

    def _noted(self) -> Counts:
        scheme = (self._control.ask("STATS").stats or {}).get("scheme") or {}
        return Counter({name: value for name, value in scheme.items() if isinstance(value, int)})

    def _declared(self, done: Counts, noted: Counts) -> dict[str, Range]:
        """Of the operation, without what goes by the clock."""
        own = Counter({name: n for name, n in noted.items() if name not in BY_THE_CLOCK})
        found = total(self._declare(self._options, done, own))
        idle = total(self._declare(self._options, Counter(), Counter()))
        spans = {name: (low - idle[name][0], high - idle[name][1]) for name, (low, high) in found.items()}
        return {
            name: span for name, span in spans.items() if any(span) and not name.startswith(NOT_ON_THE_WIRE)
        }


def shape(one: Heard) -> str:
    """What a statement is, whatever its values: enough to know again what comes by the clock."""
    words = one.text.split(" ")
    if one.counter.startswith("mysql."):
        return re.sub(r"\d+", "N", one.text)
    return " ".join(words[: 5 if words[0].upper() == "EVALSHA" else 2])


def without(heard: Sequence[Heard], clock: Iterable[str]) -> Iterator[Heard]:
    """What did not come by the clock; what a script sends comes with the script."""
    known, left_out = set(clock), False
    for one in heard:
        if not one.scripted:
            left_out = shape(one) in known
        if not left_out:
            yield one
