"""After the drain, does the store hold what was acknowledged, and nothing that nobody asked for?  Pure.

For each cursor: acknowledged <= store <= attempted.  Below is a lost acknowledgement, above a phantom.  The
same for the number of messages.  Then, does the API show what the store holds (`stale_at_end`, with its
proven age)?

Where the store cannot be read, the API stands for it: what was acknowledged must be shown, when everything
has come to rest.  That is convergence, not durability: from outside nobody can tell a lost write from a stale
answer.

Judged from the run's own record (`bench/checks/evidence.py`), with none of the servers' code.  Where the
record has a hole, somebody may have written what nobody knows of: nothing passes then, and nothing counts
as phantom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.checks import sentences
from bench.checks.check import Check, Judgement, findings_max
from bench.checks.packing import among, places
from bench.checks.story import Told
from bench.metrics.ragged import distinct
from bench.results import Json

Ints = NDArray[np.int64]
NO_OPERATION = -1
NOT_SHOWN = "acknowledged and not shown"
ONLY_DUMP = "not available without DUMP on /control"


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

    def of(self, rows: NDArray[np.bool_]) -> Writes:
        """Only these rows."""
        return Writes(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def unpromised(self) -> Writes:
        """The same, as nothing that anybody was told of."""
        return Writes(
            self.conversation, self.user, self.value, np.zeros_like(self.acknowledged), self.operation
        )


@dataclass(frozen=True)
class Messages:
    """By conversation: the highest acknowledged seq, the most messages there may be, those the store counts
    (-1: not read), and acknowledgements of a seq that was given to another message.  `sends` are the
    acknowledged SENDs, with their seqs."""

    acknowledged: Ints
    attempted: Ints
    store: Ints
    given_twice: Ints
    sends: Writes


@dataclass(frozen=True)
class Evidence:
    """All that is judged.  `unknown`: why the record is not whole; empty if it is.

    `store_read_at`: when the store was asked, ns: what was acknowledged later need not be in it.  `shown_at`:
    when each entry of `shown` was asked for, after that, and `shown_by`: by which op_id.  `drained`: nothing
    was on its way any more.  `over_api`: the store could not be asked, what the API shows stands for it."""

    reads: Writes
    deliveries: Writes
    messages: Messages
    store_read: Cursors
    store_delivered: Cursors
    store_read_at: int
    shown: Cursors
    shown_at: Ints
    shown_by: Ints
    unknown: str
    drained: bool
    over_api: bool = False


@dataclass(frozen=True)
class Promises:
    """What the run's scheme promises, and what its acknowledgement of READ says."""

    durable: bool
    convergence: bool
    read_ack: str


@dataclass(frozen=True)
class _Kept:
    """One check of what must be kept: its words, and whether it was promised.  `below`: what a cursor that is
    lower than acknowledged is called."""

    name: str
    promised: bool
    unknown: str
    promise: str = "durable"
    below: str = "lost acknowledgement"


def judge(evidence: Evidence, promises: Promises, story: Told) -> Judgement:
    """The checks of the final read, and what they found for `findings.jsonl`."""
    if evidence.over_api:
        return _judge_over_api(evidence, promises, story)
    promised = promises.durable and promises.read_ack == "durable"
    unknown = evidence.unknown
    if not evidence.drained and promises.read_ack == "queued":
        unknown = unknown or "something was still on its way to the store when it was read"
    results = [
        _within(
            _Kept("acknowledged_reads", promised, unknown),
            evidence.reads.known_at(evidence.store_read_at),
            evidence.store_read,
            story,
        ),
        _within(
            _Kept("acknowledged_deliveries", promised, unknown),
            evidence.deliveries.known_at(evidence.store_read_at),
            evidence.store_delivered,
            story,
        ),
        _messages(
            _Kept("acknowledged_messages", promises.durable, evidence.unknown), evidence.messages, story
        ),
        _stale(evidence, promises, story),
    ]
    return _together(results)


def _judge_over_api(evidence: Evidence, promises: Promises, story: Told) -> Judgement:
    """The same checks as far as the API tells; what it cannot tell is unknown, and nobody is held to it."""
    unknown = evidence.unknown
    if not evidence.drained and promises.read_ack == "queued":
        unknown = unknown or "something may still have been on its way when the API was read"
    results = [
        _within(
            _Kept("acknowledged_reads", promises.convergence, unknown, "convergence", NOT_SHOWN),
            evidence.reads.known_at(evidence.store_read_at),
            evidence.store_read,
            story,
        ),
        _not_told("acknowledged_deliveries", "durable"),
        _messages(
            _Kept("acknowledged_messages", promises.convergence, evidence.unknown, "convergence"),
            evidence.messages,
            story,
        ),
        _not_told("stale_at_end", "convergence"),
    ]
    return _together(results)


def _not_told(name: str, promise: str) -> tuple[Check, list[Json]]:
    nothing = np.empty(0, np.int64)
    return _result(_Kept(name, False, ONLY_DUMP, promise), 0, nothing, lambda _: {})


def _together(results: list[tuple[Check, list[Json]]]) -> Judgement:
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
        return places((at.conversation << 32) | at.user, self._keys)

    def names(self, i: int) -> Json:
        return {"conversation": int(self._keys[i] >> 32), "user": int(self._keys[i] & 0xFFFFFFFF)}


def _within(kept: _Kept, writes: Writes, held: Cursors, story: Told) -> tuple[Check, list[Json]]:
    """acknowledged <= held <= attempted, for each cursor.  One that the store has no row of is held at 0."""
    if not len(held.value):
        nothing = np.empty(0, np.int64)
        kept = replace(kept, unknown=kept.unknown or "the store was not read at the end")
        return _result(kept, 0, nothing, lambda _: {})
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
    concerned = np.flatnonzero(among(of_write, wrong))

    def tell(i: int) -> Json:
        lost, mine = final[i] < floor[i], concerned[of_write[concerned] == i]
        asked = _furthest(writes, mine[promised[mine]] if lost else mine, story)
        record = story.held(int(final[i]))
        return keys.names(i) | {
            "check": kept.name,
            "kind": kept.below if lost else "phantom",
            "says": sentences.lost(asked, record) if lost else sentences.phantom(int(ceiling[i]), record),
            "acknowledged": int(floor[i]),
            "store": int(final[i]),
            "attempted": int(ceiling[i]),
            "records": [*asked, record],
        }

    return _result(kept, len(told), wrong[np.argsort(-by, kind="stable")], tell)


def _furthest(writes: Writes, rows: Ints, story: Told) -> list[Json]:
    """The write that reached furthest, as a record; none if there is none."""
    if not len(rows):
        return []
    last = rows[np.argmax(writes.value[rows])]
    return [_write(writes, int(last), story)]


def _write(writes: Writes, row: int, story: Told) -> Json:
    operation, value = int(writes.operation[row]), int(writes.value[row])
    return story.seed(value) if operation == NO_OPERATION else story.by_id(operation, "write", value)


def _messages(kept: _Kept, messages: Messages, story: Told) -> tuple[Check, list[Json]]:
    """No acknowledged message is missing, none is there that nobody sent, and no seq was given twice."""
    read = messages.store >= 0
    lost = read & (messages.store < messages.acknowledged)
    phantom = read & (messages.store > messages.attempted) & (not kept.unknown)
    twice = messages.given_twice > 0
    wrong = np.flatnonzero(lost | phantom | twice)
    sends = messages.sends
    concerned = np.flatnonzero(among(sends.conversation, wrong))

    def tell(i: int) -> Json:
        mine = concerned[sends.conversation[concerned] == i]
        record = story.held(int(messages.store[i]))
        if twice[i]:
            records = [_write(sends, row, story) for row in _first_pair(sends, mine)]
            kind, says = "one seq for two messages", sentences.given_twice(records)
        elif lost[i]:
            asked = _furthest(sends, mine[sends.acknowledged[mine] > 0], story)
            kind, says, records = "lost message", sentences.lost(asked, record), [*asked, record]
        else:
            asked = _furthest(sends, mine, story)
            kind, says = "phantom message", sentences.phantom(int(messages.attempted[i]), record)
            records = [*asked, record]
        return {
            "check": kept.name,
            "kind": kind,
            "says": says,
            "conversation": i,
            "user": None,
            "acknowledged": int(messages.acknowledged[i]),
            "store": int(messages.store[i]),
            "attempted": int(messages.attempted[i]),
            "records": records,
        }

    return _result(kept, int(np.count_nonzero(read)), wrong, tell)


def _first_pair(sends: Writes, rows: Ints) -> list[int]:
    """Of the given SENDs, the first two with the same seq."""
    rows = rows[np.argsort(sends.value[rows], kind="stable")]
    first = int(np.argmax(np.diff(sends.value[rows]) == 0))
    return [int(row) for row in rows[first : first + 2]]


def _stale(evidence: Evidence, promises: Promises, story: Told) -> tuple[Check, list[Json]]:
    """Cursors that a fresh connection shows other than the store holds them, if nothing explains it that was
    answered after the store was read, or never.  Before the drain was complete, anything explains more."""
    shown, store, writes = evidence.shown, evidence.store_read, evidence.reads
    keys = _Keys(store, shown, writes)
    held, later = np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.int64)
    held[keys.of(store)] = store.value
    open_then = (writes.acknowledged == 0) | (writes.acknowledged > evidence.store_read_at)
    open_writes = writes.of(open_then)
    np.maximum.at(later, keys.of(open_writes), open_writes.value)
    of_shown = keys.of(shown)
    truth = held[of_shown]
    ahead = (shown.value > truth) & (shown.value > later[of_shown]) & evidence.drained
    wrong = np.flatnonzero((truth >= 0) & ((shown.value < truth) | ahead))
    missed = _missed(evidence, wrong, truth)
    ages = {i: _age_s(evidence, i, missed[i]) for i in missed}
    wrong = wrong[np.argsort([-(ages[int(i)] or 0.0) for i in wrong], kind="stable")]

    def tell(i: int) -> Json:
        first = missed[i]
        asked = [] if first is None else [_write(writes, first, story)]
        record = story.by_id(int(evidence.shown_by[i]), "read", int(shown.value[i]))
        in_store = story.held(int(truth[i]))
        return {
            "check": "stale_at_end",
            "kind": "stale" if shown.value[i] < truth[i] else "ahead of the store",
            "says": sentences.stale_at_end(record, in_store, asked, ages[i]),
            "conversation": int(shown.conversation[i]),
            "user": int(shown.user[i]),
            "shown": int(shown.value[i]),
            "store": int(truth[i]),
            "age_s": ages[i],
            "records": [*asked, in_store, record],
        }

    unknown = evidence.unknown or ("" if len(shown.value) else "the API was not read at the end")
    if not evidence.drained:
        unknown = unknown or "something was still on its way when the API was read"
    kept = _Kept("stale_at_end", promises.convergence, unknown, "convergence")
    return _result(kept, int(np.count_nonzero(truth >= 0)), wrong, tell)


def _missed(evidence: Evidence, wrong: Ints, truth: Ints) -> dict[int, int | None]:
    """For each of these entries of `shown`, the write above it that was acknowledged first; if none ever was,
    and for those ahead of the store, the one that reached furthest of those that the store can have, answered
    or not; None if there is none."""
    if not len(wrong):
        return {}
    shown, writes = evidence.shown, evidence.reads
    keys = _Keys(shown, writes)
    of_shown, of_write = keys.of(shown), keys.of(writes)
    named = writes.operation != NO_OPERATION
    rows = np.flatnonzero(named & np.isin(of_write, of_shown[wrong]))
    first: dict[int, int | None] = {}
    for i in wrong.tolist():
        mine = rows[of_write[rows] == of_shown[i]]
        if shown.value[i] < truth[i]:
            mine = mine[writes.value[mine] > shown.value[i]]
        told = mine[(writes.acknowledged[mine] > 0) & (writes.value[mine] > shown.value[i])]
        held = mine[writes.value[mine] <= truth[i]]
        if len(told):
            first[i] = int(told[np.argmin(writes.acknowledged[told])])
        else:
            first[i] = int(held[np.argmax(writes.value[held])]) if len(held) else None
    return first


def _age_s(evidence: Evidence, i: int, missed: int | None) -> float | None:
    """How long `missed`, which is not shown, had been acknowledged when entry i was."""
    if missed is None or not evidence.reads.acknowledged[missed]:
        return None
    if evidence.reads.value[missed] <= evidence.shown.value[i]:
        return None
    since = int(evidence.reads.acknowledged[missed])
    return round(max(0, int(evidence.shown_at[i]) - since) / 1e9, 6)


def _result(kept: _Kept, eligible: int, wrong: Ints, tell: Callable[[int], Json]) -> tuple[Check, list[Json]]:
    """`wrong`: the violations, worst first."""
    findings = [tell(int(i)) for i in wrong[: findings_max()]]
    worst = findings[0] if findings else None
    return Check(kept.name, kept.promise, kept.promised, eligible, len(wrong), worst, kept.unknown), findings
