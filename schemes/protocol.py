"""The wire protocol `readstate.v1`: every frame, error and close code, and how they become bytes.

Both ends import this module, and `docs/protocol.md` is generated from it.  It holds what is said, not what
is done about it: the session core decides that (`schemes/server/session.py`).

One JSON object per WebSocket text frame.  Ids are strings on the wire; sequence numbers, versions and change
ids are integers below 2**53; times are integer milliseconds UTC by the server's clock.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

SUBPROTOCOL: Final = "readstate.v1"
PATH: Final = "/ws"
CONTROL_PATH: Final = "/control"
DEFAULT_PORT: Final = 8080
PROTOCOL_VERSION: Final = 1

SERVER_FRAME_BYTES_MAX: Final = 1 << 20
CONTROL_FRAME_BYTES_MAX: Final = 1 << 21
"""SEED frames carry up to 1 MiB of conversations; the rest is head-room for the envelope."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one connection may do; sent in WELCOME so that a client need not guess."""

    frame_bytes: int = 65536
    """Largest frame a client may send; beyond it the connection is closed with 1009."""
    batch: int = 100
    """Items in one READ or DELIVERED, message ids in one item, messages in one HISTORY."""
    body_bytes: int = 4096
    """Largest message body, in bytes of UTF-8."""
    state_conversations: int = 500
    sync_changes: int = 500
    sync_messages: int = 500
    """A SYNC page of `detail: messages` ends at this many messages."""
    in_flight: int = 64
    """Requests a connection may have open; beyond it the server stops reading."""
    ops_per_s: int = 100
    ops_burst: int = 200
    receipt_members: int = 200
    """In groups up to this size the senders of newly read messages get the receipt; in larger ones nobody."""
    heartbeat_s: int = 30
    silence_s: int = 90
    """Any frame counts as a heartbeat; after this much silence the server closes."""
    hello_s: int = 5
    outbox_frames: int = 1000
    outbox_bytes: int = 1 << 20
    """A client that lets more than this pile up is closed with 4408."""


# --- what a client says -----------------------------------------------------------------------------------


class Resume(Struct):
    """Where the client stopped: WELCOME with the same epoch means SYNC from here is enough."""

    epoch: int
    last_change_id: int


class Hello(Struct, tag_field="type", tag="HELLO", omit_defaults=True):
    """First frame of a connection, within `limits.hello_s`.  Answered by WELCOME.

    With `trace: true` every reply but those to SUB, UNSUB and PING, which the session answers by itself,
    carries `t`, the server's own stage times in microseconds."""

    user_id: str
    device_id: str
    token: str = ""
    protocol: list[int] = msgspec.field(default_factory=lambda: [1])
    id: str = ""
    resume: Resume | None = None
    trace: bool = False


class Sub(Struct, tag_field="type", tag="SUB"):
    """Subscribes this connection to pushes: `*` for all of the user's conversations, or `conv/<id>`."""

    keys: list[str]
    id: str = ""


class Unsub(Struct, tag_field="type", tag="UNSUB"):
    """Takes subscriptions back."""

    keys: list[str]
    id: str = ""


class Send(Struct, tag_field="type", tag="SEND"):
    """A new message.  Repeating it with the same `client_msg_id` returns the first one, `duplicate: true`.

    Sending implies reading: the sender's cursor moves to the new message.  Where that covers messages of
    others, it is told, logged and numbered like a READ; where it does not, it is no event."""

    conversation_id: str
    client_msg_id: str
    body: str
    id: str = ""


class Mark(Struct, omit_defaults=True):
    """How far one conversation was delivered or read.

    `message_ids` means up to the highest of their seqs.  `if_version` is the optimistic mode (not yet)."""

    conversation_id: str
    up_to_seq: int | None = None
    message_ids: list[str] | None = None
    if_version: int | None = None


class Delivered(Struct, tag_field="type", tag="DELIVERED"):
    """The device received everything up to these seqs."""

    items: list[Mark]
    id: str = ""


class Read(Struct, tag_field="type", tag="READ"):
    """The person saw everything up to these seqs.  A cursor only moves forward: a stale READ succeeds with
    `applied: false` and the current value.  All items of one READ are applied in one transaction, or none."""

    items: list[Mark]
    op_id: str = ""
    id: str = ""


class State(Struct, tag_field="type", tag="STATE", omit_defaults=True):
    """The read state of the named conversations, or of all, newest first, a page at a time."""

    conversations: list[str] | None = None
    cursor: str | None = None
    limit: int = 100
    id: str = ""


class Sync(Struct, tag_field="type", tag="SYNC", omit_defaults=True):
    """What changed since a change id (gap-free, per user), or since a time (answered with 5 s of overlap)."""

    since_change_id: int | None = None
    last_sync_time: int | None = None
    limit: int = 500
    detail: str = "cursors"
    id: str = ""


class History(Struct, tag_field="type", tag="HISTORY"):
    """Messages of one conversation, ascending from `from_seq`."""

    conversation_id: str
    from_seq: int
    limit: int = 100
    id: str = ""


class Ping(Struct, tag_field="type", tag="PING"):
    """Heartbeat; any frame counts as one."""

    client_time: int = 0
    id: str = ""


ClientFrame = Hello | Sub | Unsub | Send | Delivered | Read | State | Sync | History | Ping
RESERVED: Final = frozenset({"READ_ALL", "READERS"})
"""Frames of v1 that this server does not offer yet: they answer UNSUPPORTED and are absent from `caps`."""

# --- what the server says ---------------------------------------------------------------------------------


class StageTimes(Struct):
    """Where a request's time went, in microseconds; the four never overlap, the rest of `server` is other.

    server: frame decoded to reply encoded.  wait: own locks, pool and event loop.  store: MySQL.
    cache: Redis.  queue: Kafka."""

    server: int
    wait: int = 0
    store: int = 0
    cache: int = 0
    queue: int = 0


class ServerInfo(Struct):
    name: str
    scheme: str
    model: str
    version: str


class AckMeaning(Struct):
    """What an acknowledgement promises: `durable` (MySQL committed), `cached` (Redis only), `queued` (the
    broker has it) or `volatile` (the control: this process's memory)."""

    send: str
    read: str


class Welcome(Struct, tag_field="type", tag="WELCOME", omit_defaults=True):
    """The session is open.

    `caps` names what this server offers beyond what every server must: `sync_time` (SYNC from a time),
    `trace` (stage times), `control` (the harness's own door).  What else it lacks it answers with
    UNSUPPORTED."""

    reply_to: str
    session_id: str
    epoch: int
    change_id: int
    server_time: int
    server: ServerInfo
    ack: AckMeaning
    caps: list[str]
    limits: Limits
    protocol: int = 1
    reset_required: bool = False
    t: StageTimes | UnsetType = UNSET


class CountAck(Struct, tag_field="type", tag="ACK", omit_defaults=True):
    """Answer to SUB and UNSUB: how many keys are subscribed now."""

    reply_to: str
    count: int
    t: StageTimes | UnsetType = UNSET


class SendAck(Struct, tag_field="type", tag="ACK"):
    """Answer to SEND."""

    reply_to: str
    message_id: str
    seq: int
    sent_time: int
    state: str = "processed"
    duplicate: bool = False
    durability: str = "durable"
    t: StageTimes | UnsetType = UNSET


class MarkResult(Struct):
    """One item of a READ's answer.  A server that only queued it cannot know the rest: nulls."""

    conversation_id: str
    applied: bool | None
    read_seq: int
    unread: int | None
    version: int | None
    read_time: int | None


class ReadAck(Struct, tag_field="type", tag="ACK"):
    """Answer to READ."""

    reply_to: str
    items: list[MarkResult]
    durability: str
    t: StageTimes | UnsetType = UNSET


class DeliveredResult(Struct):
    conversation_id: str
    applied: bool | None
    delivered_seq: int


class DeliveredAck(Struct, tag_field="type", tag="ACK"):
    """Answer to DELIVERED."""

    reply_to: str
    items: list[DeliveredResult]
    durability: str
    t: StageTimes | UnsetType = UNSET


class ConversationState(Struct, omit_defaults=True):
    conversation_id: str
    kind: str
    last_seq: int
    read_seq: int
    delivered_seq: int
    unread: int
    version: int
    peer_read_seq: int | UnsetType = UNSET


class StateResult(Struct, tag_field="type", tag="STATE_RESULT", omit_defaults=True):
    """Answer to STATE.  `total_unread`, over all conversations, is on the last page only.

    Where conversations were named, neither it nor `change_id` need be there: they are about all of a user's
    conversations, and a read of one would cost as much as a read of all."""

    reply_to: str
    conversations: list[ConversationState]
    done: bool
    change_id: int | None = None
    total_unread: int | None = None
    cursor: str | None = None
    t: StageTimes | UnsetType = UNSET


class UpdatedMessage(Struct):
    message_id: str
    read_time: int


class Change(Struct, omit_defaults=True):
    """One row of the user's change log: `actor_id` read `conversation_id` from `from_seq` (exclusive) up to
    `up_to_seq`.  `truncated`: the change was too large for `detail: messages`, take the cursor."""

    change_id: int
    kind: str
    conversation_id: str
    actor_id: str
    from_seq: int
    up_to_seq: int
    version: int
    at: int
    truncated: bool = False


class SyncResult(Struct, tag_field="type", tag="SYNC_RESULT", omit_defaults=True):
    """Answer to SYNC.  `changed_count` is the length of this page's `updated_messages`."""

    reply_to: str
    changed_count: int
    updated_messages: list[UpdatedMessage]
    changes: list[Change]
    next_change_id: int
    done: bool
    server_time: int
    reset_required: bool = False
    total_unread: int | None = None
    t: StageTimes | UnsetType = UNSET


class StoredMessage(Struct):
    message_id: str
    seq: int
    sender_id: str
    client_msg_id: str
    sent_time: int
    body: str


class HistoryResult(Struct, tag_field="type", tag="HISTORY_RESULT", omit_defaults=True):
    """Answer to HISTORY."""

    reply_to: str
    messages: list[StoredMessage]
    done: bool
    t: StageTimes | UnsetType = UNSET


class Pong(Struct, tag_field="type", tag="PONG", omit_defaults=True):
    reply_to: str
    server_time: int
    t: StageTimes | UnsetType = UNSET


class Message(Struct, tag_field="type", tag="MESSAGE"):
    """Push: a new message, to the members' subscribed devices but the sending socket.  It means unread + 1
    for everyone but the sender."""

    conversation_id: str
    message_id: str
    seq: int
    sender_id: str
    client_msg_id: str
    sent_time: int
    body: str


class CursorValue(Struct, omit_defaults=True):
    up_to_seq: int
    read_time: int | UnsetType = UNSET
    unread: int | UnsetType = UNSET
    """Only on the copy for the reader's own devices."""


class Update(Struct, tag_field="type", tag="UPDATE", omit_defaults=True):
    """Push: the value of a key changed.  Apply it if its version is newer.

    `read/<conversation>/<user>`: the reader's other devices and the direct peer (with `change_id`, exactly
    the rows of their change logs); in groups up to `limits.receipt_members` the senders of the newly covered
    messages (without).  `delivered/<conversation>/<user>`: the direct peer, without `change_id`."""

    key: str
    value: CursorValue
    version: int
    at: int
    origin_device: str = ""
    change_id: int | None = None


class Goodbye(Struct, tag_field="type", tag="GOODBYE"):
    """Comes before a close that the server starts."""

    code: int
    reason: str
    retry_ms: int = 0


class Error(Struct, tag_field="type", tag="ERROR", omit_defaults=True):
    """The request was refused; see the error table."""

    reply_to: str
    code: str
    message: str
    retry_ms: int = 0
    current: dict[str, int] | None = None
    t: StageTimes | UnsetType = UNSET


# --- errors and closes ------------------------------------------------------------------------------------


class ErrorMeaning(Struct, frozen=True):
    meaning: str
    retry: str
    definite: bool
    """True: the operation certainly did not happen.  False: nobody knows (outcome `info`)."""


ERRORS: Final[dict[str, ErrorMeaning]] = {
    "BAD_REQUEST": ErrorMeaning("malformed frame or field", "no", True),
    "UNSUPPORTED": ErrorMeaning("type, field or option that this server does not offer", "no", True),
    "UNAUTHENTICATED": ErrorMeaning("bad or expired token; closes with 4401", "with a new token", True),
    "FORBIDDEN": ErrorMeaning("not allowed", "no", True),
    "NOT_MEMBER": ErrorMeaning("the user is not in this conversation, or there is none", "no", True),
    "NOT_FOUND": ErrorMeaning("no such message", "no", True),
    "SEQ_AHEAD": ErrorMeaning(
        "up_to_seq is beyond the last message; `current` has last_seq", "after HISTORY", True
    ),
    "CONFLICT": ErrorMeaning(
        "if_version does not match; `current` has the version", "yes, new version", True
    ),
    "TOO_LARGE": ErrorMeaning("batch, body or page above its limit", "no", True),
    "RATE_LIMITED": ErrorMeaning("more operations per second than `limits` allow", "after retry_ms", True),
    "OVERLOADED": ErrorMeaning("a bounded queue of the server is full", "after retry_ms", True),
    "RESET_REQUIRED": ErrorMeaning("the change log no longer reaches back that far", "STATE first", True),
    "UNAVAILABLE": ErrorMeaning(
        "a store did not answer: it may or may not have happened", "yes, same ids", False
    ),
    "INTERNAL": ErrorMeaning("a bug in the server; counted apart", "once", False),
}

CLOSES: Final[dict[int, str]] = {
    1001: "going away",
    1009: "frame too big",
    1013: "try later (a bus or store was lost; GOODBYE has retry_ms)",
    4400: "protocol error",
    4401: "not authenticated",
    4403: "kicked",
    4408: "slow consumer: the outbox is full, or nothing was heard for too long",
    4409: "replaced by a newer connection of the same device",
    4429: "rate limit ignored",
}

# --- bytes ------------------------------------------------------------------------------------------------


class _Envelope(Struct):
    type: str = ""
    id: str = ""


_encoder = msgspec.json.Encoder()
_decode_client = msgspec.json.Decoder(ClientFrame).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
encode = _encoder.encode


class ProtocolError(Exception):
    """A frame that cannot be taken.  `reply_to` is the frame's id where it could be read."""

    def __init__(self, code: str, message: str, reply_to: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reply_to = reply_to


def decode_client(data: bytes | bytearray | memoryview) -> ClientFrame:
    """One client frame from the bytes of a text frame.

    Raises ProtocolError: BAD_REQUEST for what is no such frame, UNSUPPORTED for an unknown type."""
    try:
        frame: ClientFrame = _decode_client(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as why:
        raise _explain(data, why) from None
    return frame


def _explain(data: bytes | bytearray | memoryview, why: Exception) -> ProtocolError:
    try:
        envelope = _decode_envelope(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ProtocolError("BAD_REQUEST", f"expected a JSON object with a string 'type': {why}")
    if envelope.type and envelope.type not in CLIENT_TYPES:
        return ProtocolError("UNSUPPORTED", f"type {envelope.type!r} is not offered here", envelope.id)
    return ProtocolError("BAD_REQUEST", str(why), envelope.id)


CLIENT_TYPES: Final = frozenset(str(frame.__struct_config__.tag) for frame in ClientFrame.__args__)

# --- ids and tokens ---------------------------------------------------------------------------------------


def user_number(user_id: str) -> int:
    """`u17` -> 17.  Raises ValueError for anything else, so that ids can go into BIGINT columns."""
    if user_id[:1] != "u" or not user_id[1:].isascii() or not user_id[1:].isdigit() or len(user_id) > 19:
        raise ValueError(f"expected a user id like 'u17', got {user_id!r}")
    return int(user_id[1:])


def make_token(secret: bytes, user_id: str, device_id: str, expires_s: int) -> str:
    """base64url(user|device|expiry), unpadded, a dot, and the hex HMAC-SHA256 over that text."""
    claim = base64.urlsafe_b64encode(f"{user_id}|{device_id}|{expires_s}".encode()).rstrip(b"=")
    return f"{claim.decode()}.{hmac.new(secret, claim, hashlib.sha256).hexdigest()}"


def check_token(secret: bytes, token: str, user_id: str, device_id: str, now_s: float) -> str | None:
    """None if the token is good for this user and device, else the reason why not."""
    claim, dot, signature = token.partition(".")
    if not dot or not token.isascii():
        return "the token has no signature"
    wanted = hmac.new(secret, claim.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, signature):
        return "the token's signature is wrong"
    try:
        text = base64.urlsafe_b64decode(claim + "=" * (-len(claim) % 4)).decode()
        user, device, expires = text.rsplit("|", 2)
        expired = float(expires) < now_s
    except ValueError:
        return "the token's claim cannot be read"
    if (user, device) != (user_id, device_id):
        return "the token is for another user or device"
    return "the token has expired" if expired else None


# --- the harness's own door -------------------------------------------------------------------------------


class SeedConversation(Struct, array_like=True):
    """One conversation to load: its history is arithmetic, so that a server in any language can make it.

    Message seq i (1..history) is sent by `members[(i - 1) % len(members)]`, `SEED_SPACING_MS` apart, ending
    at the time of the SEED; its `client_msg_id` begins with `seed-`.  `read_seq[j]` is how far members[j] has
    read (never below the last message that they sent themselves)."""

    id: str
    kind: str
    members: list[int]
    history: int
    read_seq: list[int]


SEED_SPACING_MS: Final = 60_000


class ControlRequest(Struct, omit_defaults=True):
    """A frame to `/control`.  The first must be AUTH with the run's secret; each is answered by one reply.

    RESET {} wipes.  SEED {conversations, done} loads; the last has done: true and is answered when all is in
    the store.  DRAIN {timeout_ms} answers when nothing is on its way any more, or says what is left.
    DUMP {source: store|cache, after, limit} pages through every member's cursors.
    DURABLE / CACHED {user, conversation} what MySQL / Redis holds now.  LAG {} queue lag, as stats
    {lag_events, lag_ms: produced and not applied, age of the oldest; lag_ages: [[above µs, within µs, events
    applied at such an age since the start]]}.  STATS {} counters and stage sums, and stalls {now_ns,
    since_ns, found: [[loop|gc|clock|core, at_ns, µs]]}: when the server's event loop was late, its garbage
    was collected or its wall clock was moved, by CLOCK_MONOTONIC; core, with the time of a loop: how much of
    it the server waited for a core at most.  FREEZE_GC {} collects and freezes garbage collection.

    FAILPOINT {name, action, user, conversation, op_id} where the server was started with `--failpoints`.
    What is left out fits everybody; `op_id` is a READ's op_id, a SEND's client_msg_id, else a request's id.
    note | pause | sleep {ms} | crash | error | drop, {count}: what the next `count` who come to the point
    will meet; `note` keeps the hit, and that is all.  release: whoever pauses there goes on.
    wait {count, timeout_ms}: answered at that many hits, or when the time is over.  hits: asks.
    clear: forgets all.  Each is answered with the hits so far."""

    type: str
    id: str = ""
    secret: str = ""
    conversations: list[SeedConversation] = []
    done: bool = False
    timeout_ms: int = 10_000
    source: str = "store"
    after: str = ""
    limit: int = 10_000
    user: str = ""
    conversation: str = ""
    warm: bool = False
    """SEED: fill the cache too (always done where the cache is the only place that answers)."""
    name: str = ""
    action: str = ""
    op_id: str = ""
    count: int = 1
    """0: for ever."""
    ms: int = 0


class DumpRow(Struct, array_like=True):
    conversation_id: str
    user_id: int
    read_seq: int
    delivered_seq: int
    version: int
    last_seq: int


class FailpointHit(Struct):
    """Who came to a failpoint and met `action`; `at_ns` is CLOCK_MONOTONIC."""

    name: str
    action: str
    conversation: str
    user: str
    op_id: str
    at_ns: int


class ControlReply(Struct, omit_defaults=True):
    type: str
    reply_to: str = ""
    code: str = ""
    message: str = ""
    rows: list[DumpRow] | None = None
    after: str | None = None
    found: bool | None = None
    row: DumpRow | None = None
    left: dict[str, int] | None = None
    stats: dict[str, Any] | None = None
    hits: list[FailpointHit] | None = None


decode_control = msgspec.json.Decoder(ControlRequest).decode
decode_control_reply = msgspec.json.Decoder(ControlReply).decode
