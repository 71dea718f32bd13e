"""Many people's connections to one server in one event loop: ask, and be called back with the reply.

A connection may ask a hundred times a second (`limits.ops_per_s`), so that a hot person has several devices.

No record of operations is kept and nobody subscribes: claims are about requests and their answers.  What a
whole run needs is `bench/load`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from websockets.uri import parse_uri

from bench.load.framing import Frames, Handshakes, text_frame
from bench.load.replies import Incoming, decode
from bench.population import user_id
from schemes.protocol import Hello, encode, make_token

now_ns: Final = time.monotonic_ns
TOKEN_LIFE_S: Final = 24 * 3600
WELCOME_S: Final = 20.0
AT_ONCE: Final = 32

Heard = Callable[[Incoming | None, int, int], None]
"""(the reply, None if the connection ended; when it was asked, when it came: ns of CLOCK_MONOTONIC)."""


class Connection(asyncio.Protocol):
    """One device, signed in."""

    def __init__(self, handshakes: Handshakes, hello: Hello) -> None:
        self._handshake: Any = handshakes.start()
        self._hello = hello
        self._frames = Frames()
        self._transport: Any = None
        self._asked: dict[str, tuple[Heard, int]] = {}
        self._number = 0
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ask(self, frame: Any, heard: Heard) -> None:
        self._number += 1
        frame.id = name = str(self._number)
        data = text_frame(encode(frame))
        self._asked[name] = (heard, now_ns())
        self._transport.write(data)

    def close(self) -> None:
        self._asked.clear()
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        moment = now_ns()
        if self._handshake is not None:
            rest = self._handshake.receive(data)
            if rest is None:
                return
            self._handshake, data = None, rest
            self.ask(self._hello, self._welcomed)
        for payload in self._frames.feed(data):
            reply = decode(payload)
            found = self._asked.pop(reply.reply_to, None)
            if found is not None:
                found[0](reply, found[1], moment)
        if self._frames.out:
            self._transport.write(self._frames.out)
            self._frames.out = b""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the caller only counts it
        asked, self._asked = self._asked, {}
        moment = now_ns()
        for heard, sent in asked.values():
            heard(None, sent, moment)
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError("closed before WELCOME"))

    def _welcomed(self, reply: Incoming | None, sent: int, moment: int) -> None:  # noqa: ARG002
        if self.welcome.done():
            return
        if reply is None or reply.type != "WELCOME":
            why = "closed" if reply is None else f"{reply.type} {reply.code}"
            self.welcome.set_exception(ConnectionError(f"HELLO was answered by {why}"))
        else:
            self.welcome.set_result(None)


class Person:
    """One person's devices, which ask in turn."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections
        self._next = 0

    def ask(self, frame: Any, heard: Heard) -> None:
        self._next = (self._next + 1) % len(self._connections)
        self._connections[self._next].ask(frame, heard)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


async def connect(url: str, devices: Mapping[int, int], secret: str) -> dict[int, Person]:
    """By person, with as many devices as asked for.  Raises OSError or TimeoutError."""
    uri = parse_uri(url)
    handshakes, turn = Handshakes(uri), asyncio.Semaphore(AT_ONCE)
    loop, expires_s = asyncio.get_running_loop(), int(time.time()) + TOKEN_LIFE_S

    async def one(person: int, number: int) -> Connection:
        user, device = user_id(person), f"device-{number}"
        token = make_token(secret.encode(), user, device, expires_s)
        hello = Hello(user, device, token, trace=True)
        async with turn, asyncio.timeout(WELCOME_S):
            _, found = await loop.create_connection(lambda: Connection(handshakes, hello), uri.host, uri.port)
            await found.welcome
        return found

    wanted = [(person, number + 1) for person, count in devices.items() for number in range(count)]
    found: dict[int, list[Connection]] = {person: [] for person in devices}
    for (person, _), connection in zip(
        wanted, await asyncio.gather(*(one(*each) for each in wanted)), strict=True
    ):
        found[person].append(connection)
    return {person: Person(connections) for person, connections in found.items()}
