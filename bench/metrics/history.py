"""The rows of one run, ready to be computed with: its window, who is who, who was connected when.

Reads a result folder and decides nothing; the figures are in the modules beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.ragged import Groups, distinct
from bench.record import Op, Outcome, Phase
from bench.results import Json, RunFolder, Table

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

APPLIED: Final = 1
"""Bit of `operations.flags`."""
DEADLINE_US: Final = 5_000_000
"""After this long without a reply nobody knows (the client gives up)."""
RECEIPT_MEMBERS: Final = 200
_SESSION: Final = (1 << 24) - 1
"""A session is its worker << 24 | its number in it."""


@dataclass(frozen=True)
class Window:
    """When what was measured, ns of CLOCK_MONOTONIC.  An interrupted run ends with its last row."""

    start: int
    measure: int
    measure_end: int
    drain_end: int

    @property
    def seconds(self) -> float:
        return (self.measure_end - self.measure) / 1e9


class Membership:
    """The population, as the run's folder has it."""

    def __init__(self, folder: RunFolder) -> None:
        conversations, members, devices = (
            folder.table(name) for name in ("conversations", "members", "devices")
        )
        self.direct: Bools = conversations["kind"] == 0
        self.history: Ints = conversations["history"].astype(np.int64)
        self.conversation: Ints = members["conversation"].astype(np.int64)
        self.user: Ints = members["user"].astype(np.int64)
        self.read_seq: Ints = members["read_seq"].astype(np.int64)
        self.device: Ints = devices["device"].astype(np.int64)
        self.device_user: Ints = devices["user"].astype(np.int64)
        self.people = int(max(self.user.max(initial=-1), self.device_user.max(initial=-1))) + 1
        self.of_conversation = Groups(self.conversation, len(self.direct))
        self._of_user = Groups(self.device_user, self.people)

    def devices_of(self, user: NDArray[Any]) -> tuple[Ints, Ints]:
        """(which question, device) for each device of each asked person."""
        asked, row = self._of_user.expand(user)
        return asked, self.device[row]

    def members_of(self, conversation: NDArray[Any]) -> tuple[Ints, Ints]:
        """(which question, person) for each member of each asked conversation, in member order."""
        asked, row = self.of_conversation.expand(conversation)
        return asked, self.user[row]

    def seeded_sender(self, conversation: Ints, seq: Ints) -> Ints:
        """Who sent seq i of the seeded history: member (i - 1) mod n."""
        place = (seq - 1) % np.maximum(1, self.of_conversation.size(conversation))
        sender: Ints = self.user[self.of_conversation.row[self.of_conversation.start[conversation] + place]]
        return sender


class Sessions:
    """Subscribed sessions of devices, by device (probe and final connections count as no device)."""

    def __init__(self, connections: Table, end: int) -> None:
        """A session that was still open when the record ends is open until `end`."""
        kept = (connections["role"] == 0) & (connections["subscribed"] > 0)
        self.session: Ints = connections["session"][kept].astype(np.int64)
        self.device: Ints = connections["device"][kept].astype(np.int64)
        self.subscribed: Ints = connections["subscribed"][kept]
        closed = connections["closed"][kept]
        self.closed: Ints = np.where(closed == 0, max(end, int(closed.max(initial=0))), closed)
        known = distinct(self.session)
        self.count = len(known)
        self._width = int((known & _SESSION).max(initial=0)) + 1
        self._number: Ints = np.full((int(known.max(initial=0) >> 24) + 1) * self._width, -1, np.int64)
        self._number[(known >> 24) * self._width + (known & _SESSION)] = np.arange(self.count)
        self._devices = int(self.device.max(initial=-1)) + 1
        self._of_device = Groups(self.device, self._devices)

    def number(self, session: NDArray[Any]) -> Ints:
        """Small numbers for session ids; -1 for those that are no subscribed session of a device."""
        worker, own = session.astype(np.int64) >> 24, session.astype(np.int64) & _SESSION
        place = worker * self._width + own
        known = (own < self._width) & (place < len(self._number))
        return np.where(known, self._number[np.where(known, place, 0)], -1)

    def of_devices(self, device: Ints) -> tuple[Ints, Ints]:
        """(which question, row of the session) for each session of each asked device."""
        known = np.flatnonzero(device < self._devices)
        asked, row = self._of_device.expand(device[known])
        return known[asked], row


class History:
    """One run's rows."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.manifest: Json = folder.manifest()
        self.run: Json = self.manifest.get("run") or {}
        self.operations = _with_outcomes(folder.table("operations"))
        self.items = folder.table("items")
        self.pushes = folder.table("pushes")
        self.connections = folder.table("connections")
        self._owner: tuple[Ints, Ints, Ints] | None = None

    @cached_property
    def window(self) -> Window:
        """As the manifest has it; where the run never got that far, from the rows themselves."""
        said = self.manifest.get("window") or {}
        last = int(
            max(self.operations["sent"].max(initial=0), self.operations["acknowledged"].max(initial=0))
        )
        start = int(said.get("start") or self._first(Phase.SETUP) or last)
        measure = int(said.get("measure") or self._first(Phase.MEASURE) or last)
        measure_end = max(measure, int(said.get("measure_end") or last))
        return Window(start, measure, measure_end, max(measure_end, int(said.get("drain_end") or last)))

    @cached_property
    def zero(self) -> int:
        """1 ns before the first thing on record, also before the window: counted from it, times are
        positive."""
        sent, received = self.operations["sent"], self.pushes["received"]
        never = np.iinfo(np.int64).max
        return int(min(sent[sent > 0].min(initial=never), received.min(initial=never))) - 1

    def _first(self, phase: Phase) -> int:
        intended = self.operations["intended"][self.operations["phase"] >= phase]
        return int(intended.min(initial=np.iinfo(np.int64).max)) if len(intended) else 0

    @cached_property
    def membership(self) -> Membership:
        return Membership(self.folder)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(self.connections, self.window.drain_end)

    def owner(self) -> Ints:
        """By row of `items`: the operation that it belongs to; -1 where there is none."""
        op_id, of = self.operations["op_id"], self.items["op_id"]
        if self._owner is None or self._owner[0] is not op_id or self._owner[1] is not of:
            self._owner = op_id, of, _owner(op_id, of)
        return self._owner[2]

    @cached_property
    def measured(self) -> Bools:
        """Rows of `operations` that were meant to happen in the measured window, whenever they did."""
        intended = self.operations["intended"]
        return (intended >= self.window.measure) & (intended < self.window.measure_end)

    @cached_property
    def first(self) -> Bools:
        """Rows that are no retry of another one."""
        first: Bools = self.operations["attempt"] == 0
        return first

    @cached_property
    def probe_worker(self) -> int | None:
        """Number of the probe users' process; None if there was none."""
        said = self.run.get("probe_users") or {}
        return int(said["worker"]) if said.get("users") else None

    @cached_property
    def by_probes(self) -> Bools:
        """Rows of `operations` that the probe users' process carried out."""
        return self._of_probe_worker(self.operations["op_id"] >> 40)

    def probe_sessions(self, session: Ints) -> Bools:
        """Which of these sessions were the probe users' process's."""
        return self._of_probe_worker(session >> 24)

    def _of_probe_worker(self, worker: Ints) -> Bools:
        if self.probe_worker is None:
            return np.zeros(len(worker), np.bool_)
        same: Bools = worker == self.probe_worker
        return same

    def rows(self, op: Op) -> Ints:
        """Row numbers of one operation, all phases, in the order of the record."""
        return np.flatnonzero(self.operations["op"] == op)

    def measured_rows(self, op: Op) -> Ints:
        """Row numbers of one operation in the measured window, retries left out."""
        return np.flatnonzero((self.operations["op"] == op) & self.measured & self.first)

    @cached_property
    def receipt_members(self) -> int:
        return int(self.run.get("receipt_members") or RECEIPT_MEMBERS)

    def outcome(self, rows: Ints, outcome: Outcome) -> Bools:
        same: Bools = self.operations["outcome"][rows] == outcome
        return same


def _with_outcomes(operations: Table) -> Table:
    """What was sent and has no outcome when the record ends is something that nobody knows."""
    outcome = operations["outcome"]
    pending = outcome == Outcome.PENDING
    if pending.any():
        ended = np.where(operations["sent"] > 0, Outcome.INFO, Outcome.UNSENT)
        operations.replace("outcome", np.where(pending, ended, outcome))
    return operations


@dataclass(frozen=True)
class Marks:
    """READs, one entry per item (conversation).  Times in ns; `applied` is 1, 0 or -1 where the server could
    not know."""

    row: Ints
    conversation: Ints
    user: Ints
    device: Ints
    session: Ints
    up_to: Ints
    sent: Ints
    acknowledged: Ints
    outcome: Ints
    applied: Ints

    def take(self, which: NDArray[Any]) -> Marks:
        return Marks(**{name: getattr(self, name)[which] for name in self.__dataclass_fields__})


def joined(one: Marks, other: Marks) -> Marks:
    return Marks(
        **{
            name: np.concatenate([getattr(one, name), getattr(other, name)])
            for name in Marks.__dataclass_fields__
        }
    )


def marks(history: History, op: Op, rows: Ints) -> Marks:
    """The items of READs or DELIVEREDs.  The first is in the operation's own row, the others in `items`."""
    operations = history.operations
    row, conversation, up_to, applied = _items(history, rows, op)
    fields = {
        name: operations[name][row].astype(np.int64)
        for name in ("user", "device", "session", "sent", "acknowledged", "outcome")
    }
    return Marks(row=row, conversation=conversation, up_to=up_to, applied=applied, **fields)


def _items(history: History, rows: Ints, op: Op) -> tuple[Ints, Ints, Ints, Ints]:
    operations, items = history.operations, history.items
    first_applied = (operations["flags"][rows] & APPLIED).astype(np.int64)
    if op == Op.READ:
        unknown = (first_applied == 0) & (operations["version"][rows] < 0)
        first_applied[unknown] = -1
    row = [rows]
    conversation = [operations["conversation"][rows].astype(np.int64)]
    up_to = [operations["argument"][rows].astype(np.int64)]
    applied = [first_applied]
    several = rows[operations["items"][rows] > 1]
    if len(several):
        index, owner = _owned_items(history, several)
        more = items["index"][index] > 0
        index, owner = index[more], owner[more]
        row.append(owner)
        conversation.append(items["conversation"][index].astype(np.int64))
        up_to.append(items["value"][index].astype(np.int64))
        applied.append(items["applied"][index].astype(np.int64))
    whole = tuple(np.concatenate(parts) for parts in (row, conversation, up_to, applied))
    return whole[0], whole[1], whole[2], whole[3]


def _owned_items(history: History, rows: Ints) -> tuple[Ints, Ints]:
    """(row of items, row of operations) for all items of the given operations."""
    owner = history.owner()
    asked = np.zeros(len(history.operations["op_id"]) + 1, np.bool_)  # the last is nobody's
    asked[rows] = True
    index = np.flatnonzero(asked[owner])
    return index, owner[index]


def _owner(op_id: Ints, of: Ints) -> Ints:
    if not len(op_id):
        return np.full(len(of), -1, np.int64)
    start = np.flatnonzero(np.diff(of, prepend=-1))  # an operation's items are mostly side by side
    order = np.argsort(op_id)
    row = order[np.minimum(np.searchsorted(op_id, of[start], sorter=order), len(order) - 1)]
    row[op_id[row] != of[start]] = -1
    return np.repeat(row, np.diff(start, append=len(of)))


def items_of(history: History, rows: Ints) -> tuple[Ints, Ints]:
    """(row of `items`, row of `operations`) for all items of the given operations, in item order."""
    if not len(rows):
        empty = np.empty(0, np.int64)
        return empty, empty
    return _owned_items(history, rows)
