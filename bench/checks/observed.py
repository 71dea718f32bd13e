"""From a run's record to the operations on read cursors that the register and session checks judge.

A cursor is (conversation, person).  READ and SEND write it (sending implies reading); the seed wrote it
first.  STATE and the acknowledgement of a READ read it.  What was refused is left out: it did nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.checks.packing import places
from bench.checks.register import NEVER, Operations
from bench.metrics.history import History, items_of, marks
from bench.metrics.ragged import distinct
from bench.population import NOBODY
from bench.record import Op, Outcome

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Small = NDArray[np.int32]
SEED: Final = -1
STATES: Final = (Op.STATE, Op.PROBE_STATE, Op.PROBE_ONCE)
"""All by which somebody is shown cursors."""


@dataclass(frozen=True)
class Observed:
    """Operations on cursors, and where each comes from.

    `cursor[key]` is conversation << 32 | person, and `people[key]` the same the other way round, ascending:
    what somebody is shown in one answer is close together.  `row` is in the run's operations, SEED for where
    a cursor started; `session` (a small number) and `device` are what asked, SEED likewise, and for devices
    that are none (probes, the final read)."""

    operations: Operations
    people: Ints
    row: Small
    session: Small
    device: Small

    @cached_property
    def cursor(self) -> Ints:
        return _turned(self.people)

    def keys(self, cursor: Ints) -> tuple[Ints, Bools]:
        """Which key each of these is, and whether it is one."""
        if not len(self.people):
            return np.zeros(len(cursor), np.int64), np.zeros(len(cursor), np.bool_)
        asked = _turned(cursor)
        place = np.minimum(np.searchsorted(self.people, asked), len(self.people) - 1)
        return place, self.people[place] == asked

    def written(self) -> Observed:
        """Only what wrote: a small part."""
        rows = np.flatnonzero(self.operations.write)
        columns = {
            name: getattr(self.operations, name)[rows]
            for name in ("key", "write", "value", "invoked", "responded")
        }
        return replace(
            self,
            operations=replace(self.operations, **columns),
            row=self.row[rows],
            session=self.session[rows],
            device=self.device[rows],
        )


def collect(history: History) -> Observed:
    """Times count from `history.zero`; where cursors started was before."""
    parts = [_seeds(history), _reads_written(history), _sends(history), _acks_read(history), _shown(history)]
    cursor, write, value, invoked, responded, row = _joined(parts)
    people, unanswered = _turned(cursor), _turned(_unanswered_sends(history))
    del cursor
    known = distinct(np.concatenate([people, unanswered]))
    zero = history.zero
    operations = Operations(
        key=places(people, known),
        write=write,
        value=value,
        invoked=np.maximum(0, invoked - zero),
        responded=np.where(responded == NEVER, NEVER, np.maximum(0, responded - zero)),
        open_keys=np.searchsorted(known, unanswered),
    )
    sessions, devices = history.operations["session"], history.operations["device"].astype(np.int64)
    session = np.searchsorted(distinct(sessions), sessions).astype(np.int32)
    device = np.where(devices == NOBODY, SEED, devices).astype(np.int32)
    return Observed(operations, known, row, _of(session, row), _of(device, row))


def _joined(parts: list[Part]) -> Iterator[Any]:
    """Column by column; a part's is let go as soon as it is joined, for they are large."""
    columns = [list(column) for column in zip(*parts, strict=True)]
    parts.clear()
    while columns:
        yield np.concatenate(columns.pop(0))


def _of(values: Small, row: Small) -> Small:
    """Of what asked, by row of operations."""
    return np.append(values, np.array([SEED], values.dtype))[row]  # SEED is -1: the last


Part = tuple[Ints, Bools, Ints, Ints, Ints, Small]


def _seeds(history: History) -> Part:
    membership = history.membership
    nothing = np.zeros(len(membership.user), np.int64)
    cursor = _cursor(membership.conversation, membership.user)
    return cursor, nothing == 0, membership.read_seq, nothing, nothing, np.full(len(nothing), SEED, np.int32)


def _reads_written(history: History) -> Part:
    found = marks(history, Op.READ, _happened(history, Op.READ, Op.PROBE_READ))
    done = np.where(found.outcome == Outcome.OK, found.acknowledged, NEVER)
    cursor = _cursor(found.conversation, found.user)
    return cursor, np.ones(len(done), np.bool_), found.up_to, found.sent, done, found.row.astype(np.int32)


def _sends(history: History) -> Part:
    operations = history.operations
    rows = _happened(history, Op.SEND, Op.PROBE_SEND)
    rows = rows[(operations["outcome"][rows] == Outcome.OK) & (operations["value"][rows] > 0)]
    return _part(history, rows, write=True)


def _acks_read(history: History) -> Part:
    """What an acknowledgement says of the first conversation of a READ: where the cursor is now."""
    operations = history.operations
    rows = _happened(history, Op.READ, Op.PROBE_READ)
    told = (operations["outcome"][rows] == Outcome.OK) & (operations["version"][rows] >= 0)
    rows = rows[told & (operations["value"][rows] >= 0)]
    return _part(history, rows, write=False)


def _part(history: History, rows: Ints, *, write: bool) -> Part:
    operations = history.operations
    value, sent, acknowledged = (operations[name][rows] for name in ("value", "sent", "acknowledged"))
    cursor = _cursor(operations["conversation"][rows], operations["user"][rows])
    return cursor, np.full(len(rows), write), value, sent, acknowledged, rows.astype(np.int32)


def _shown(history: History) -> Part:
    operations, items = history.operations, history.items
    states = np.isin(operations["op"], STATES) & (operations["outcome"] == Outcome.OK)
    index, row = items_of(history, np.flatnonzero(states))
    own = items["actor"][index] == operations["user"][row]
    index, row = index[own], row[own]
    cursor = _cursor(items["conversation"][index], items["actor"][index])
    value = items["value"][index].astype(np.int64)
    read = np.zeros(len(row), np.bool_)
    sent, acknowledged = operations["sent"][row], operations["acknowledged"][row]
    return cursor, read, value, sent, acknowledged, row.astype(np.int32)


def _unanswered_sends(history: History) -> Ints:
    """Cursors that an unanswered SEND may have moved to a message whose number nobody was told."""
    operations = history.operations
    rows = _happened(history, Op.SEND, Op.PROBE_SEND)
    rows = rows[operations["outcome"][rows] == Outcome.INFO]
    return distinct(_cursor(operations["conversation"][rows], operations["user"][rows]))


def _happened(history: History, *ops: Op) -> Ints:
    """Rows of these operations that happened or may have."""
    operations = history.operations
    happened = np.isin(operations["outcome"], (Outcome.OK, Outcome.INFO))
    return np.flatnonzero(np.isin(operations["op"], ops) & happened)


def _turned(cursor: Ints) -> Ints:
    turned: Ints = (cursor & 0xFFFFFFFF) << 32 | cursor >> 32
    return turned


def _cursor(conversation: NDArray[np.generic], user: NDArray[np.generic]) -> Ints:
    cursor: Ints = (conversation.astype(np.int64) << 32) | user.astype(np.int64)
    return cursor
