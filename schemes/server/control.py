"""The harness's own door, `/control`: wipe, load, drain, dump, and look at what the stores hold.

Off unless the server is started with `--control`; the first frame must be AUTH with the run's secret."""

from __future__ import annotations

import asyncio
import gc
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from schemes import failpoints
from schemes import protocol as p
from schemes.ports import ReadState, Refused

DRAIN_POLL_S: Final = 0.02
ROWS_MAX: Final = 10_000
"""About 60 bytes each: a reply stays under 1 MiB."""


class Host(Protocol):
    """What the door needs of the server around it."""

    def snapshot(self) -> dict[str, Any]: ...

    def unfinished(self) -> dict[str, int]:
        """Requests and pushes that this server still has in hand, by name."""


class ControlSession:
    """One connection to `/control`.  Requests are answered as they finish."""

    def __init__(self, secret: bytes, scheme: ReadState, host: Host) -> None:
        self._secret = secret
        self._scheme = scheme
        self._host = host
        self.authenticated = False

    async def receive(self, data: bytes) -> bytes | None:
        """The reply to one frame; None: not authenticated, close."""
        try:
            request = p.decode_control(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as why:
            return _error("", "BAD_REQUEST", str(why)) if self.authenticated else None
        if not self.authenticated:
            self.authenticated = request.type == "AUTH" and hmac.compare_digest(
                request.secret.encode(), self._secret
            )
            return p.encode(p.ControlReply("OK", request.id)) if self.authenticated else None
        handle = _HANDLERS.get(request.type)
        if handle is None:
            return _error(
                request.id, "UNSUPPORTED", f"{request.type!r}; known: {', '.join(sorted(_HANDLERS))}"
            )
        try:
            reply = await handle(self, request)
        except Refused as why:
            return _error(request.id, why.code, str(why))
        except Exception as bug:  # noqa: BLE001  the rim of a request: the harness must hear of it
            return _error(request.id, "INTERNAL", f"{type(bug).__name__}: {bug}")
        reply.reply_to = request.id
        return p.encode(reply)

    async def _reset(self, request: p.ControlRequest) -> p.ControlReply:
        await self._scheme.reset()
        return p.ControlReply("OK")

    async def _seed(self, request: p.ControlRequest) -> p.ControlReply:
        await self._scheme.seed(request.conversations, done=request.done, warm=request.warm)
        return p.ControlReply("OK")

    async def _drain(self, request: p.ControlRequest) -> p.ControlReply:
        """First what this server has in hand, since that may still hand something to the scheme."""
        deadline = time.monotonic() + request.timeout_ms / 1000
        while True:
            unfinished = self._host.unfinished()
            left_s = deadline - time.monotonic()
            if not unfinished or left_s <= 0:
                left = await self._scheme.drain(max(0.0, left_s))
                return p.ControlReply("DRAINED", left=left | self._host.unfinished())
            await asyncio.sleep(DRAIN_POLL_S)

    async def _dump(self, request: p.ControlRequest) -> p.ControlReply:
        if request.source not in ("store", "cache"):
            raise Refused("BAD_REQUEST", f"source is 'store' or 'cache', got {request.source!r}")
        limit = max(1, min(request.limit, ROWS_MAX))
        rows, after = await self._scheme.dump(request.source, request.after, limit)
        return p.ControlReply("DUMP", rows=rows, after=after)

    async def _held(self, request: p.ControlRequest) -> p.ControlReply:
        try:
            user = p.user_number(request.user)
        except ValueError as why:
            raise Refused("BAD_REQUEST", str(why)) from None
        source = "store" if request.type == "DURABLE" else "cache"
        row = await self._scheme.held(source, user, request.conversation)
        return p.ControlReply(request.type, found=row is not None, row=row)

    async def _stats(self, request: p.ControlRequest) -> p.ControlReply:
        return p.ControlReply("STATS", stats=self._host.snapshot())

    async def _lag(self, request: p.ControlRequest) -> p.ControlReply:
        stats = self._scheme.stats()
        return p.ControlReply(
            "LAG", stats={name: stats[name] for name in sorted(stats) if name.startswith("lag_")}
        )

    async def _failpoint(self, request: p.ControlRequest) -> p.ControlReply:
        return await failpoints.answer(request)

    async def _freeze_gc(self, request: p.ControlRequest) -> p.ControlReply:
        gc.collect()
        gc.freeze()
        gc.disable()
        freeze = getattr(self._scheme, "freeze_gc", None)
        if freeze is not None:
            await freeze()
        return p.ControlReply("OK")


_HANDLERS: Final[dict[str, Callable[[ControlSession, p.ControlRequest], Awaitable[p.ControlReply]]]] = {
    "RESET": ControlSession._reset,
    "SEED": ControlSession._seed,
    "DRAIN": ControlSession._drain,
    "DUMP": ControlSession._dump,
    "DURABLE": ControlSession._held,
    "CACHED": ControlSession._held,
    "STATS": ControlSession._stats,
    "LAG": ControlSession._lag,
    "FAILPOINT": ControlSession._failpoint,
    "FREEZE_GC": ControlSession._freeze_gc,
}


def _error(reply_to: str, code: str, message: str) -> bytes:
    return p.encode(p.ControlReply("ERROR", reply_to, code=code, message=message))
