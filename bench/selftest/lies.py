"""Which frames are altered, and how: the liar's decisions, without its sockets.  No I/O; time is an argument.

Every conversation belongs to one kind of lie by its name, so that lies do not explain each other away; of
the events of a kind every `dose`-th is planted, and at least one.  What was planted is kept as `Planted`,
with the moment (ns of CLOCK_MONOTONIC, the load's own clock) at which it took effect.

    late_push         an UPDATE of a read cursor is held for DELAY_S
    dropped_push      a MESSAGE, or an UPDATE that is in the change log, never comes
    duplicated_push   it comes twice
    reordered_push    a MESSAGE comes after the next one of its conversation
    stale_answer      a STATE shows a cursor as it was before its last change
    lost_ack          a READ is acknowledged and never carried out, nor any later one of that cursor
    unread_drift      a STATE shows one unread more or fewer; where somebody sent or read in that conversation
                      within SETTLED_NS of it, that may be true, and nobody can notice
    cut               a connection ends after a READ or SEND was sent; half of them were carried out
    silent            a READ or SEND is carried out and never answered

The last two are no errors: nobody knows what became of such an operation, and nobody may be accused.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from bench.population import index_of

Frame = dict[str, Any]
Cursor = tuple[int, int]

KINDS: Final = (
    "late_push",
    "dropped_push",
    "duplicated_push",
    "reordered_push",
    "stale_answer",
    "lost_ack",
    "unread_drift",
    "cut",
    "silent",
)
NO_ERROR: Final = ("cut", "silent")
DELAY_S: Final = 0.05
HELD_S: Final = 5.0
"""A MESSAGE waits so long for the next one to overtake it, then it goes alone."""
SETTLED_NS: Final = 250_000_000
"""A change that was acknowledged so long before a STATE was sent is one that it must show."""
CUT_DEVICES: Final = 8
"""One device in so many may lose its connection, and then no lie is told of its pushes: what a device that
was away did not get is no error."""
FIRST: Final = 10
"""The first event of a kind that is planted, unless the dose is higher: the load has warmed up a little."""


def kind_of(conversation: str) -> str:
    return KINDS[zlib.crc32(conversation.encode()) % len(KINDS)]


@dataclass
class Planted:
    """One lie.  `request`: id of the frame that was answered or asked; '' for a push.  `value`: the seq or
    cursor that it is about.  `effective`: whether anybody could have noticed."""

    kind: str
    at_ns: int
    user: int
    device: str
    conversation: int
    value: int
    request: str = ""
    actor: int = -1
    effective: bool = True


@dataclass(frozen=True)
class Out:
    """A frame for one side, after a delay; `plants` becomes effective when it has gone."""

    frame: bytes | None
    delay_s: float = 0.0
    released: Planted | None = None


@dataclass(frozen=True)
class Asked:
    """What becomes of a client's frame: forwarded, answered by us, the connection cut after it."""

    forward: bool = True
    answer: Frame | None = None
    cut: bool = False


@dataclass
class _Known:
    """The last two states of a cursor that the liar saw: as they stood in an answer, since when."""

    since_ns: int
    now: Frame
    before: Frame | None = None


@dataclass
class Session:
    """One client connection: who it is, what it asked, what is held back.

    `recorded`: a device of the load, or the final read; nobody else is lied to or learned from."""

    user: int = -1
    device: str = ""
    recorded: bool = False
    cuttable: bool = False
    asked: dict[str, tuple[str, int, list[str]]] = field(default_factory=dict)
    held: dict[str, tuple[bytes, Planted]] = field(default_factory=dict)


class Liar:
    """`dose`: one in so many events of a kind is altered.  `kinds`: the lies that are told."""

    def __init__(self, dose: int, kinds: tuple[str, ...] = KINDS) -> None:
        self.planted: list[Planted] = []
        self.events: dict[str, int] = dict.fromkeys(kinds, 0)
        self._dose = dose
        self._known: dict[tuple[int, str], _Known] = {}
        self._lost: dict[tuple[int, str], list[Planted]] = {}
        self._stirred: dict[str, int] = {}
        self._drifted: dict[str, list[tuple[int, Planted]]] = {}

    def _chosen(self, kind: str) -> bool:
        """Counts one more event of this kind, and says whether it is planted."""
        if kind not in self.events:
            return False
        self.events[kind] += 1
        return self.events[kind] % self._dose == min(FIRST, self._dose // 2) % self._dose

    def _plant(
        self, kind: str, session: Session, at: int, conversation: str, value: int, **more: Any
    ) -> Planted:
        lie = Planted(kind, at, session.user, session.device, index_of(conversation), value, **more)
        self.planted.append(lie)
        return lie

    # --- what the client asks ---------------------------------------------------------------------------

    def asked(self, session: Session, frame: Frame, at: int) -> Asked:
        kind = frame.get("type")
        if kind == "HELLO":
            session.user, session.device = index_of(frame["user_id"]), frame["device_id"]
            session.recorded = session.device == "final" or session.device.startswith("device-")
            name = f"{frame['user_id']}/{session.device}"
            session.cuttable = zlib.crc32(name.encode()) % CUT_DEVICES == 0
        conversations = _conversations(frame)
        session.asked[frame.get("id", "")] = (str(kind), at, conversations)
        self._stir(str(kind), conversations, at)
        if not session.recorded or kind not in ("READ", "SEND") or len(conversations) != 1:
            return Asked()
        (conversation,) = conversations
        lie = kind_of(conversation)
        if lie == "cut" and session.cuttable and self._chosen(lie):
            value = frame["items"][0].get("up_to_seq", 0) if kind == "READ" else 0
            number = sum(one.kind == lie for one in self.planted)
            self._plant(lie, session, at, conversation, value, request=frame["id"])
            return Asked(forward=number % 2 == 0, cut=True)
        if lie == "lost_ack" and kind == "READ":
            return self._lose(session, frame, conversation, at)
        return Asked()

    def _lose(self, session: Session, frame: Frame, conversation: str, at: int) -> Asked:
        cursor = (session.user, conversation)
        known = self._known.get(cursor)
        up_to = frame["items"][0].get("up_to_seq")
        if known is None or up_to is None or up_to <= known.now["read_seq"]:
            return Asked()
        if cursor not in self._lost and not self._chosen("lost_ack"):
            return Asked()
        lie = self._plant("lost_ack", session, at, conversation, up_to, request=frame["id"])
        self._lost.setdefault(cursor, []).append(lie)
        result = {
            "conversation_id": conversation,
            "applied": True,
            "read_seq": up_to,
            "unread": 0,
            "version": known.now["version"] + len(self._lost[cursor]),
            "read_time": at // 1_000_000,
        }
        return Asked(
            forward=False,
            answer={"type": "ACK", "reply_to": frame["id"], "items": [result], "durability": "volatile"},
        )

    # --- what the server says -------------------------------------------------------------------------------

    def said(self, session: Session, frame: Frame, raw: bytes, at: int) -> Iterator[Out]:
        """What goes to the client in its place.  `Out.frame` None: `frame` was altered, encode it."""
        request = session.asked.pop(frame.get("reply_to", ""), None)
        if request is None:
            yield from self._pushed(session, frame, raw, at)
            return
        self._stir(request[0], request[2], at)
        altered, acknowledged = False, request[0] if frame["type"] == "ACK" else ""
        if not session.recorded:
            pass
        elif frame["type"] == "STATE_RESULT":
            for item in frame["conversations"]:
                altered |= self._shown(session, item, frame["reply_to"], request[1], at)
                self._learn(session.user, item, at)
        elif acknowledged in ("READ", "SEND") and self._silent(session, request[2], frame, at):
            return
        elif acknowledged == "READ":
            for item in frame["items"]:
                if item.get("version") is not None:
                    self._learn(session.user, item, at)
        elif acknowledged == "SEND":
            self._covered(session.user, request[2][0], frame["seq"])
        yield Out(None if altered else raw)

    def _silent(self, session: Session, conversations: list[str], reply: Frame, at: int) -> bool:
        if len(conversations) != 1 or kind_of(conversations[0]) != "silent" or not self._chosen("silent"):
            return False
        self._plant("silent", session, at, conversations[0], 0, request=reply["reply_to"])
        return True

    def _learn(self, user: int, item: Frame, at: int) -> None:
        """What is true of a cursor now.  (A lie in `item` is not learned: it has a lower value.)"""
        cursor = (user, item["conversation_id"])
        known = self._known.get(cursor)
        if known is None:
            self._known[cursor] = _Known(at, dict(item))
        elif item["read_seq"] > known.now["read_seq"]:
            self._known[cursor] = _Known(at, dict(item), known.now)

    def _shown(self, session: Session, item: Frame, request: str, asked_at: int, at: int) -> bool:
        conversation = item["conversation_id"]
        lie = kind_of(conversation)
        if lie == "unread_drift" and self._chosen(lie):
            planted = self._plant(lie, session, asked_at, conversation, item["read_seq"], request=request)
            planted.effective = self._stirred.get(conversation, 0) < asked_at - SETTLED_NS
            self._drifted.setdefault(conversation, []).append((at, planted))
            item["unread"] += 1 if self.events[lie] % 2 or not item["unread"] else -1
            return True
        known = self._known.get((session.user, conversation))
        if lie != "stale_answer" or known is None or known.before is None:
            return False
        settled = known.since_ns < asked_at - SETTLED_NS and item["read_seq"] == known.now["read_seq"]
        if not settled or not self._chosen(lie):
            return False
        self._plant(lie, session, asked_at, conversation, known.before["read_seq"], request=request)
        for name in ("read_seq", "version"):
            item[name] = known.before[name]
        return True

    def _stir(self, kind: str, conversations: list[str], at: int) -> None:
        """Somebody asks to send or to read there, or is answered: nobody can say what is unread just then."""
        for conversation in conversations if kind in ("READ", "SEND") else ():
            self._stirred[conversation] = at
            for answered, lie in self._drifted.pop(conversation, ()):
                lie.effective &= answered < at - SETTLED_NS

    def _covered(self, user: int, conversation: str, seq: int) -> None:
        """A message of one's own implies that everything before it is read: what was lost is no longer."""
        for lie in self._lost.pop((user, conversation), ()):
            lie.effective &= lie.value > seq

    # --- pushes -----------------------------------------------------------------------------------------

    def _pushed(self, session: Session, frame: Frame, raw: bytes, at: int) -> Iterator[Out]:
        conversation, value, actor = _push(frame)
        if not conversation or session.cuttable or not session.recorded:
            yield Out(raw)
            return
        is_message = frame["type"] == "MESSAGE"
        overtaken = session.held.pop(conversation, None) if is_message else None
        lie = kind_of(conversation)
        if overtaken is not None:
            yield Out(raw)
            overtaken[1].at_ns = at
            yield Out(overtaken[0], released=overtaken[1])
        elif lie == "late_push" and not is_message and self._chosen(lie):
            yield Out(raw, DELAY_S, self._plant(lie, session, at, conversation, value, actor=actor))
        elif lie == "dropped_push" and (is_message or frame.get("change_id")) and self._chosen(lie):
            self._plant(lie, session, at, conversation, value, actor=actor)
        elif lie == "duplicated_push" and self._chosen(lie):
            self._plant(lie, session, at, conversation, value, actor=actor)
            yield Out(raw)
            yield Out(raw)
        elif lie == "reordered_push" and is_message and self._chosen(lie):
            session.held[conversation] = (
                raw,
                self._plant(lie, session, at, conversation, value, actor=actor),
            )
        else:
            yield Out(raw)

    def give_up(self, session: Session, conversation: str, at: int) -> bytes | None:
        """A held MESSAGE that nothing overtook goes alone: late, but in order."""
        held = session.held.pop(conversation, None)
        if held is None:
            return None
        held[1].effective, held[1].at_ns = False, at
        return held[0]


def _conversations(frame: Frame) -> list[str]:
    if frame.get("type") == "SEND":
        return [frame["conversation_id"]]
    return [item["conversation_id"] for item in frame.get("items") or ()]


def _push(frame: Frame) -> tuple[str, int, int]:
    """(conversation, seq or cursor, who did it) of a MESSAGE or an UPDATE of a read cursor; ('', 0, -1)."""
    if frame["type"] == "MESSAGE":
        return frame["conversation_id"], frame["seq"], index_of(frame["sender_id"])
    if frame["type"] == "UPDATE" and frame["key"].startswith("read/"):
        _, conversation, user = frame["key"].split("/")
        return conversation, frame["value"]["up_to_seq"], index_of(user)
    return "", 0, -1
