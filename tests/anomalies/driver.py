"""Drives one case: a server (or several) of a variant on real services, people who read, and failpoints.

    await case.points.arm("after_db_commit", "pause", user="u1")
    reading = case.begin_read(phone, "d", 6)
    await case.points.reached("after_db_commit")
    ...
    await case.points.release("after_db_commit")
    await reading

Whatever goes wrong on the way is an exception, which means that the row was not run: never that it is red."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import pytest

from bench.record import Op
from bench.results import RunFolder
from bench.services import Stack
from schemes import SCHEMES, failpoints
from schemes import protocol as p
from schemes.__main__ import ack_meaning
from schemes.server.listener import Server
from schemes.server.session import ServerConfig
from schemes.stores.mysql import MySQL
from schemes.stores.redis import RedisStore
from tests.anomalies.record import NOT_A_DEVICE, Record, clock_ns
from tests.anomalies.table import Row, Variant
from tests.contract.client import Client, Frame

SECRET: Final = b"anomalies"
REACHED_MS: Final = 4000
SETTLE_MS: Final = 8000
REDIS_DATABASE: Final = 14
ANN, BOB, CYD, DAN, EVE = 1, 2, 3, 8, 9
SEEDS: Final = (  # seq 1, 3, 5 are of the first, 2, 4, 6 of the second
    p.SeedConversation("d", "direct", [ANN, BOB], 6, [5, 6]),
    p.SeedConversation("e", "direct", [ANN, CYD], 6, [5, 6]),
    p.SeedConversation("g", "group", [ANN, BOB, CYD], 6, [5, 6, 6]),
    p.SeedConversation("beside", "direct", [DAN, EVE], 6, [5, 6]),
)
"""`beside` is nobody's business: what happens there must never be accused."""


class NotRun(Exception):
    """The recipe could not be carried out: nothing is known about the row."""


class Points:
    """The failpoints of one process, through whatever door it has."""

    def __init__(self, ask: Callable[[dict[str, Any]], Awaitable[Frame]]) -> None:
        self._ask = ask

    @classmethod
    async def of_socket(cls, path: Path) -> Points:
        """Those of a consumer that was started with `--failpoints PATH`."""
        reader, writer = await asyncio.open_unix_connection(path)

        async def ask(request: dict[str, Any]) -> Frame:
            writer.write(json.dumps({"type": "FAILPOINT", **request}).encode() + b"\n")
            reply: Frame = json.loads(await reader.readline())
            return reply

        return cls(ask)

    async def arm(self, name: str, action: str, **match: Any) -> None:
        """What the next who comes to the point will meet; `count`, `ms` and whom as in a FAILPOINT frame."""
        await self._tell(name=name, action=action, **match)

    async def reached(self, name: str, count: int = 1, **match: Any) -> list[p.FailpointHit]:
        """Waits until they are there.  Raises NotRun if they don't come."""
        hits = await self._tell(name=name, action="wait", count=count, timeout_ms=REACHED_MS, **match)
        if len(hits) < count:
            raise NotRun(f"{len(hits)} of {count} came to {name} within {REACHED_MS} ms")
        return hits

    async def release(self, name: str, **match: Any) -> None:
        """Lets everybody go who waits there, or those of this rule."""
        await self._tell(name=name, action="release", **match)

    async def hits(self, name: str = "") -> list[p.FailpointHit]:
        return await self._tell(name=name, action="hits")

    async def _tell(self, **request: Any) -> list[p.FailpointHit]:
        reply = await self._ask(request)
        if reply["type"] == "ERROR":
            raise NotRun(f"{request}: {reply['code']}: {reply['message']}")
        return [p.FailpointHit(**hit) for hit in reply["hits"]]


class Node:
    """One server of the scheme in this process, and its control door."""

    def __init__(self, scheme: str, options: Mapping[str, str]) -> None:
        module, _, build = SCHEMES[scheme].build.partition(":")
        config = ServerConfig(
            scheme=scheme,
            model=options["model"],
            ack=ack_meaning(scheme, dict(options)),
            node=int(options["node"]),
            secret=SECRET,
            control=True,
        )
        self.server = Server(config)
        self.server.scheme = getattr(importlib.import_module(module), build)(
            dict(options), self.server.publisher
        )

    async def start(self) -> None:
        port = await self.server.listen("127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{port}{p.PATH}"
        self._door = await Client.dial(f"ws://127.0.0.1:{port}{p.CONTROL_PATH}")
        await self.control("AUTH", secret=SECRET.decode())
        self.points = Points(lambda request: self._door.ask("FAILPOINT", **request))

    async def control(self, kind: str, **fields: Any) -> Frame:
        reply = await self._door.ask(kind, **fields)
        if reply["type"] == "ERROR":
            raise NotRun(f"{kind}: {reply['code']}: {reply['message']}")
        return reply

    async def stats(self) -> dict[str, Any]:
        """The scheme's own counters."""
        return self.server.scheme.stats()

    async def stop(self) -> None:
        await self._door.close()
        await self.server.stop()


class _Socket(Client):
    """Stamps what arrives."""

    async def _take(self, frame: Frame) -> None:
        frame["received_ns"] = clock_ns()
        await super()._take(frame)


class Device:
    """A person's device on one node, recorded."""

    def __init__(self, case: Case, socket: Client, session: dict[str, Any]) -> None:
        self.socket = socket
        self.session = session
        self._case = case

    async def read(self, conversation: str, up_to_seq: int) -> Frame:
        return await self.begin_read(conversation, up_to_seq)

    def begin_read(self, conversation: str, up_to_seq: int) -> asyncio.Task[Frame]:
        row = self._row(Op.READ, conversation, argument=up_to_seq)
        items = [{"conversation_id": conversation, "up_to_seq": up_to_seq}]
        return self._begin(row, "READ", op_id=str(row["op_id"]), items=items)

    async def send(self, conversation: str, client_msg_id: str = "") -> Frame:
        """With the `client_msg_id` of an earlier one, which is its operation id, it is a retry."""
        row = self._row(Op.SEND, conversation, attempt=int(bool(client_msg_id)))
        client_msg_id = client_msg_id or str(row["op_id"])
        return await self._begin(
            row, "SEND", conversation_id=conversation, client_msg_id=client_msg_id, body="hello"
        )

    async def state(self, *conversations: str) -> Frame:
        return await self.begin_state(*conversations)

    def begin_state(self, *conversations: str) -> asyncio.Task[Frame]:
        """Of the conversations that are named; of all, with the position in the change log, if none is."""
        row = self._row(Op.STATE)
        self._case.asked(row)
        named = {"conversations": list(conversations)} if conversations else {}
        return self._begin(row, "STATE", **named)

    async def sync(self, **since: int) -> Frame:
        """`since_change_id` or `last_sync_time`."""
        row = self._row(Op.SYNC, argument=since.get("since_change_id", -1))
        return await self._begin(row, "SYNC", **since)

    async def close(self) -> None:
        """All that was pushed before is recorded, then the connection is closed."""
        if not self.session.get("closed"):
            await self.socket.ask("PING")
            await self.socket.close()
            self.session["closed"] = clock_ns()
            for frame in self.socket.pushes:
                self._case.record.pushed(self.session, frame)

    def _row(self, op: Op, conversation: str = "", **fields: int) -> dict[str, Any]:
        record = self._case.record
        if conversation:
            fields["conversation"] = record.index[conversation]
        return record.ask(op, self.session, **fields)

    def _begin(self, row: dict[str, Any], kind: str, **fields: Any) -> asyncio.Task[Frame]:
        sent = self.socket.begin(kind, id=str(row["op_id"]), **fields)

        async def finish() -> Frame:
            frame = await sent
            self._case.record.reply(row, frame)
            return frame

        return asyncio.create_task(finish())


class Case:
    """One recipe on one variant.

    `culprits`: the operations whose effect is missing or spoilt, by the failpoints' log.  `shadow`: those
    that are shown the wrong thing for it; `untold`: devices that never hear of it.  A red row accuses exactly
    these."""

    def __init__(self, row: Row, variant: Variant, stack: Stack, patch: pytest.MonkeyPatch) -> None:
        self.row = row
        self.variant = variant
        self.stack = stack
        self.patch = patch
        self.options = self._options()
        self.record = Record(SEEDS)
        self.nodes: list[Node] = []
        self.culprits: set[int] = set()
        self.shadow: set[int] = set()
        self.untold: set[int] = set()
        self._shadowed = 0
        self._devices: list[Device] = []

    def _options(self) -> dict[str, str]:
        mysql, redis = (urlsplit(self.stack.services[name].url) for name in ("mysql", "redis"))
        return {
            **{name: option.default for name, option in SCHEMES[self.row.scheme].options.items()},
            "mysql-url": urlunsplit(mysql._replace(path="/anomalies")),
            "redis-url": urlunsplit(redis._replace(path=f"/{REDIS_DATABASE}")),
            "redis-exclusive": "yes",
            "kafka-bootstrap": self.stack.services["kafka"].url,
            "mysql-pool": "8",
            "receipt-members": "200",
            "node": "0",
            **self.variant.options,
        }

    # --- servers

    @property
    def points(self) -> Points:
        return self.nodes[0].points

    async def start(self) -> None:
        """The bug is planted, the server runs and holds the seed, and two people beside have talked."""
        failpoints.switch_on()
        if self.variant.plant is not None:
            self.variant.plant(self.patch, self.options)
        node = await self.add_node()
        await node.control("RESET")
        await node.control("SEED", conversations=json.loads(p.encode(list(SEEDS))), done=True)
        self.record.start = clock_ns()
        await self.talk_beside()

    async def add_node(self) -> Node:
        """One more server on the same stores."""
        node = Node(self.row.scheme, {**self.options, "node": str(len(self.nodes))})
        await node.start()
        self.nodes.append(node)
        return node

    async def stop(self) -> None:
        failpoints.switch_off()
        for device in self._devices:
            await device.socket.close()
        for node in self.nodes:
            await node.stop()

    async def settle(self) -> None:
        """Until nothing is on its way any more.  Raises NotRun."""
        left = (await self.nodes[0].control("DRAIN", timeout_ms=SETTLE_MS)).get("left")
        if left:
            raise NotRun(f"did not drain: {left}")

    def redis(self) -> RedisStore:
        """A client of one's own to the scheme's Redis, to be closed."""
        return RedisStore(self.options["redis-url"], exclusive=True)

    async def until(self, settled: Callable[[dict[str, Any]], bool]) -> None:
        """Until the scheme's counters say so.  Raises NotRun."""
        for _ in range(400):
            if settled(await self.nodes[0].stats()):
                return
            await asyncio.sleep(0.01)
        raise NotRun("the scheme's counters did not become what the recipe waits for within 4 s")

    # --- people

    async def device(self, user: int, name: str = "phone", node: int = 0) -> Device:
        socket = await _Socket.open(self.nodes[node].url, SECRET, f"u{user}", name)
        session = self.record.session(user, self.record.device(user, name))
        return self._keep(Device(self, socket, session))

    def _keep(self, device: Device) -> Device:
        self._devices.append(device)
        return device

    async def talk_beside(self) -> None:
        """Traffic of people who have nothing to do with it."""
        if not self.row.beside:
            return
        if not self.record.connections:
            self._dan, self._eve = await self.device(DAN), await self.device(EVE)
        seq = (await self._eve.send("beside"))["seq"]
        await self._dan.read("beside", seq)
        await self._dan.state("beside")
        await self._eve.state("beside")

    # --- what is expected

    async def blame(self, name: str) -> None:
        """The operations that have come to this failpoint so far are the culprits."""
        self.culprits = {int(hit.op_id) for hit in await self.points.hits(name)}
        if not self.culprits:
            raise NotRun(f"nobody came to {name}")

    def shadows(self, user: int) -> None:
        """From now on, every STATE of this person is shown the wrong thing."""
        self._shadowed = user

    def asked(self, row: Mapping[str, Any]) -> None:
        if row["user"] == self._shadowed:
            self.shadow.add(row["op_id"])

    # --- the end

    async def finish(self, root: Path) -> RunFolder:
        """Drains, reads MySQL and, on fresh connections, the API, and gives the folder of it all."""
        await self.talk_beside()
        await self.settle()
        self.record.drained = clock_ns()
        for device in self._devices:
            await device.close()
        store = MySQL(self.options["mysql-url"], pool_size=2)
        held, _ = await store.dump("", 1000)
        await store.close()
        for user in sorted({user for seed in SEEDS for user in seed.members}):
            socket = await _Socket.open(self.nodes[0].url, SECRET, f"u{user}", "final", sub=False)
            final = self._keep(Device(self, socket, self.record.session(user, NOT_A_DEVICE)))
            await final.state(*(seed.id for seed in SEEDS if user in seed.members))
        return self.record.write(root, self.row.scheme, held, len({u for s in SEEDS for u in s.members}))
