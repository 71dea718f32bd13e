"""A small but complete result folder from a seed, made up without any server: for the tests of all that reads
results (figures, guards, checks, report).

A little simulation plays chat: SENDs at a steady rate, MESSAGE pushes, DELIVERED, READ, its UPDATE pushes,
openings (STATE, SYNC), probes, the final read.  Whatever is timed is evenly spread over a known range
(`Spread`), so that each quantile is known without computing it from the rows: `spread.at(p)`, to about 1 %
of the range.
"""

from __future__ import annotations

import heapq
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import (
    CONNECTIONS,
    ERROR_CODES,
    ITEMS,
    NONE,
    OPERATIONS,
    PUSHES,
    Op,
    Outcome,
    Phase,
    PushKind,
    Rx,
    Stall,
)
from bench.results import CONVERSATIONS, DEVICES, FINAL_STORE, MEMBERS, QUEUE_AGES, STALLS, TOOL, RunFolder
from schemes import SCHEMES

MS = 1_000_000
S = 1_000_000_000
US = 1_000
START = 1_000 * S
"""When the run began, on its CLOCK_MONOTONIC."""
PROBES = {op for op in Op if op.name.startswith("PROBE_")}
PROBER, POLLER, DOOR = 0xFFFFFF, 0xFFFFFE, 0xFFFFFD
"""The sessions of probes: one writes, one looks, one asks the stores."""


@dataclass(frozen=True)
class Spread:
    """Microseconds, evenly spread from `low` to `high`."""

    low: float
    high: float

    def at(self, p: float) -> float:
        return self.low + (self.high - self.low) * p

    def ns(self, number: int) -> int:
        """The number-th value, in nanoseconds.  The golden ratio fills the range evenly from any start."""
        return int(self.at(number * 0.6180339887498949 % 1) * US)


LOOKS_MS = (1, 3, 7, 15, 30, 70, 150, 300)


@dataclass(frozen=True)
class Knobs:
    """What the made-up run is like."""

    scheme: str = "db"
    people: int = 40
    groups: int = 4
    workers: int = 2
    warmup_s: int = 5
    measure_s: int = 20
    drain_s: int = 5
    send_per_s: float = 20
    think_s: float = 0.5
    send_lag_us: Spread = Spread(10, 110)
    send_us: Spread = Spread(3_000, 13_000)
    read_us: Spread = Spread(1_000, 21_000)
    state_us: Spread = Spread(500, 2_500)
    message_us: Spread = Spread(2_000, 12_000)
    """SEND written -> MESSAGE."""
    receipt_us: Spread = Spread(4_000, 24_000)
    """READ written -> UPDATE, at every device that is told."""
    lag_shift_us: float = 0
    lost_pushes: float = 0
    """Share of the UPDATE read/ pushes that never arrive."""
    errors: dict[str, float] = field(default_factory=dict)
    """Share of the READs that end so: an error code, or DEADLINE.  They change nothing."""
    visible_us: float = 12_000
    """How long after its ACK a probe's READ becomes visible to the other connection."""
    stored_us: float = 0
    """How long after its ACK MySQL holds it."""
    cached_us: float = 7_000
    """How long after its ACK Redis holds it."""
    probes: int = 20
    """So many that ask until they see it, and as many that look once, LOOKS_MS after the ACK in turn."""
    event_us: Spread = Spread(2_000, 30_000)
    """An event is produced -> applied; 50 events a second (`queue`)."""
    never_applied: int = 0
    """Events that are behind after the drain."""
    lost_acknowledged: int = 0
    """Cursors that the store holds as they were before they moved last."""
    phantom: int = 0
    """Cursors that the store holds higher than anyone asked."""
    stale_at_end: int = 0
    """Cursors that the API shows as they were before they moved last."""
    stale_in_cache: int = 0
    """Cursors that the cache holds as they were before, and the API shows so (redis, queue)."""
    hole: int = 0
    """Rows missing in the middle of the first worker's record."""
    probe_every: int = 0
    """Every so many-th device is a probe user's, in a process of their own; 0: there are none."""
    unstamped_us: float = 0
    """How late load users' processes read what came."""
    coalesced: float = 0
    """Share of the probe users' replies that came together with others."""
    closed_devices: int = 0
    """Devices whose session the server closes half-way through."""
    stalls: tuple[tuple[str, Stall, float, float], ...] = ()
    """(process, kind, noticed so many seconds into the window, seconds that it had lasted)."""
    watched: bool = True
    """Whether processes, machine and services told what guards ask for; folders of 0.1 have none of it."""
    cores: dict[str, float] = field(default_factory=lambda: {"generator": 0.3, "server": 0.5, "mysql": 0.4})


@dataclass
class Told:
    """One device that had to be told of one write."""

    write: int
    lag_us: float
    arrived: bool


class World:
    """The simulation: state, clock and the rows that a recorder would have written."""

    def __init__(self, knobs: Knobs, seed: int) -> None:
        self.knobs = knobs
        self.rng, self.rng_implied = np.random.default_rng(seed), np.random.default_rng(seed)
        self.measure = START + knobs.warmup_s * S
        self.measure_end = self.measure + knobs.measure_s * S
        self.drain_end = self.measure_end + knobs.drain_s * S
        self.operations: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.pushes: list[dict[str, Any]] = []
        self.connections: list[dict[str, Any]] = []
        self.plan = count()
        self.next_row = [0] * (knobs.workers + 1)
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.order = count()
        self.drawn: dict[str, int] = defaultdict(int)
        self.pushed: dict[tuple[int, int, int, int], int] = defaultdict(int)
        self.came: dict[tuple[int, int, int], int] = {}
        self.told: dict[str, list[Told]] = {
            "receipt": [], "own_device": [], "message": [], "implied": [],
        }  # fmt: skip
        self._people()
        self._conversations()
        self._connect()

    # --- the population -----------------------------------------------------------------------------------

    def _people(self) -> None:
        self.device_user: list[int] = []
        self.devices_of: dict[int, list[int]] = defaultdict(list)
        for person in range(self.knobs.people + 2):  # the last two are the probe and its peer
            probe = person >= self.knobs.people
            for _ in range(0 if probe else 1 + (person % 10 >= 6) + (person % 10 == 9)):
                self.devices_of[person].append(len(self.device_user))
                self.device_user.append(person)

    def _conversations(self) -> None:
        people, rng = self.knobs.people, self.rng
        self.members: list[tuple[int, ...]] = [
            (a, (a + step) % people) for step in (1, 2) for a in range(people)
        ]
        self.direct = [True] * len(self.members)
        for _ in range(self.knobs.groups):
            size = int(rng.integers(5, 12))
            self.members.append(tuple(int(p) for p in rng.choice(people, size, replace=False)))
            self.direct.append(False)
        self.members.append((people, people + 1))
        self.direct.append(True)
        self.history = [5 if direct else 20 for direct in self.direct]
        self.senders = [
            [self.members[c][i % len(self.members[c])] for i in range(h)] for c, h in enumerate(self.history)
        ]
        self.cursor = {(c, user): h for c, h in enumerate(self.history) for user in self.members[c]}
        self.start = dict(self.cursor)
        self.before = dict(self.cursor)
        self.delivered = dict(self.cursor)
        self.version: dict[tuple[int, int], int] = defaultdict(int)
        self.log: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        """By person: conversation, whose cursor, value, version of each change."""
        self.synced: dict[int, int] = defaultdict(int)
        self.seen: dict[tuple[int, int], int] = {}

    def _connect(self) -> None:
        self.session: dict[int, int] = {}
        self.closes: dict[int, int] = {}
        middle = (self.measure + self.measure_end) // 2
        for device, user in enumerate(self.device_user):
            session = self.worker(device) << 24 | (device // self.knobs.workers + 1)
            self.session[device] = session
            asked = START + device * MS
            closed = middle if device < self.knobs.closed_devices else self.drain_end + 2 * S
            self.closes[device] = closed
            for op, at in ((Op.CONNECT, 0), (Op.HELLO, 2), (Op.SUB, 4)):
                self.operation(op, device, asked + at * MS, Spread(500, 1500), plan=NONE, phase=Phase.CONNECT)
            self.connections.append(
                {
                    "intended": asked,
                    "opened": asked + 2 * MS,
                    "welcomed": asked + 4 * MS,
                    "subscribed": asked + 6 * MS,
                    "closed": closed,
                    "session": session,
                    "user": user,
                    "device": device,
                    "close_code": 4408 if closed == middle else 1000,
                    "phase": Phase.MEASURE if closed == middle else Phase.FINAL,
                }
            )

    def is_probe(self, device: int) -> bool:
        return device >= 0 and bool(self.knobs.probe_every) and device % self.knobs.probe_every == 0

    def worker(self, device: int) -> int:
        return self.knobs.workers if self.is_probe(device) else max(device, 0) % self.knobs.workers

    def is_timed_by_probes(self, op: Op, device: int) -> bool:
        return self.is_probe(device) or (bool(self.knobs.probe_every) and op in PROBES)

    def draw(self, name: str, spread: Spread) -> int:
        """Nanoseconds; each name has a sequence of its own."""
        self.drawn[name] += 1
        return spread.ns(self.drawn[name])

    def one_of(self, these: Sequence[int]) -> int:
        """As `rng.choice` would draw, without making an array of them."""
        return these[int(self.rng.integers(len(these)))]

    # --- rows ---------------------------------------------------------------------------------------------

    def operation(
        self, op: Op, device: int, intended: int, takes: Spread, *, plan: int | None = None, **values: Any
    ) -> dict[str, Any]:
        """Writes one row; a device of -1 is a final connection, of worker 0, or a probe pair's, of the
        probe users' process or else worker 0."""
        by_probes = self.is_timed_by_probes(op, device)
        worker = self.knobs.workers if by_probes else self.worker(device)
        op_id = worker << 40 | self.next_row[worker]
        self.next_row[worker] += 1
        sent = intended + self.draw("send lag", self.knobs.send_lag_us)
        took = self.draw(op.name, takes)
        server = took * 7 // 10 // US
        stamps: dict[str, Any] = {"acknowledged": sent + took + int(self.knobs.unstamped_us) * US}
        if by_probes:
            clean = self.rng.random() >= self.knobs.coalesced
            stamps = {
                "acknowledged": sent + took,
                "rx": Rx.CLEAN if clean else Rx.COALESCED,
                "rx_late_us": 300 + self.next_row[worker] % 100,
            }
        row = {
            "op_id": op_id,
            "plan": next(self.plan) if plan is None else plan,
            "intended": intended,
            "sent": sent,
            "argument": NONE,
            "value": NONE,
            "version": NONE,
            "change_id": NONE,
            "session": self.session.get(device, PROBER),
            "user": self.device_user[device] if device >= 0 else 0,
            "device": device if device >= 0 else 0xFFFFFFFF,
            "conversation": 0xFFFFFFFF,
            "unread": NONE,
            "server_us": server,
            "wait_us": server // 10,
            "store_us": server // 2,
            "cache_us": server // 20,
            "op": op,
            "outcome": Outcome.OK,
            "phase": self.phase(intended),
            **stamps,
        } | values
        self.operations.append(row)
        return row

    def phase(self, t: int) -> Phase:
        if t < self.measure:
            return Phase.WARMUP
        return Phase.MEASURE if t < self.measure_end else Phase.DRAIN

    def push(self, kind: PushKind, device: int, received: int, **values: Any) -> int:
        """When it comes: what is about the same thing, or numbered by the same log, in the order of the
        calls."""
        about = [(device, kind, values["conversation"], values["actor"] * (kind != PushKind.MESSAGE))]
        about += [(device, kind, NONE, NONE)] if values.get("change_id", NONE) >= 0 else []
        received = max(received, *(self.pushed[stream] for stream in about))
        self.pushed.update(dict.fromkeys(about, received))
        self.pushes.append(
            {
                "received": received,
                "at_ms": received // MS,
                "version": NONE,
                "change_id": NONE,
                "unread": NONE,
                "session": self.session[device],
                "rx": Rx.CLEAN if self.is_probe(device) else Rx.NONE,
                "user": self.device_user[device],
                "device": device,
                "kind": kind,
                "phase": self.phase(received),
            }
            | values
        )
        return received

    # --- what happens -------------------------------------------------------------------------------------

    def at(self, t: int, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (t, next(self.order), what))

    def run(self) -> None:
        gap = int(S / self.knobs.send_per_s)
        ordinary = len(self.members) - 1
        for t in range(START + S, self.measure_end, gap):
            conversation = int(self.rng.integers(ordinary))
            sender = self.one_of(self.members[conversation])
            device = self.devices_of[sender][0]
            self.at(t, lambda c=conversation, d=device, t=t: self.send(c, d, t))  # type: ignore[misc]
            if self.rng.random() < 0.5:
                self.at(t + gap // 2, lambda d=device, t=t + gap // 2: self.open_app(d, t))  # type: ignore[misc]
        while self.events:
            _, _, what = heapq.heappop(self.events)
            what()
        self.probe()
        self.final_read()
        self._number()

    def _number(self) -> None:
        """Numbers each worker's rows in the order in which they were sent, as a recorder does."""
        self.operations.sort(key=lambda row: row["sent"] or row["intended"])
        numbers = [count() for _ in range(self.knobs.workers + 1)]
        new = {
            row["op_id"]: row["op_id"] >> 40 << 40 | next(numbers[row["op_id"] >> 40])
            for row in self.operations
        }
        for row in (*self.operations, *self.items):
            row["op_id"] = new[row["op_id"]]
        for told in (told for group in self.told.values() for told in group):
            told.write = new[told.write]

    def alive(self, device: int, t: int) -> bool:
        return t < self.closes[device]

    def _move(self, conversation: int, user: int, seq: int) -> None:
        self.before[conversation, user] = self.cursor[conversation, user]
        self.cursor[conversation, user] = seq
        self.version[conversation, user] += 1

    def send(self, conversation: int, device: int, t: int) -> None:
        sender = self.device_user[device]
        if not self.alive(device, t):
            row = self.operation(Op.SEND, device, t, self.knobs.send_us, conversation=conversation)
            row.update(sent=0, acknowledged=0, outcome=Outcome.UNSENT, error=ERROR_CODES["NOT_CONNECTED"])
            return
        self.senders[conversation].append(sender)
        seq = len(self.senders[conversation])
        row = self.operation(Op.SEND, device, t, self.knobs.send_us, conversation=conversation, value=seq)
        before = self.cursor[conversation, sender]
        self._move(conversation, sender, seq)
        for person in self.members[conversation]:
            for told in self.devices_of[person]:
                if told != device:
                    self.message(conversation, seq, sender, told, row)
        if before < seq - 1:
            self._tell_read(row, device, before, seq, ("implied", "implied"))
        for person in self.members[conversation]:
            if person != sender:
                reader = self.one_of(self.devices_of[person])
                think = int(self.rng.exponential(self.knobs.think_s) * S)
                due = row["sent"] + int(self.knobs.message_us.high) * US + think
                self.at(due, lambda d=reader, c=conversation, t=due: self.read(d, c, t))  # type: ignore[misc]

    def message(self, conversation: int, seq: int, sender: int, device: int, row: dict[str, Any]) -> None:
        lag = self.draw("message", self.knobs.message_us)
        received = row["sent"] + lag
        if not self.alive(device, received):
            return
        received = self.push(
            PushKind.MESSAGE, device, received, value=seq, conversation=conversation, actor=sender
        )
        self.told["message"].append(Told(row["op_id"], (received - row["sent"]) / US, True))
        self.came[device, conversation, seq] = received

        def arrive() -> None:
            self.seen[device, conversation] = max(seq, self.seen.get((device, conversation), 0))

        self.at(received, arrive)
        due = received + S
        self.at(due, lambda: self.deliver(device, conversation, due))

    def deliver(self, device: int, conversation: int, t: int) -> None:
        user, up_to = self.device_user[device], self.seen[device, conversation]
        if not self.alive(device, t) or self.delivered[conversation, user] >= up_to:
            return
        self.delivered[conversation, user] = up_to
        row = self.operation(
            Op.DELIVERED, device, t, self.knobs.read_us, argument=up_to, value=up_to,
            conversation=conversation, flags=1, plan=NONE,
        )  # fmt: skip
        peers = set(self.members[conversation]) - {user} if self.direct[conversation] else set()
        for told in (d for person in peers for d in self.devices_of[person]):
            received = row["sent"] + self.draw("delivered", self.knobs.receipt_us)
            if self.alive(told, received):
                self.push(
                    PushKind.DELIVERED, told, received, value=up_to, version=up_to,
                    conversation=conversation, actor=user,
                )  # fmt: skip

    def read(self, device: int, conversation: int, t: int) -> None:
        user, up_to = self.device_user[device], self.seen.get((device, conversation), 0)
        row = self.operation(
            Op.READ, device, t, self.knobs.read_us, argument=up_to, conversation=conversation
        )
        before = self.cursor[conversation, user]
        if not self.alive(device, t):
            row.update(sent=0, acknowledged=0, outcome=Outcome.UNSENT, error=ERROR_CODES["NOT_CONNECTED"])
        elif before >= up_to:
            row.update(sent=0, acknowledged=0, outcome=Outcome.ALREADY_READ)
        elif not self._refused(row):
            self._advance(row, device, before, up_to)

    def _refused(self, row: dict[str, Any]) -> bool:
        chance = self.rng.random()
        for code, share in self.knobs.errors.items():
            chance -= share
            if chance < 0:
                row["error"] = ERROR_CODES[code]
                row["outcome"] = (
                    Outcome.INFO if code in ("DEADLINE", "UNAVAILABLE", "INTERNAL") else Outcome.FAIL
                )
                if code == "DEADLINE":
                    row["acknowledged"] = 0
                return True
        return False

    def _advance(self, row: dict[str, Any], device: int, before: int, up_to: int) -> None:
        conversation, user = row["conversation"], row["user"]
        self._move(conversation, user, up_to)
        last = len(self.senders[conversation])
        row.update(value=up_to, version=self.version[conversation, user], flags=1, unread=last - up_to)
        self._tell_read(row, device, before, up_to, ("own_device", "receipt"))

    def _tell_read(
        self, row: dict[str, Any], device: int, before: int, up_to: int, groups: tuple[str, str]
    ) -> None:
        """By a READ, or by a SEND, which implies one.  `groups` of `told`: own devices, and others."""
        conversation, user = row["conversation"], row["user"]
        change = (conversation, user, up_to, self.version[conversation, user])
        self.log[user].append(change)
        own = [other for other in self.devices_of[user] if other != device]
        if self.direct[conversation]:
            others = {person for person in self.members[conversation] if person != user}
            for peer in others:
                self.log[peer].append(change)
        else:
            others = set(self.senders[conversation][before:up_to]) - {user}
        unread = len(self.senders[conversation]) - up_to
        for told in own:
            self._update(row, told, groups[0], change, len(self.log[user]), unread)
        for person in sorted(others):
            change_id = len(self.log[person]) if self.direct[conversation] else NONE
            for told in self.devices_of[person]:
                self._update(row, told, groups[1], change, change_id)

    def _update(
        self,
        row: dict[str, Any],
        device: int,
        which: str,
        change: tuple[int, int, int, int],
        change_id: int,
        unread: int = NONE,
    ) -> None:
        conversation, user, up_to, version = change
        lag = self.draw(which, self.knobs.receipt_us) + int(self.knobs.lag_shift_us) * US
        after = self.came.get((device, conversation, up_to), 0) if which == "implied" else 0
        received = max(row["sent"] + lag, after + US)
        if not self.alive(device, row["sent"]):
            return
        rng = self.rng_implied if which == "implied" else self.rng
        arrived = rng.random() >= self.knobs.lost_pushes and self.alive(device, received)
        if arrived:
            received = self.push(
                PushKind.READ, device, received, value=up_to, version=version,
                change_id=change_id, conversation=conversation, actor=user,
                unread=unread, at_ms=row["sent"] // MS,
            )  # fmt: skip
        self.told[which].append(Told(row["op_id"], (received - row["sent"]) / US, arrived))

    def open_app(self, device: int, t: int) -> None:
        if not self.alive(device, t):
            return
        user = self.device_user[device]
        last, since = len(self.log[user]), self.synced[device]
        row = self.operation(Op.STATE, device, t, self.knobs.state_us, value=last)
        self._state(row, user, [c for c, members in enumerate(self.members) if user in members][:20], {})
        row = self.operation(Op.SYNC, device, t, self.knobs.state_us, argument=since, value=last)
        row["items"] = last - since
        for index, (conversation, actor, value, version) in enumerate(self.log[user][since:]):
            self.items.append(
                {
                    "op_id": row["op_id"],
                    "value": value,
                    "version": version,
                    "change_id": since + index + 1,
                    "last_seq": NONE,
                    "conversation": conversation,
                    "actor": actor,
                    "unread": NONE,
                    "index": index,
                }
            )
        self.synced[device] = last

    def _state(
        self, row: dict[str, Any], user: int, conversations: list[int], shown: dict[tuple[int, int], int]
    ) -> None:
        row["items"] = len(conversations)
        if row["op"] == Op.STATE:
            cursors = [shown.get((c, user), self.cursor[c, user]) for c in conversations]
            heads = [len(self.senders[c]) for c in conversations]
            row["unread"] = sum(head - cursor for head, cursor in zip(heads, cursors, strict=True))
        for index, conversation in enumerate(conversations):
            true = self.cursor[conversation, user]
            value = shown.get((conversation, user), true)
            version = self.version[conversation, user] + (value > true) - (value < true)
            last = len(self.senders[conversation])
            self.items.append(
                {
                    "op_id": row["op_id"],
                    "value": value,
                    "version": version,
                    "change_id": NONE,
                    "last_seq": last,
                    "conversation": conversation,
                    "actor": user,
                    "unread": last - value,
                    "index": index,
                }
            )

    def probe(self) -> None:
        """READs on a conversation of its own: each followed by polls every 5 ms until one shows it, and then
        one that is looked for once."""
        gap = (self.measure_end - self.measure) // max(1, self.knobs.probes)
        for number in range(self.knobs.probes):
            t = self.measure + number * gap
            row = self._mark(t)
            visible = row["acknowledged"] + int(self.knobs.visible_us * US)
            start = row["acknowledged"] + int(self.rng.integers(5 * MS))
            self._poll(row, Op.PROBE_STATE, start, visible)
            if "mysql" in STORES[self.knobs.scheme]:
                self._ask(row, Op.PROBE_DURABLE, self.knobs.stored_us)
            if "redis" in STORES[self.knobs.scheme]:
                self._ask(row, Op.PROBE_CACHED, self.knobs.cached_us)
            self._advance_probe(row)
            row = self._mark(t + gap // 2)
            look_at = row["acknowledged"] + LOOKS_MS[number % len(LOOKS_MS)] * MS
            self._look(row, Op.PROBE_ONCE, look_at, row["acknowledged"] + int(self.knobs.visible_us * US))
            self._advance_probe(row)

    def _mark(self, t: int) -> dict[str, Any]:
        """A message to the probe person, and their READ of it."""
        person, conversation = self.knobs.people, len(self.members) - 1
        up_to = self.cursor[conversation, person] + 1
        self.senders[conversation].append(person + 1)
        self._probe(Op.PROBE_SEND, person + 1, t, conversation, value=up_to)
        self._move(conversation, person + 1, up_to)
        return self._probe(
            Op.PROBE_READ, person, t + 30 * MS, conversation, argument=up_to, value=up_to, flags=1
        )

    def _poll(self, mark: dict[str, Any], op: Op, at: int, visible: int) -> None:
        for _ in range(20):
            if self._look(mark, op, at, visible):
                return
            at += 5 * MS

    def _look(self, mark: dict[str, Any], op: Op, at: int, visible: int) -> bool:
        person, conversation, seq = mark["user"], mark["conversation"], mark["argument"]
        look = self._probe(op, person, at, conversation, session=POLLER, argument=seq)
        shows: bool = look["sent"] >= visible
        shown = {(conversation, person): seq if shows else seq - 1}
        self._state(look, person, [conversation], shown)
        return shows

    def _ask(self, mark: dict[str, Any], op: Op, held_us: float) -> None:
        """The store holds it so long after its ACK."""
        at, seq = mark["acknowledged"], mark["argument"]
        for _ in range(20):
            asked = self._probe(
                op, mark["user"], at, mark["conversation"], session=DOOR, argument=seq, value=seq - 1
            )
            if asked["sent"] >= mark["acknowledged"] + held_us * US:
                asked["value"] = seq
                return
            at += 5 * MS

    def _advance_probe(self, mark: dict[str, Any]) -> None:
        self._move(mark["conversation"], mark["user"], mark["argument"])

    def _probe(self, op: Op, person: int, t: int, conversation: int, **values: Any) -> dict[str, Any]:
        return self.operation(
            op, -1, t, Spread(400, 600), plan=NONE, user=person, conversation=conversation, **values
        )

    def final_read(self) -> None:
        keys = sorted(self.cursor)
        self.store = dict(self.cursor)
        picked = [
            keys[i] for i in self.rng.permutation(len(keys)) if self.cursor[keys[i]] > self.start[keys[i]]
        ]
        bad = iter(picked)
        for _ in range(self.knobs.lost_acknowledged):
            self._undo(self.store, next(bad))
        for _ in range(self.knobs.phantom):
            self.store[next(bad)] += 7
        shown = dict(self.store)
        for _ in range(self.knobs.stale_at_end):
            self._undo(shown, next(bad))
        self.cache = dict(self.store) if self.knobs.scheme in ("redis", "queue") else {}
        for _ in range(self.knobs.stale_in_cache):
            stale = next(bad)
            self._undo(self.cache, stale)
            self._undo(shown, stale)
        for person in range(self.knobs.people):
            mine = [c for c, members in enumerate(self.members) if person in members]
            row = self.operation(
                Op.STATE, -1, self.drain_end + S, self.knobs.state_us, plan=NONE, user=person,
                phase=Phase.FINAL,
            )  # fmt: skip
            self._state(row, person, mine, shown)

    def _undo(self, cursors: dict[tuple[int, int], int], which: tuple[int, int]) -> None:
        """One cursor as it was before it moved last."""
        cursors[which] = self.before[which]


def build(root: Path, seed: int = 7, knobs: Knobs | None = None, **changes: Any) -> tuple[RunFolder, World]:
    """A complete folder below `root`, and the world that it came from.  `changes` are fields of Knobs."""
    knobs = replace(knobs or Knobs(), **changes)
    made, world = _made(repr(knobs), knobs, seed)
    path = root / made.run_id
    shutil.copytree(made.path, path)
    return RunFolder(path), world


_templates = tempfile.TemporaryDirectory(prefix="synthetic-")
"""Where each folder is written once; tests get copies, which they may change."""
_known: dict[tuple[str, int], tuple[RunFolder, World]] = {}


def _made(name: str, knobs: Knobs, seed: int) -> tuple[RunFolder, World]:
    """Worlds are only looked at once they have run, and most tests want the same few."""
    if (name, seed) not in _known:
        world = World(knobs, seed)
        world.run()
        _known[name, seed] = _written(Path(_templates.name) / str(len(_known)), world, seed), world
    return _known[name, seed]


def _written(root: Path, world: World, seed: int) -> RunFolder:
    knobs = world.knobs
    folder = RunFolder.create(
        root,
        scheme=knobs.scheme,
        scenario="steady_chat",
        now=datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC),
        short_id=f"{seed:06x}",
    )
    _write_tables(folder, world)
    folder.write_timeseries(_timeseries(world))
    if knobs.scheme == "queue":
        folder.write_once("queue_ages", _queue_ages(world))
    if knobs.watched:
        folder.write_once("stalls", _stalls(world))
    folder.write_manifest(_manifest(folder, world, seed))
    (folder.logs / "server.log").write_text("listening\n")
    return folder


def rows(dtype: np.dtype[Any], dicts: Iterable[dict[str, Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Dictionaries to a structured array; what is not given is 0."""
    content = list(dicts)
    array = np.zeros(len(content), dtype)
    for name in dtype.names or ():
        array[name] = [row.get(name, 0) for row in content]
    return array


def _write_tables(folder: RunFolder, world: World) -> None:
    for worker in range(world.knobs.workers + bool(world.knobs.probe_every)):
        operations = [row for row in world.operations if row["op_id"] >> 40 == worker]
        if worker == 0 and world.knobs.hole:
            middle = len(operations) // 2
            del operations[middle : middle + world.knobs.hole]
        folder.write_rows("operations", worker, rows(OPERATIONS, operations))
        folder.write_rows(
            "items", worker, rows(ITEMS, (r for r in world.items if r["op_id"] >> 40 == worker))
        )
        pushes = (row for row in world.pushes if row["session"] >> 24 == worker)
        folder.write_rows("pushes", worker, rows(PUSHES, sorted(pushes, key=lambda row: row["received"])))
        folder.write_rows(
            "connections",
            worker,
            rows(CONNECTIONS, (r for r in world.connections if r["session"] >> 24 == worker)),
        )
    folder.write_once(
        "conversations",
        rows(
            CONVERSATIONS,
            ({"kind": 0 if d else 1, "history": h} for d, h in zip(world.direct, world.history, strict=True)),
        ),
    )
    folder.write_once(
        "members",
        rows(
            MEMBERS,
            (
                {"conversation": c, "user": user, "read_seq": world.start[c, user]}
                for c, members in enumerate(world.members)
                for user in members
            ),
        ),
    )
    folder.write_once(
        "devices", rows(DEVICES, ({"device": d, "user": u} for d, u in enumerate(world.device_user)))
    )
    held = {"final_store": world.store} | ({"final_cache": world.cache} if world.cache else {})
    for name, cursors in held.items():
        folder.write_once(
            name,
            rows(
                FINAL_STORE,
                (
                    {
                        "conversation": c,
                        "user": u,
                        "read_seq": seq,
                        "delivered_seq": max(world.store[c, u], world.delivered[c, u]),
                        "version": world.version[c, u],
                        "last_seq": len(world.senders[c]),
                    }
                    for (c, u), seq in cursors.items()
                ),
            ),
        )


STORES = {
    "memory": (),
    "db": ("mysql",),
    "redis": ("mysql", "redis"),
    "queue": ("mysql", "redis", "kafka", "consumer"),
}
COUNTERS = {
    "mysql": {
        "Com_select": 300.0,
        "Com_insert": 80.0,
        "Com_update": 120.0,
        "Com_commit": 100.0,
        "Questions": 700.0,
    },
    "redis": {
        "keyspace_hits": 900.0,
        "keyspace_misses": 100.0,
        "total_commands_processed": 1_500.0,
        "expired_keys": 1.0,
    },
    "kafka": {"lag_events": 0.0},
}
"""Counters by component: how much each grows in a second."""


def _timeseries(world: World) -> list[tuple[int, str, str, float]]:
    """A sample a second: CPU grows by the known number of cores, memory and counters grow evenly."""
    samples: list[tuple[int, str, str, float]] = []
    watched = world.knobs.watched
    components = ["generator", "server", *STORES[world.knobs.scheme]]
    for second in range((world.drain_end - START) // S + 1):
        t = START + second * S
        for component in components:
            cores = world.knobs.cores.get(component, 0.2)
            samples.append((t, component, "cpu_s", 3.0 + cores * second))
            samples.append((t, component, "rss_bytes", 50e6 + 1e5 * second))
            samples.append((t, component, "runqueue_s", 0.01 * second))
            for name, growth in COUNTERS.get(component, {}).items():
                samples.append((t, component, name, 17.0 + growth * second))
        if watched:
            used = sum(world.knobs.cores.get(component, 0.2) for component in components)
            samples += [(t, "harness", "cpu_s", 1.0 + 0.01 * second)]
            samples += [(t, "machine", name, value) for name, value in MACHINE.items()]
            samples += [(t, "machine", "cpu_s", 100.0 + (used + 0.04) * second)]
            samples += [(t, "server", "files_open", 120.0), (t, "server", "files_limit", 1024.0)]
        samples.append((t, "generator", "connections", float(len(world.device_user))))
    if world.knobs.scheme == "queue":
        samples.append((world.drain_end + S, "kafka", "lag_events", float(world.knobs.never_applied)))
    return samples


def processes(world: World) -> list[str]:
    """Those that are watched, in the order of `watched`."""
    knobs = world.knobs
    consumer = ["consumer"] if "consumer" in STORES[knobs.scheme] else []
    probes = ["generator/probe_users"] if knobs.probe_every else []
    return ["server", *consumer, *(f"generator/{number}" for number in range(knobs.workers)), *probes]


def _stalls(world: World) -> np.ndarray[Any, Any]:
    names = processes(world)
    return np.array(
        [
            (names.index(process), int(kind), world.measure + int(at_s * S), int(length_s * 1e6))
            for process, kind, at_s, length_s in world.knobs.stalls
        ],
        STALLS,
    )


MACHINE = dict(
    [
        ("steal_s", 1.0),
        ("swapped_bytes", 4096.0),
        ("throttled_s", 0.5),
        ("clock_steps_s", 0.0),
        ("tcp_tw", 100.0),
        ("tcp_inuse", 200.0),
        *((f"free_bytes_{place}", 8e9) for place in ("results", "memory", "data")),
    ]
)
"""What a quiet, roomy machine says each second."""


def _queue_ages(world: World) -> np.ndarray[Any, Any]:
    """50 events a second, in classes of 1 ms, told every second."""
    applied: dict[int, int] = defaultdict(int)
    told = []
    for number in range(50 * ((world.measure_end - START) // S)):
        applied[int(world.knobs.event_us.ns(number) // MS)] += 1
        if number % 50 == 49:
            t = START + (number // 50 + 1) * S
            told += [(t, ms * 1000, (ms + 1) * 1000, n) for ms, n in applied.items()]
    return np.array(told, QUEUE_AGES)


def _manifest(folder: RunFolder, world: World, seed: int) -> dict[str, Any]:
    knobs = world.knobs
    promises = [
        name for name in SCHEMES[knobs.scheme].promises if name != "accurate_unread" or knobs.visible_us == 0
    ]
    ack = "volatile" if knobs.scheme == "memory" else "durable"
    return {
        "tool": TOOL,
        "tool_version": "0.1.0",
        "run_id": folder.run_id,
        "command": f"bench run --scheme {knobs.scheme} --users {len(world.device_user)} --seed {seed}",
        "started_at": "2025-03-01T12:00:00+00:00",
        "ended": {"how": "finished", "phase": "final", "message": ""},
        "plan_sha256": f"{seed:064x}",
        "run": {
            "scheme": knobs.scheme,
            "model": "flags",
            "variant": None,
            "queue_order": "db_first" if knobs.scheme == "queue" else None,
            "scenario": "steady_chat",
            "users": len(world.device_user),
            "people": knobs.people,
            "devices_per_person": len(world.device_user) / knobs.people,
            "intensity": 12.5,
            "seed": seed,
            "nodes": 1,
            "mysql_driver": "aiomysql",
            "services": {
                name: {"version": f"{name} 1.0", "how": "local"}
                for name in STORES[knobs.scheme]
                if name != "consumer"
            },
            "options": {},
            "promises": list(promises),
            "ack": {"send": ack, "read": ack},
            "receipt_members": 200,
            "workers": knobs.workers,
            "probe_users": {
                "users": sum(map(world.is_probe, range(len(world.device_user)))),
                "worker": knobs.workers,
                "planned_share": 0.1,
            },
        },
        "load": {
            "send_per_s": knobs.send_per_s,
            "planned": sum(1 for row in world.operations if row["plan"] != NONE),
            "connections_asked": len(world.device_user),
        },
        "window": {
            "start": START,
            "measure": world.measure,
            "measure_end": world.measure_end,
            "drain_end": world.drain_end,
        },
        "deaths": [],
        "drained": True,
        "final": {"asked": knobs.people, "answered": knobs.people},
        "fail_if": [],
        "generator": {"gc_pauses": 0, "ceiling_per_s": None},
        **(_told(world) if knobs.watched else {}),
    }


def _told(world: World) -> dict[str, Any]:
    same = {
        name: {"process": f"{number} since tick 7", "started_s": 900.0}
        for number, name in enumerate(STORES[world.knobs.scheme])
        if name != "consumer"
    }
    return {
        "watched": [
            {"process": name, "since": START - S, "until": world.drain_end, "clock_apart_us": 0}
            for name in processes(world)
        ],
        "services_seen": {"before": same, "after": same},
        "limits": {"ports": 28_232},
    }


def change_manifest(folder: RunFolder, **changes: Any) -> None:
    """Replaces parts of the manifest; dictionaries are merged."""
    manifest = json.loads((folder.path / "manifest.json").read_text())
    for name, value in changes.items():
        manifest[name] = {**manifest[name], **value} if isinstance(value, dict) else value
    folder.write_manifest(manifest)
