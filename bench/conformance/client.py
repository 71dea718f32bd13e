"""One connection, for trying things: requests by id, pushes in the order of arrival, and how it ended."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from schemes.protocol import SERVER_FRAME_BYTES_MAX, SUBPROTOCOL

Frame = dict[str, Any]


class Unmet(Exception):
    """What was expected did not come."""

    def __init__(self, expected: str, came: object) -> None:
        self.expected = expected
        self.came = came if isinstance(came, str) else json.dumps(came, default=str)
        super().__init__(f"expected {self.expected}, came {self.came}")


class Unsupported(Exception):
    """The server says that it does not offer this."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, s: for a reply, for a push or a state to come, and until nothing is nothing."""

    reply_s: float = 5.0
    push_s: float = 3.0
    quiet_s: float = 0.3


class Client:
    """One WebSocket."""

    def __init__(self, socket: ClientConnection, patience: Patience) -> None:
        self.pushes: list[Frame] = []
        self.welcome: Frame = {}
        self._socket = socket
        self._patience = patience
        self._ids = itertools.count(1)
        self._replies: dict[str, asyncio.Future[Frame]] = {}
        self._arrived = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def dial(cls, url: str, patience: Patience) -> Self:
        """Raises OSError, TimeoutError or WebSocketException."""
        socket = await connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
            max_size=4 * SERVER_FRAME_BYTES_MAX,
            open_timeout=patience.reply_s,
            close_timeout=patience.reply_s,
        )
        return cls(socket, patience)

    @property
    def subprotocol(self) -> str | None:
        return self._socket.subprotocol

    async def ask(self, kind: str, **fields: Any) -> Frame:
        """A request and its reply, whatever that is."""
        return await self.begin(kind, **fields)

    def begin(self, kind: str, **fields: Any) -> asyncio.Task[Frame]:
        """Sends at once; the reply comes with the task."""
        number = str(next(self._ids))
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        text = json.dumps({"type": kind, "id": number, **fields})
        return asyncio.create_task(self._exchange(kind, text, reply))

    async def want(self, kind: str, answer: str, **fields: Any) -> Frame:
        """A request and its reply of this type.  Raises Unmet, or Unsupported if it is not offered."""
        return wanted(kind, answer, await self.ask(kind, **fields))

    async def _exchange(self, kind: str, text: str, reply: asyncio.Future[Frame]) -> Frame:
        try:
            await self._socket.send(text)
            return await asyncio.wait_for(reply, self._patience.reply_s)
        except TimeoutError:
            raise Unmet(f"an answer to {kind} within {self._patience.reply_s:g} s", "nothing") from None
        except ConnectionClosed:
            raise Unmet(f"an answer to {kind}", f"close {self._socket.close_code}") from None

    async def send_raw(self, data: str | bytes) -> None:
        try:
            await self._socket.send(data)
        except ConnectionClosed:
            return  # `closed` says so

    async def push(self, what: str, is_wanted: Callable[[Frame], bool]) -> Frame:
        """The first push that is wanted, come or yet to come."""

        def found() -> Frame | None:
            return next((push for push in self.pushes if is_wanted(push)), None)

        async with self._arrived:
            try:
                await asyncio.wait_for(
                    self._arrived.wait_for(lambda: found() is not None), self._patience.push_s
                )
            except TimeoutError:
                raise Unmet(f"{what} within {self._patience.push_s:g} s", "nothing") from None
        push = found()
        assert push is not None
        return push

    async def message(self, conversation: str, seq: int) -> Frame:
        return await self.push(
            f"a MESSAGE push of {conversation}/{seq}",
            lambda f: (
                f.get("type") == "MESSAGE" and (f.get("conversation_id"), f.get("seq")) == (conversation, seq)
            ),
        )

    async def update(self, key: str, up_to_seq: int) -> Frame:
        return await self.push(
            f"an UPDATE push of {key} to {up_to_seq}",
            lambda f: f in self.updates(key) and f["value"]["up_to_seq"] >= up_to_seq,
        )

    def updates(self, key: str) -> list[Frame]:
        return [f for f in self.pushes if f.get("type") == "UPDATE" and f.get("key") == key]

    def messages(self, conversation: str) -> list[Frame]:
        return [
            f for f in self.pushes if f.get("type") == "MESSAGE" and f.get("conversation_id") == conversation
        ]

    async def closed(self) -> int:
        """Waits for the server to close; the close code."""
        try:
            await asyncio.wait_for(asyncio.shield(self._reader), self._patience.push_s)
        except TimeoutError:
            raise Unmet(f"a close within {self._patience.push_s:g} s", "an open connection") from None
        return self._socket.close_code or 1006

    async def close(self) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                await self._take(text)
        except ConnectionClosed:
            pass
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(Unmet("an answer", f"close {self._socket.close_code}"))
                reply.exception()

    async def _take(self, text: str | bytes) -> None:
        try:
            frame = json.loads(text)
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            frame = {"type": "not a JSON object", "text": str(text[:80])}
        reply = self._replies.pop(str(frame["reply_to"]), None) if frame.get("reply_to") else None
        if reply is not None and not reply.done():
            reply.set_result(frame)
            return
        async with self._arrived:
            self.pushes.append(frame)
            self._arrived.notify_all()


def wanted(kind: str, answer: str, reply: Frame) -> Frame:
    """The reply, if it is of this type.  Raises Unmet, or Unsupported."""
    if reply.get("type") == "ERROR" and reply.get("code") == "UNSUPPORTED":
        raise Unsupported(f"{kind} was answered with UNSUPPORTED: {reply.get('message') or 'no message'}")
    if reply.get("type") != answer:
        raise Unmet(f"{answer} in answer to {kind}", reply)
    return reply
