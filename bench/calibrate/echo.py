"""`python -m bench.calibrate.echo PORT`: a server that agrees with everything and remembers nothing.

It answers each frame with the shortest reply that the protocol allows, and pushes nothing: what is left is
the generator's own work for a request and its reply."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from itertools import count
from typing import Any, Final

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from schemes.protocol import SUBPROTOCOL

Json = dict[str, Any]
HOST: Final = "127.0.0.1"
_WELCOME: Final[Json] = {
    "type": "WELCOME",
    "session_id": "echo",
    "epoch": 1,
    "change_id": 1,
    "server_time": 0,
    "server": {"name": "echo"},
    "ack": {"send": "volatile", "read": "volatile"},
    "caps": [],
    "limits": {"heartbeat_s": 30},
}
_seqs = count(1_000)


def _send(_: Json) -> Json:
    seq = next(_seqs)
    return {
        "type": "ACK",
        "message_id": str(seq),
        "seq": seq,
        "sent_time": 0,
        "duplicate": False,
        "durability": "volatile",
    }


def _read(frame: Json) -> Json:
    items = [
        {
            "conversation_id": item["conversation_id"],
            "applied": True,
            "read_seq": item["up_to_seq"],
            "unread": 0,
            "version": 1,
            "read_time": 0,
        }
        for item in frame["items"]
    ]
    return {"type": "ACK", "items": items, "durability": "volatile"}


_SYNCED: Final[Json] = {
    "type": "SYNC_RESULT",
    "changed_count": 0,
    "updated_messages": [],
    "changes": [],
    "next_change_id": 1,
    "done": True,
    "server_time": 0,
}
ANSWERS: Final[dict[str, Callable[[Json], Json]]] = {
    "HELLO": lambda _: _WELCOME,
    "SUB": lambda _: {"type": "ACK", "count": 1},
    "STATE": lambda _: {"type": "STATE_RESULT", "conversations": [], "change_id": 1, "done": True},
    "SYNC": lambda _: _SYNCED,
    "SEND": _send,
    "READ": _read,
    "DELIVERED": lambda _: {"type": "ACK", "items": [], "durability": "volatile"},
    "HISTORY": lambda _: {"type": "HISTORY_RESULT", "messages": [], "done": True},
    "PING": lambda _: {"type": "PONG", "server_time": 0},
}


async def _answer(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for data in connection:
            frame = json.loads(data)
            await connection.send(json.dumps({**ANSWERS[frame["type"]](frame), "reply_to": frame["id"]}))


async def _serve(port: int) -> None:
    async with serve(
        _answer, HOST, port, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, ping_interval=None
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
