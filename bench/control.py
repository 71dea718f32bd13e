"""The harness's end of the control door: one synchronous connection to a server's `/control`, and what a run
asks of it.  A server of somebody else's may have no such door, or not all of it (`Door`)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec
import websockets.sync.client
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from schemes.protocol import (
    SERVER_FRAME_BYTES_MAX,
    SUBPROTOCOL,
    ControlReply,
    ControlRequest,
    DumpRow,
    SeedConversation,
    decode_control_reply,
)

T = TypeVar("T")
REPLY_TIMEOUT_S = 20.0
SEED_TIMEOUT_S = 300.0


class ControlError(Exception):
    """The door is closed, refused, or broke: the message says which."""


class NotOffered(ControlError):
    """The door is open, but this request is none that the server knows."""


class Control:
    """Asks one thing at a time."""

    def __init__(self, url: str, secret: str) -> None:
        self._open = contextlib.ExitStack()
        try:
            door = websockets.sync.client.connect(
                url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=4 * SERVER_FRAME_BYTES_MAX,
                proxy=None,
            )
            self._socket = self._open.enter_context(door)
        except (OSError, WebSocketException) as why:
            raise ControlError(
                f"cannot reach the control door at {url}: {why}. Was the server started with --control?"
            ) from why
        self._ids = itertools.count(1)
        self.ask("AUTH", secret=secret)

    def ask(self, kind: str, *, timeout_s: float = REPLY_TIMEOUT_S, **fields: Any) -> ControlReply:
        """A request and its reply.  Raises ControlError if it is refused or does not come in time."""
        number = str(next(self._ids))
        try:
            self._socket.send(msgspec.json.encode(ControlRequest(type=kind, id=number, **fields)), text=True)
            reply = decode_control_reply(self._socket.recv(timeout=timeout_s))
        except TimeoutError as why:
            raise ControlError(f"{kind} was not answered within {timeout_s:.0f} s") from why
        except (OSError, WebSocketException) as why:
            raise ControlError(f"{kind}: the control connection broke: {why}") from why
        except msgspec.DecodeError as why:
            raise ControlError(f"{kind} was answered with what is no control reply: {why}") from why
        if reply.type == "ERROR":
            refused = NotOffered if reply.code == "UNSUPPORTED" else ControlError
            raise refused(f"{kind} was refused: {reply.code}: {reply.message}")
        return reply

    def seed(self, frames: Iterable[list[SeedConversation]], *, warm: bool) -> None:
        """Streams a population; returns when all of it is in the store (and the cache, if warm)."""
        for conversations in frames:
            self.ask("SEED", conversations=conversations, warm=warm, timeout_s=SEED_TIMEOUT_S)
        self.ask("SEED", done=True, warm=warm, timeout_s=SEED_TIMEOUT_S)

    def drain(self, timeout_s: float) -> dict[str, int]:
        """What is still on its way; empty when nothing is."""
        return (
            self.ask("DRAIN", timeout_ms=int(timeout_s * 1000), timeout_s=timeout_s + REPLY_TIMEOUT_S).left
            or {}
        )

    def dump(self, source: str) -> Iterator[DumpRow]:
        """Every member's cursors in `store` or `cache`."""
        after = ""
        while True:
            reply = self.ask("DUMP", source=source, after=after)
            yield from reply.rows or ()
            if reply.after is None:
                return
            after = reply.after

    def close(self) -> None:
        self._open.close()


class Door:
    """What a run asks of a server while it goes on and at its end.

    None is the answer to what cannot be asked, and `missing` says why, by request: where there is no control
    connection at all (`why_not`), or where a `lenient` door meets a server that does not know the request."""

    def __init__(self, control: Control | None, *, why_not: str = "", lenient: bool = False) -> None:
        self.missing: dict[str, str] = {}
        self._control = control
        self._why_not = why_not
        self._lenient = lenient

    def drain(self, timeout_s: float) -> dict[str, int] | None:
        """What is still on its way; empty when nothing is."""
        return self._ask("DRAIN", lambda control: control.drain(timeout_s))

    def freeze_gc(self) -> None:
        self._ask("FREEZE_GC", lambda control: control.ask("FREEZE_GC"))

    def stats(self) -> dict[str, Any] | None:
        return self._ask("STATS", lambda control: control.ask("STATS").stats or {})

    def dump(self, source: str) -> list[DumpRow] | None:
        """Every member's cursors in `store` or `cache`."""
        return self._ask("DUMP", lambda control: list(control.dump(source)))

    def _ask(self, kind: str, question: Callable[[Control], T]) -> T | None:
        if self._control is None:
            self.missing[kind] = self._why_not
            return None
        try:
            return question(self._control)
        except NotOffered:
            if not self._lenient:
                raise
            self.missing[kind] = "the server does not offer it"
            return None

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
