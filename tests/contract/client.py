"""A small asynchronous client for the contract suite: requests by id, pushes in the order of arrival."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from schemes import protocol as p

Frame = dict[str, Any]
REPLY_S = 8.0
PUSH_S = 8.0
QUIET_S = 0.15
"""How long nothing must come for "nothing comes" to be believed (after the scheme has drained)."""


class Client:
    """One device's connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._replies: dict[str, asyncio.Future[Frame]] = {}
        self._arrived = asyncio.Condition()
        self.pushes: list[Frame] = []
        self.welcome: Frame = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls, url: str, secret: bytes, user: str, device: str = "d1", *, sub: bool = True, **hello: Any
    ) -> Client:
        """HELLO, and SUB to everything unless told not to."""
        client = await cls.dial(url)
        token = p.make_token(secret, user, device, int(time.time()) + 3600)
        client.welcome = await client.ask("HELLO", user_id=user, device_id=device, **{"token": token} | hello)
        assert client.welcome["type"] == "WELCOME", client.welcome
        if sub:
            await client.ask("SUB", keys=["*"])
        return client

    @classmethod
    async def dial(cls, url: str) -> Client:
        return cls(
            await connect(
                url,
                subprotocols=[p.SUBPROTOCOL],
                compression=None,
                proxy=None,
                max_size=1 << 22,
                open_timeout=REPLY_S,
            )
        )

    async def ask(self, kind: str, **fields: Any) -> Frame:
        """A request and its reply."""
        return await self.begin(kind, **fields)

    def begin(self, kind: str, **fields: Any) -> asyncio.Task[Frame]:
        """Sends at once; the reply comes with the task.  `id` may be given."""
        number = str(fields.pop("id", None) or next(self._ids))
        reply = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        return asyncio.create_task(self._exchange(json.dumps({"type": kind, "id": number, **fields}), reply))

    async def _exchange(self, text: str, reply: asyncio.Future[Frame]) -> Frame:
        await self._socket.send(text)
        return await asyncio.wait_for(reply, REPLY_S)

    async def send_raw(self, data: str | bytes) -> None:
        await self._socket.send(data)

    async def push(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first push that is wanted, come or yet to come."""

        def found() -> Frame | None:
            return next((push for push in self.pushes if wanted(push)), None)

        async with self._arrived:
            await asyncio.wait_for(self._arrived.wait_for(lambda: found() is not None), PUSH_S)
        push = found()
        assert push is not None
        return push

    async def message(self, conversation: str, seq: int) -> Frame:
        return await self.push(
            lambda f: f["type"] == "MESSAGE" and f["conversation_id"] == conversation and f["seq"] == seq
        )

    async def update(self, key: str, up_to_seq: int) -> Frame:
        return await self.push(
            lambda f: f["type"] == "UPDATE" and f["key"] == key and f["value"]["up_to_seq"] >= up_to_seq
        )

    def updates(self, key: str) -> list[Frame]:
        return [f for f in self.pushes if f["type"] == "UPDATE" and f["key"] == key]

    def messages(self, conversation: str) -> list[Frame]:
        return [f for f in self.pushes if f["type"] == "MESSAGE" and f["conversation_id"] == conversation]

    async def update_times(self, conversation: str) -> dict[str, int]:
        """When each message of a conversation was first read, by the change log."""
        page = await self.ask("SYNC", since_change_id=0, detail="messages")
        times: dict[str, int] = {}
        for message in page["updated_messages"]:
            assert message["message_id"] not in times, "a message was read twice"
            times[message["message_id"]] = message["read_time"]
        assert {change["conversation_id"] for change in page["changes"]} <= {conversation}
        return times

    async def closed(self) -> int:
        """Waits for the server to close; the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), PUSH_S)
        return self._socket.close_code or 1006

    async def close(self) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                await self._take(json.loads(text))
        except ConnectionClosed:
            pass
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ConnectionError(f"closed with {self._socket.close_code}"))
                reply.exception()

    async def _take(self, frame: Frame) -> None:
        reply = self._replies.pop(frame["reply_to"], None) if frame.get("reply_to") else None
        if reply is not None:
            if not reply.done():
                reply.set_result(frame)
            return
        async with self._arrived:
            self.pushes.append(frame)
            self._arrived.notify_all()
