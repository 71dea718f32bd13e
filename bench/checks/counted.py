"""From a run's record to the unread numbers that people were shown, and to what decides them.

Shown are the conversations of a STATE, also that of a probe and of the final read, and the acknowledgement of
a READ.  What was refused is left out: it did nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

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


PART: Final = 2_000_000
"""How many shown numbers are judged at once, about: what they need besides is five times as large."""


@dataclass(frozen=True)
class Numbers:
    """Unread numbers that people were shown.  `row` is in the run's operations; `user` was shown it;
    `read_seq` and `last_seq` are the cursor and the head that were shown with it, -1 where that was not
    told."""

    row: NDArray[np.int32]
    conversation: NDArray[np.uint32]
    user: NDArray[np.uint32]
    unread: NDArray[np.int32]
    read_seq: Ints
    last_seq: Ints

    def take(self, rows: Ints | Bools) -> Numbers:
        return Numbers(*(getattr(self, field.name)[rows] for field in fields(Numbers)))


@dataclass(frozen=True)
class Wrong:
    """Those that are out of their bounds.  `final`: shown when nothing was on its way any more.  `stored`:
    the same number by what the store held at the end, -1 where it was not read.  `bounds` has rows of
    `Counted.sends` and `Counted.cursors`."""

    shown: Numbers
    key: Ints
    final: Bools
    stored: Ints
    bounds: Bounds


@dataclass(frozen=True)
class Counted:
    """`sends_row` and `cursors_row` are in the run's operations, for each entry of `sends` and `cursors`
    (observed.SEED for where a cursor started).  `own`: those of `cursors` that are people's own messages.

    `finally_shown` counts those of `shown` that were shown when nothing was on its way any more."""

    sends: Sends
    sends_row: Ints
    cursors: Cursors
    cursors_row: Ints
    own: Cursors
    shown: Numbers
    finally_shown: int
    wrong: Wrong


def collect(history: History, seen: Observed | None = None) -> Counted:
    """Times count from `history.zero`.  `seen`: what wrote cursors."""
    sends, sends_row = _sends(history, history.zero)
    seen = seen or observed.collect(history).written()
    cursors = Cursors(*(getattr(seen.operations, name) for name in ("key", "value", "invoked", "responded")))
    row = seen.row.astype(np.int64)
    shown = _shown(history)
    key, known = seen.keys(_cursor(shown))
    if not known.all():
        shown, key = shown.take(known), key[known]
    final = history.operations["phase"] == Phase.FINAL
    return Counted(
        sends, sends_row, cursors, row,
        _own(history, cursors, row),
        shown, int(np.count_nonzero(final[shown.row])),
        _wrong(history, seen, sends, cursors, shown, key.astype(np.int32), final),
    )  # fmt: skip


def _wrong(
    history: History,
    seen: Observed,
    sends: Sends,
    cursors: Cursors,
    shown: Numbers,
    keys: NDArray[np.int32],
    final: Bools,
) -> Wrong:
    """Cursors share nothing, so that they are judged some at a time."""
    open_since = _open_since(history, seen, history.zero)
    stored = _stored(history, seen)
    parts = -(-len(keys) // PART) or 1
    size = -(-len(seen.people) // parts) or 1
    found = []
    for part in range(parts):
        rows = np.flatnonzero(keys // size == part)
        some, key = shown.take(rows), keys[rows].astype(np.int64)
        limits = bounds.judge(
            history.membership.history, sends, cursors, open_since, _asked(history, some, key)
        )
        wrong = np.flatnonzero(limits.drift)
        found.append(
            Wrong(
                some.take(wrong), key[wrong], final[some.row[wrong]], stored[key[wrong]],
                Bounds(*(getattr(limits, field.name)[wrong] for field in fields(Bounds))),
            )
        )  # fmt: skip
    return _joined(found)


def _joined(parts: list[Wrong]) -> Wrong:
    return Wrong(
        Numbers(*_columns(Numbers, [part.shown for part in parts])),
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.final for part in parts]),
        np.concatenate([part.stored for part in parts]),
        Bounds(*_columns(Bounds, [part.bounds for part in parts])),
    )


def _columns(kind: type, tables: Sequence[object]) -> list[NDArray[Any]]:
    return [np.concatenate([getattr(table, field.name) for table in tables]) for field in fields(kind)]


def _asked(history: History, some: Numbers, key: Ints) -> Shown:
    operations, zero = history.operations, history.zero
    answers = np.isin(operations["op"], (Op.READ, Op.PROBE_READ))[some.row]
    return Shown(
        some.conversation.astype(np.int64),
        key,
        some.unread.astype(np.int64),
        np.maximum(0, operations["sent"][some.row] - zero),
        np.maximum(0, operations["acknowledged"][some.row] - zero),
        np.where(answers, some.read_seq, 0),
    )


def _cursor(shown: Numbers) -> Ints:
    cursor: Ints = (shown.conversation.astype(np.int64) << 32) | shown.user
    return cursor


def _stored(history: History, seen: Observed) -> Ints:
    """By key."""
    store = history.folder.table("final_store")
    conversation, user, read, last = (
        store[name].astype(np.int64) for name in ("conversation", "user", "read_seq", "last_seq")
    )
    key, known = seen.keys((conversation << 32) | user)
    stored = np.full(len(seen.people), -1, np.int64)
    stored[key[known]] = np.maximum(0, last - read)[known]
    return stored


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


def _shown(history: History) -> Numbers:
    """All that were told, of READs first."""
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
    row = np.concatenate([reads, of_read, of_state]).astype(np.int32)
    conversation, unread, read_seq = (
        np.concatenate([operations[name][reads], items[name][item]])
        for name in ("conversation", "unread", "value")
    )
    untold = np.full(len(reads) + len(more), -1, np.int64)
    last_seq = np.concatenate([untold, items["last_seq"][listed]])
    shown = Numbers(row, conversation, operations["user"][row], unread, read_seq, last_seq)
    told = (unread >= 0) & (read_seq >= 0)
    return shown if told.all() else shown.take(told)
