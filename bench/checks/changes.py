"""From a run's record to the changes that devices were told of, and to those that they had to be told of.

A change is a row of a person's change log: a READ that was applied, in the reader's log and, in a direct
conversation, in the peer's.  Devices hear of it by SYNC and by UPDATE `read/` pushes.  Probes and the final
read are no devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks.device_state import Due, Known
from bench.checks.observed import STATES
from bench.checks.packing import among
from bench.checks.syncs import NOWHERE, Owed, Pages, Told
from bench.metrics.history import APPLIED, History, items_of
from bench.metrics.ragged import distinct, spread
from bench.population import NOBODY
from bench.record import DUPLICATE, MORE, NONE, RESET, Op, Outcome, PushKind
from bench.results import Table

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

OPERATION: Final = 0
ITEM: Final = 1
PUSH: Final = 2
"""The tables that an entry may come from: its source is row << 2 | table."""
_ANY: Final = 1 << 53
"""Above all sequence numbers (schemes.protocol): what an unanswered SEND may have moved its cursor to."""


@dataclass(frozen=True)
class Synced:
    """What the checks of SYNC judge.  `page_row` and `owed_row` are rows of operations."""

    pages: Pages
    page_row: Ints
    told: Told
    told_value: Ints
    told_from: Ints
    owed: Owed
    owed_row: Ints


@dataclass(frozen=True)
class Versions:
    """Every (cursor, version, value) that anybody was told.  `cursor` is conversation << 32 | person, `at_ms`
    when it came to be (NONE where that was not said).

    `own_cursor` and `own_seq`: which messages are a cursor's owner's; `vague`: cursors of whom nobody knows
    all of these, ascending."""

    cursor: Ints
    version: Ints
    value: Ints
    at_ms: Ints
    source: Ints
    own_cursor: Ints
    own_seq: Ints
    vague: Ints


@dataclass(frozen=True)
class DeviceState:
    """What devices were told of cursors, and what those that stayed had to know at the end: of what the
    store has (`store`), all that was acknowledged."""

    known: Known
    due: Due
    store: Ints


class Record:
    """One run's record, as these checks look at it."""

    def __init__(self, history: History) -> None:
        self._history = history
        operations, pushes = history.operations, history.pushes
        self._ok: Bools = operations["outcome"] == Outcome.OK
        self._of_device: Bools = operations["device"] != NOBODY
        self._item, self._owner = items_of(history, np.flatnonzero(self._ok & (operations["items"] > 0)))
        self._read_pushes = np.flatnonzero(pushes["kind"] == PushKind.READ)

    def _at(self, moment: Ints) -> Ints:
        return np.maximum(0, moment - self._history.zero)

    def _rows(self, *ops: Op) -> Ints:
        """Answered operations."""
        return np.flatnonzero(np.isin(self._history.operations["op"], ops) & self._ok)

    def _items(self, *ops: Op, of_device: bool = False) -> tuple[Ints, Ints]:
        """(row of items, row of operations) of the items of answered operations."""
        which = np.isin(self._history.operations["op"], ops)
        if of_device:
            which &= self._of_device
        wanted = which[self._owner]
        return self._item[wanted], self._owner[wanted]

    def owner(self, item: int) -> int:
        """The operation that an item belongs to."""
        return int(self._owner[np.searchsorted(self._item, item)])

    # --- SYNC -----------------------------------------------------------------------------------------------

    def synced(self) -> Synced:
        operations = self._history.operations
        rows = self._rows(Op.SYNC)
        by_id = operations["argument"][rows] >= 0  # a SYNC by time has no range of ids
        rows = rows[self._of_device[rows] & by_id]
        told, value, source = self._told(rows)
        owed, owed_row = self._owed()
        since, following = (operations[name][rows].astype(np.int64) for name in ("argument", "value"))
        pages = Pages(
            device=operations["device"][rows].astype(np.int64),
            user=operations["user"][rows].astype(np.int64),
            since=since,
            following=following,
            sent=self._at(operations["sent"][rows]),
            received=self._at(operations["acknowledged"][rows]),
            more=(operations["flags"][rows] & MORE) > 0,
            reset=(operations["flags"][rows] & RESET) > 0,
            fresh=self._starts_from_state(rows),
        )
        return Synced(pages, rows, told, value, source, owed, owed_row)

    def _starts_from_state(self, rows: Ints) -> Bools:
        """Whether a SYNC is the first of its session and starts where a STATE of that session was."""
        operations = self._history.operations
        states = self._rows(Op.STATE)
        session = operations["session"][rows].astype(np.int64)
        first = np.zeros(len(rows), np.bool_)
        order = np.lexsort((operations["sent"][rows], session))
        first[order] = np.diff(session[order], prepend=-1) != 0
        ids = distinct(np.concatenate([operations["value"][states], operations["argument"][rows]]))
        shown, asked = (
            (operations["session"][which].astype(np.int64) << 32)
            | np.searchsorted(ids, operations[name][which])
            for which, name in ((states, "value"), (rows, "argument"))
        )
        return first & among(asked, np.sort(shown))

    def _told(self, syncs: Ints) -> tuple[Told, Ints, Ints]:
        operations, items, pushes = self._history.operations, self._history.items, self._history.pushes
        index, row = self._items(Op.SYNC, of_device=True)
        order = np.lexsort((items["index"][index], row))
        index, row = index[order], row[order]
        page = np.where(np.isin(row, syncs), np.searchsorted(syncs, row), NOWHERE)
        push = self._read_pushes
        parts = (
            (operations["device"][row], pushes["device"][push]),
            (operations["user"][row], pushes["user"][push]),
            (page, np.full(len(push), NOWHERE)),
            (items["change_id"][index], pushes["change_id"][push]),
            (_cursors(items, index), _cursors(pushes, push)),
            (items["version"][index], pushes["version"][push]),
            (self._at(operations["acknowledged"][row]), self._at(pushes["received"][push])),
        )
        told = Told(*(np.concatenate(part).astype(np.int64) for part in parts))
        value = np.concatenate([items["value"][index], pushes["value"][push]])
        return told, value, np.concatenate([_source(ITEM, index), _source(PUSH, push)])

    def _owed(self) -> tuple[Owed, Ints]:
        """Applied READs, to the reader and to the direct peer.  Where an acknowledgement does not say that
        it was applied, or which version that made, nothing is owed."""
        operations, membership = self._history.operations, self._history.membership
        row, conversation, version = self._applied()
        reader = operations["user"][row].astype(np.int64)
        asked, member = membership.members_of(conversation)
        owed = (member == reader[asked]) | membership.direct[conversation[asked]]
        asked, member = asked[owed], member[owed]
        sent, acknowledged = (self._at(operations[name][row[asked]]) for name in ("sent", "acknowledged"))
        cursor = (conversation[asked] << 32) | reader[asked]
        return Owed(member, cursor, version[asked], sent, acknowledged), row[asked]

    def _applied(self) -> tuple[Ints, Ints, Ints]:
        """(row of operations, conversation, version) of each applied item of a READ."""
        operations, items = self._history.operations, self._history.items
        rows = self._rows(Op.READ, Op.PROBE_READ)
        first = rows[((operations["flags"][rows] & APPLIED) > 0) & (operations["version"][rows] >= 0)]
        index, owner = self._items(Op.READ, Op.PROBE_READ)
        more = (items["index"][index] > 0) & (items["applied"][index] == 1) & (items["version"][index] >= 0)
        index, owner = index[more], owner[more]
        return (
            np.concatenate([first, owner]),
            np.concatenate([operations["conversation"][first], items["conversation"][index]]).astype(
                np.int64
            ),
            np.concatenate([operations["version"][first], items["version"][index]]),
        )

    # --- versions -------------------------------------------------------------------------------------------

    def versions(self) -> Versions:
        operations, items, pushes = self._history.operations, self._history.items, self._history.pushes
        reads = self._rows(Op.READ, Op.PROBE_READ)
        index, _ = self._items(*STATES, Op.SYNC)
        more, _ = self._items(Op.READ, Op.PROBE_READ)
        index = np.concatenate([index, more[items["index"][more] > 0]])
        push = self._read_pushes
        cursor = np.concatenate(
            [_cursors(operations, reads, "user"), _cursors(items, index), _cursors(pushes, push)]
        )
        version, value = (
            np.concatenate([operations[name][reads], items[name][index], pushes[name][push]])
            for name in ("version", "value")
        )
        at_ms = np.concatenate([np.full(len(reads) + len(index), NONE), pushes["at_ms"][push]])
        source = np.concatenate([_source(OPERATION, reads), _source(ITEM, index), _source(PUSH, push)])
        said = (version >= 0) & (value >= 0)
        if not said.all():
            cursor, version, value, at_ms, source = (
                column[said] for column in (cursor, version, value, at_ms, source)
            )
        own_cursor, own_seq = self._own_messages()
        return Versions(
            cursor=cursor,
            version=version,
            value=value,
            at_ms=at_ms,
            source=source,
            own_cursor=own_cursor,
            own_seq=own_seq,
            vague=self._unanswered(Op.SEND, Op.PROBE_SEND),
        )

    def _own_messages(self) -> tuple[Ints, Ints]:
        """(cursor, seq) of messages whose sender somebody knows."""
        operations, pushes = self._history.operations, self._history.pushes
        sends = self._rows(Op.SEND, Op.PROBE_SEND)
        sends = sends[operations["value"][sends] > 0]
        messages = np.flatnonzero(pushes["kind"] == PushKind.MESSAGE)
        return (
            np.concatenate([_cursors(operations, sends, "user"), _cursors(pushes, messages)]),
            np.concatenate([operations["value"][sends], pushes["value"][messages]]),
        )

    def _unanswered(self, *ops: Op) -> Ints:
        """Cursors of those who asked for something that nobody knows the end of."""
        operations = self._history.operations
        rows = np.flatnonzero(np.isin(operations["op"], ops) & (operations["outcome"] == Outcome.INFO))
        return distinct(_cursors(operations, rows, "user"))

    # --- what devices know at the end -----------------------------------------------------------------------

    def device_state(self) -> DeviceState:
        due, store = self._due()
        return DeviceState(self._known(distinct(due.cursor >> 32)), due, store)

    def _known(self, conversations: Ints) -> Known:
        """Of these conversations; most do not move in a run."""
        operations, items, pushes = self._history.operations, self._history.items, self._history.pushes
        rows = self._rows(Op.READ, Op.SEND)
        rows = rows[self._of_device[rows] & (operations["value"][rows] > 0)]
        index, owner = self._items(Op.STATE, Op.SYNC, Op.READ, of_device=True)
        push = np.flatnonzero(np.isin(pushes["kind"], (PushKind.READ, PushKind.MESSAGE)))
        rows = rows[np.isin(operations["conversation"][rows], conversations)]
        moved = np.isin(items["conversation"][index], conversations)
        index, owner = index[moved], owner[moved]
        push = push[np.isin(pushes["conversation"][push], conversations)]
        device = (operations["device"][rows], operations["device"][owner], pushes["device"][push])
        cursor = (_cursors(operations, rows, "user"), _cursors(items, index), _cursors(pushes, push))
        value = (operations["value"][rows], items["value"][index], pushes["value"][push])
        return Known(np.concatenate(device).astype(np.int64), np.concatenate(cursor), np.concatenate(value))

    def _due(self) -> tuple[Due, Ints]:
        """Cursors of the device's person and of direct peers, as the store had them after the drain."""
        history = self._history
        membership, store = history.membership, history.folder.table("final_store")
        device, user, began = self._stayed()
        conversation, whose, held = (
            store[name].astype(np.int64) for name in ("conversation", "user", "read_seq")
        )
        start = self._seeded(conversation, whose)
        moved = held != start
        conversation, whose, held, start = conversation[moved], whose[moved], held[moved], start[moved]
        asked, member = membership.members_of(conversation)
        told = (member == whose[asked]) | membership.direct[conversation[asked]]
        asked, member = asked[told], member[told]
        order = np.argsort(user, kind="stable")
        low, high = (np.searchsorted(user[order], member, side=side) for side in ("left", "right"))
        which, place = spread(low, high - low)
        asked, person, place = asked[which], member[which], order[place]
        cursor = (conversation[asked] << 32) | whose[asked]
        due = self._fair(device[place], person, began[place], cursor, conversation[asked])
        asked, cursor, place = asked[due], cursor[due], place[due]
        store, promised, possible = held[asked], *self._reached(cursor)
        least = np.minimum(store, np.maximum(promised, start[asked]))
        most = np.maximum(np.maximum(store, promised), possible)
        return Due(device[place], cursor, start[asked], least, most), store

    def _seeded(self, conversation: Ints, user: Ints) -> Ints:
        membership = self._history.membership
        known = (membership.conversation << 32) | membership.user
        order = np.argsort(known)
        place = np.searchsorted(known[order], (conversation << 32) | user)
        return membership.read_seq[order[np.minimum(place, len(order) - 1)]]

    def _stayed(self) -> tuple[Ints, Ints, Ints]:
        """(device, person, when it last took its state from a STATE) of devices whose last session was signed
        in before the drain was over, and outlived it, and that were never told to start again.

        A session is signed in when a SYNC has brought all there is, or when it goes on without: it reads or
        writes."""
        history, end = self._history, self._history.window.drain_end
        connections, operations = history.connections, history.operations
        stays = (connections["role"] == 0) & (connections["subscribed"] > 0)
        stays &= (connections["closed"] == 0) | (connections["closed"] > end)
        rows = self._rows(Op.SYNC)
        rows = rows[self._of_device[rows]]
        whole = (operations["flags"][rows] & MORE) == 0
        ready = np.concatenate([rows[whole], self._rows(Op.READ, Op.SEND)])
        signed_in = distinct(operations["session"][ready[operations["acknowledged"][ready] <= end]])
        reset = distinct(operations["device"][rows[(operations["flags"][rows] & RESET) > 0]])
        stays &= np.isin(connections["session"], signed_in) & ~np.isin(connections["device"], reset)
        device, user = (connections[name][stays].astype(np.int64) for name in ("device", "user"))
        states = self._rows(Op.STATE)
        states = states[self._of_device[states] & (operations["conversation"][states] == NOBODY)]
        devices = distinct(device)
        newest = _least(devices, operations["device"][states].astype(np.int64), -operations["sent"][states])
        state = np.where(newest == np.iinfo(np.int64).max, newest, -newest)  # none: it may know anything
        again = rows[self._starts_from_state(rows)]
        last = -_least(devices, operations["device"][again].astype(np.int64), -operations["sent"][again])
        return device, user, np.maximum(state, last)[np.searchsorted(devices, device)]

    def _fair(self, device: Ints, person: Ints, began: Ints, cursor: Ints, conversation: Ints) -> Bools:
        """Left out is what a device may know without the record: peers' cursors that moved before its STATE
        (it has them, the record does not), its own unanswered operations, and conversations that it asked the
        HISTORY of."""
        operations = self._history.operations
        first_moved = self._first_moved(cursor)
        own = cursor & 0xFFFFFFFF == person
        unanswered = self._pairs((operations["outcome"] == Outcome.INFO), Op.READ, Op.SEND)
        looked = self._pairs(self._ok, Op.HISTORY)
        pair = (device << 32) | conversation
        fair: Bools = (own | (first_moved > began)) & ~np.isin(pair, looked)
        fair &= ~(own & np.isin(pair, unanswered))
        return fair

    def _pairs(self, which: Bools, *ops: Op) -> Ints:
        """device << 32 | conversation of some operations."""
        operations = self._history.operations
        rows = np.flatnonzero(which & np.isin(operations["op"], ops) & self._of_device)
        return (operations["device"][rows].astype(np.int64) << 32) | operations["conversation"][rows]

    def _writes(self) -> tuple[Ints, Ints, Ints]:
        """(row of operations, cursor, value) of each cursor that was written, or may have been; what an
        unanswered SEND wrote is without bound."""
        operations, items = self._history.operations, self._history.items
        ops = (Op.READ, Op.SEND, Op.PROBE_READ, Op.PROBE_SEND)
        happened = np.isin(operations["outcome"], (Outcome.OK, Outcome.INFO))
        rows = np.flatnonzero(np.isin(operations["op"], ops) & happened)
        sends = np.isin(operations["op"][rows], (Op.SEND, Op.PROBE_SEND))
        seq = np.where(self._ok[rows], operations["value"][rows], _ANY)
        index, owner = self._items(Op.READ, Op.PROBE_READ)
        return (
            np.concatenate([rows, owner]),
            np.concatenate([_cursors(operations, rows, "user"), _cursors(items, index)]),
            np.concatenate([np.where(sends, seq, operations["argument"][rows]), items["value"][index]]),
        )

    def _moved(self) -> Bools:
        """Of each of `_writes`: whether the server said that this one moved the cursor, or said nothing."""
        operations, items = self._history.operations, self._history.items
        rows, _, _ = self._writes()
        index, _ = self._items(Op.READ, Op.PROBE_READ)
        rows = rows[: len(rows) - len(index)]
        flags, unsaid = operations["flags"][rows], operations["version"][rows] < 0
        sends = np.isin(operations["op"][rows], (Op.SEND, Op.PROBE_SEND))
        own = np.where(sends, (flags & DUPLICATE) == 0, ((flags & APPLIED) > 0) | unsaid)
        return np.concatenate([own, (items["applied"][index] > 0) | (items["version"][index] < 0)])

    def _first_moved(self, cursor: Ints) -> Ints:
        """When the first operation was sent that may have moved each of these cursors."""
        rows, written, _ = self._writes()
        return _least(cursor, written, self._history.operations["sent"][rows])

    def first_acknowledged(self, cursor: Ints, above: Ints) -> list[tuple[int, int]]:
        """For each cursor, (row of operations, value) of what was acknowledged first of all that wrote more
        than `above`, before the store was read."""
        rows, written, value = self._writes()
        concerned = np.flatnonzero(self._told_in_time(rows) & np.isin(written, cursor))
        rows, written, value = rows[concerned], written[concerned], value[concerned]
        acknowledged = self._history.operations["acknowledged"][rows]
        found = []
        for one, knows in zip(cursor, above, strict=True):
            mine = np.flatnonzero((written == one) & (value > knows))
            first = mine[np.argmin(acknowledged[mine])]
            found.append((int(rows[first]), int(value[first])))
        return found

    def _told_in_time(self, rows: Ints) -> Bools:
        """Which of `_writes` moved the cursor and were acknowledged before the store was read."""
        acknowledged = self._history.operations["acknowledged"][rows]
        told: Bools = self._ok[rows] & (acknowledged <= self._history.window.drain_end) & self._moved()
        return told

    def _reached(self, cursor: Ints) -> tuple[Ints, Ints]:
        """For each cursor, how far what was acknowledged when the store was read had moved it, and how far
        other operations may have; 0 if none.

        Others are the unanswered ones, even where a duplicate SEND or a READ that changed nothing confirms
        them later: they are in the store, but a server that lost track of them told nobody."""
        rows, written, value = self._writes()
        told = self._told_in_time(rows)
        promised, possible = (
            np.maximum(0, -_least(cursor, written[which], -value[which])) for which in (told, ~told)
        )
        return promised, possible


def _least(asked: Ints, key: Ints, value: Ints) -> Ints:
    """The lowest value of each asked key; the highest number there is where it has none."""
    order = np.lexsort((value, key))
    place = np.searchsorted(key[order], asked)
    there = place < len(key)
    there[there] = key[order][place[there]] == asked[there]
    least = np.full(len(asked), np.iinfo(np.int64).max)
    least[there] = value[order][place[there]]
    return least


def _cursors(table: Table, rows: Ints, whose: str = "actor") -> Ints:
    cursor: Ints = (table["conversation"][rows].astype(np.int64) << 32) | table[whose][rows].astype(np.int64)
    return cursor


def _source(table: int, rows: Ints) -> Ints:
    return (rows << 2) | table
