"""The shell around a session: one `asyncio.Protocol` over websockets' Sans-I/O `ServerProtocol`.

No task per connection, so an idle one costs memory alone; a request to a store costs one task, a push one
write.
What the library's own shell would do is done here: opening and closing time-outs (by the server's sweep),
back-pressure in both directions, size limits, and quiet when thousands of clients vanish at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from schemes import failpoints
from schemes import protocol as p
from schemes.ports import Done, Refused
from schemes.server.control import ControlSession
from schemes.server.dispatch import asker_of, carry_out
from schemes.server.hub import text_frame
from schemes.server.session import Action, Call, Close, Session

if TYPE_CHECKING:
    from schemes.server.listener import Server

log = logging.getLogger(__name__)
TYPE_OF: Final = {frame: str(frame.__struct_config__.tag) for frame in p.ClientFrame.__args__}
WRITE_BUFFER_BYTES: Final = 64 * 1024
"""Above this the transport is behind, and frames wait in the outbox, where they are counted."""
CLOSE_TIMEOUT_S: Final = 2.0
_quiet = logging.getLogger("schemes.websockets")
_quiet.setLevel(logging.CRITICAL)


class Connection(asyncio.Protocol):
    """One socket: a WebSocket to `/ws` or `/control`, or one HTTP request."""

    __slots__ = (
        "_control",
        "_frames",
        "_gone",
        "_outbox",
        "_outbox_bytes",
        "_parts",
        "_paused",
        "_reading",
        "_server",
        "_transport",
        "_ws",
        "closing_s",
        "heard_s",
        "session",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self.session = Session(server.config, server.new_session_id())
        self._ws = ServerProtocol(
            subprotocols=[Subprotocol(p.SUBPROTOCOL)],
            max_size=server.config.limits.frame_bytes,
            logger=_quiet,
        )
        self._control: ControlSession | None = None
        self._paused = False
        self._outbox: deque[bytes] | None = None
        self._outbox_bytes = 0
        self._frames: deque[bytes] | None = None
        self._parts: list[bytes] | None = None
        self._reading = True
        self._gone = False
        self.heard_s = 0.0
        self.closing_s = 0.0

    @property
    def device(self) -> str:
        caller = self.session.caller
        return caller.device if caller is not None else ""

    @property
    def is_trusted(self) -> bool:
        """A control session, which says AUTH instead of HELLO."""
        return self._control is not None and self._control.authenticated

    # --- asyncio.Protocol ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.heard_s = time.monotonic()
        self._server.opening[self] = self.heard_s

    def data_received(self, data: bytes) -> None:
        self.heard_s = time.monotonic()
        self._ws.receive_data(data)
        self._handle_events()

    def eof_received(self) -> bool:
        self._ws.receive_eof()
        self._handle_events()
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        outbox, self._outbox, self._outbox_bytes = self._outbox, None, 0
        if outbox:
            self._transport.write(b"".join(outbox))

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._outbox = None
        self._frames = None
        self._server.forget(self, self._ws.close_code if self._ws.close_rcvd or self._ws.close_sent else 1006)

    # --- in -------------------------------------------------------------------------------------------------

    def _handle_events(self) -> None:
        for event in self._ws.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._request(event)
        self._flush_protocol()

    def _request(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        if path == p.PATH or (path == p.CONTROL_PATH and self._server.config.control):
            if path == p.CONTROL_PATH:
                self._ws.max_message_size = p.CONTROL_FRAME_BYTES_MAX
                self._control = ControlSession(self._server.config.secret, self._server.scheme, self._server)
            self._ws.send_response(self._ws.accept(request))
        else:
            self._server.opening.pop(self, None)
            status, text = self._server.http(path)
            self._ws.send_response(self._ws.reject(status, text))

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT and frame.fin:
            self._text(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self._parts = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT and self._parts is not None:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                whole, self._parts = b"".join(self._parts), None
                self._text(whole)
        elif frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT:
            self.close(4400, "text frames only")

    def _text(self, data: bytes) -> None:
        if self._control is not None:
            self._server.spawn(self._answer_control(self._control, data))
        elif self._frames or self.session.in_flight >= self._server.config.limits.in_flight:
            self._hold(data)
        else:
            self._receive(data)

    def _hold(self, data: bytes) -> None:
        """Beyond `in_flight` the server stops reading; what was read already waits here."""
        if self._frames is None:
            self._frames = deque()
        self._frames.append(data)
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _receive(self, data: bytes) -> None:
        if not self.closing_s:
            now_ns = time.monotonic_ns()
            self._act(self.session.receive(data, now_ns / 1e9, now_ns, time.time()))

    def _act(self, action: Action) -> None:
        if type(action) is bytes:
            self.send(text_frame(action))
        elif type(action) is Call:
            self._start(action)
        elif type(action) is Close:
            if action.first is not None:
                self.send(text_frame(action.first))
            self.close(action.code, action.reason, retry_ms=action.retry_ms)

    # --- calls ----------------------------------------------------------------------------------------------

    def _start(self, call: Call) -> None:
        assert self.session.caller is not None
        if failpoints.on:
            failpoints.begin(asker_of(self.session.caller, call.frame))
        try:
            outcome = carry_out(self._server.scheme, self.session.caller, call)
        except Refused as why:
            self._finish_refused(call, why)
            return
        except Exception as bug:  # noqa: BLE001  the rim of a request: INTERNAL, counted
            self._finish_refused(call, _internal(bug))
            return
        if type(outcome) is Done:
            self._finish(call, outcome.value)
        else:
            self._server.spawn(self._await(call, outcome, time.monotonic_ns()))

    async def _await(self, call: Call, outcome: Awaitable[Any], spawned_ns: int) -> None:
        call.trace.wait += time.monotonic_ns() - spawned_ns
        try:
            value = await outcome
        except Refused as why:
            self._finish_refused(call, why)
        except Exception as bug:  # noqa: BLE001  the rim of a request, as above
            self._finish_refused(call, _internal(bug))
        else:
            self._finish(call, value)

    def _finish(self, call: Call, value: Any) -> None:
        if self._gone:
            return  # who asked has left: what else they asked for is not begun any more
        now_ns = time.monotonic_ns()
        opened = not self.session.welcomed
        reply = self.session.answer(call, value, now_ns, time.time())
        self._server.stats.count(TYPE_OF[type(call.frame)], "ok", now_ns - call.received_ns, call.trace)
        if opened:
            self._server.joined(self)
        self.send(text_frame(reply))
        self._next()

    def _finish_refused(self, call: Call, why: Refused) -> None:
        if self._gone:
            return
        now_ns = time.monotonic_ns()
        reply = self.session.refuse(call, why, now_ns)
        self._server.stats.count(TYPE_OF[type(call.frame)], why.code, now_ns - call.received_ns, call.trace)
        self.send(text_frame(reply))
        if not self.session.welcomed:
            self.close(1013, str(why), retry_ms=why.retry_ms or 1000)
        self._next()

    def _next(self) -> None:
        """A call is done: the mutation behind it, then frames that waited for room."""
        call = self.session.next_call()
        if call is not None:
            call.trace.wait += time.monotonic_ns() - call.received_ns
            self._start(call)
        while self._frames and self.session.in_flight < self._server.config.limits.in_flight:
            self._receive(self._frames.popleft())
        if not self._frames and not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    async def _answer_control(self, control: ControlSession, data: bytes) -> None:
        reply = await control.receive(data)
        if reply is None:
            self.close(4401, "the first frame to /control must be AUTH with the run's secret")
        else:
            self.send(text_frame(reply))

    # --- out ------------------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Writes a text frame, or queues it while the peer is slow; a full outbox closes with 4408."""
        if self.closing_s or self._ws.state is not OPEN:
            return
        if not self._paused:
            self._transport.write(frame)
            return
        if self._outbox is None:
            self._outbox = deque()
        self._outbox.append(frame)
        self._outbox_bytes += len(frame)
        limits = self._server.config.limits
        if len(self._outbox) > limits.outbox_frames or self._outbox_bytes > limits.outbox_bytes:
            self._server.stats.pushes_dropped += len(self._outbox)
            self._outbox = None
            self.close(4408, "slow consumer")

    def close(self, code: int, reason: str, *, retry_ms: int = 0) -> None:
        """GOODBYE and a close frame; the socket goes when the peer answers, or after a while by the sweep."""
        if self.closing_s:
            return
        if self._ws.state is OPEN:
            self._transport.write(
                text_frame(p.encode(p.Goodbye(code=code, reason=reason, retry_ms=retry_ms)))
            )
            self._ws.send_close(code, reason.encode()[:120].decode(errors="ignore"))
            self._flush_protocol()
        else:
            self._transport.close()
        self.closing_s = time.monotonic()
        self._server.closing.add(self)

    def abort(self) -> None:
        self._transport.abort()

    def _flush_protocol(self) -> None:
        for data in self._ws.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()


def _internal(bug: Exception) -> Refused:
    log.error("INTERNAL: a request failed", exc_info=bug)
    return Refused("INTERNAL", f"{type(bug).__name__}: {bug}"[:300])
