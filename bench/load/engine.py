"""Every WebSocket of one load process on gevent's event loop: one watcher per socket, no greenlet per user.

It connects, writes requests, matches replies to their rows, ends what gets no reply, and records all of it.
What a client *does* (sign in, confirm, catch up) is `device.py`; when it does it is the plan or a task.

Callbacks run in the hub: they may not block, and nothing may escape from them, or gevent stops the watcher
for good.  A reply finds its row because the request's id is the row's number.
"""

from __future__ import annotations

import _socket  # the C type: gevent's own class would wait where we want EAGAIN
import errno
import logging
import os
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import greenlet  # type: ignore[import-untyped]
import numpy as np
from gevent import get_hub
from websockets.uri import parse_uri

from bench.load.framing import ABNORMAL, Frames, Handshake, Handshakes, close_frame, text_frame
from bench.load.live_checks import LiveChecks
from bench.load.pacing import Pacer, now_ns
from bench.load.recorder import Recorder, RecordFull
from bench.load.replies import Incoming, decode
from bench.population import NOBODY
from bench.record import ERROR_CODES, NONE, Op, Outcome, Phase
from schemes.protocol import CONTROL_PATH, ERRORS, PATH, encode

if TYPE_CHECKING:
    from bench.load.device import Device

log = logging.getLogger(__name__)
READABLE: Final = 1
READABLE_AND_WRITABLE: Final = 3
RECEIVE_BYTES: Final = 65536
SWEEP_S: Final = 0.1
NORMAL_CLOSE: Final = 1000
INDEFINITE: Final = frozenset(name for name, error in ERRORS.items() if not error.definite)
_PENDING, _OK, _FAIL, _INFO, _UNSENT = (
    int(outcome) for outcome in (Outcome.PENDING, Outcome.OK, Outcome.FAIL, Outcome.INFO, Outcome.UNSENT)
)
_DEADLINE, _CLOSED, _REFUSED, _NOT_CONNECTED = (
    ERROR_CODES[name] for name in ("DEADLINE", "CLOSED", "REFUSED", "NOT_CONNECTED")
)


class Connection:
    """One socket of one device, from connect to close; a new one for each attempt."""

    __slots__ = ("device", "frames", "handshake", "intended", "out", "row", "session", "socket", "watcher")

    def __init__(self, device: Device, session: int, intended: int) -> None:
        self.device = device
        self.session = session
        self.intended = intended
        self.frames = Frames()
        self.handshake: Handshake | None = None
        self.out = b""
        self.row = NONE
        self.socket: Any = None
        self.watcher: Any = None


class Answer:
    """What became of a request: the reply, or None with the outcome (bench.record.Outcome) and error name."""

    __slots__ = ("error", "outcome", "reply")

    def __init__(self, outcome: int, reply: Incoming | None, error: str) -> None:
        self.outcome = outcome
        self.reply = reply
        self.error = error


class Phases:
    """Which phase a moment belongs to."""

    __slots__ = ("_after", "_before", "_since")

    def __init__(self) -> None:
        self._before = self._after = int(Phase.CONNECT)
        self._since = 0

    def enter(self, phase: Phase, since_ns: int) -> None:
        """From `since_ns` on it is `phase`; what was intended before stays in the last one."""
        self._before, self._after, self._since = self._after, int(phase), since_ns

    def at(self, moment_ns: int) -> int:
        return self._after if moment_ns >= self._since else self._before


class Engine:
    """The event loop's side of the load.

    `on_fatal(reason)` is called once when the run cannot go on (no room for records)."""

    def __init__(
        self,
        url: str,
        folder: Path,
        worker: int,
        *,
        in_flight: int = 64,
        deadline_s: float = 5.0,
        on_fatal: Callable[[str], None],
        recorder: type[Recorder] = Recorder,
        live: LiveChecks | None = None,
    ) -> None:
        uri = parse_uri(url if url.rstrip("/").endswith(PATH) else url.rstrip("/") + PATH)
        door = replace(uri, path=uri.path.removesuffix(PATH) + CONTROL_PATH)
        self._handshakes = {PATH: Handshakes(uri), CONTROL_PATH: Handshakes(door)}
        self._address = _socket.getaddrinfo(uri.host, uri.port, 0, _socket.SOCK_STREAM)[0]
        self.worker = worker
        self.deadline_ns = round(deadline_s * 1e9)
        self.recorder = recorder(folder, worker)
        self.live = live or LiveChecks()
        self.phases = Phases()
        self.counters: Counter[str] = Counter()
        self.hub = get_hub()
        self.pacer = Pacer(self.hub.loop, self.guard)
        self.tasks = Tasks(self)
        self._on_fatal: Callable[[str], None] | None = on_fatal
        self._in_flight = in_flight
        self._opening = 0
        self._to_connect: deque[tuple[Device, int]] = deque()
        self._sessions = 0
        self._by_session: dict[int, Device] = {}
        self._swept = 0
        self._lost_sessions: set[int] = set()
        self._sweeper = self.hub.loop.timer(SWEEP_S, SWEEP_S)
        self._sweeper.start(self._sweep)

    # --- connecting: at most `in_flight` at a time are signing in, so that no accept backlog is overrun -

    def connect(self, device: Device, intended_ns: int = 0) -> None:
        """Opens a connection when its turn comes; the device hears `opened` or `lost`."""
        self._to_connect.append((device, intended_ns or now_ns()))
        self._fill()

    def signed_in(self) -> None:
        """A device has done all that it does on connect: the next one may."""
        self._opening -= 1
        self._fill()

    def _fill(self) -> None:
        while self._to_connect and self._opening < self._in_flight:
            self._opening += 1
            self._open(*self._to_connect.popleft())

    def _open(self, device: Device, intended: int) -> None:
        self._sessions += 1
        connection = Connection(device, self.worker << 24 | self._sessions, intended)
        self._by_session[connection.session] = device
        device.connection = connection
        connection.handshake = self._handshakes[device.path].start()
        connection.out = connection.handshake.request
        connection.row = self._record(connection, Op.CONNECT, intended, now_ns())
        family, kind, protocol, _, address = self._address
        connection.socket = self._socket(family, kind, protocol)
        connection.socket.setblocking(False)
        connection.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        failure = connection.socket.connect_ex(address)
        if failure not in (0, errno.EINPROGRESS):
            self.hub.loop.run_callback(self._lose, connection, ABNORMAL, os.strerror(failure))
        else:
            self._watch(connection, READABLE_AND_WRITABLE)  # writable: the request goes out

    def _socket(self, family: int, kind: int, protocol: int) -> Any:
        return _socket.socket(family, kind, protocol)

    def _watch(self, connection: Connection, events: int) -> None:
        if connection.watcher is not None:
            connection.watcher.stop()
            connection.watcher.close()
        connection.watcher = self.hub.loop.io(connection.socket.fileno(), events)
        connection.watcher.start(self._ready, connection)

    def _upgraded(self, connection: Connection, data: bytes, moment: int) -> None:
        assert connection.handshake is not None
        rest = connection.handshake.receive(data)
        if rest is None:
            return
        connection.handshake = None
        self.recorder.answered(connection.row, moment, NONE, NONE, NONE, NONE, 0, 0, None)
        device = connection.device
        connection.row = self.recorder.connection(
            connection.intended, connection.session, device.person, device.number, device.role
        )
        self.recorder.connection_time(connection.row, "opened", moment)
        device.opened()
        if rest:
            self._take(connection, connection.frames.feed(rest), moment)

    def close(self, device: Device, code: int = NORMAL_CLOSE) -> None:
        """Closes from our side; the device does not hear of it."""
        connection = device.connection
        if connection is not None:
            if connection.handshake is None:
                self._write(connection, close_frame(code))
            self._drop(connection, code)

    def _lose(self, connection: Connection, code: int, reason: str) -> None:
        if connection.device.connection is connection:
            self.counters[f"lost: {reason}"] += 1
            self._drop(connection, code)
            connection.device.lost(code)

    def _drop(self, connection: Connection, code: int) -> None:
        device, moment = connection.device, now_ns()
        if device.connection is not connection:
            return
        device.connection = None
        if connection.handshake is not None:
            if self.recorder.outcome(connection.row) == _PENDING:
                self.recorder.end(connection.row, moment, _FAIL, _REFUSED)
            del self._by_session[connection.session]
        else:
            self.recorder.connection_closed(connection.row, moment, code, self.phases.at(moment))
            self._lost_sessions.add(connection.session)
        if connection.watcher is not None:
            connection.watcher.stop()
            connection.watcher.close()
        connection.socket.close()
        if device.signing_in:
            device.signing_in = False
            self.signed_in()

    # --- receiving ------------------------------------------------------------------------------------------

    def _ready(self, connection: Connection) -> None:
        try:
            if connection.out:
                self._flush(connection)
            data = connection.socket.recv(RECEIVE_BYTES)
            moment = now_ns()
            if not data:
                self._lose(connection, ABNORMAL, "end of stream")
            elif connection.handshake is None:
                self._take(connection, connection.frames.feed(data), moment)
            else:
                self._upgraded(connection, data, moment)
        except BlockingIOError:
            pass  # it was writable, there is nothing to read
        except Exception as error:  # noqa: BLE001  rim of the event loop: this connection ends, others go on
            if not isinstance(error, OSError):
                self.guard(error)
            self._lose(connection, ABNORMAL, repr(error))

    def _take(self, connection: Connection, payloads: list[bytes], moment: int) -> None:
        """The messages of one read, which came at `moment`, and what the framing wants to be answered."""
        frames = connection.frames
        for payload in payloads:
            message = decode(payload)
            if message.reply_to:
                self._reply(connection, message, moment)
            else:
                connection.device.pushed(message, connection.session, moment)
        if frames.out:
            self._write(connection, frames.out)
            frames.out = b""
        if frames.close_code:
            self._lose(connection, frames.close_code, f"close {frames.close_code}")

    def _reply(self, connection: Connection, reply: Incoming, moment: int) -> None:
        row = int(reply.reply_to)
        if row >= self.recorder.operations.count:
            self.counters["reply to nothing"] += 1
            return
        session, op, outcome = self.recorder.request(row)
        if session != connection.session:
            self.counters["reply to nothing"] += 1
        elif outcome != _PENDING:
            self.counters["reply after the deadline"] += 1
        elif reply.type == "ERROR":
            self._refused(connection, row, reply, moment)
        else:
            connection.device.replied(row, op, reply, moment)
            if self.tasks.waiting:
                self.tasks.resume(row, reply)

    def _refused(self, connection: Connection, row: int, reply: Incoming, moment: int) -> None:
        code = str(reply.code)
        outcome = _INFO if code in INDEFINITE or code not in ERROR_CODES else _FAIL
        self.recorder.answered(row, moment, NONE, NONE, NONE, NONE, 0, 0, reply.t)
        self.recorder.end(row, moment, outcome, ERROR_CODES.get(code, ERROR_CODES["INTERNAL"]))
        self._ended(connection.device, row, Answer(outcome, reply, code))

    def _ended(self, device: Device | None, row: int, answer: Answer) -> None:
        """A request that was not acknowledged."""
        if device is not None:
            device.failed(row, self.recorder.op(row), answer)
        self.tasks.fail(row, answer)

    # --- sending --------------------------------------------------------------------------------------------

    def request(
        self,
        device: Device,
        op: int,
        frame: Any,
        due: int = 0,
        conversation: int = NOBODY,
        argument: int = NONE,
        plan: int = NONE,
        attempt: int = 0,
        dependency_us: int = 0,
    ) -> int:
        """Sends one request, intended for `due` (now, if 0).  Its row, or -1 when it could not be sent (which
        is a row too)."""
        recorder, connection = self.recorder, device.connection
        if connection is None or connection.handshake is not None:
            self.unsent(device, op, due or now_ns(), conversation, argument, plan, attempt, dependency_us)
            return -1
        row = recorder.operations.count
        frame.id = str(row)
        data = text_frame(encode(frame))
        moment = now_ns()
        intended = due or moment
        recorder.operation(
            op, intended, moment, connection.session, device.person, device.number, self.phases.at(intended),
            conversation, argument, plan, attempt, dependency_us,
        )  # fmt: skip
        device.last_sent = moment
        self._write(connection, data)
        return row

    def unsent(
        self,
        device: Device,
        op: int,
        intended: int,
        conversation: int = NOBODY,
        argument: int = NONE,
        plan: int = NONE,
        attempt: int = 0,
        dependency_us: int = 0,
        outcome: int = _UNSENT,
    ) -> None:
        """Records what never left this process: not connected, its message
        never came, or nothing to say (already_read)."""
        error = _NOT_CONNECTED if outcome == _UNSENT and not device.is_ready else 0
        session = device.connection.session if device.connection is not None else 0
        self.recorder.operation(
            op, intended, 0, session, device.person, device.number, self.phases.at(intended),
            conversation, argument, plan, attempt, dependency_us, outcome, error,
        )  # fmt: skip

    def _record(self, connection: Connection, op: int, intended: int, moment: int) -> int:
        device = connection.device
        return self.recorder.operation(
            op, intended, moment, connection.session, device.person, device.number, self.phases.at(intended)
        )

    def _write(self, connection: Connection, data: bytes) -> None:
        if connection.out:
            connection.out += data
            return
        try:
            written = connection.socket.send(data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self.hub.loop.run_callback(self._lose, connection, ABNORMAL, repr(error))
            return
        if written < len(data):
            connection.out = data[written:]
            self._watch(connection, READABLE_AND_WRITABLE)

    def _flush(self, connection: Connection) -> None:
        connection.out = connection.out[connection.socket.send(connection.out) :]
        if not connection.out:
            self._watch(connection, READABLE)

    # --- what gets no reply -----------------------------------------------------------------------------

    def _sweep(self) -> None:
        try:
            self.recorder.keep_ahead()
            if self._lost_sessions:
                lost, self._lost_sessions = self._lost_sessions, set()
                self._end_lost(lost)
            self._end_late(now_ns() - self.deadline_ns)
        except Exception as error:  # noqa: BLE001  rim of the event loop
            self.guard(error)

    def _end_late(self, before: int) -> None:
        """Ends what was sent before this; `_swept` moves on to the first row that is still open."""
        for rows in self.recorder.since(self._swept):
            first = self._swept
            pending = np.flatnonzero(rows["outcome"] == _PENDING)
            late = pending[: np.searchsorted(rows["sent"][pending], before)]
            for place in late.tolist():
                self._indefinite(first + place, "DEADLINE")
            if len(late) < len(pending):
                self._swept = first + int(pending[len(late)])
                return
            self._swept = first + len(rows)

    def _end_lost(self, sessions: set[int]) -> None:
        row = self._swept
        for rows in self.recorder.since(row):
            pending = (rows["outcome"] == _PENDING) & np.isin(rows["session"], list(sessions))
            for place in np.flatnonzero(pending):
                self._indefinite(row + int(place), "CLOSED")
            row += len(rows)
        for session in sessions:
            del self._by_session[session]
            self.live.closed(session)

    def _indefinite(self, row: int, error: str) -> None:
        self.recorder.end(row, 0, _INFO, ERROR_CODES[error])
        self._ended(self._by_session.get(self.recorder.session(row)), row, Answer(_INFO, None, error))

    def guard(self, error: Exception) -> None:
        """What a callback raised: counted and logged, or the end of the run if records cannot be kept."""
        if isinstance(error, RecordFull):
            on_fatal, self._on_fatal = self._on_fatal, None
            if on_fatal is not None:
                on_fatal(str(error))
        else:
            self.counters[f"bug: {error!r}"] += 1
            log.error("in the event loop", exc_info=error)

    def outstanding(self) -> int:
        """Requests whose outcome is still open."""
        return sum(int((rows["outcome"] == _PENDING).sum()) for rows in self.recorder.since(self._swept))

    def stop(self) -> None:
        """Nothing is sent or received any more; the files keep what was recorded."""
        self._sweeper.stop()
        self.pacer.close()
        self.recorder.close()


class Tasks:
    """Code that waits, in pooled greenlets: one is taken only while a task runs."""

    def __init__(self, engine: Engine) -> None:
        self.waiting: dict[int, Any] = {}
        self._engine = engine
        self._idle: list[Any] = []

    def run(self, due: int, function: Callable[..., None], *arguments: Any) -> None:
        """Runs `function(due, *arguments)`, which may call `wait_for`.  Only from the event loop's
        callbacks."""
        if self._idle:
            self._idle.pop().switch((due, function, arguments))
        else:
            greenlet.greenlet(self._work, self._engine.hub).switch((due, function, arguments))

    def wait_for(self, row: int) -> Answer:
        """Parks the running task until the request of this row has ended."""
        self.waiting[row] = greenlet.getcurrent()
        answer: Answer = self._engine.hub.switch()
        return answer

    def resume(self, row: int, reply: Incoming) -> None:
        waiting = self.waiting.pop(row, None)
        if waiting is not None:
            waiting.switch(Answer(_OK, reply, ""))

    def fail(self, row: int, answer: Answer) -> None:
        waiting = self.waiting.pop(row, None)
        if waiting is not None:
            waiting.switch(answer)

    def _work(self, job: tuple[int, Callable[..., None], tuple[Any, ...]]) -> None:
        while True:
            due, function, arguments = job
            try:
                function(due, *arguments)
            except Exception as error:  # noqa: BLE001  rim of a task: the user goes on with the next one
                self._engine.guard(error)
            self._idle.append(greenlet.getcurrent())
            job = self._engine.hub.switch()
