"""One session, Sans-I/O: a frame in, what to do about it out.

The session knows the rules of the protocol (who may speak when, limits, order) and nothing of sockets, tasks
or stores.  `receive` turns a frame into an action; the shell (`connection.py`) carries it out and comes back
with `answer` or `refuse` for the bytes of the reply.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import schemes
from schemes import protocol as p
from schemes.ports import (
    Caller,
    DeliveredOutcome,
    Marked,
    ReadOutcome,
    Refused,
    SendOutcome,
    StatePage,
    SyncPage,
    Trace,
)

REFUSALS_MAX: Final = 1000
"""Requests in a row refused for the rate limit before the connection is closed with 4429."""
SUBSCRIPTIONS_MAX: Final = 1000
CLIENT_MSG_ID_BYTES: Final = 36
CONVERSATION_ID_BYTES: Final = 64


@dataclass(frozen=True)
class ServerConfig:
    """What every session of one server shares."""

    scheme: str
    model: str
    ack: p.AckMeaning
    node: int = 0
    secret: bytes = b"development"
    auth: bool = True
    control: bool = False
    limits: p.Limits = field(default_factory=p.Limits)


class Close:
    """Say GOODBYE and close with this code."""

    __slots__ = ("code", "first", "reason", "retry_ms")

    def __init__(self, code: int, reason: str, *, retry_ms: int = 0, first: bytes | None = None) -> None:
        self.code = code
        self.reason = reason
        self.retry_ms = retry_ms
        self.first = first
        """A reply that goes out before it."""


class Call:
    """A request for the scheme, on its way.  `items` and `numbers` are its checked arguments."""

    __slots__ = ("frame", "items", "mutates", "received_ns", "trace")

    def __init__(
        self, frame: p.ClientFrame, received_ns: int, *, items: Sequence[Marked] = (), mutates: bool = False
    ) -> None:
        self.frame = frame
        self.items = items
        self.received_ns = received_ns
        self.trace = Trace()
        self.mutates = mutates


Action = Call | bytes | Close | None
"""Carry out the call, send the bytes, close, or nothing yet (the call waits for its turn)."""


class Session:
    """The rules of one connection.  Times: `now_s` seconds and `now_ns` nanoseconds of the monotonic clock,
    `wall_s` seconds UTC."""

    __slots__ = (
        "_all",
        "_config",
        "_keys",
        "_mutating",
        "_refusals",
        "_tokens",
        "_tokens_at",
        "_trace",
        "_waiting",
        "caller",
        "in_flight",
        "session_id",
        "welcomed",
    )  # fmt: skip

    def __init__(self, config: ServerConfig, session_id: str) -> None:
        self.session_id = session_id
        self.caller: Caller | None = None
        self.welcomed = False
        self.in_flight = 0
        self._config = config
        self._trace = False
        self._all = False
        self._keys: set[str] | None = None
        self._mutating = False
        self._waiting: deque[Call] | None = None
        self._tokens = float(config.limits.ops_burst)
        self._tokens_at = 0.0
        self._refusals = 0

    # --- frames in ------------------------------------------------------------------------------------

    def receive(self, data: bytes, now_s: float, now_ns: int, wall_s: float) -> Action:
        """One text frame.  Malformed frames are answered with an ERROR, before HELLO they close with 4400."""
        try:
            frame = p.decode_client(data)
        except p.ProtocolError as why:
            error = self._error(why.reply_to, why.code, str(why))
            return error if self.welcomed else Close(4400, str(why), first=error)
        if not self.welcomed:
            return self._hello(frame, now_s, now_ns, wall_s)
        if not self._within_rate(now_s):
            return self._rate_limited(frame)
        try:
            return _RECEIVE[type(frame)](self, frame, now_ns, wall_s)
        except Refused as why:
            return self._error(frame.id, why.code, str(why), current=why.current, retry_ms=why.retry_ms)

    def _hello(self, frame: p.ClientFrame, now_s: float, now_ns: int, wall_s: float) -> Action:
        if not isinstance(frame, p.Hello) or self.caller is not None:
            return self._refuse_hello(
                frame.id, "BAD_REQUEST", 4400, "the first frame must be one HELLO, then wait for WELCOME"
            )
        if p.PROTOCOL_VERSION not in frame.protocol:
            return self._refuse_hello(
                frame.id, "UNSUPPORTED", 4400, f"this server speaks protocol [1], not {frame.protocol}"
            )
        try:
            user = p.user_number(frame.user_id)
        except ValueError as why:
            return self._refuse_hello(frame.id, "BAD_REQUEST", 4400, str(why))
        if not 0 < len(frame.device_id.encode()) <= 64 or "|" in frame.device_id:
            return self._refuse_hello(
                frame.id, "BAD_REQUEST", 4400, "device_id must be 1 to 64 bytes without '|'"
            )
        if self._config.auth:
            problem = p.check_token(self._config.secret, frame.token, frame.user_id, frame.device_id, wall_s)
            if problem is not None:
                return self._refuse_hello(frame.id, "UNAUTHENTICATED", 4401, problem)
        self.caller = Caller(user, frame.device_id, self.session_id)
        self._trace = frame.trace
        self._tokens_at = now_s
        return self._call(Call(frame, now_ns))

    def _refuse_hello(self, reply_to: str, code: str, close: int, why: str) -> Close:
        return Close(close, why, first=self._error(reply_to, code, why))

    def _within_rate(self, now_s: float) -> bool:
        limits = self._config.limits
        tokens = self._tokens + (now_s - self._tokens_at) * limits.ops_per_s
        if tokens > limits.ops_burst:
            tokens = limits.ops_burst
        within = tokens >= 1.0
        self._tokens_at = now_s
        self._tokens = tokens - 1.0 if within else tokens
        return within

    def _rate_limited(self, frame: p.ClientFrame) -> Action:
        self._refusals += 1
        if self._refusals > REFUSALS_MAX:
            return Close(4429, "rate limit ignored", retry_ms=10_000)
        limits = self._config.limits
        return self._error(
            frame.id, "RATE_LIMITED", f"more than {limits.ops_per_s} operations/s, burst {limits.ops_burst}",
            retry_ms=-(-1000 // limits.ops_per_s),
        )  # fmt: skip

    def _call(self, call: Call) -> Action:
        """A mutation waits for the one before it; STATE, SYNC and PING may overtake."""
        self._refusals = 0
        self.in_flight += 1
        if not call.mutates:
            return call
        if self._mutating:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(call)
            return None
        self._mutating = True
        return call

    # --- replies out ----------------------------------------------------------------------------------

    def answer(self, call: Call, outcome: Any, now_ns: int, wall_s: float) -> bytes:
        """The reply to a call that the scheme has carried out."""
        self._finished(call)
        reply = _ANSWER[type(call.frame)](self, call, outcome, int(wall_s * 1000))
        if self._trace:
            reply.t = self._times(call, now_ns)
        return p.encode(reply)

    def refuse(self, call: Call, why: Refused, now_ns: int) -> bytes:
        """The reply to a call that the scheme refused."""
        self._finished(call)
        times = self._times(call, now_ns) if self._trace else None
        return self._error(
            call.frame.id, why.code, str(why), current=why.current, retry_ms=why.retry_ms, times=times
        )

    def next_call(self) -> Call | None:
        """The next mutation that waited for the one just answered."""
        if self._mutating or not self._waiting:
            return None
        self._mutating = True
        return self._waiting.popleft()

    def wants(self, conversation: str) -> bool:
        """Whether pushes of this conversation go to this session."""
        return self._all or (self._keys is not None and conversation in self._keys)

    def _finished(self, call: Call) -> None:
        self.in_flight -= 1
        if call.mutates:
            self._mutating = False

    def _times(self, call: Call, now_ns: int) -> p.StageTimes:
        trace = call.trace
        return p.StageTimes(  # by position: names cost a third more
            (now_ns - call.received_ns) // 1000,
            trace.wait // 1000,
            trace.store // 1000,
            trace.cache // 1000,
            trace.queue // 1000,
        )

    def _error(
        self,
        reply_to: str,
        code: str,
        message: str,
        *,
        current: dict[str, int] | None = None,
        retry_ms: int = 0,
        times: p.StageTimes | None = None,
    ) -> bytes:
        error = p.Error(reply_to=reply_to, code=code, message=message, current=current, retry_ms=retry_ms)
        if times is not None:
            error.t = times
        return p.encode(error)

    # --- one method per frame: checks, then a call or a reply ------------------------------------------

    def _receive_hello(self, frame: p.Hello, now_ns: int, wall_s: float) -> Action:
        raise Refused("BAD_REQUEST", "this session is already open")

    def _receive_sub(self, frame: p.Sub, now_ns: int, wall_s: float) -> Action:
        conversations = [_conversation_of_key(key) for key in frame.keys]
        if None in conversations:
            self._all = True
        named = (self._keys or set()).union(c for c in conversations if c is not None)
        if len(named) > SUBSCRIPTIONS_MAX:
            raise Refused("TOO_LARGE", f"at most {SUBSCRIPTIONS_MAX} keys; subscribe to '*'")
        self._keys = named or None
        return self._count_ack(frame.id, now_ns)

    def _receive_unsub(self, frame: p.Unsub, now_ns: int, wall_s: float) -> Action:
        conversations = [_conversation_of_key(key) for key in frame.keys]
        if None in conversations:
            self._all = False
        left = (self._keys or set()).difference(c for c in conversations if c is not None)
        self._keys = left or None
        return self._count_ack(frame.id, now_ns)

    def _count_ack(self, reply_to: str, now_ns: int) -> bytes:
        return p.encode(p.CountAck(reply_to=reply_to, count=int(self._all) + len(self._keys or ())))

    def _receive_send(self, frame: p.Send, now_ns: int, wall_s: float) -> Action:
        _check_conversation(frame.conversation_id)
        if not frame.client_msg_id.isascii() or not 0 < len(frame.client_msg_id) <= CLIENT_MSG_ID_BYTES:
            raise Refused("BAD_REQUEST", f"client_msg_id must be 1 to {CLIENT_MSG_ID_BYTES} ASCII characters")
        if len(frame.body.encode()) > self._config.limits.body_bytes:
            raise Refused("TOO_LARGE", f"body above {self._config.limits.body_bytes} bytes")
        return self._call(Call(frame, now_ns, mutates=True))

    def _receive_marks(self, frame: p.Read | p.Delivered, now_ns: int, wall_s: float) -> Action:
        most = self._config.limits.batch
        if not 0 < len(frame.items) <= most:
            code = "TOO_LARGE" if frame.items else "BAD_REQUEST"
            raise Refused(code, f"1 to {most} items, got {len(frame.items)}")
        items = [_marked(mark, most) for mark in frame.items]
        return self._call(Call(frame, now_ns, items=items, mutates=True))

    def _receive_state(self, frame: p.State, now_ns: int, wall_s: float) -> Action:
        most = self._config.limits.state_conversations
        if frame.conversations is not None:
            if not 0 < len(frame.conversations) <= most:
                raise Refused("TOO_LARGE", f"1 to {most} conversations, got {len(frame.conversations)}")
            for conversation in frame.conversations:
                _check_conversation(conversation)
        if not 0 < frame.limit <= most:
            raise Refused("TOO_LARGE", f"limit is 1 to {most}, got {frame.limit}")
        return self._call(Call(frame, now_ns))

    def _receive_sync(self, frame: p.Sync, now_ns: int, wall_s: float) -> Action:
        if (frame.since_change_id is None) == (frame.last_sync_time is None):
            raise Refused("BAD_REQUEST", "say since_change_id or last_sync_time, one of them")
        if (frame.since_change_id or 0) < 0 or (frame.last_sync_time or 0) < 0:
            raise Refused("BAD_REQUEST", "since_change_id and last_sync_time are not negative")
        if not 0 < frame.limit <= self._config.limits.sync_changes:
            raise Refused("TOO_LARGE", f"limit is 1 to {self._config.limits.sync_changes}, got {frame.limit}")
        if frame.detail not in ("cursors", "messages"):
            raise Refused("UNSUPPORTED", f"detail is 'cursors' or 'messages', got {frame.detail!r}")
        return self._call(Call(frame, now_ns))

    def _receive_history(self, frame: p.History, now_ns: int, wall_s: float) -> Action:
        _check_conversation(frame.conversation_id)
        if not 0 < frame.limit <= self._config.limits.batch:
            raise Refused("TOO_LARGE", f"limit is 1 to {self._config.limits.batch}, got {frame.limit}")
        if not 0 < frame.from_seq < 1 << 53:
            raise Refused("BAD_REQUEST", f"from_seq starts at 1, got {frame.from_seq}")
        return self._call(Call(frame, now_ns))

    def _receive_ping(self, frame: p.Ping, now_ns: int, wall_s: float) -> Action:
        return p.encode(p.Pong(reply_to=frame.id, server_time=int(wall_s * 1000)))

    # --- one method per outcome -------------------------------------------------------------------------

    def _welcome(self, call: Call, outcome: tuple[int, int], now_ms: int) -> p.Welcome:
        frame: p.Hello = call.frame  # type: ignore[assignment]  # _ANSWER is keyed by the frame's type
        epoch, change_id = outcome
        self.welcomed = True
        config = self._config
        return p.Welcome(
            reply_to=frame.id,
            session_id=self.session_id,
            epoch=epoch,
            change_id=change_id,
            server_time=now_ms,
            server=p.ServerInfo(f"ref-{config.scheme}", config.scheme, config.model, schemes.__version__),
            ack=config.ack,
            caps=["sync_time", "trace"] + (["control"] if config.control else []),
            limits=config.limits,
            reset_required=frame.resume is not None and frame.resume.epoch != epoch,
        )

    def _send_ack(self, call: Call, outcome: SendOutcome, now_ms: int) -> p.SendAck:
        return p.SendAck(
            reply_to=call.frame.id,
            message_id=str(outcome.message_id),
            seq=outcome.seq,
            sent_time=outcome.sent_time,
            duplicate=outcome.duplicate,
            durability=self._config.ack.send,
        )

    def _read_ack(self, call: Call, outcomes: list[ReadOutcome], now_ms: int) -> p.ReadAck:
        items = [
            p.MarkResult(o.conversation, o.applied, o.read_seq, o.unread, o.version, o.read_time)
            for o in outcomes
        ]
        return p.ReadAck(reply_to=call.frame.id, items=items, durability=self._config.ack.read)

    def _delivered_ack(self, call: Call, outcomes: list[DeliveredOutcome], now_ms: int) -> p.DeliveredAck:
        items = [p.DeliveredResult(o.conversation, o.applied, o.delivered_seq) for o in outcomes]
        return p.DeliveredAck(reply_to=call.frame.id, items=items, durability=self._config.ack.read)

    def _state_result(self, call: Call, page: StatePage, now_ms: int) -> p.StateResult:
        return p.StateResult(
            reply_to=call.frame.id,
            conversations=page.conversations,
            change_id=page.change_id,
            done=page.cursor is None,
            total_unread=page.total_unread,
            cursor=page.cursor,
        )

    def _sync_result(self, call: Call, page: SyncPage, now_ms: int) -> p.SyncResult:
        return p.SyncResult(
            reply_to=call.frame.id,
            changed_count=len(page.messages),
            updated_messages=page.messages,
            changes=page.changes,
            next_change_id=page.next_change_id,
            done=page.done,
            server_time=now_ms,
            reset_required=page.reset_required,
            total_unread=page.total_unread,
        )

    def _history_result(self, call: Call, messages: list[p.StoredMessage], now_ms: int) -> p.HistoryResult:
        frame: p.History = call.frame  # type: ignore[assignment]  # _ANSWER is keyed by the frame's type
        return p.HistoryResult(reply_to=frame.id, messages=messages, done=len(messages) < frame.limit)


_RECEIVE: Final[dict[type, Callable[..., Action]]] = {
    p.Hello: Session._receive_hello,
    p.Sub: Session._receive_sub,
    p.Unsub: Session._receive_unsub,
    p.Send: Session._receive_send,
    p.Read: Session._receive_marks,
    p.Delivered: Session._receive_marks,
    p.State: Session._receive_state,
    p.Sync: Session._receive_sync,
    p.History: Session._receive_history,
    p.Ping: Session._receive_ping,
}
_ANSWER: Final[dict[type, Callable[..., Any]]] = {
    p.Hello: Session._welcome,
    p.Send: Session._send_ack,
    p.Read: Session._read_ack,
    p.Delivered: Session._delivered_ack,
    p.State: Session._state_result,
    p.Sync: Session._sync_result,
    p.History: Session._history_result,
}


def _check_conversation(conversation_id: str) -> None:
    if not conversation_id.isascii() or not 0 < len(conversation_id) <= CONVERSATION_ID_BYTES:
        raise Refused("BAD_REQUEST", f"conversation_id must be 1 to {CONVERSATION_ID_BYTES} ASCII characters")


def _conversation_of_key(key: str) -> str | None:
    """None stands for `*`."""
    if key == "*":
        return None
    prefix, _, conversation = key.partition("/")
    if prefix != "conv":
        raise Refused("UNSUPPORTED", f"a key is '*' or 'conv/<id>', got {key[:80]!r}")
    _check_conversation(conversation)
    return conversation


def _marked(mark: p.Mark, ids_max: int) -> Marked:
    _check_conversation(mark.conversation_id)
    if mark.if_version is not None:
        raise Refused("UNSUPPORTED", "if_version is not offered (see caps)")
    up_to_seq = mark.up_to_seq
    if (up_to_seq is None) == (mark.message_ids is None):
        raise Refused("BAD_REQUEST", "say up_to_seq or message_ids, one of them")
    if up_to_seq is not None:
        if not 0 < up_to_seq < 1 << 53:
            raise Refused("BAD_REQUEST", f"up_to_seq is 1 to 2**53 - 1, got {up_to_seq}")
        return Marked(mark.conversation_id, up_to_seq)
    return Marked(mark.conversation_id, None, _message_numbers(mark.message_ids or (), ids_max))


def _message_numbers(message_ids: Iterable[str], ids_max: int) -> list[int]:
    ids = list(message_ids)
    if not 0 < len(ids) <= ids_max:
        raise Refused("TOO_LARGE" if ids else "BAD_REQUEST", f"1 to {ids_max} message_ids, got {len(ids)}")
    if not all(i.isascii() and i.isdigit() and len(i) <= 18 for i in ids):
        raise Refused("BAD_REQUEST", "a message id is a string of up to 18 digits")
    return [int(i) for i in ids]
