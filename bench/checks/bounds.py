"""Between which numbers must an unread count lie, by what was certain and what was possible?  Pure.

For a person's unread messages in a conversation, shown by an answer that was asked for at `invoked` and came
at `responded`:

    low    max(0, messages certainly sent - messages possibly read)
    high   messages possibly sent - messages certainly read

Certain is what was acknowledged before `invoked`, possible what began before `responded`; what nobody
answered is possible for ever and never certain.  Seqs have no holes, so that the highest acknowledged one
counts the messages, and a read cursor is the number of messages that are read or the person's own.  These are
the bounds of a counter in a concurrent history (as Jepsen's counter check): they accuse nobody falsely, and
where nothing is going on they meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.checks.kernel import Steps
from bench.checks.register import NEVER

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NOTHING = -1


@dataclass(frozen=True)
class Sends:
    """Messages that were sent or may have been, by the number of their conversation.

    `seq` 0: nobody was told.  `first`: it is no retry of another one, which would be the same message."""

    conversation: Ints
    seq: Ints
    invoked: Ints
    responded: Ints
    first: Bools


@dataclass(frozen=True)
class Cursors:
    """What wrote read cursors or may have: where each started, READs, SENDs with a known seq."""

    key: Ints
    value: Ints
    invoked: Ints
    responded: Ints


@dataclass(frozen=True)
class Shown:
    """Unread numbers that somebody was shown.  `key` is the cursor; `read` how far it certainly was when the
    answer was made, because the answer is that of the write itself; 0 where it is not."""

    conversation: Ints
    key: Ints
    unread: Ints
    invoked: Ints
    responded: Ints
    read: Ints


@dataclass(frozen=True)
class Bounds:
    """For each number shown.  `sent` and `possibly_sent` count messages; `message` is the SEND that makes
    `sent` certain, `last` the highest that may be in it; `read` and `possibly_read` are how far the cursor
    was, `least` and `most` what wrote that: rows of what was given, NOTHING for the start."""

    low: Ints
    high: Ints
    drift: Ints
    sent: Ints
    possibly_sent: Ints
    read: Ints
    possibly_read: Ints
    message: Ints
    last: Ints
    least: Ints
    most: Ints


def judge(history: Ints, sends: Sends, cursors: Cursors, open_since: Ints, shown: Shown) -> Bounds:
    """`history`: by conversation, how many messages there were at the start.  `open_since`: by cursor, since
    when an unanswered SEND may have moved it to anywhere; NEVER where there is none.

    `drift` is signed and counts to the nearest bound: positive where the number is too high.  Where the
    bounds contradict each other, seqs have holes or others wrote too: then nothing is said."""
    after = shown.responded + 1
    acked = np.flatnonzero((sends.responded != NEVER) & (sends.seq > 0))
    known = np.flatnonzero(sends.seq > 0)
    sent, message = _highest(
        (sends.conversation, sends.responded, sends.seq), acked, shown.conversation, shown.invoked
    )
    _, last = _highest((sends.conversation, sends.invoked, sends.seq), known, shown.conversation, after)
    done = np.flatnonzero(cursors.responded != NEVER)
    every = np.arange(len(cursors.key), dtype=np.int64)
    read, least = _highest((cursors.key, cursors.responded, cursors.value), done, shown.key, shown.invoked)
    possibly_read, most = _highest((cursors.key, cursors.invoked, cursors.value), every, shown.key, after)
    started = history[shown.conversation]
    sent = np.maximum(started, sent)
    possibly_sent = started + _begun(sends, shown.conversation, after)
    read = np.maximum(read, shown.read)
    low = np.where(open_since[shown.key] < after, 0, np.maximum(0, sent - possibly_read))
    high = np.maximum(0, possibly_sent - read)
    drift = np.maximum(0, shown.unread - high) + np.minimum(0, shown.unread - low)
    drift[low > high] = 0
    return Bounds(
        low, high, drift, sent, possibly_sent, read, possibly_read,
        np.where(sent > started, message, NOTHING), last, least, most,
    )  # fmt: skip


def _highest(of: tuple[Ints, Ints, Ints], rows: Ints, key: Ints, before: Ints) -> tuple[Ints, Ints]:
    """(the highest value whose time is before, which row has it); 0 and NOTHING where there is none.

    `of`: (key, time, value), of which only `rows` count."""
    if not len(rows):
        return np.zeros(len(key), np.int64), np.full(len(key), NOTHING, np.int64)
    keys, time, value = (column[rows] for column in of)
    steps = Steps(keys, time, value)
    step = steps.before(key, before)
    highest = steps.highest(step)
    first = steps.first_above(key, np.maximum(highest - 1, 0))
    found = (step >= 0) & (highest > 0)
    return highest, np.where(found, rows[steps.row(np.maximum(first, 0))], NOTHING)


def _begun(sends: Sends, conversation: Ints, before: Ints) -> Ints:
    """How many messages of each conversation began before."""
    first = np.flatnonzero(sends.first)
    order = first[np.lexsort((sends.invoked[first], sends.conversation[first]))]
    bits = int(max(sends.invoked.max(initial=0), before.max(initial=0))).bit_length() + 1
    packed = (sends.conversation[order] << bits) | sends.invoked[order]
    start = np.searchsorted(packed, conversation << bits)
    begun: Ints = np.searchsorted(packed, (conversation << bits) | before) - start
    return begun
