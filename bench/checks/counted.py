"""From a run's record to the unread numbers that people were shown, and to what decides them.

Shown are the conversations of a STATE, also that of a probe and of the final read, and the acknowledgement of
a READ.  What was refused is left out: it did nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.checks import bounds, observed
from bench.checks.bounds import Bounds, Cursors, Sends, Shown
from bench.checks.observed import STATES, Observed
from bench.checks.register import NEVER
from bench.metrics.history import History, items_of
from bench.record import Op, Outcome, Phase

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Counted:
    """`sends_row`, `cursors_row` and `row` are in the run's operations, for each entry of `sends`, `cursors`
    (observed.SEED for where a cursor started) and `shown`.

    `user` was shown it; `read_seq` and `last_seq` are the cursor and the head that were shown with it, -1
    where that was not told.  `final`: it was shown when nothing was on its way any more.  `stored`: the same
    number by what the store held at the end, -1 where it was not read.  `own`: those of `cursors` that are
    people's own messages."""

    sends: Sends
    sends_row: Ints
    cursors: Cursors
    cursors_row: Ints
    shown: Shown
    row: Ints
    user: Ints
    read_seq: Ints
    last_seq: Ints
    final: Bools
    stored: Ints
    own: Cursors
    bounds: Bounds


def collect(history: History, seen: Observed | None = None) -> Counted:
    """Times count from `history.zero`."""
    zero = history.zero
    sends, sends_row = _sends(history, zero)
    seen = seen or observed.collect(history)
    writes = np.flatnonzero(seen.operations.write)
    cursors = Cursors(
        *(getattr(seen.operations, name)[writes] for name in ("key", "value", "invoked", "responded"))
    )
    row, conversation, user, unread, read_seq, last_seq = _shown(history)
    key, known = seen.keys((conversation << 32) | user)
    if not known.all():
        columns = (row, conversation, user, unread, read_seq, last_seq)
        row, conversation, user, unread, read_seq, last_seq = (column[known] for column in columns)
        key = key[known]
    operations = history.operations
    answers = np.isin(operations["op"][row], (Op.READ, Op.PROBE_READ))
    shown = Shown(
        conversation,
        key,
        unread,
        np.maximum(0, operations["sent"][row] - zero),
        np.maximum(0, operations["acknowledged"][row] - zero),
        np.where(answers, read_seq, 0),
    )
    return Counted(
        sends, sends_row, cursors, seen.row[writes], shown, row, user, read_seq, last_seq,
        operations["phase"][row] == Phase.FINAL,
        _stored(history, seen, key),
        _own(history, cursors, seen.row[writes]),
        bounds.judge(
            history.membership.history, sends, cursors, _open_since(history, seen, zero), shown
        ),
    )  # fmt: skip


def _stored(history: History, seen: Observed, asked: Ints) -> Ints:
    store = history.folder.table("final_store")
    conversation, user, read, last = (
        store[name].astype(np.int64) for name in ("conversation", "user", "read_seq", "last_seq")
    )
    key, known = seen.keys((conversation << 32) | user)
    stored = np.full(len(seen.people), -1, np.int64)
    stored[key[known]] = np.maximum(0, last - read)[known]
    return stored[asked]


def _own(history: History, cursors: Cursors, row: Ints) -> Cursors:
    sent = row != observed.SEED
    sent[sent] = np.isin(history.operations["op"][row[sent]], (Op.SEND, Op.PROBE_SEND))
    return Cursors(*(getattr(cursors, name)[sent] for name in Cursors.__dataclass_fields__))


def _may_have_sent(history: History) -> Ints:
    operations = history.operations
    may = np.isin(operations["outcome"], (Outcome.OK, Outcome.INFO))
    return np.flatnonzero(np.isin(operations["op"], (Op.SEND, Op.PROBE_SEND)) & may)


def _sends(history: History, zero: int) -> tuple[Sends, Ints]:
    operations, rows = history.operations, _may_have_sent(history)
    ok = operations["outcome"][rows] == Outcome.OK
    sends = Sends(
        operations["conversation"][rows].astype(np.int64),
        np.where(ok, np.maximum(0, operations["value"][rows]), 0),
        np.maximum(0, operations["sent"][rows] - zero),
        np.where(ok, np.maximum(0, operations["acknowledged"][rows] - zero), NEVER),
        operations["attempt"][rows] == 0,
    )
    return sends, rows


def _open_since(history: History, seen: Observed, zero: int) -> Ints:
    operations, rows = history.operations, _may_have_sent(history)
    rows = rows[operations["outcome"][rows] == Outcome.INFO]
    conversation, user = (operations[name][rows].astype(np.int64) for name in ("conversation", "user"))
    key, known = seen.keys((conversation << 32) | user)
    since = np.full(len(seen.people), NEVER, np.int64)
    np.minimum.at(since, key[known], np.maximum(0, operations["sent"][rows] - zero)[known])
    return since


def _shown(history: History) -> tuple[Ints, ...]:
    """(row of operations, conversation, user, unread, read_seq, last_seq) of each unread number shown."""
    operations, items = history.operations, history.items
    ok = operations["outcome"] == Outcome.OK
    reads = np.flatnonzero(np.isin(operations["op"], (Op.READ, Op.PROBE_READ)) & ok)
    states = np.flatnonzero(np.isin(operations["op"], STATES) & ok)
    more, of_read = items_of(history, reads[operations["items"][reads] > 1])
    later = items["index"][more] > 0  # the first is in the operation's own row
    more, of_read = more[later], of_read[later]
    listed, of_state = items_of(history, states)
    own = items["actor"][listed] == operations["user"][of_state]
    listed, of_state = listed[own], of_state[own]
    item = np.concatenate([more, listed])
    row = np.concatenate([reads, of_read, of_state])
    answered, itemised = (
        [record[name][rows].astype(np.int64) for name in ("conversation", "unread", "value")]
        for record, rows in ((operations, reads), (items, item))
    )
    conversation, unread, read_seq = (
        np.concatenate([first, other]) for first, other in zip(answered, itemised, strict=True)
    )
    untold = np.full(len(reads) + len(more), -1, np.int64)
    last_seq = np.concatenate([untold, items["last_seq"][listed].astype(np.int64)])
    columns = (row, conversation, operations["user"][row].astype(np.int64), unread, read_seq, last_seq)
    told = (unread >= 0) & (read_seq >= 0)
    return columns if told.all() else tuple(column[told] for column in columns)
