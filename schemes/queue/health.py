"""How others see the consumer process: `/healthz`, `/readyz`, `/metrics`, `/status` on a port of its own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from schemes.stalls import Stalls

_NAMES: Final = (
    "applied", "skipped", "batches", "dead_letters", "dropped", "retries", "behind_events",
    "redis_ns", "mysql_ns",
)  # fmt: skip


@dataclass(slots=True)
class Status:
    """Counters since the start and where the consumer is; times in ns."""

    ready: bool = False
    applied: int = 0
    skipped: int = 0
    """Events that came again after they had been applied."""
    batches: int = 0
    dead_letters: int = 0
    dropped: int = 0
    """Marks of people who are in no such conversation: it was wiped after they were accepted."""
    retries: int = 0
    """Times that a batch was tried again, because a store was away."""
    behind_events: int = 0
    behind_ms: int = 0
    """The oldest event of the last batch, when it was applied."""
    redis_ns: int = 0
    mysql_ns: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)

    def json(self, **more: Any) -> bytes:
        return json.dumps(asdict(self) | more).encode()

    def metrics(self) -> bytes:
        """Prometheus' text format."""
        values = asdict(self)
        lines = [f"readstate_consumer_{name} {values[name]}" for name in _NAMES]
        lines += [
            f'readstate_consumer_committed_offset{{partition="{partition}"}} {offset}'
            for partition, offset in self.committed.items()
        ]
        return ("\n".join(lines) + "\n").encode()


async def serve(status: Status, port: int, stalls: Stalls | None = None) -> asyncio.Server:
    """Answers on the loopback `port` until the server is closed.  Raises OSError if the port is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await asyncio.wait_for(reader.readline(), 5.0)
            writer.write(respond(request, status, stalls))
            await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            return
        finally:
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port)


def respond(request: bytes, status: Status, stalls: Stalls | None = None) -> bytes:
    """The whole HTTP answer to a request line."""
    words = request.split()
    path = words[1] if len(words) == 3 and words[0] == b"GET" else b""
    if path == b"/healthz":
        return _http(200, b"ok\n")
    if path == b"/readyz":
        return _http(200, b"ready\n") if status.ready else _http(503, b"no partitions yet\n")
    if path == b"/metrics":
        return _http(200, status.metrics())
    if path == b"/status":
        return _http(200, status.json(stalls=stalls.to_dict()) if stalls else status.json())
    return _http(404, b"there are /healthz, /readyz, /metrics and /status\n")


def _http(code: int, body: bytes) -> bytes:
    reason = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}[code]
    head = f"HTTP/1.1 {code} {reason}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
