"""One server: it listens, sweeps out what is silent or stuck, answers plain HTTP, and stops in good order."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final

from schemes.ports import Publisher, ReadState
from schemes.server.connection import CLOSE_TIMEOUT_S, Connection
from schemes.server.hub import Hub
from schemes.server.session import ServerConfig
from schemes.server.stats import Stats

BACKLOG: Final = 4096
SWEEP_S: Final = 1.0


class Server:
    """Owns the hub, the sessions and every task; `scheme` must be set before `listen`."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.stats = Stats()
        self.hub = Hub(self.stats)
        self.scheme: ReadState
        self._loop: asyncio.AbstractEventLoop
        self.opening: dict[Connection, float] = {}
        self.closing: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._incarnation = f"{config.node}-{os.getpid():x}-{int(time.time()):x}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._listener: asyncio.Server | None = None
        self._ready = False

    @property
    def publisher(self) -> Publisher:
        return self.hub

    async def listen(self, host: str, port: int) -> int:
        """Starts the scheme and listens; returns the port.  Raises OSError if it is taken."""
        self._loop = loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: Connection(self), host, port, backlog=BACKLOG, start_serving=False
        )
        try:
            await self.scheme.start()
        except BaseException:  # cancelled too: the port is given back
            listener.close()
            raise
        await listener.start_serving()
        self._listener = listener
        self.stats.watch_loop(loop)
        self.spawn(self._sweep(), request=False)
        self._ready = True
        return int(listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """GOODBYE to everybody, requests in hand get a moment, then the scheme closes."""
        self._ready = False
        self.stats.stalls.stop()
        if self._listener is not None:
            self._listener.close()
        for connection in self.hub.everybody():
            connection.close(1001, "the server is stopping", retry_ms=1000)
        for _ in range(int(CLOSE_TIMEOUT_S / 0.02)):
            if not self._requests and not self.hub.connections:
                break
            await asyncio.sleep(0.02)
        for connection in (*self.hub.everybody(), *self.closing, *self.opening):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.scheme.close()

    # --- what connections need ----------------------------------------------------------------------------

    def new_session_id(self) -> str:
        """Unique over servers and restarts, so that a push's origin is never mistaken."""
        return f"s-{self._incarnation}-{next(self._numbers)}"

    def spawn(self, work: Coroutine[Any, Any, None], *, request: bool = True) -> None:
        """A task that the server owns until it ends."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        self._requests += request
        task.add_done_callback(self._request_done if request else self._tasks.discard)

    def _request_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._requests -= 1

    def joined(self, connection: Connection) -> None:
        """The session is open: it gets pushes from now on, and an older one of the same device goes."""
        self.opening.pop(connection, None)
        self.stats.opened += 1
        caller = connection.session.caller
        assert caller is not None
        older = self.hub.join(connection, caller.user, caller.device)
        if older is not None:
            older.close(4409, "replaced by a newer connection of this device")

    def forget(self, connection: Connection, close_code: int | None) -> None:
        self.opening.pop(connection, None)
        self.closing.discard(connection)
        caller = connection.session.caller
        if caller is not None:
            self.hub.leave(connection, caller.user)
            self.stats.count_close(close_code or 1006)

    def http(self, path: str) -> tuple[HTTPStatus, str]:
        """Answers to plain HTTP GET."""
        if path == "/healthz":
            return HTTPStatus.OK, "ok\n"
        if path == "/readyz":
            return (
                (HTTPStatus.OK, "ready\n") if self._ready else (HTTPStatus.SERVICE_UNAVAILABLE, "starting\n")
            )
        if path == "/metrics":
            return HTTPStatus.OK, self.stats.prometheus(self.hub.connections, self.scheme.stats())
        return HTTPStatus.NOT_FOUND, "there are /ws, /healthz, /readyz and /metrics\n"

    # --- control.Host ---------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        return self.stats.snapshot(self.hub.connections, self.scheme.stats())

    def unfinished(self) -> dict[str, int]:
        left = {"requests": self._requests - 1, "fan-out": self.hub.waiting}  # 1: the DRAIN that asks
        return {name: n for name, n in left.items() if n > 0}

    async def _sweep(self) -> None:
        """Once a second: those that never said HELLO, that are stuck in closing, or silent for too long."""
        limits = self.config.limits
        for tick in itertools.count():
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for connection, since in list(self.opening.items()):
                if now - since > limits.hello_s and not connection.is_trusted:
                    connection.close(4401, f"nobody introduced themselves within {limits.hello_s} s")
            for connection in list(self.closing):
                if now - connection.closing_s > CLOSE_TIMEOUT_S:
                    connection.abort()
            if tick % 10 == 0:
                for connection in self.hub.everybody():
                    if now - connection.heard_s > limits.silence_s:
                        connection.close(4408, f"nothing heard for {limits.silence_s} s")
