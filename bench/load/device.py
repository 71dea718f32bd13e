"""What a client does on its connection: sign in, subscribe, catch up, confirm, notice holes, come back.

A device keeps next to nothing of its own; what is per conversation lies in arrays that all devices of a
process share (`Crowd`).  When somebody sends or reads is not decided here (`timeline.py`, or a scenario's
tasks).
"""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np

from bench.load.config import ProbeDoor
from bench.load.engine import Answer, Engine
from bench.load.pacing import now_ns
from bench.load.replies import Incoming, Item
from bench.population import NOBODY, Population, index_of, user_id
from bench.record import MORE, NONE, RESET, Op, Outcome, PushKind
from schemes.protocol import (
    PATH,
    Delivered,
    Hello,
    History,
    Mark,
    Ping,
    Read,
    Resume,
    Send,
    State,
    Sub,
    Sync,
    make_token,
)

DEVICE, PROBE, FINAL = 0, 1, 2
"""`connections.role`."""
TOKEN_LIFE_S: Final = 24 * 3600
SIGN_IN_PAGE: Final = 100
OPENING_PAGE: Final = 20
HOLE_NS: Final = 1_000_000_000
"""A hole in a conversation is a gap only after this."""
HOLE_MAX: Final = 1_000
"""Messages of a hole that are waited for.  A server whose numbers are far apart must not cost the generator
more than one whose numbers follow each other."""
BACKOFF_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
BATCH: Final = 100
MILLION: Final = 1_000_000
_MESSAGE, _READ, _DELIVERED, _GOODBYE, _OTHER = (int(kind) for kind in PushKind)
_INFO, _ALREADY_READ = int(Outcome.INFO), int(Outcome.ALREADY_READ)
_SIGN_IN: Final = frozenset({Op.CONNECT, Op.HELLO, Op.SUB, Op.STATE, Op.SYNC})

Arrived = Callable[["Device", str, int, int, int], None]


class Crowd:
    """What the devices of one process share: the population, what each has seen, and their options.

    `seen` and `marked` have one cell for each (device, conversation): the highest seq that arrived there, and
    the highest that is known, or was asked, to be read.  `on_message(device, client_msg_id, cell,
    conversation, received_ns)` is told of each message that is not the person's own.  `gathering` DELIVEREDs
    are on their way to be sent; once it is `over`, what arrives is not confirmed any more."""

    def __init__(
        self,
        engine: Engine,
        population: Population,
        numbers: list[int],
        *,
        secret: str | None,
        delivered_window_s: float = 1.0,
        door: ProbeDoor | None = None,
        trace: bool = True,
    ) -> None:
        self.engine = engine
        self.trace = trace
        self.population = population
        self.secret = secret.encode() if secret is not None else None
        self.door = door
        self.delivered_window_ns = round(delivered_window_s * 1e9)
        self.gathering = 0
        self.over = False
        self.expires_s = int(time.time()) + TOKEN_LIFE_S
        self.of_person = population.of_person.data
        self.heartbeat_s = 30.0
        self.ready = 0
        self.on_ready: Callable[[Device], None] = lambda _device: None
        self.on_message: Arrived | None = None
        self.sends: dict[int, tuple[Send, int, int, int]] = {}
        self.to_retry: dict[Device, list[tuple[Send, int, int]]] = {}
        self.holes: dict[int, set[int]] = {}
        persons = population.device_person[numbers].astype(np.int64)
        starts = population.of_person_start
        lengths = starts[persons + 1] - starts[persons]
        bases = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        self.seen = np.zeros(int(bases[-1]), np.int64).data
        self.marked = np.zeros(int(bases[-1]), np.int64).data
        self.devices = [
            Device(self, number, int(person), DEVICE, int(starts[person]), int(starts[person + 1]), int(base))
            for number, person, base in zip(numbers, persons, bases, strict=False)
        ]
        self._by_number = {device.number: device for device in self.devices}
        self._next_ping = 0

    def device(self, number: int) -> Device:
        """The device of this number of the population, which must be one of this process's."""
        return self._by_number[number]

    def keep_alive(self, due: int, every_ns: int) -> None:
        """Goes round all devices once in a heartbeat; whoever said nothing since then says PING."""
        self.engine.pacer.at(due + every_ns, self.keep_alive, every_ns)
        turn = max(1, round(len(self.devices) * every_ns / 1e9 / self.heartbeat_s))
        quiet_since = now_ns() - round(self.heartbeat_s * 1e9)
        for _ in range(min(turn, len(self.devices))):
            device = self.devices[self._next_ping]
            self._next_ping = (self._next_ping + 1) % len(self.devices)
            if device.connection is not None and not device.signing_in and device.last_sent < quiet_since:
                self.engine.request(device, Op.PING, Ping(client_time=time.time_ns() // MILLION))


class Device:
    """One client.  `number` is its index in the population, NOBODY for probes and final reads."""

    path: ClassVar[str] = PATH
    """Of the WebSocket."""

    __slots__ = (
        "_attempts",
        "_base",
        "_caught_up",
        "_change_id",
        "_confirm",
        "_crowd",
        "_engine",
        "_epoch",
        "_first",
        "_last",
        "_retry_ms",
        "connection",
        "last_sent",
        "number",
        "person",
        "role",
        "signing_in",
        "stopped",
    )  # fmt: skip

    def __init__(
        self, crowd: Crowd, number: int, person: int, role: int, first: int = 0, last: int = 0, base: int = 0
    ) -> None:
        self._crowd = crowd
        self._engine = crowd.engine
        self.number = number
        self.person = person
        self.role = role
        self._first, self._last, self._base = first, last, base
        self.connection: Any = None
        self.signing_in = False
        self.stopped = False
        self._caught_up = False
        self.last_sent = 0
        self._epoch = 0
        self._change_id = NONE
        self._attempts = 0
        self._retry_ms = 0
        self._confirm: dict[int, int] | None = None

    @property
    def device_id(self) -> str:
        return self._crowd.population.device_id(self.number)

    @property
    def is_ready(self) -> bool:
        """Signed in and caught up."""
        return self.connection is not None and not self.signing_in

    # --- signing in -----------------------------------------------------------------------------------------

    def connect(self, intended_ns: int = 0) -> None:
        """Connects, and keeps coming back until `close`."""
        self.signing_in = True
        self._engine.connect(self, intended_ns)

    def close(self) -> None:
        self.stopped = True
        self._engine.close(self)

    def opened(self) -> None:
        """The WebSocket is open: say who we are."""
        crowd, user, device = self._crowd, user_id(self.person), self.device_id
        token = make_token(crowd.secret, user, device, crowd.expires_s) if crowd.secret is not None else ""
        resume = Resume(self._epoch, self._change_id) if self._change_id >= 0 else None
        self._engine.request(self, Op.HELLO, Hello(user, device, token, resume=resume, trace=crowd.trace))

    def lost(self, code: int) -> None:  # noqa: ARG002  the record has it
        """The connection ended, not by us: come back, later each time, and not all at once."""
        self._crowd.ready -= self._caught_up
        self._caught_up = False
        self._confirm = None
        if self.stopped:
            return
        wait_s = min(BACKOFF_MAX_S, BACKOFF_S * 2**self._attempts)
        wait_s = max(wait_s, self._retry_ms / 1000) * random.uniform(0.5, 1.5)
        self._attempts, self._retry_ms = self._attempts + 1, 0
        self._engine.pacer.at(now_ns() + round(wait_s * 1e9), self._again)

    def _again(self, due: int) -> None:
        if not self.stopped and self.connection is None:
            self.connect(due)

    def _ready(self) -> None:
        self.signing_in = False
        self._attempts = 0
        self._caught_up = True
        self._crowd.ready += 1
        self._engine.signed_in()
        for send, plan, conversation in self._crowd.to_retry.pop(self, ()):
            self._send(send, plan, conversation, 0, 1)
        self._crowd.on_ready(self)

    # --- asking -----------------------------------------------------------------------------------------

    def send(self, conversation: int, client_msg_id: str, body: str, due: int = 0, plan: int = NONE) -> int:
        """A new message; retried once under the same client_msg_id if nobody knows what became of it."""
        name = self._crowd.population.conversation_id(conversation)
        return self._send(Send(name, client_msg_id, body), plan, conversation, due, 0)

    def _send(self, send: Send, plan: int, conversation: int, due: int, attempt: int) -> int:
        row = self._engine.request(self, Op.SEND, send, due, conversation, NONE, plan, attempt)
        if row >= 0:
            self._crowd.sends[row] = (send, plan, conversation, attempt)
        return row

    def read(self, conversation: int, due: int = 0, plan: int = NONE, dependency_us: int = 0) -> int:
        """Marks all that this device has seen of a conversation as read.  -1 without asking when there is
        nothing new (which is a row too)."""
        crowd, cell = self._crowd, self.cell(conversation)
        seq = crowd.seen[cell]
        if seq <= crowd.marked[cell]:
            self._engine.unsent(
                self, Op.READ, due or now_ns(), conversation, seq, plan, 0, dependency_us, _ALREADY_READ
            )
            return -1
        mark = Mark(crowd.population.conversation_id(conversation), seq)
        row = self._engine.request(
            self, Op.READ, Read([mark]), due, conversation, seq, plan, 0, dependency_us
        )
        if row >= 0:
            crowd.marked[cell] = seq
        return row

    def state(self, limit: int = OPENING_PAGE, due: int = 0, plan: int = NONE) -> int:
        """The most recent conversations."""
        return self._engine.request(self, Op.STATE, State(limit=limit), due, NOBODY, NONE, plan)

    def state_of(self, conversation: int, due: int = 0, plan: int = NONE) -> int:
        """Asks for one conversation, by its name."""
        frame = State(conversations=[self._crowd.population.conversation_id(conversation)], limit=1)
        return self._engine.request(self, Op.STATE, frame, due, conversation, NONE, plan)

    def sync(self, due: int = 0, plan: int = NONE) -> int:
        """What changed since this device last knew."""
        since = max(0, self._change_id)
        return self._engine.request(self, Op.SYNC, Sync(since_change_id=since), due, NOBODY, since, plan)

    # --- what comes back --------------------------------------------------------------------------------

    def replied(self, row: int, op: int, reply: Incoming, moment: int) -> None:
        """An acknowledgement: recorded, and what follows from it."""
        _ON_REPLY[op](self, row, reply, moment)

    def failed(self, row: int, op: int, answer: Answer) -> None:
        """A request without an acknowledgement."""
        crowd = self._crowd
        if op == Op.SEND:
            send, plan, conversation, attempt = crowd.sends.pop(row)
            if answer.outcome == _INFO and attempt == 0 and not self.stopped:
                if self.is_ready:
                    self._send(send, plan, conversation, 0, 1)
                else:
                    crowd.to_retry.setdefault(self, []).append((send, plan, conversation))
        elif op == Op.READ:
            self._forget_mark(row)
        elif self.signing_in and op in _SIGN_IN and self.connection is not None:
            self._engine.counters[f"sign-in: {answer.error}"] += 1
            self._engine.close(self)
            self.lost(0)

    def _forget_mark(self, row: int) -> None:
        """Nobody knows whether it is read now: the next planned read asks again."""
        conversation = self._engine.recorder.conversation(row)
        self._crowd.marked[self.cell(conversation)] = 0

    def _welcome(self, row: int, reply: Incoming, moment: int) -> None:
        change_id = reply.change_id if reply.change_id is not None else NONE
        self._engine.recorder.answered(row, moment, change_id, reply.epoch, change_id, NONE, 0, 0, reply.t)
        self._engine.recorder.connection_time(self.connection.row, "welcomed", moment)
        if reply.limits is not None:
            self._crowd.heartbeat_s = reply.limits.heartbeat_s
        if reply.reset_required or reply.epoch != self._epoch:
            self._epoch, self._change_id = reply.epoch, NONE
        self.welcomed()

    def welcomed(self) -> None:
        """What follows HELLO: here SUB, STATE, SYNC."""
        self._engine.request(self, Op.SUB, Sub(["*"]))

    def _subscribed(self, row: int, reply: Incoming, moment: int) -> None:
        self._plain(row, reply, moment)
        self._engine.recorder.connection_time(self.connection.row, "subscribed", moment)
        self._engine.live.subscribed(self.connection.session)
        self._engine.request(self, Op.STATE, State(limit=SIGN_IN_PAGE))

    def _state(self, row: int, reply: Incoming, moment: int) -> None:
        recorder, change_id = self._engine.recorder, reply.change_id if reply.change_id is not None else NONE
        items, total = reply.conversations, _or_none(reply.total_unread)
        live, sent = self._engine.live, recorder.sent(row)
        heard = live.heard(recorder.session(row))
        recorder.answered(row, moment, change_id, NONE, change_id, total, len(items), 0, reply.t)
        for index, item in enumerate(items):
            conversation = index_of(item.conversation_id)
            recorder.item(
                row, index, conversation, self.person, item.read_seq,
                _or_none(item.version), _or_none(item.unread), 0, item.last_seq,
            )  # fmt: skip
            live.shown(heard, self.person, conversation, item.read_seq, sent, moment)
        if self.signing_in:
            self._signed_in_state(reply, change_id)

    def _signed_in_state(self, reply: Incoming, change_id: int) -> None:
        for item in reply.conversations:
            self._start_from(item)
        if self._change_id < 0:  # as of the first page: what changes between two pages comes by SYNC
            self._change_id = change_id
        if not reply.done and reply.cursor is not None:
            self._engine.request(self, Op.STATE, State(limit=SIGN_IN_PAGE, cursor=reply.cursor))
            return
        self.sync()

    def _start_from(self, item: Item) -> None:
        """What this conversation was at when we signed in; what was missed meanwhile is a hole."""
        cell = self.cell(index_of(item.conversation_id))
        if cell >= 0:
            self._crowd.marked[cell] = max(self._crowd.marked[cell], item.read_seq)
            self.reached(cell, index_of(item.conversation_id), item.last_seq)

    def _synced(self, row: int, reply: Incoming, moment: int) -> None:
        recorder = self._engine.recorder
        recorder.answered(
            row,
            moment,
            reply.next_change_id,
            NONE,
            reply.next_change_id,
            NONE,
            len(reply.changes),
            MORE * (not reply.done) | RESET * reply.reset_required,
            reply.t,
        )
        for index, change in enumerate(reply.changes):
            recorder.item(
                row, index, index_of(change.conversation_id), index_of(change.actor_id), change.up_to_seq,
                _or_none(change.version), NONE, 0, NONE, change.change_id,
            )  # fmt: skip
        self._engine.live.page(
            self.person, recorder.argument(row), reply.next_change_id,
            (change.change_id for change in reply.changes), moment, reset=reply.reset_required,
        )  # fmt: skip
        self._change_id = NONE if reply.reset_required else max(self._change_id, reply.next_change_id)
        if not reply.done and not reply.reset_required:
            self.sync()
        elif self.signing_in:
            self._ready()

    def _sent(self, row: int, reply: Incoming, moment: int) -> None:
        self._engine.recorder.answered(
            row, moment, reply.seq, NONE, NONE, NONE, 0, int(reply.duplicate), reply.t
        )
        conversation = self._crowd.sends.pop(row)[2]
        self.wrote(row, reply.seq, moment)
        cell = self.cell(conversation)
        if cell >= 0 and reply.seq > 0:
            self.reached(cell, conversation, reply.seq)
            self._crowd.marked[cell] = max(self._crowd.marked[cell], reply.seq)

    def wrote(self, row: int, seq: int, moment: int) -> None:
        """For the live checks: a SEND was acknowledged, and sending implies reading."""
        if seq > 0:
            recorder, live = self._engine.recorder, self._engine.live
            live.wrote(live.heard(recorder.session(row)), recorder.conversation(row), seq, moment)

    def marked(self, row: int, items: tuple[Item, ...], moment: int) -> None:
        """For the live checks: a READ was acknowledged, and its first item may say where the cursor is."""
        recorder, live = self._engine.recorder, self._engine.live
        heard, conversation = live.heard(recorder.session(row)), recorder.conversation(row)
        live.wrote(heard, conversation, recorder.argument(row), moment)
        for item in items[1:]:
            live.wrote(heard, index_of(item.conversation_id), item.read_seq, moment)
        if items and items[0].version is not None and min(items[0].version, items[0].read_seq) >= 0:
            live.shown(heard, self.person, conversation, items[0].read_seq, recorder.sent(row), moment)

    def _marked(self, row: int, reply: Incoming, moment: int) -> None:
        recorder, items = self._engine.recorder, reply.items
        self.marked(row, items, moment)
        first = items[0] if items else _NO_ITEM
        recorder.answered(
            row,
            moment,
            first.read_seq,
            NONE if first.version is None else first.version,
            NONE,
            NONE if first.unread is None else first.unread,
            len(items),
            1 if first.applied else 0,
            reply.t,
        )
        for index, item in enumerate(items):
            conversation, seq = index_of(item.conversation_id), item.read_seq
            recorder.item(
                row,
                index,
                conversation,
                self.person,
                seq,
                NONE if item.version is None else item.version,
                NONE if item.unread is None else item.unread,
                1 if item.applied else 0,
            )
            cell = self.cell(conversation)
            if cell >= 0 and seq > self._crowd.marked[cell]:
                self._crowd.marked[cell] = seq

    def _confirmed(self, row: int, reply: Incoming, moment: int) -> None:
        recorder, items = self._engine.recorder, reply.items
        first = items[0] if items else _NO_ITEM
        recorder.answered(
            row, moment, first.delivered_seq, NONE, NONE, NONE, len(items), int(bool(first.applied)), reply.t
        )
        for index, item in enumerate(items):
            recorder.item(
                row, index, index_of(item.conversation_id), self.person, item.delivered_seq, NONE, NONE,
                int(bool(item.applied)),
            )  # fmt: skip

    def _plain(self, row: int, reply: Incoming, moment: int) -> None:
        self._engine.recorder.answered(row, moment, NONE, NONE, NONE, NONE, 0, 0, reply.t)

    # --- what is pushed ---------------------------------------------------------------------------------

    def pushed(self, message: Incoming, session: int, moment: int) -> None:
        """A push: recorded, and what follows from it."""
        kind = message.type
        if kind == "MESSAGE":
            self._message(message, session, moment)
        elif kind == "UPDATE":
            self._update(message, session, moment)
        else:
            is_goodbye = kind == "GOODBYE"
            if is_goodbye:
                self._retry_ms = message.retry_ms
            engine = self._engine
            engine.recorder.push(
                _GOODBYE if is_goodbye else _OTHER, moment, 0, NONE, NONE, NONE, session, self.person,
                self.number, NOBODY, NOBODY, engine.phases.at(moment),
            )  # fmt: skip

    def _message(self, message: Incoming, session: int, moment: int) -> None:
        engine, seq = self._engine, message.seq
        conversation, sender = index_of(message.conversation_id), index_of(message.sender_id)
        engine.recorder.push(
            _MESSAGE, moment, message.sent_time, seq, NONE, NONE, session, self.person, self.number,
            conversation, sender, engine.phases.at(moment),
        )  # fmt: skip
        engine.live.message(session, self.person, conversation, sender, seq, moment)
        cell = self.cell(conversation)
        if cell < 0:
            engine.counters["message of a foreign conversation"] += 1
            return
        self.reached(cell, conversation, seq)
        crowd = self._crowd
        if sender == self.person:  # from another device of ours: sending implies reading
            if seq > crowd.marked[cell]:
                crowd.marked[cell] = seq
            return
        self._to_confirm(conversation, seq, moment)
        if crowd.on_message is not None:
            crowd.on_message(self, message.client_msg_id, cell, conversation, moment)

    def _update(self, message: Incoming, session: int, moment: int) -> None:
        engine = self._engine
        what, _, rest = message.key.partition("/")
        name, _, whose = rest.partition("/")
        conversation, actor = index_of(name), index_of(whose)
        value, unread = (message.value.up_to_seq, message.value.unread) if message.value else (NONE, None)
        change_id, version = message.change_id, _or_none(message.version)
        kind = _READ if what == "read" else _DELIVERED if what == "delivered" else _OTHER
        engine.recorder.push(
            kind, moment, message.at, value, version, _or_none(change_id), session, self.person,
            self.number, conversation, actor, engine.phases.at(moment), _or_none(unread),
        )  # fmt: skip
        engine.live.update(
            session, self.person, kind, conversation, actor, value, version, _or_none(change_id), moment
        )
        if what == "read" and actor == self.person:
            self._is_read(conversation, value)
        if change_id is not None and change_id == self._change_id + 1:
            self._change_id = change_id

    def _is_read(self, conversation: int, seq: int) -> None:
        cell = self.cell(conversation)
        if cell >= 0 and seq > self._crowd.marked[cell]:
            self._crowd.marked[cell] = seq

    # --- what was seen ----------------------------------------------------------------------------------

    def cell(self, conversation: int) -> int:
        """Where `seen` and `marked` keep this conversation, -1 if it is none of the person's."""
        of_person = self._crowd.of_person
        place = bisect_left(of_person, conversation, self._first, self._last)
        if place < self._last and of_person[place] == conversation:
            return self._base + place - self._first
        return -1

    def reached(self, cell: int, conversation: int, seq: int) -> None:
        """Message `seq` is here.  One that skips others leaves a hole, which is a gap if it lasts."""
        crowd = self._crowd
        last = crowd.seen[cell]
        if seq > last:
            crowd.seen[cell] = seq
            if seq > last + 1 and last > 0:
                if cell not in crowd.holes:
                    crowd.holes[cell] = set()
                    self._engine.pacer.at(now_ns() + HOLE_NS, self._fill_hole, cell, conversation)
                crowd.holes[cell].update(range(last + 1, min(seq, last + 1 + HOLE_MAX)))
        elif cell in crowd.holes and seq in crowd.holes[cell]:
            crowd.holes[cell].remove(seq)
            self._engine.counters["reordered"] += 1

    def _fill_hole(self, due: int, cell: int, conversation: int) -> None:  # noqa: ARG002
        missing = self._crowd.holes.pop(cell)
        if missing and self.is_ready:
            self._engine.counters["gaps"] += 1
            name, first = self._crowd.population.conversation_id(conversation), min(missing)
            self._engine.request(self, Op.HISTORY, History(name, first), 0, conversation, first)

    # --- confirming -------------------------------------------------------------------------------------

    def _to_confirm(self, conversation: int, seq: int, moment: int) -> None:
        if self._crowd.over:
            return
        if self._confirm is None:
            self._confirm = {conversation: seq}
            self._crowd.gathering += 1
            self._engine.pacer.at(moment + self._crowd.delivered_window_ns, self._confirm_all)
        elif seq > self._confirm.get(conversation, 0):
            self._confirm[conversation] = seq

    def _knows(self, conversation: int, seq: int) -> bool:
        """Whether the person has read it meanwhile, here or on another device: then it was delivered."""
        return self._crowd.marked[self.cell(conversation)] >= seq

    def _confirm_all(self, due: int) -> None:
        self._crowd.gathering -= 1
        confirm, self._confirm = self._confirm, None
        if confirm is None or self.connection is None:
            return
        confirm = {
            conversation: seq for conversation, seq in confirm.items() if not self._knows(conversation, seq)
        }
        if not confirm:
            return
        name = self._crowd.population.conversation_id
        marks = [Mark(name(conversation), seq) for conversation, seq in confirm.items()]
        first_conversation, first_seq = next(iter(confirm.items()))
        for start in range(0, len(marks), BATCH):
            batch = Delivered(marks[start : start + BATCH])
            self._engine.request(self, Op.DELIVERED, batch, due, first_conversation, first_seq)


def _or_none(value: int | None) -> int:
    return NONE if value is None else value


_NO_ITEM: Final = Item()
_ON_REPLY: Final[dict[int, Callable[[Device, int, Incoming, int], None]]] = {
    Op.HELLO: Device._welcome,
    Op.SUB: Device._subscribed,
    Op.SEND: Device._sent,
    Op.DELIVERED: Device._confirmed,
    Op.READ: Device._marked,
    Op.STATE: Device._state,
    Op.SYNC: Device._synced,
    Op.HISTORY: Device._plain,
    Op.PING: Device._plain,
}
