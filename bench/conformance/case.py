"""What a row is given: devices to open, conversations to use, and ways to say what it expects."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from websockets.exceptions import WebSocketException

from bench.conformance.client import Client, Frame, Patience, Unmet
from bench.conformance.rooms import Room, Rooms
from schemes.protocol import make_token

T = TypeVar("T")
TOKEN_LIFE_S: Final = 600
POLL_S: Final = 0.02
DRAIN_MS: Final = 5_000


@dataclass(frozen=True)
class Server:
    """Where it is, and what is known of it.  `door` is an open, authenticated `/control`."""

    url: str
    control_url: str
    token_secret: str | None
    control_secret: str | None
    rooms: Rooms
    patience: Patience = field(default_factory=Patience)
    door: Client | None = None


class Case:
    """One row's devices and conversations."""

    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.rooms = server.rooms
        self._number = number
        self._nonce = secrets.token_hex(4)
        self._sent = itertools.count()
        self._clients: list[Client] = []

    # --- connections --------------------------------------------------------------------------------------

    async def dial(self, url: str | None = None) -> Client:
        """A connection that has said nothing."""
        try:
            client = await Client.dial(url or self.server.url, self.server.patience)
        except (OSError, TimeoutError, WebSocketException) as why:
            raise Unmet("a WebSocket connection", str(why) or type(why).__name__) from None
        self._clients.append(client)
        return client

    async def device(self, user: str, name: str = "phone", *, sub: bool = True, **hello: Any) -> Client:
        """A person's device, welcomed, and subscribed to everything unless told not to."""
        client = await self.dial()
        client.welcome = await client.want("HELLO", "WELCOME", **self.hello(user, name), **hello)
        if sub:
            await client.want("SUB", "ACK", keys=["*"])
        return client

    def hello(self, user: str, name: str = "phone") -> Frame:
        """The fields of this row's HELLO of a device; no two rows share one."""
        device, secret = f"{name}-{self._number}", self.server.token_secret
        expires_s = int(time.time()) + TOKEN_LIFE_S
        token = make_token(secret.encode(), user, device, expires_s) if secret is not None else ""
        return {"user_id": user, "device_id": device, "token": token}

    async def close(self) -> None:
        clients, self._clients = self._clients, []
        await asyncio.gather(*(client.close() for client in clients))

    # --- asking ---------------------------------------------------------------------------------------------

    async def send(self, client: Client, room: Room, name: str, body: str = "hello") -> Frame:
        return await client.want(
            "SEND", "ACK", conversation_id=room.id, client_msg_id=self.once(name), body=body
        )

    def once(self, name: str) -> str:
        """A client_msg_id that no other row and no earlier trial has used; the same for the same name."""
        return f"{name}-{self._nonce}"

    async def several(self, client: Client, room: Room, count: int) -> int:
        """Sends so many; the last seq."""
        for _ in range(count):
            reply = await self.send(client, room, f"s{next(self._sent)}")
        return int(reply["seq"])

    async def read(self, client: Client, room: Room, seq: int) -> Frame:
        """The item of the acknowledgement."""
        items = [{"conversation_id": room.id, "up_to_seq": seq}]
        reply = await client.want("READ", "ACK", op_id=f"r{seq}", items=items)
        return one(reply, "items")

    async def state(self, client: Client, room: Room) -> Frame:
        """One conversation's state, after everything on its way has arrived, where DRAIN can tell."""
        await self.settle()
        return one(await client.want("STATE", "STATE_RESULT", conversations=[room.id]), "conversations")

    async def shows(self, client: Client, room: Room, **values: Any) -> Frame:
        """Waits until STATE shows these values: a server may take a moment to apply what it acknowledged."""
        state = await self.eventually(lambda: self.state(client, room), lambda found: _has(found, values))
        if not _has(state, values):
            raise Unmet(f"STATE of {room.id} with {values}", {name: state.get(name) for name in values})
        return state

    async def eventually(self, ask: Callable[[], Awaitable[T]], done: Callable[[T], bool]) -> T:
        """Asks again until it is done or time is up; the last answer."""
        deadline = time.monotonic() + self.server.patience.push_s
        while True:
            answer = await ask()
            if done(answer) or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(POLL_S)

    async def settle(self) -> None:
        if self.server.door is not None:
            await self.server.door.ask("DRAIN", timeout_ms=DRAIN_MS)

    async def quiet(self) -> None:
        """Time for what should not come to come."""
        await self.settle()
        await asyncio.sleep(self.server.patience.quiet_s)

    def queued(self, client: Client) -> bool:
        """Whether a READ is acknowledged before it is applied, so that its answer cannot know the outcome."""
        return bool((client.welcome.get("ack") or {}).get("read") == "queued")


def _has(found: Frame, values: Frame) -> bool:
    return all(found.get(name) == value for name, value in values.items())


def one(reply: Frame, name: str) -> Frame:
    """The only element of a list in a reply."""
    found = reply.get(name)
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise Unmet(f"one element in {name}", reply)
    element: Frame = found[0]
    return element


def expect(what: str, wanted: object, came: object) -> None:
    """Raises Unmet unless they are equal."""
    if wanted != came:
        raise Unmet(f"{what} {wanted!r}", repr(came))


def expect_fields(frame: Frame, **wanted: object) -> None:
    """Raises Unmet unless the frame has these values."""
    if not _has(frame, wanted):
        raise Unmet(f"{wanted}", {name: frame.get(name, "absent") for name in wanted})


def expect_error(reply: Frame, code: str) -> None:
    """Raises Unmet unless it is an ERROR with this code and a text."""
    if reply.get("type") != "ERROR" or reply.get("code") != code or not reply.get("message"):
        raise Unmet(f"ERROR {code} with a message", reply)
