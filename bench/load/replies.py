"""What the hot path decodes from a server's frames: one lenient struct for all of them.

Half of what `schemes.protocol` defines is skipped without being built (a message's body, names, texts), and a
missing field is a default, so that servers that others write can be measured too.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct


class Stages(Struct, gc=False):
    """Microseconds (protocol.StageTimes)."""

    server: int = 0
    wait: int = 0
    store: int = 0
    cache: int = 0
    queue: int = 0


class Item(Struct, gc=False):
    """One item of a READ's or DELIVERED's answer, one conversation of a STATE, one change of a SYNC, one
    message of a HISTORY."""

    conversation_id: str = ""
    applied: bool | None = None
    read_seq: int = -1
    delivered_seq: int = -1
    unread: int | None = None
    version: int | None = None
    last_seq: int = -1
    up_to_seq: int = -1
    change_id: int = -1
    actor_id: str = ""
    seq: int = 0


class Value(Struct, gc=False):
    up_to_seq: int = -1
    unread: int | None = None


class Held(Struct, array_like=True, gc=False):
    """What a store holds of a cursor (protocol.DumpRow)."""

    conversation_id: str
    user_id: int
    read_seq: int
    delivered_seq: int
    version: int


class HeartbeatLimit(Struct, gc=False):
    heartbeat_s: float = 30.0


class Incoming(Struct, gc=False):
    """Any frame of a server."""

    type: str
    reply_to: str = ""
    # pushes
    conversation_id: str = ""
    seq: int = -1
    sender_id: str = ""
    client_msg_id: str = ""
    sent_time: int = 0
    key: str = ""
    value: Value | None = None
    version: int | None = None
    at: int = 0
    change_id: int | None = None
    retry_ms: int = 0
    # replies
    code: str | int = ""
    items: tuple[Item, ...] = ()
    conversations: tuple[Item, ...] = ()
    changes: tuple[Item, ...] = ()
    messages: tuple[Item, ...] = ()
    duplicate: bool = False
    done: bool = True
    cursor: str | None = None
    next_change_id: int = -1
    reset_required: bool = False
    epoch: int = 0
    total_unread: int | None = None
    limits: HeartbeatLimit | None = None
    row: Held | None = None
    t: Stages | None = None


decode: Final = msgspec.json.Decoder(Incoming).decode
