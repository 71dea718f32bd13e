"""From a checked request to the scheme's method: the only place that knows both."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from schemes import protocol as p
from schemes.failpoints import Asker
from schemes.ports import Caller, ReadState, SyncFrom
from schemes.server.session import Call


def carry_out(scheme: ReadState, caller: Caller, call: Call) -> Awaitable[Any]:
    """Starts the call; what it returns is what `Session.answer` takes.  May raise Refused."""
    frame = call.frame
    trace = call.trace
    match frame:
        case p.Read():
            return scheme.read(caller, call.items, trace)
        case p.Delivered():
            return scheme.delivered(caller, call.items, trace)
        case p.Send():
            return scheme.send(caller, frame.conversation_id, frame.client_msg_id, frame.body, trace)
        case p.State():
            return scheme.state(caller.user, frame.conversations, frame.cursor, frame.limit, trace)
        case p.Sync():
            since = SyncFrom(frame.since_change_id, frame.last_sync_time)
            return scheme.sync(caller.user, since, frame.limit, frame.detail == "messages", trace)
        case p.History():
            return scheme.history(caller.user, frame.conversation_id, frame.from_seq, frame.limit, trace)
        case p.Hello():
            return scheme.position(caller.user, trace)
        case _:
            raise TypeError(f"{type(frame).__name__} is answered by the session itself")


def asker_of(caller: Caller, frame: p.ClientFrame) -> Asker:
    """The request as failpoints know it."""
    match frame:
        case p.Read():
            return Asker(caller.user, frame.op_id or frame.id, _named(frame.items))
        case p.Delivered():
            return Asker(caller.user, frame.id, _named(frame.items))
        case p.Send():
            return Asker(caller.user, frame.client_msg_id, (frame.conversation_id,))
        case p.State():
            return Asker(caller.user, frame.id, tuple(frame.conversations or ()))
        case p.History():
            return Asker(caller.user, frame.id, (frame.conversation_id,))
        case _:
            return Asker(caller.user, frame.id)


def _named(items: Sequence[p.Mark]) -> tuple[str, ...]:
    return tuple(item.conversation_id for item in items)
