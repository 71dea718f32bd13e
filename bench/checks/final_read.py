"""After the drain, does the store hold what was acknowledged, and nothing that nobody asked for?  Pure.

For each cursor: acknowledged <= store <= attempted.  Below is a lost acknowledgement, above a phantom.  The
same for the number of messages.  Then, does the API show what the store holds (`stale_at_end`, with its
proven age)?

Judged from the run's own record (`bench/checks/evidence.py`), with none of the servers' code.  Where the
record has a hole, somebody may have written what nobody knows of: nothing passes then, and nothing counts
as phantom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.checks.check import FINDINGS_MAX, Check, Judgement
from bench.metrics.ragged import distinct
from bench.results import Json

Ints = NDArray[np.int64]
NO_OPERATION = -1


@dataclass(frozen=True)
class Cursors:
    """Cursors by (conversation, user), with the value that the store or the API has."""

    conversation: Ints
    user: Ints
    value: Ints


@dataclass(frozen=True)
class Writes:
    """What may have raised cursors, and how far at most.

    `acknowledged`: when that was promised, ns; 0 if it never was.  `operation`: op_id, NO_OPERATION for where
    a cursor was seeded."""

    conversation: Ints
    user: Ints
    value: Ints
    acknowledged: Ints
    operation: Ints

    def __add__(self, other: Writes) -> Writes:
        names = self.__dataclass_fields__
        return Writes(**{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names})

    def known_at(self, t: int) -> Writes:
        """The same, as it stood at t: later acknowledgements promised nothing then."""
        acknowledged = np.where(self.acknowledged <= t, self.acknowledged, 0)
        return Writes(self.conversation, self.user, self.value, acknowledged, self.operation)

    def unpromised(self) -> Writes:
        """The same, as nothing that anybody was told of."""
        return Writes(
            self.conversation, self.user, self.value, np.zeros_like(self.acknowledged), self.operation
        )


@dataclass(frozen=True)
class Messages:
    """By conversation: the highest acknowledged seq, the most messages there may be, those the store counts
    (-1: not read), and acknowledgements of a seq that was given to another message."""

    acknowledged: Ints
    attempted: Ints
    store: Ints
    given_twice: Ints


@dataclass(frozen=True)
class Evidence:
    """All that is judged.  `unknown`: why the record is not whole; empty if it is.

    `store_read_at`: when the store was asked, ns: what was acknowledged later need not be in it.  `shown_at`:
    when each entry of `shown` was asked for, after that.  `drained`: nothing was on its way any more."""

    reads: Writes
    deliveries: Writes
    messages: Messages
    store_read: Cursors
    store_delivered: Cursors
    store_read_at: int
    shown: Cursors
    shown_at: Ints
    unknown: str
    drained: bool


@dataclass(frozen=True)
class Promises:
    """What the run's scheme promises, and what its acknowledgement of READ says."""

    durable: bool
    convergence: bool
    read_ack: str


@dataclass(frozen=True)
class _Kept:
    """One check of what must be kept: its words, and whether it was promised."""

    name: str
    promised: bool
    unknown: str


def judge(evidence: Evidence, promises: Promises) -> Judgement:
    """The checks of the final read, and what they found for `findings.jsonl`."""
    promised = promises.durable and promises.read_ack == "durable"
    unknown = evidence.unknown
    if not evidence.drained and promises.read_ack == "queued":
        unknown = unknown or "something was still on its way to the store when it was read"
    results = [
        _within(
            _Kept("acknowledged_reads", promised, unknown),
            evidence.reads.known_at(evidence.store_read_at),
            evidence.store_read,
        ),
        _within(
            _Kept("acknowledged_deliveries", promised, unknown),
            evidence.deliveries.known_at(evidence.store_read_at),
            evidence.store_delivered,
        ),
        _messages(_Kept("acknowledged_messages", promises.durable, evidence.unknown), evidence.messages),
        _stale(evidence, promises),
    ]
    return Judgement(
        [check for check, _ in results], [finding for _, findings in results for finding in findings]
    )


class _Keys:
    """Small numbers for all (conversation, user) that occur anywhere."""

    def __init__(self, *parts: Cursors | Writes) -> None:
        self._keys = distinct(np.concatenate([(p.conversation << 32) | p.user for p in parts]))

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, at: Cursors | Writes) -> Ints:
        return np.searchsorted(self._keys, (at.conversation << 32) | at.user)

    def names(self, i: int) -> Json:
        return {"conversation": int(self._keys[i] >> 32), "user": int(self._keys[i] & 0xFFFFFFFF)}


def _within(kept: _Kept, writes: Writes, held: Cursors) -> tuple[Check, list[Json]]:
    """acknowledged <= held <= attempted, for each cursor.  One that the store has no row of is held at 0."""
    if not len(held.value):
        nothing = np.empty(0, np.int64)
        kept = replace(kept, unknown="the store was not read at the end")
        return _result(kept, "durable", 0, nothing, lambda _: {})
    keys = _Keys(writes, held)
    of_write = keys.of(writes)
    floor, ceiling, final = (np.zeros(len(keys), np.int64) for _ in range(3))
    promised = writes.acknowledged > 0
    np.maximum.at(floor, of_write[promised], writes.value[promised])
    np.maximum.at(ceiling, of_write, writes.value)
    final[keys.of(held)] = held.value
    told = distinct(of_write[promised & (writes.operation != NO_OPERATION)])
    phantom = (final > ceiling) & (not kept.unknown)
    wrong = np.flatnonzero((final < floor) | phantom)
    by = np.maximum(floor - final, final - ceiling)[wrong]
    concerned = np.flatnonzero(promised & (writes.operation != NO_OPERATION) & np.isin(of_write, wrong))

    def tell(i: int) -> Json:
        finding = keys.names(i) | {
            "check": kept.name,
            "kind": "lost acknowledgement" if final[i] < floor[i] else "phantom",
            "acknowledged": int(floor[i]),
            "store": int(final[i]),
            "attempted": int(ceiling[i]),
        }
        return finding | _witness(writes, concerned[of_write[concerned] == i])

    return _result(kept, "durable", len(told), wrong[np.argsort(-by, kind="stable")], tell)


def _witness(writes: Writes, rows: Ints) -> Json:
    """The operation that reached furthest of these."""
    if not len(rows):
        return {"operation": None}
    last = rows[np.argmax(writes.value[rows])]
    return {
        "operation": {
            "op_id": int(writes.operation[last]),
            "value": int(writes.value[last]),
            "acknowledged_ns": int(writes.acknowledged[last]),
        }
    }


def _messages(kept: _Kept, messages: Messages) -> tuple[Check, list[Json]]:
    """No acknowledged message is missing, none is there that nobody sent, and no seq was given twice."""
    read = messages.store >= 0
    lost = read & (messages.store < messages.acknowledged)
    phantom = read & (messages.store > messages.attempted) & (not kept.unknown)
    twice = messages.given_twice > 0

    def tell(i: int) -> Json:
        kind = "lost message" if lost[i] else "phantom message"
        return {
            "check": kept.name,
            "kind": "one seq for two messages" if twice[i] else kind,
            "conversation": i,
            "acknowledged": int(messages.acknowledged[i]),
            "store": int(messages.store[i]),
            "attempted": int(messages.attempted[i]),
        }

    return _result(kept, "durable", int(np.count_nonzero(read)), np.flatnonzero(lost | phantom | twice), tell)


def _stale(evidence: Evidence, promises: Promises) -> tuple[Check, list[Json]]:
    """Cursors that a fresh connection shows other than the store holds them, if nothing explains it that was
    answered after the store was read, or never.  Before the drain was complete, anything explains more.  The
    operation that a finding names reached furthest without going beyond the store, answered or not."""
    shown, store, writes = evidence.shown, evidence.store_read, evidence.reads
    keys = _Keys(store, shown, writes)
    held, later = np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.int64)
    held[keys.of(store)] = store.value
    open_then = (writes.acknowledged == 0) | (writes.acknowledged > evidence.store_read_at)
    np.maximum.at(later, keys.of(writes)[open_then], writes.value[open_then])
    truth = held[keys.of(shown)]
    ahead = (shown.value > truth) & (shown.value > later[keys.of(shown)]) & evidence.drained
    wrong = np.flatnonzero((truth >= 0) & ((shown.value < truth) | ahead))
    ages = _ages_s(evidence, wrong)
    of_shown, of_write = keys.of(shown), keys.of(writes)
    known = (writes.operation != NO_OPERATION) & (writes.value <= np.maximum(held, 0)[of_write])
    concerned = np.flatnonzero(known & np.isin(of_write, of_shown[wrong]))
    wrong = wrong[np.argsort([-(ages[int(i)] or 0.0) for i in wrong], kind="stable")]

    def tell(i: int) -> Json:
        return {
            "check": "stale_at_end",
            "kind": "stale" if shown.value[i] < truth[i] else "ahead of the store",
            "conversation": int(shown.conversation[i]),
            "user": int(shown.user[i]),
            "shown": int(shown.value[i]),
            "store": int(truth[i]),
            "age_s": ages[i],
        } | _witness(writes, concerned[of_write[concerned] == of_shown[i]])

    unknown = evidence.unknown or ("" if len(shown.value) else "the API was not read at the end")
    if not evidence.drained:
        unknown = unknown or "something was still on its way when the API was read"
    kept = _Kept("stale_at_end", promises.convergence, unknown)
    return _result(kept, "convergence", int(np.count_nonzero(truth >= 0)), wrong, tell)


def _ages_s(evidence: Evidence, wrong: Ints) -> dict[int, float | None]:
    """For each of these entries of `shown`, how long a higher value had been acknowledged when it was shown;
    None if none ever was."""
    shown, writes = evidence.shown, evidence.reads
    keys = _Keys(shown, writes)
    of_shown, of_write = keys.of(shown), keys.of(writes)
    told = (writes.acknowledged > 0) & (writes.operation != NO_OPERATION)
    rows = np.flatnonzero(told & np.isin(of_write, of_shown[wrong]))
    ages: dict[int, float | None] = {}
    for i in wrong.tolist():
        mine = rows[(of_write[rows] == of_shown[i]) & (writes.value[rows] > shown.value[i])]
        since = int(writes.acknowledged[mine].min()) if len(mine) else None
        ages[i] = None if since is None else round(max(0, int(evidence.shown_at[i]) - since) / 1e9, 6)
    return ages


def _result(
    kept: _Kept, promise: str, eligible: int, wrong: Ints, tell: Callable[[int], Json]
) -> tuple[Check, list[Json]]:
    """`wrong`: the violations, worst first."""
    findings = [tell(int(i)) for i in wrong[:FINDINGS_MAX]]
    worst = findings[0] if findings else None
    return Check(kept.name, promise, kept.promised, eligible, len(wrong), worst, kept.unknown), findings
