"""A server that does what a test says: one answer per kind of frame, in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from schemes.protocol import SUBPROTOCOL

Frame = dict[str, Any]
Answer = Callable[["ScriptedServer", ServerConnection, Frame], Frame | None]

WELCOME = {
    "type": "WELCOME", "session_id": "s", "epoch": 3, "change_id": 40, "server_time": 0,
    "server": {}, "ack": {}, "caps": [], "limits": {"heartbeat_s": 30},
}  # fmt: skip


class ScriptedServer:
    """`answers[type](server, connection, frame)` is the reply without its `reply_to`, or None for silence.

    `received` has every frame in order; `connections` the sockets by (user, device)."""

    def __init__(self) -> None:
        self.received: list[Frame] = []
        self.connections: dict[tuple[str, str], ServerConnection] = {}
        self.state: list[Frame] = []
        self.seq = 100
        self.answers: dict[str, Answer] = {
            "HELLO": lambda *_: WELCOME,
            "SUB": lambda *_: {"type": "ACK", "count": 1},
            "STATE": lambda server, *_: {
                "type": "STATE_RESULT", "conversations": server.state, "change_id": 41, "done": True,
            },
            "SYNC": lambda *_: {
                "type": "SYNC_RESULT", "changed_count": 0, "updated_messages": [], "changes": [],
                "next_change_id": 42, "done": True, "server_time": 0,
            },
            "SEND": ScriptedServer._send,
            "READ": ScriptedServer._read,
            "DELIVERED": lambda *_: {"type": "ACK", "items": [], "durability": "volatile"},
            "HISTORY": lambda *_: {"type": "HISTORY_RESULT", "messages": [], "done": True},
            "PING": lambda *_: {"type": "PONG", "server_time": 0},
        }  # fmt: skip
        self._server = serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            close_timeout=0.1,
            ping_interval=None,
        )
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def of(self, kind: str) -> list[Frame]:
        """The frames of one type, in order."""
        return [frame for frame in self.received if frame["type"] == kind]

    def push(self, user: str, device: str, frame: Frame) -> None:
        self.connections[user, device].send(json.dumps(frame))

    def stop(self) -> None:
        self._server.shutdown()
        for connection in self.connections.values():
            connection.close()
        self._thread.join(5)

    def _serve(self, connection: ServerConnection) -> None:
        try:
            for data in connection:
                frame = json.loads(data)
                self.received.append(frame)
                if frame["type"] == "HELLO":
                    self.connections[frame["user_id"], frame["device_id"]] = connection
                answer = self.answers[frame["type"]](self, connection, frame)
                if answer is not None:
                    connection.send(json.dumps({**answer, "reply_to": frame["id"]}))
        except ConnectionClosed:
            pass  # a test may close in the middle of an answer

    def _send(self, _connection: ServerConnection, _frame: Frame) -> Frame:
        self.seq += 1
        return {
            "type": "ACK", "message_id": "1", "seq": self.seq, "sent_time": 0, "duplicate": False,
            "t": {"server": 70, "wait": 10, "store": 20, "cache": 5, "queue": 1},
        }  # fmt: skip

    def _read(self, _connection: ServerConnection, frame: Frame) -> Frame:
        items = [
            {
                "conversation_id": item["conversation_id"], "applied": True, "read_seq": item["up_to_seq"],
                "unread": 0, "version": 7, "read_time": 0,
            }
            for item in frame["items"]
        ]  # fmt: skip
        return {"type": "ACK", "items": items, "durability": "volatile"}


def error(code: str) -> Answer:
    """Refuses with this code."""
    return lambda *_: {"type": "ERROR", "code": code, "message": "no"}


def once(first: Answer, then: Answer) -> Answer:
    """The first time one answer, from then on the other."""
    rest = [first]
    return lambda *arguments: (rest.pop() if rest else then)(*arguments)


def silence(*_: Any) -> None:
    """No reply."""


def close(_server: ScriptedServer, connection: ServerConnection, _frame: Frame) -> None:
    """Closes instead of replying."""
    connection.close(1013)
