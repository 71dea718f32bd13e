"""Who is connected, and the fan-out of pushes to them.

A push frame is encoded once and written to every subscribed session of its users.  A large fan-out is cut
into slices so that one message to thousands of people never holds the event loop: `SLICE_S` of enqueuing, and
few enough frames that their system calls, which the loop makes afterwards, stay short too.  While a slice
waits, later pushes queue behind it, so the order on every connection is the order of `publish`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from schemes.read_state import Push
from schemes.server.stats import Stats

if TYPE_CHECKING:
    from schemes.server.connection import Connection

SLICE_S: Final = 0.001
SLICE_FRAMES: Final = 32
"""A write is 6 to 15 us of system call on a small machine: 32 of them are under 0.5 ms."""
FEW_USERS: Final = 8
"""A push to so few is far below a slice: it goes out at once."""
BUS_LOST_RETRY_MS: Final = 1000


def text_frame(payload: bytes) -> bytes:
    """A server's (unmasked) unfragmented text frame around UTF-8 bytes: RFC 6455, section 5.2."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Hub:
    """The map of live sessions.  It is the `Publisher` that schemes are given."""

    def __init__(self, stats: Stats) -> None:
        self._by_user: dict[int, list[Connection]] = {}
        self._stats = stats
        self._backlog: deque[tuple[Push, bytes, Iterator[int]]] = deque()
        self._scheduled = False
        self.connections = 0

    def join(self, connection: Connection, user: int, device: str) -> Connection | None:
        """Takes the session in; returns the older one of the same device, which must go."""
        sessions = self._by_user.setdefault(user, [])
        older = next((c for c in sessions if c.device == device), None)
        if older is not None:
            sessions.remove(older)
            self.connections -= 1
        sessions.append(connection)
        self.connections += 1
        return older

    def leave(self, connection: Connection, user: int) -> None:
        sessions = self._by_user.get(user)
        if sessions is None or connection not in sessions:
            return
        sessions.remove(connection)
        self.connections -= 1
        if not sessions:
            del self._by_user[user]

    def everybody(self) -> list[Connection]:
        return [connection for sessions in self._by_user.values() for connection in sessions]

    @property
    def waiting(self) -> int:
        """Pushes whose fan-out is not finished."""
        return len(self._backlog)

    # --- Publisher --------------------------------------------------------------------------------------

    def publish(self, push: Push) -> None:
        frame = text_frame(push.frame)
        if not self._backlog and len(push.users) <= FEW_USERS:
            for user in push.users:
                self._tell(user, push, frame)
            return
        self._backlog.append((push, frame, iter(push.users)))
        if not self._scheduled:
            self._deliver()

    def lost(self, reason: str) -> None:
        for connection in self.everybody():
            connection.close(1013, reason, retry_ms=BUS_LOST_RETRY_MS)

    def _deliver(self) -> None:
        """One slice; the rest is due in the loop's next round."""
        self._scheduled = False
        deadline = time.monotonic() + SLICE_S
        frames = 0
        while self._backlog:
            push, frame, users = self._backlog[0]
            for user in users:
                frames += self._tell(user, push, frame)
                if frames >= SLICE_FRAMES or (frames & 15 == 15 and time.monotonic() > deadline):
                    self._scheduled = True
                    asyncio.get_running_loop().call_soon(self._deliver)
                    return
            self._backlog.popleft()

    def _tell(self, user: int, push: Push, frame: bytes) -> int:
        told = 0
        for connection in self._by_user.get(
            user, ()
        ):  # who is closed here leaves in a later round of the loop
            session = connection.session
            if session.session_id != push.origin and session.wants(push.conversation):
                connection.send(frame)
                told += 1
        self._stats.pushes += told
        return told
