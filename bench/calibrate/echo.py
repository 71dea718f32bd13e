"""`python -m bench.calibrate.echo PORT`: a server that agrees with everything and remembers nothing.

It answers each frame with the shortest reply that the protocol allows, and pushes nothing: what is left is
the generator's own work for a request and its reply.  It must be quicker than the generator, so it speaks
just as much WebSocket (RFC 6455) as that does: no fragments, no extensions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
import uvloop

from schemes.protocol import SUBPROTOCOL

Json = dict[str, Any]
HOST: Final = "127.0.0.1"
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
SHORT_MAX: Final = 125
_decode = msgspec.json.Decoder(dict).decode


Seqs = defaultdict[str, int]
"""Conversation -> messages of one connection.  Nobody is told of another's, so none is missing to anybody."""


def _send(frame: Json, seqs: Seqs) -> Json:
    seqs[frame["conversation_id"]] += 1
    seq = seqs[frame["conversation_id"]]
    return {
        "type": "ACK", "message_id": str(seq), "seq": seq, "sent_time": 0, "duplicate": False,
        "durability": "volatile",
    }  # fmt: skip


def _read(frame: Json, _: Seqs) -> Json:
    fixed = {"applied": True, "unread": 0, "version": 1, "read_time": 0}
    items = [
        {"conversation_id": item["conversation_id"], "read_seq": item["up_to_seq"], **fixed}
        for item in frame["items"]
    ]
    return {"type": "ACK", "items": items, "durability": "volatile"}


_WELCOME: Final[Json] = {
    "type": "WELCOME", "session_id": "echo", "epoch": 1, "change_id": 1, "server_time": 0,
    "server": {"name": "echo"}, "ack": {"send": "volatile", "read": "volatile"}, "caps": [],
    "limits": {"heartbeat_s": 30},
}  # fmt: skip
_SYNCED: Final[Json] = {
    "type": "SYNC_RESULT", "changed_count": 0, "updated_messages": [], "changes": [], "next_change_id": 1,
    "done": True, "server_time": 0,
}  # fmt: skip
ANSWERS: Final[dict[str, Callable[[Json, Seqs], Json]]] = {
    "HELLO": lambda _, __: _WELCOME,
    "SUB": lambda _, __: {"type": "ACK", "count": 1},
    "STATE": lambda _, __: {"type": "STATE_RESULT", "conversations": [], "change_id": 1, "done": True},
    "SYNC": lambda _, __: _SYNCED,
    "SEND": _send,
    "READ": _read,
    "DELIVERED": lambda _, __: {"type": "ACK", "items": [], "durability": "volatile"},
    "HISTORY": lambda _, __: {"type": "HISTORY_RESULT", "messages": [], "done": True},
    "PING": lambda _, __: {"type": "PONG", "server_time": 0},
}


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._got = b""
        self._open = False
        self._seqs: Seqs = defaultdict(int)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._open and b"\r\n\r\n" in self._got:
            head, _, self._got = self._got.partition(b"\r\n\r\n")
            self._transport.write(_handshake(head))
            self._open = True
        if self._open:
            replies, self._got = answer(self._got, self._seqs)
            if replies is None:
                self._transport.close()
            elif replies:
                self._transport.write(replies)


def _handshake(head: bytes) -> bytes:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: "
        + accept
        + b"\r\nSec-WebSocket-Protocol: "
        + SUBPROTOCOL.encode()
        + b"\r\n\r\n"
    )


def answer(data: bytes, seqs: Seqs) -> tuple[bytes | None, bytes]:
    """The replies to all whole frames in `data`, and what is left of it; None: the client closes."""
    replies: list[bytes] = []
    while len(data) >= 2:
        opcode, size, start = data[0] & 15, data[1] & 127, 6
        if size > SHORT_MAX:
            wide = 2 if size == SHORT_MAX + 1 else 8
            size, start = int.from_bytes(data[2 : 2 + wide]), 6 + wide
        if len(data) < start + size:
            break
        text = _unmasked(data[start : start + size], data[start - 4 : start])
        data = data[start + size :]
        if opcode == CLOSE:
            return None, b""
        if opcode == PING:
            replies.append(_frame(PONG, text))
        elif opcode == TEXT:
            frame = _decode(text)
            reply = {**ANSWERS[frame["type"]](frame, seqs), "reply_to": frame["id"]}
            replies.append(_frame(TEXT, msgspec.json.encode(reply)))
    return b"".join(replies), data


def _unmasked(masked: bytes, mask: bytes) -> bytes:
    size = len(masked)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(masked) ^ int.from_bytes(key)).to_bytes(size)


def _frame(opcode: int, text: bytes) -> bytes:
    size = len(text)
    if size <= SHORT_MAX:
        return bytes((128 | opcode, size)) + text
    return bytes((128 | opcode, SHORT_MAX + 1)) + size.to_bytes(2) + text


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, HOST, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
