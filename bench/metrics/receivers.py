"""Who must be told of a READ, judged from the run's own record and not from the server's.

A READ that changed something is told to the direct peer, and in groups up to the receipt limit to the
senders of the messages that it newly covered.  What it newly covered follows from every value that the
person's cursor may have had: where it started, their own SENDs (sending implies reading) and their READs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, Marks, marks
from bench.metrics.ragged import distinct, last_before, spread
from bench.record import Op, Outcome, PushKind

Ints = NDArray[np.int64]
_NEVER = np.iinfo(np.int64).max


def effective(history: History) -> Marks:
    """Measured READs that changed something or may have.

    Where nobody could say whether it did (queued or unanswered), one that is no higher than what an earlier
    READ or SEND of the same person, or their start, had reached did not."""
    writes = marks(history, Op.READ, history.measured_rows(Op.READ))
    may = (writes.outcome == Outcome.OK) | (writes.outcome == Outcome.INFO)
    writes = writes.take(may & (writes.applied != 0))
    unsure = (writes.applied < 0) | (writes.outcome == Outcome.INFO)
    if not unsure.any():
        return writes
    before = _Cursors(history).highest_before(writes)
    return writes.take(~(unsure & (writes.up_to <= before)))


def told(history: History, writes: Marks) -> tuple[Ints, Ints]:
    """(which write, person) for everyone but the reader who must get the receipt."""
    membership = history.membership
    direct = np.flatnonzero(membership.direct[writes.conversation])
    asked, person = membership.members_of(writes.conversation[direct])
    peer = person != writes.user[direct[asked]]
    groups = _in_groups(history, writes)
    which, sender = _senders_covered(history, writes.take(groups))
    return (
        np.concatenate([direct[asked[peer]], groups[which]]),
        np.concatenate([person[peer], sender]),
    )


def unknown_senders(history: History, writes: Marks) -> int:
    """Messages that these newly covered in groups, of whom the record does not say who sent them: those of an
    earlier load on the same connections (`bench/capacity/climb.py`)."""
    writes = writes.take(_in_groups(history, writes))
    which, seq = _covered(history, writes)
    return int(np.count_nonzero(_Senders(history).of(writes.conversation[which], seq) < 0))


def _in_groups(history: History, writes: Marks) -> Ints:
    """Which of them are in groups that get receipts."""
    membership = history.membership
    small = membership.of_conversation.size(writes.conversation) <= history.receipt_members
    return np.flatnonzero(~membership.direct[writes.conversation] & small)


def implied(history: History, sends: Marks) -> Marks:
    """SENDs that surely read messages of others: by no value that it may have had was the sender's cursor at
    the message before.  `up_to` is the message's own seq."""
    covered = _Cursors(history).next_below(sends) < sends.up_to - 1
    unsure = np.isin(cursor_key(history, sends.conversation, sends.user), unanswered_sends(history))
    return sends.take(covered & ~unsure)


def unanswered_sends(history: History) -> Ints:
    """Whose cursors in which conversations an unanswered SEND may have moved (`cursor_key`)."""
    operations = history.operations
    rows = np.flatnonzero((operations["op"] == Op.SEND) & (operations["outcome"] == Outcome.INFO))
    return cursor_key(
        history, *(operations[name][rows].astype(np.int64) for name in ("conversation", "user"))
    )


def cursor_key(history: History, conversation: Ints, user: Ints) -> Ints:
    """One number for each cursor."""
    return conversation * (history.membership.people + 1) + user


def _senders_covered(history: History, writes: Marks) -> tuple[Ints, Ints]:
    """(which write, person): the distinct senders of the messages that each newly covered, but the reader.

    What an unanswered READ may have covered before counts as covered: nobody is said to have missed it."""
    which, seq = _covered(history, writes)
    sender = _Senders(history).of(writes.conversation[which], seq)
    told = (sender >= 0) & (sender != writes.user[which])
    people = history.membership.people + 1
    pair = distinct(which[told] * people + sender[told])
    return pair // people, pair % people


def _covered(history: History, writes: Marks) -> tuple[Ints, Ints]:
    """(which write, seq) of the messages that each newly covered."""
    before = np.minimum(_Cursors(history).next_below(writes), writes.up_to)
    return spread(before + 1, writes.up_to - before)


class _Cursors:
    """Every value that a person's cursor in a conversation may have had: the start, own SENDs, READs."""

    def __init__(self, history: History) -> None:
        membership, operations = history.membership, history.operations
        self._people = membership.people + 1
        may = np.isin(operations["outcome"], (Outcome.OK, Outcome.INFO))
        sends = np.flatnonzero((operations["op"] == Op.SEND) & may & (operations["value"] > 0))
        reads = marks(history, Op.READ, np.flatnonzero((operations["op"] == Op.READ) & may))
        reads = reads.take(reads.applied != 0)
        pushed, pushes = _of_unanswered_sends(history), history.pushes
        parts = [
            (membership.conversation, membership.user, membership.read_seq, np.zeros_like(membership.user)),
            (
                operations["conversation"][sends].astype(np.int64),
                operations["user"][sends].astype(np.int64),
                operations["value"][sends],
                operations["acknowledged"][sends],
            ),
            (  # an unanswered SEND was pushed to others under the seq that it got
                pushes["conversation"][pushed].astype(np.int64),
                pushes["actor"][pushed].astype(np.int64),
                pushes["value"][pushed],
                pushes["received"][pushed],
            ),
            (
                reads.conversation,
                reads.user,
                reads.up_to,
                np.where(reads.outcome == Outcome.OK, reads.acknowledged, _NEVER),
            ),
        ]
        conversation, user, value, known = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._bits = int(value.max(initial=0)).bit_length() + 1
        self._key = conversation * self._people + user
        self._value, self._known = value, known

    def next_below(self, writes: Marks) -> Ints:
        """The highest of those values below each write's; 0 if there is none."""
        packed = np.sort((self._key << self._bits) | self._value)
        key = writes.conversation * self._people + writes.user
        place = np.searchsorted(packed, (key << self._bits) | writes.up_to) - 1
        below = packed[np.maximum(place, 0)]
        same = (place >= 0) & (below >> self._bits == key)
        return np.where(same, below & ((1 << self._bits) - 1), 0)

    def highest_before(self, writes: Marks) -> Ints:
        """The highest value that was answered before each write was sent; 0 if there is none."""
        order = np.lexsort((self._known, self._key))
        key, known = self._key[order], self._known[order]
        keys, group = np.unique(key, return_inverse=True)
        group = group.astype(np.int64)
        highest = np.maximum.accumulate((group << self._bits) | self._value[order])
        asked = np.searchsorted(keys, writes.conversation * self._people + writes.user)
        place = last_before(group, known, asked, writes.sent)
        return np.where(place >= 0, highest[place] & ((1 << self._bits) - 1), 0)


class _Senders:
    """Who sent which message: seeded ones by arithmetic, the run's own as acknowledged, or as pushed to
    others where the SEND was never answered."""

    def __init__(self, history: History) -> None:
        self._membership = history.membership
        operations = history.operations
        sends = np.flatnonzero(operations["op"] == Op.SEND)
        pushed = _of_unanswered_sends(history)
        known = sends[operations["value"][sends] > 0]
        pushes = history.pushes
        seq = np.concatenate([operations["value"][known], pushes["value"][pushed]]).astype(np.int64)
        conversation = np.concatenate([operations["conversation"][known], pushes["conversation"][pushed]])
        sender = np.concatenate([operations["user"][known], pushes["actor"][pushed]]).astype(np.int64)
        self._bits = int(seq.max(initial=0)).bit_length() + 1
        self._key, first = np.unique((conversation.astype(np.int64) << self._bits) | seq, return_index=True)
        self._sender = sender[first]

    def of(self, conversation: Ints, seq: Ints) -> Ints:
        """-1 where nobody knows."""
        seeded = seq <= self._membership.history[conversation]
        by_seed = self._membership.seeded_sender(conversation, seq)
        if not len(self._key):
            return np.where(seeded, by_seed, -1)
        key = (conversation << self._bits) | np.minimum(seq, (1 << self._bits) - 1)
        place = np.minimum(np.searchsorted(self._key, key), len(self._key) - 1)
        return np.where(seeded, by_seed, np.where(self._key[place] == key, self._sender[place], -1))


def _of_unanswered_sends(history: History) -> Ints:
    """Rows of MESSAGE pushes in the conversations of SENDs that were never answered."""
    operations, pushes = history.operations, history.pushes
    unanswered = (operations["op"] == Op.SEND) & (operations["outcome"] == Outcome.INFO)
    conversations = distinct(operations["conversation"][unanswered])
    if not len(conversations):
        return np.empty(0, np.int64)
    return np.flatnonzero(
        (pushes["kind"] == PushKind.MESSAGE) & np.isin(pushes["conversation"], conversations)
    )
