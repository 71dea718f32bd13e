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

from dataclasses import dataclass, fields

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
    """For each number shown.  `sent` and `possibly_sent` count messages, `read` and `possibly_read` are how
    far the cursor was.

    For those that are out of bounds, rows of what was given, NOTHING for the start: `message`, the SEND that
    makes `sent` certain; `last`, the highest one that may be in `possibly_sent`; `least` and `most`, what
    wrote `read` and `possibly_read`."""

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
    sent = possibly_sent = history[shown.conversation]
    read = possibly_read = _started(cursors, len(open_since))[shown.key]
    low, high = np.maximum(0, sent - read), np.maximum(0, sent - np.maximum(read, shown.read))
    drift = _drift(shown.unread, low, high)
    certain = np.maximum(read, shown.read)
    nothing = (np.full(len(drift), NOTHING, np.int64) for _ in range(4))
    found = Bounds(low, high, drift, sent, possibly_sent.copy(), certain, possibly_read, *nothing)
    rows = np.flatnonzero(_busy(len(history), sends, cursors, open_since, shown) | (drift != 0))
    busy = _judge(history, sends, cursors, open_since, _take(shown, rows))
    for name in _fields(Bounds):
        getattr(found, name)[rows] = getattr(busy, name)
    return found


def _started(cursors: Cursors, keys: int) -> Ints:
    """By cursor: how far it was before everything."""
    started = np.zeros(keys, np.int64)
    before = cursors.responded == 0
    np.maximum.at(started, cursors.key[before], cursors.value[before])
    return started


def _busy(conversations: int, sends: Sends, cursors: Cursors, open_since: Ints, shown: Shown) -> Bools:
    """Which numbers something may have had a part in besides where it all started."""
    written, moved = np.zeros(conversations, np.bool_), open_since != NEVER
    written[sends.conversation] = True
    moved[cursors.key[cursors.responded > 0]] = True
    busy: Bools = written[shown.conversation] | moved[shown.key] | (shown.invoked <= 0)
    return busy


def _drift(unread: Ints, low: Ints, high: Ints) -> Ints:
    drift: Ints = np.maximum(0, unread - high) + np.minimum(0, unread - low)
    drift[low > high] = 0
    return drift


def _fields(of: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(of))


def _take(shown: Shown, rows: Ints) -> Shown:
    return Shown(*(getattr(shown, name)[rows] for name in _fields(Shown)))


def _judge(history: Ints, sends: Sends, cursors: Cursors, open_since: Ints, shown: Shown) -> Bounds:
    after = shown.responded + 1
    where, cursor, before = shown.conversation, shown.key, shown.invoked
    known, asked_of = sends.seq > 0, np.zeros(len(open_since), np.bool_)
    asked_of[cursor] = True
    concerned = asked_of[cursors.key]
    acked = _Highest(sends.conversation, sends.responded, sends.seq, known & (sends.responded != NEVER))
    begun = _Highest(sends.conversation, sends.invoked, sends.seq, known)
    answered = concerned & (cursors.responded != NEVER)
    done = _Highest(cursors.key, cursors.responded, cursors.value, answered)
    asked = _Highest(cursors.key, cursors.invoked, cursors.value, concerned & (cursors.responded >= 0))
    sent = np.maximum(history[where], acked.before(where, before))
    possibly_sent = history[where] + _begun(sends, where, after)
    read, possibly_read = done.before(cursor, before), asked.before(cursor, after)
    low = np.where(open_since[cursor] < after, 0, np.maximum(0, sent - possibly_read))
    high = np.maximum(0, possibly_sent - np.maximum(read, shown.read))
    drift = _drift(shown.unread, low, high)
    wrong = np.flatnonzero(drift)
    return Bounds(
        low,
        high,
        drift,
        sent,
        possibly_sent,
        np.maximum(read, shown.read),
        possibly_read,
        message=acked.row(where, np.where(sent > history[where], sent, 0), wrong),
        last=begun.row(where, begun.before(where, after), wrong),
        least=done.row(cursor, read, wrong),
        most=asked.row(cursor, possibly_read, wrong),
    )


class _Highest:
    """The highest value of a key before a moment, among the rows of a table that count."""

    def __init__(self, key: Ints, time: Ints, value: Ints, counts: Bools) -> None:
        self._rows = np.flatnonzero(counts)
        self._steps = Steps(*(column[self._rows] for column in (key, time, value)))

    def before(self, key: Ints, time: Ints) -> Ints:
        """0 where there is none."""
        return self._steps.highest(self._steps.before(key, time))

    def row(self, key: Ints, value: Ints, wanted: Ints) -> Ints:
        """The first row to have that value, where wanted; else NOTHING, and for 0."""
        rows = np.full(len(key), NOTHING, np.int64)
        some = wanted[value[wanted] > 0]
        if len(some):
            first = self._steps.first_above(key[some], value[some] - 1)
            rows[some] = self._rows[self._steps.row(first)]
        return rows


def _begun(sends: Sends, conversation: Ints, before: Ints) -> Ints:
    """How many messages of each conversation began before."""
    first = np.flatnonzero(sends.first)
    order = first[np.lexsort((sends.invoked[first], sends.conversation[first]))]
    bits = int(max(sends.invoked.max(initial=0), before.max(initial=0))).bit_length() + 1
    packed = (sends.conversation[order] << bits) | sends.invoked[order]
    start = np.searchsorted(packed, conversation << bits)
    begun: Ints = np.searchsorted(packed, (conversation << bits) | before) - start
    return begun
