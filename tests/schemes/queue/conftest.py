"""Servers of the queue scheme in this process, and consumers in processes of their own, on a private stack:
these tests stop Kafka and restart Redis."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from bench.services import Stack, bring_up
from bench.services.ports import free_ports
from schemes.ports import Caller, Marked, Trace
from schemes.protocol import SeedConversation
from schemes.queue import build, scheme
from schemes.queue.scheme import Queue
from schemes.read_state import Push

ANN, BOB, CYD = 1, 2, 3
SEED = [
    SeedConversation("d", "direct", [ANN, BOB], 6, [0, 0]),  # read up to 5 and 6: their own last messages
    SeedConversation("g", "group", [ANN, BOB, CYD], 9, [0, 0, 0]),
]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with bring_up(frozenset({"mysql", "redis", "kafka"}), how="local", say=lambda _: None) as running:
        yield running


class Pushes:
    """A publisher that notes what it was given."""

    def __init__(self) -> None:
        self.pushed: list[Push] = []
        self.lost_reasons: list[str] = []

    def publish(self, push: Push) -> None:
        self.pushed.append(push)

    def lost(self, reason: str) -> None:
        self.lost_reasons.append(reason)

    def frames(self, user: int, kind: str) -> list[dict[str, Any]]:
        """What the devices of `user` were sent, in order."""
        documents = (json.loads(push.frame) for push in self.pushed if user in push.users)
        return [document for document in documents if document["type"] == kind]

    def change_ids(self, user: int) -> list[int]:
        return [frame["change_id"] for frame in self.frames(user, "UPDATE") if "change_id" in frame]


class Consumer:
    """A consumer process."""

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        (self.port,) = free_ports(1)

    async def start(self) -> None:
        words = [f"--{name}={value}" for name, value in self.options.items()]
        guard = ("setpriv", "--pdeathsig", "KILL", "--")  # a killed test run leaves no consumer behind
        self.process = await asyncio.create_subprocess_exec(
            *guard,
            *(sys.executable, "-m", "schemes.queue.consumer", *words, f"--health-port={self.port}"),
            start_new_session=True,
        )
        for _ in range(300):
            if await self.get("/readyz") is not None:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the consumer was not ready within 15 s")

    async def get(self, path: str) -> str | None:
        """The body; None if it is not 200."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.port}{path}")

    async def status(self) -> dict[str, Any]:
        text = await self.get("/status")
        assert text is not None
        found: dict[str, Any] = json.loads(text)
        return found

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(how)
        try:
            return await asyncio.wait_for(self.process.wait(), 15)
        except TimeoutError:
            self.process.kill()  # a failure, but none that stays behind
            raise


def _get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return None


class World:
    """One server and its consumer on a log, a database and a Redis database of their own."""

    def __init__(self, stack: Stack, options: dict[str, str]) -> None:
        number = next(_numbers)
        mysql, redis = (urlsplit(stack.services[name].url) for name in ("mysql", "redis"))
        self.options = {
            "mysql-url": urlunsplit(mysql._replace(path=f"/queue_{options.get('model', 'flags')}")),
            "redis-url": urlunsplit(redis._replace(path=f"/{number % 13}")),
            "kafka-bootstrap": stack.services["kafka"].url,
            "topic": f"topic-{number}",
            "group": f"group-{number}",
            "redis-exclusive": "yes",
            **options,
        }
        self.pushes = Pushes()
        built = build(self.options, self.pushes)
        assert isinstance(built, Queue)
        self.scheme = built
        self.consumer = Consumer(self.options)

    async def start(self, *, consumer: bool = True) -> None:
        await self.scheme.start()
        if consumer:
            await self.consumer.start()
        await self.scheme.reset()
        await self.scheme.seed(SEED, done=True, warm=False)

    async def close(self) -> None:
        if hasattr(self.consumer, "process"):
            await self.consumer.stop()
        await self.scheme.close()

    async def send(self, user: int, conversation: str, text: str) -> int:
        outcome = await self.scheme.send(caller(user), conversation, f"{user}-{text}", text, Trace())
        return outcome.seq

    async def read(self, user: int, conversation: str, up_to_seq: int) -> None:
        await self.scheme.read(caller(user), [Marked(conversation, up_to_seq)], Trace())

    async def settle(self, timeout_s: float = 20.0) -> None:
        assert await self.scheme.drain(timeout_s) == {}

    async def rows(self, source: str) -> list[Sequence[Any]]:
        found, _ = await self.scheme.dump(source, "", 1000)
        fields = ("conversation_id", "user_id", "read_seq", "delivered_seq", "version", "last_seq")
        return sorted(tuple(getattr(row, name) for name in fields) for row in found)

    async def assert_converged(self) -> None:
        """After settle: Redis says what MySQL says, and STATE and the change ids with it."""
        assert await self.rows("cache") == await self.rows("store")
        for user in (ANN, BOB, CYD):
            position = await self.scheme.store.position(user, Trace())
            assert await self.scheme.position(user, Trace()) == position
            page = await self.scheme.state(user, None, None, 100, Trace())
            assert page.change_id == position[1]
            assert page.total_unread == await self.scheme.store.total_unread(user, Trace())


def caller(user: int, session: str = "") -> Caller:
    return Caller(user, "phone", session or f"session-{user}")


async def chatter(world: World, rounds: int) -> None:
    """Everybody sends and reads at once."""

    async def one(user: int, conversation: str, number: int) -> None:
        seq = await world.send(user, conversation, f"{conversation}{number}")
        reader = BOB if user == ANN else ANN
        await world.read(reader, conversation, seq)
        await world.scheme.delivered(caller(reader), [Marked(conversation, seq)], Trace())

    jobs = [
        one(user, conversation, number)
        for number in range(rounds)
        for user, conversation in ((ANN, "d"), (BOB, "d"), (CYD, "g"))
    ]
    gate = asyncio.Semaphore(16)

    async def through(job: Awaitable[None]) -> None:
        async with gate:
            await job

    await asyncio.gather(*map(through, jobs))


Make = Callable[..., Awaitable[World]]


@pytest.fixture
async def make(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Worlds with a seeded store; options as on the command line."""
    made: list[World] = []

    async def make(*, consumer: bool = True, **options: str) -> World:
        world = World(stack, {name.replace("_", "-"): value for name, value in options.items()})
        made.append(world)
        if not consumer:
            monkeypatch.setattr(scheme, "RESET_S", 0.1)  # nobody to wait for
        await world.start(consumer=consumer)
        return world

    yield make
    for world in made:
        await world.close()
