"""The liar: a WebSocket proxy between the load and an honest server, a process of its own.

`python -m bench.selftest.liar URL --dose 10` says `{"port": N}` on its output and serves until its input says
`truth` or ends.  What it has planted stays in its memory until then: while the checks run there is no file
that they could have looked into."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from bench.selftest.lies import HELD_S, KINDS, Liar, Planted, Session
from schemes.protocol import SERVER_FRAME_BYTES_MAX, SUBPROTOCOL

CLOSE_S = 1.0
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.encode


class Proxy:
    """Two pumps per connection; what a frame becomes is the Liar's to say."""

    def __init__(self, url: str, liar: Liar) -> None:
        self._url = url
        self._liar = liar

    async def serve(self) -> Server:
        return await serve(
            self._connection,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=SERVER_FRAME_BYTES_MAX,
            ping_interval=None,
            close_timeout=CLOSE_S,
        )

    async def _connection(self, client: ServerConnection) -> None:
        server = await connect(
            self._url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=SERVER_FRAME_BYTES_MAX + (1 << 16),
            ping_interval=None,
            close_timeout=CLOSE_S,
        )
        session = Session()
        pumps = [
            asyncio.ensure_future(self._up(session, client, server)),
            asyncio.ensure_future(self._down(session, client, server)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        code = server.close_code if server.close_code not in (None, 1005, 1006) else 1000
        await asyncio.gather(client.close(code or 1000), server.close())
        await asyncio.gather(*pumps)

    async def _up(self, session: Session, client: ServerConnection, server: ClientConnection) -> None:
        """What the client says goes to the server, or does not."""
        try:
            async for raw in client:
                data = raw.encode() if isinstance(raw, str) else raw
                asked = self._liar.asked(session, _decode(data), time.monotonic_ns())
                if asked.forward:
                    await server.send(data, text=True)
                if asked.answer is not None:
                    await client.send(_encode(asked.answer), text=True)
                if asked.cut:
                    client.transport.abort()
                    return
        except ConnectionClosed:
            return

    async def _down(self, session: Session, client: ServerConnection, server: ClientConnection) -> None:
        """What the server says goes to the client, as it is or not."""
        loop = asyncio.get_running_loop()
        try:
            async for raw in server:
                data = raw.encode() if isinstance(raw, str) else raw
                frame = _decode(data)
                before = set(session.held)
                for out in self._liar.said(session, frame, data, time.monotonic_ns()):
                    if out.delay_s and out.frame is not None:
                        loop.call_later(out.delay_s, self._spawn, self._late(client, out.frame, out.released))
                    else:
                        await client.send(_encode(frame) if out.frame is None else out.frame, text=True)
                for conversation in set(session.held) - before:
                    loop.call_later(HELD_S, self._spawn, self._alone(session, client, conversation))
        except ConnectionClosed:
            return

    @staticmethod
    def _spawn(what: Any) -> None:
        _tasks.add(task := asyncio.ensure_future(what))
        task.add_done_callback(_tasks.discard)

    @staticmethod
    async def _late(client: ServerConnection, frame: bytes, lie: Planted | None) -> None:
        if lie is not None:
            lie.at_ns = time.monotonic_ns()
        try:
            await client.send(frame, text=True)
        except ConnectionClosed:
            if lie is not None:
                lie.effective = False

    async def _alone(self, session: Session, client: ServerConnection, conversation: str) -> None:
        frame = self._liar.give_up(session, conversation, time.monotonic_ns())
        if frame is not None:
            await self._late(client, frame, None)


_tasks: set[asyncio.Future[Any]] = set()


async def lie(url: str, liar: Liar) -> None:
    """Serves until standard input says `truth` or ends; then says all that was planted, a line each."""
    server = await Proxy(url, liar).serve()
    port = next(iter(server.sockets)).getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    asked = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    if asked.strip() == "truth":
        print(json.dumps({"events": liar.events, "planted": len(liar.planted)}))
        for planted in liar.planted:
            print(json.dumps(asdict(planted)))
    sys.stdout.flush()
    server.close(close_connections=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the honest server, ws://host:port/ws")
    parser.add_argument("--dose", type=int, required=True, help="one in so many events is altered")
    parser.add_argument("--kinds", default=",".join(KINDS), help="the lies that are told")
    chosen = parser.parse_args()
    liar = Liar(chosen.dose, tuple(kind for kind in chosen.kinds.split(",") if kind))
    asyncio.run(lie(chosen.url, liar))


if __name__ == "__main__":
    main()
