"""A case of the queue scheme: its consumers are processes, and where it has to die its server is one too."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import pytest

from bench.results import RunFolder
from bench.services import Stack
from bench.services.ports import free_ports
from schemes import SCHEMES
from schemes import protocol as p
from schemes.queue.events import CursorMoved, CursorValue, encode
from schemes.queue.scheme import Queue
from schemes.stores.kafka import partition_of
from schemes.stores.kafka_topics import create_topic
from tests.anomalies.driver import (
    DAN,
    EVE,
    SECRET,
    Case,
    Node,
    NotRun,
    Points,
)
from tests.anomalies.planted import CONTEXT, body
from tests.anomalies.record import clock_ns
from tests.anomalies.table import Plant, Row, Variant
from tests.contract.client import Client, Frame

READY_S: Final = 20.0
NOTICE_S: Final = 10.0
"""How long a recipe waits for what must come."""
_LOGGED: Final = "failpoint {"
T = TypeVar("T")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class QueueVariant(Variant):
    """`consumer`: test-only, in the consumers' processes.  `apart`: the server is a process, which may die.
    `stuck`: nothing drains any more, which is the anomaly."""

    consumer: Plant | None = None
    consumers: int = 1
    partitions: int = 8
    apart: bool = False
    stuck: bool = False


class Process:
    """One process, possibly with a bug in it, and the log of its failpoints."""

    def __init__(self, plant: Plant | None, what: str, arguments: Sequence[str], folder: Path) -> None:
        self._what = what
        self._log = folder / f"{what}-{next(_numbers)}.log"
        self._process = CONTEXT.Process(target=body, args=(plant, what, arguments, self._log))

    def spawn(self) -> None:
        self._process.start()

    async def ready(self, asked: Callable[[], Awaitable[T]]) -> T:
        """What `asked` gives, once it raises no OSError any more."""
        async with asyncio.timeout(READY_S):
            while self._process.is_alive():
                with contextlib.suppress(OSError):
                    return await asked()
                await asyncio.sleep(0.02)
        raise NotRun(f"the {self._what} ended: {self._said()}")

    async def died(self) -> None:
        """Waits for the end that a failpoint has put to it."""
        await asyncio.to_thread(self._process.join, NOTICE_S)
        if self._process.exitcode != -signal.SIGKILL:
            raise NotRun(f"the {self._what} did not die ({self._process.exitcode}): {self._said()}")

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def end(self) -> None:
        """There is nothing to be kept."""
        if self._process.pid is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    def _said(self) -> str:
        return self._log.read_text()[-500:] if self._log.exists() else ""

    def hits(self) -> list[p.FailpointHit]:
        """All so far, which a process that died cannot be asked for."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        found = (line[line.index(_LOGGED) + len(_LOGGED) - 1 :] for line in lines if _LOGGED in line)
        return [p.FailpointHit(**json.loads(text)) for text in found]


class ServerProcess(Process):
    """A server that may die: `Node`, in a process of its own."""

    def __init__(self, options: Mapping[str, str], plant: Plant | None, folder: Path) -> None:
        (self._port,) = free_ports(1)
        known = {*SCHEMES["queue"].options, "mysql-url", "redis-url", "kafka-bootstrap", "node"}
        words = [
            f"--{name}={value}" if name in known else f"--set={name}={value}"
            for name, value in options.items()
        ]
        arguments = ["queue", f"--port={self._port}", f"--secret={SECRET.decode()}", *words]
        arguments += ["--control", "--failpoints"]
        super().__init__(plant, "server", arguments, folder)
        self.url = f"ws://127.0.0.1:{self._port}{p.PATH}"

    async def start(self) -> None:
        self.spawn()
        self._door: Client = await self.ready(
            lambda: Client.dial(f"ws://127.0.0.1:{self._port}{p.CONTROL_PATH}")
        )
        await self.control("AUTH", secret=SECRET.decode())
        self.points = Points(lambda request: self._door.ask("FAILPOINT", **request))

    async def control(self, kind: str, **fields: Any) -> Frame:
        reply = await self._door.ask(kind, **fields)
        if reply["type"] == "ERROR":
            raise NotRun(f"{kind}: {reply['code']}: {reply['message']}")
        return reply

    async def stop(self) -> None:
        await self._door.close()
        await self.end()


class Consumer(Process):
    """A consumer with failpoints."""

    def __init__(self, options: Mapping[str, str], node: int, plant: Plant | None, folder: Path) -> None:
        given = (*SCHEMES["queue"].consumer_options, "group", "partitions")
        words = [f"--{name}={options[name]}" for name in given if name in options]
        (self._port,) = free_ports(1)
        self._socket = folder / f"{next(_numbers)}.socket"
        words += [f"--node={node}", f"--health-port={self._port}", f"--failpoints={self._socket}"]
        super().__init__(plant, "consumer", words, folder)

    async def assigned(self) -> None:
        """Until it has partitions."""
        await self.ready(lambda: self.get("readyz"))
        self.points = await Points.of_socket(self._socket)

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.get("status"))
        return found

    async def get(self, path: str) -> str:
        """Raises OSError."""

        def ask() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=5) as reply:
                return str(reply.read().decode())

        return await asyncio.to_thread(ask)


class Everywhere(Points):
    """The failpoints of the server, and the hits of every process of the case, dead ones too."""

    def __init__(self, case: QueueCase) -> None:
        super().__init__(lambda request: case.nodes[0].points._ask(request))
        self._case = case

    async def hits(self, name: str = "") -> list[p.FailpointHit]:
        own = [] if self._case.variant.apart else await super().hits(name)
        logged = [hit for process in self._case.processes for hit in process.hits()]
        return own + [hit for hit in logged if name in ("", hit.name)]


class QueueCase(Case):
    """What a recipe needs besides: `settle`, processes that die, are stopped and come back."""

    variant: QueueVariant

    def __init__(self, row: Row, variant: Variant, stack: Stack, patch: pytest.MonkeyPatch) -> None:
        super().__init__(row, variant, stack, patch)
        number = next(_numbers)
        self.options |= {
            "topic": f"anomaly-{number}",
            "group": f"anomaly-{number}",
            "partitions": str(self.variant.partitions),
        }
        self.consumers: list[Consumer] = []
        self.processes: list[Process] = []
        self._folder = Path(tempfile.mkdtemp(prefix="anomaly-"))
        self._everywhere = Everywhere(self)

    @property
    def points(self) -> Points:
        return self._everywhere

    @property
    def scheme(self) -> Queue:
        """Of a server that is no process."""
        found = self.nodes[0].server.scheme
        assert isinstance(found, Queue)
        return found

    # --- processes

    async def start(self) -> None:
        await create_topic(
            self.options["kafka-bootstrap"], self.options["topic"], self.variant.partitions
        )  # or the first consumer would share out what it does not know of yet
        self.consumers = [self._consumer(node) for node in range(self.variant.consumers)]
        for consumer in self.consumers:
            consumer.spawn()
        await super().start()
        if self.variant.consumers > 1:
            await self.until_true(self._shared, "the consumers did not share the partitions")

    async def add_node(self) -> Node:
        if self.variant.apart:
            server: Any = ServerProcess(self.options, self.variant.plant, self._folder)
            self.processes.append(server)
            await server.start()
            self.nodes.append(server)
        else:
            await super().add_node()
        await asyncio.gather(*(consumer.assigned() for consumer in self.consumers))
        return self.nodes[0]

    def _consumer(self, node: int) -> Consumer:
        made = Consumer(self.options, node, self.variant.consumer, self._folder)
        self.processes.append(made)
        return made

    async def revive_server(self) -> None:
        """It has died; its devices' connections with it."""
        dead: Any = self.nodes.pop()
        await dead.died()
        await dead.stop()
        for device in self._devices:
            if not device.session.get("closed"):
                device.session |= {"closed": clock_ns(), "close_code": 1006}
                for frame in device.socket.pushes:
                    self.record.pushed(device.session, frame)
        await self.add_node()

    async def revive_consumer(self) -> None:
        dead = self.consumers.pop()
        await dead.died()
        self.consumers.append(self._consumer(0))
        self.consumers[0].spawn()
        await self.consumers[0].assigned()

    async def stop(self) -> None:
        try:
            await super().stop()
        finally:
            await asyncio.gather(*(process.end() for process in self.processes))
            shutil.rmtree(self._folder)

    # --- what is waited for

    async def settle(self) -> None:
        if not self.variant.stuck:
            await super().settle()

    async def committed(self, *consumers: Consumer) -> None:
        """Until these, or all, have committed what they have applied: a successor gets none of it again."""

        async def all_committed() -> bool:
            for consumer in consumers or self.consumers:
                status = await consumer.status()
                moved = {k: v for k, v in status["positions"].items() if v}
                if moved.items() - status["committed"].items():
                    return False
            return True

        await self.until_true(all_committed, "the consumer did not commit")

    async def until_true(self, asked: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        for _ in range(int(NOTICE_S / 0.05)):
            if await asked():
                return
            await asyncio.sleep(0.05)
        raise NotRun(otherwise)

    async def shown(self, conversation: str, user: int, up_to_seq: int, within_s: float) -> bool:
        """Whether Redis comes to hold this within that time."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    held = await self.scheme.held("cache", user, conversation)
                    if held is not None and held.read_seq == up_to_seq:
                        return True
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False

    async def holder(self, name: str) -> tuple[Consumer, Consumer]:
        """Of two consumers the one that has come to this failpoint, and the other, which is let go."""
        for _ in range(int(NOTICE_S / 0.02)):
            for one, other in (self.consumers, self.consumers[::-1]):
                if await one.points.hits(name):
                    await other.points.release(name)
                    return one, other
            await asyncio.sleep(0.02)
        raise NotRun(f"nobody came to {name}")

    async def _shared(self) -> bool:
        return all([len((await consumer.status())["positions"]) == 1 for consumer in self.consumers])

    # --- people

    async def talk_beside(self) -> None:
        """As elsewhere, but nobody looks before it has arrived."""
        if not self.row.beside:
            return
        dan, eve = await self.device(DAN), await self.device(EVE)
        await dan.read("beside", (await eve.send("beside"))["seq"])
        await self.settle()
        for device in (dan, eve):
            await device.state("beside")
            await device.close()

    async def answer_lost(self, asked: asyncio.Task[Frame]) -> None:
        """The server died with it: the answer may have come, or nobody knows."""
        with contextlib.suppress(ConnectionError):
            await asked

    async def poison(self, beside: int) -> None:
        """An event that can be decoded and never be applied: its key is a list of conversations.  It is in
        another partition than the log of user `beside`."""
        theirs = partition_of(b"u%d" % beside, self.variant.partitions)
        keys = (b"poison-%d" % number for number in itertools.count())
        key = next(key for key in keys if partition_of(key, self.variant.partitions) != theirs)
        event = CursorMoved(key=f"convs:{beside}", value=CursorValue(1, 1, 1), tell=msgspec.Raw(b"[]"))
        await self.scheme._log.put([(key, encode(event))]).wait()

    async def blame(self, name: str) -> None:
        """As far as the place could know whose doing it was: the relay and the consumer do not."""
        hits = await self.points.hits(name)
        if not hits:
            raise NotRun(f"nobody came to {name}")
        self.culprits = {int(hit.op_id) for hit in hits if hit.op_id}

    # --- the end

    async def finish(self, root: Path) -> RunFolder:
        folder = await super().finish(root)
        if self.variant.stuck:
            folder.update_manifest(drained=False)
        return folder
