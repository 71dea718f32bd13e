"""A server of one arm in this process, its consumer where it has one, and people and rooms to use up."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemes import SCHEMES
from schemes import protocol as p
from schemes.__main__ import ack_meaning
from schemes.server.listener import Server
from schemes.server.session import ServerConfig
from tests.contract.arms import Arm
from tests.contract.client import Client, Frame

SECRET = b"contract"
MEMBERS = 4
HUB = 7
HISTORY = 6
BATCH = 40


@dataclass(frozen=True)
class Room:
    """A conversation that no other test uses."""

    id: str
    users: tuple[str, ...]
    history: int


@dataclass
class World:
    """The running arm.  Rooms are loaded in batches and each is handed out once."""

    arm: Arm
    limits: p.Limits = field(default_factory=p.Limits)
    options: dict[str, str] = field(default_factory=dict)
    url: str = ""
    _clients: list[Client] = field(default_factory=list)
    _rooms: dict[str, Iterator[Any]] = field(default_factory=dict)

    async def start(self) -> None:
        scheme = SCHEMES[self.arm.scheme]
        config = ServerConfig(
            scheme=self.arm.scheme,
            model=self.arm.options.get("model", "none"),
            ack=ack_meaning(self.arm.scheme, self.arm.options),
            secret=SECRET,
            control=True,
            limits=self.limits,
        )
        options = {name: about.default for name, about in scheme.options.items()}
        options |= {"node": "0", "receipt-members": str(self.limits.receipt_members)}
        options |= self.arm.options | self.options
        self._consumer = await self._start_consumer(options) if scheme.consumer else None
        module, _, build = scheme.build.partition(":")
        self.server = Server(config)
        self.server.scheme = getattr(importlib.import_module(module), build)(options, self.server.publisher)
        port = await self.server.listen("127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{port}{p.PATH}"
        self._control = await Client.dial(f"ws://127.0.0.1:{port}{p.CONTROL_PATH}")
        await self.control("AUTH", secret=SECRET.decode())
        await self.control("RESET")
        self._numbers = itertools.count(1)

    async def _start_consumer(self, options: dict[str, str]) -> asyncio.subprocess.Process:
        scheme = SCHEMES[self.arm.scheme]
        module = (scheme.consumer or "").partition(":")[0]
        given = (*scheme.consumer_options, "topic", "group")
        arguments = [f"--{name}={options[name]}" for name in given if name in options]
        guard = ("setpriv", "--pdeathsig", "KILL", "--")  # a killed test run leaves no consumer behind
        return await asyncio.create_subprocess_exec(
            *guard,
            sys.executable,
            "-m",
            module,
            *arguments,
            start_new_session=True,
        )

    async def stop(self) -> None:
        await self.close_clients()
        await self._control.close()
        await self.server.stop()
        if self._consumer is not None:
            self._consumer.terminate()
            await asyncio.wait_for(self._consumer.wait(), 20)

    # --- devices ------------------------------------------------------------------------------------------

    async def device(self, user: str, device: str = "d1", **hello: Any) -> Client:
        client = await Client.open(self.url, SECRET, user, device, **hello)
        self._clients.append(client)
        return client

    async def stranger(self) -> Client:
        """A connection that has not said HELLO."""
        client = await Client.dial(self.url)
        self._clients.append(client)
        return client

    async def close_clients(self) -> None:
        clients, self._clients = self._clients, []
        await asyncio.gather(*(client.close() for client in clients))

    # --- the harness's door -------------------------------------------------------------------------------

    async def control(self, kind: str, **fields: Any) -> Frame:
        reply = await self._control.ask(kind, **fields)
        assert reply["type"] != "ERROR", reply
        return reply

    async def settle(self) -> None:
        """Waits until nothing is on its way any more."""
        for _ in range(50):
            reply = await self.control("DRAIN", timeout_ms=5000)
            if not reply.get("left"):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"did not drain: {reply}")

    async def dump(self, source: str = "store") -> dict[tuple[str, int], list[Any]]:
        rows: dict[tuple[str, int], list[Any]] = {}
        after = ""
        while True:
            reply = await self.control("DUMP", source=source, after=after, limit=200)
            rows |= {(row[0], row[1]): row for row in reply["rows"]}
            if not reply.get("after"):
                return rows
            after = reply["after"]

    # --- rooms --------------------------------------------------------------------------------------------

    async def direct(self) -> Room:
        """Two people; six messages, of which the first has read 5 (their own last), the second 6."""
        return await self._take("direct")

    async def fresh(self) -> Room:
        """Two people who never spoke."""
        return await self._take("fresh")

    async def group(self) -> Room:
        """Four people; six messages (by 1, 2, 3, 4, 1, 2), everybody has read everything."""
        return await self._take("group")

    async def hub(self) -> list[Room]:
        """Seven direct conversations without messages that share their first person."""
        rooms: list[Room] = await self._take("hub")
        return rooms

    async def _take(self, kind: str) -> Any:
        room = next(self._rooms.get(kind, iter(())), None)
        if room is None:
            self._rooms[kind] = await self._load(kind)
            room = next(self._rooms[kind])
        return room

    async def _load(self, kind: str) -> Iterator[Any]:
        made = [self._make(kind) for _ in range(BATCH if kind != "hub" else 8)]
        seeds = [seed for _, seeded in made for seed in seeded]
        await self.control("SEED", conversations=json.loads(p.encode(seeds)), done=True)
        await self.settle()
        return iter([room for room, _ in made])

    def _make(self, kind: str) -> tuple[Any, list[p.SeedConversation]]:
        if kind == "hub":
            first = next(self._numbers)
            made = [self._one("direct", (first, next(self._numbers)), 0) for _ in range(HUB)]
            return [room for room, _ in made], [seed for _, seed in made]
        members = tuple(next(self._numbers) for _ in range(MEMBERS if kind == "group" else 2))
        room, seed = self._one(
            "group" if kind == "group" else "direct", members, 0 if kind == "fresh" else HISTORY
        )
        if kind == "direct":
            seed.read_seq[0] = 0
        return room, [seed]

    def _one(self, kind: str, members: tuple[int, ...], history: int) -> tuple[Room, p.SeedConversation]:
        name = f"{kind[0]}{next(self._numbers)}"
        seed = p.SeedConversation(name, kind, list(members), history, [history] * len(members))
        return Room(name, tuple(f"u{number}" for number in members), history), seed
