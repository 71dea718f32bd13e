"""Badge-error seconds: by how much and for how long devices show a wrong number of unread messages.

Shown, for each device and conversation, is what a client shows that believes its server and adds up:

- a number is told by STATE (at sign-in, and when the app is opened), by the ACK of a READ, by an UPDATE
  read/ of the person's own cursor, and is 0 for a SEND of one's own (by its ACK, or its MESSAGE from another
  device); it covers the messages up to `last_seq`, or `up_to_seq + unread`; but for STATE it is ignored if
  the device knows a newer version, or a higher cursor where it has none;
- MESSAGE of somebody else is one more, if no number covered it before and it did not come before;
- messages that had come before a number, and are beyond what it covers, are added to it.

Where a server says no `unread`, the number is 0 up to the cursor.  From a close until the next STATE nothing
is shown.

True is what was acknowledged: messages whose SEND was, less what READs (or the person's own SENDs) that were
acknowledged cover.  While an operation is on its way both answers are right, and one that nobody answered is
on its way for ever; so truth is a range [low, high], and the error is shown - high, shown - low or 0.

    badge error = sum over devices and conversations of the integral of |error| dt in the measured window

in message-seconds, given per hour that a device was connected.  An error from its first to its last moment
has one cause, that of its first:

resurrected  the device was told of what is read: by a number that is too high, or a MESSAGE that is
             already read
late         what the device had not been told of (a message if it shows too little, a READ if too much) it
             was told by a push later on; or its session ended first, and nobody knows
lost         no such push ever came

It is a mean, so every k-th device is enough: with more than DEVICES_MAX, so many are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, Marks, items_of, marks
from bench.metrics.ragged import distinct, spread
from bench.population import NOBODY
from bench.record import NONE, Op, Outcome, PushKind
from bench.results import Json

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

DEVICES_MAX: Final = 2_000
EVERYTHING: Final = 1 << 32
"""How far a cursor may be whose person sent a message that nobody answered."""
NOT_SHOWN: Final = "no device was told how much is unread while it was connected"


class Cause(IntEnum):
    LATE = 0
    LOST = 1
    RESURRECTED = 2


class _Kind(IntEnum):
    """What happened, as it is sorted at equal times: first what is true, then what is shown."""

    COMPLETE = 0
    """A message was acknowledged."""
    BEGUN = 1
    """A message was sent."""
    UNKNOWN = 2
    """A message was sent that nobody answered."""
    READ = 3
    """A READ was acknowledged."""
    READING = 4
    """A READ was sent."""
    STATE = 5
    MESSAGE = 6
    OWN_MESSAGE = 7
    UPDATE = 8
    ACK = 9
    CLOSED = 10


_TOLD: Final = _Kind.STATE
"""From here on it is the device that hears something."""


@dataclass(frozen=True)
class _Events:
    """`seq`: of the message, or up to which it is read.  `unread`, `version`: as told, NONE.  `covers`: up to
    which message a number counts."""

    device: Ints
    conversation: Ints
    at: Ints
    kind: Ints
    seq: Ints
    unread: Ints
    version: Ints
    covers: Ints

    def take(self, which: NDArray[Any]) -> _Events:
        return _Events(**{name: getattr(self, name)[which] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Badge:
    """Errors, one entry per episode: the device, the conversation, when it began (ns), how long it was wrong
    in the measured window (message-ns), the largest error, its cause.  `connected_s`: of all devices that
    were looked at, one of `step`."""

    device: Ints
    conversation: Ints
    began: Ints
    wrong: Ints
    largest: Ints
    cause: Ints
    connected_s: float
    shown: int
    """Badges (device and conversation) that were looked at."""
    step: int = 1

    def seconds(self, cause: Cause) -> float:
        """Message-seconds."""
        return float(self.wrong[self.cause == cause].sum()) / 1e9


# --- what happened ----------------------------------------------------------------------------------------


def _events(
    kind: _Kind,
    device: NDArray[Any],
    conversation: NDArray[Any],
    at: NDArray[Any],
    seq: NDArray[Any],
    *,
    unread: NDArray[Any] | None = None,
    version: NDArray[Any] | None = None,
    covers: NDArray[Any] | None = None,
) -> _Events:
    n = len(device)
    told = np.zeros(n, np.int64) if unread is None else np.maximum(0, unread).astype(np.int64)
    return _Events(
        device.astype(np.int64),
        conversation.astype(np.int64),
        at.astype(np.int64),
        np.full(n, kind, np.int64),
        seq.astype(np.int64),
        np.full(n, NONE, np.int64) if unread is None else unread.astype(np.int64),
        np.full(n, NONE, np.int64) if version is None else version.astype(np.int64),
        seq.astype(np.int64) + told if covers is None else covers.astype(np.int64),
    )


def _joined(parts: list[_Events]) -> _Events:
    return _Events(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in _Events.__dataclass_fields__
        }
    )


def _is_ours(device: NDArray[Any], step: int) -> Bools:
    """Devices of the population that are looked at."""
    ours: Bools = (device != NOBODY) & (device % step == 0)
    return ours


def _heard(history: History, step: int) -> list[_Events]:
    """What devices were told."""
    operations, items, pushes = history.operations, history.items, history.pushes
    ours = _is_ours(operations["device"], step) & (operations["outcome"] == Outcome.OK)
    index, row = items_of(history, np.flatnonzero(ours & (operations["op"] == Op.STATE)))
    states = _events(
        _Kind.STATE, operations["device"][row], items["conversation"][index],
        operations["acknowledged"][row], items["value"][index], unread=items["unread"][index],
        version=items["version"][index], covers=items["last_seq"][index],
    )  # fmt: skip
    sends = np.flatnonzero(ours & (operations["op"] == Op.SEND) & (operations["value"] > 0))
    sent = _events(
        _Kind.ACK, operations["device"][sends], operations["conversation"][sends],
        operations["acknowledged"][sends], operations["value"][sends],
    )  # fmt: skip
    mine = _is_ours(pushes["device"], step)
    rows = np.flatnonzero((pushes["kind"] == PushKind.MESSAGE) & mine)
    own = pushes["actor"][rows] == pushes["user"][rows]
    messages = [
        _pushed(history, kind, rows[which])
        for kind, which in ((_Kind.MESSAGE, ~own), (_Kind.OWN_MESSAGE, own))
    ]
    read = (pushes["kind"] == PushKind.READ) & (pushes["actor"] == pushes["user"])
    updates = _pushed(history, _Kind.UPDATE, np.flatnonzero(read & mine))
    return [states, sent, *messages, updates, *_acknowledged_reads(history, ours)]


def _pushed(history: History, kind: _Kind, rows: Ints) -> _Events:
    pushes = history.pushes
    unread = pushes["unread"][rows] if kind == _Kind.UPDATE else None
    return _events(
        kind, pushes["device"][rows], pushes["conversation"][rows], pushes["received"][rows],
        pushes["value"][rows], unread=unread, version=pushes["version"][rows],
    )  # fmt: skip


def _acknowledged_reads(history: History, ours: Bools) -> list[_Events]:
    """The first item is in the operation's own row, the others in `items`."""
    operations, items = history.operations, history.items
    answered = (operations["op"] == Op.READ) & ours
    first = np.flatnonzero(answered)
    index, row = items_of(history, np.flatnonzero(answered & (operations["items"] > 1)))
    index, row = index[items["index"][index] > 0], row[items["index"][index] > 0]
    return [
        _events(
            _Kind.ACK, operations["device"][first], operations["conversation"][first],
            operations["acknowledged"][first],
            np.maximum(operations["value"][first], operations["argument"][first]),
            unread=operations["unread"][first], version=operations["version"][first],
        ),
        _events(
            _Kind.ACK, operations["device"][row], items["conversation"][index],
            operations["acknowledged"][row], items["value"][index], unread=items["unread"][index],
            version=items["version"][index],
        ),
    ]  # fmt: skip


def _truth(history: History, step: int) -> list[_Events]:
    """What happened to a conversation or a cursor, once for each device that it concerns."""
    operations = history.operations
    rows = np.flatnonzero((operations["op"] == Op.SEND) & (operations["sent"] > 0))
    known = rows[(operations["value"][rows] > 0) & history.outcome(rows, Outcome.OK)]
    unknown = _never_answered(history, rows, known)
    begun = _first_sent(history, known)
    user, conversation = (operations[name][known].astype(np.int64) for name in ("user", "conversation"))
    acknowledged, seq = operations["acknowledged"][known], operations["value"][known]
    lost = [operations[name][unknown].astype(np.int64) for name in ("user", "conversation", "sent")]
    reads = marks(history, Op.READ, history.rows(Op.READ))
    may = (reads.outcome == Outcome.OK) | (reads.outcome == Outcome.INFO)
    reads = reads.take(may & (reads.sent > 0))
    done: Marks = reads.take(reads.outcome == Outcome.OK)
    return [
        _of_conversation(history, step, _Kind.COMPLETE, conversation, acknowledged, seq),
        _of_conversation(history, step, _Kind.BEGUN, conversation, begun, seq),
        _of_conversation(history, step, _Kind.UNKNOWN, lost[1], lost[2], np.ones(len(unknown), np.int64)),
        _of_person(history, step, _Kind.READ, user, conversation, acknowledged, seq),
        _of_person(history, step, _Kind.READING, user, conversation, begun, seq),
        _of_person(
            history, step, _Kind.READING, lost[0], lost[1], lost[2], np.full(len(unknown), EVERYTHING)
        ),
        _of_person(history, step, _Kind.READ, done.user, done.conversation, done.acknowledged, done.up_to),
        _of_person(history, step, _Kind.READING, reads.user, reads.conversation, reads.sent, reads.up_to),
    ]


def _never_answered(history: History, rows: Ints, known: Ints) -> Ints:
    """SENDs that may have happened, of which no attempt was answered."""
    operations = history.operations
    plan = operations["plan"]
    answered = (plan[rows] != NONE) & np.isin(plan[rows], plan[known])
    never: Ints = rows[history.outcome(rows, Outcome.INFO) & ~answered]
    return never


def _first_sent(history: History, known: Ints) -> Ints:
    """When each of these SENDs was sent for the first time, in this attempt or the one before."""
    operations = history.operations
    sent = operations["sent"][known].copy()
    again = np.flatnonzero((operations["attempt"][known] > 0) & (operations["plan"][known] != NONE))
    if len(again):
        earlier = np.flatnonzero((operations["op"] == Op.SEND) & (operations["sent"] > 0))
        plan = operations["plan"][earlier]
        order = np.lexsort((operations["sent"][earlier], plan))
        place = np.searchsorted(plan, operations["plan"][known[again]], sorter=order)
        sent[again] = operations["sent"][earlier[order[place]]]
    return sent


def _of_conversation(
    history: History, step: int, kind: _Kind, conversation: Ints, at: Ints, seq: Ints
) -> _Events:
    which, person = history.membership.members_of(conversation)
    asked, device = history.membership.devices_of(person)
    ours = _is_ours(device, step)
    which, device = which[asked[ours]], device[ours]
    return _events(kind, device, conversation[which], at[which], seq[which])


def _of_person(
    history: History, step: int, kind: _Kind, user: Ints, conversation: Ints, at: Ints, seq: Ints
) -> _Events:
    which, device = history.membership.devices_of(user)
    ours = _is_ours(device, step)
    which, device = which[ours], device[ours]
    return _events(kind, device, conversation[which], at[which], seq[which])


# --- what is shown and what is true -----------------------------------------------------------------------


def badge(history: History, devices_max: int = DEVICES_MAX) -> Badge:
    """All badges of all devices of the population, or of every k-th so that they are no more than
    `devices_max`."""
    step = max(1, -(-len(history.membership.device) // devices_max))
    events = _joined(_heard(history, step))
    width = len(history.membership.direct) + 1
    badges = distinct(events.device * width + events.conversation)
    events = _joined([events, *_truth(history, step), _closes(history, badges // width, badges % width)])
    key = events.device * width + events.conversation
    number = np.minimum(np.searchsorted(badges, key), max(0, len(badges) - 1))
    ours = np.flatnonzero(badges[number] == key) if len(badges) else np.empty(0, np.int64)
    events, number = events.take(ours), number[ours]
    order = np.lexsort((events.kind, events.at, number))
    events, number = events.take(order), number[order]
    error = _Rows(number, events).error(*_at_start(history, badges // width, badges % width))
    return _episodes(history, number, events, error, len(badges), step)


def _closes(history: History, device: Ints, conversation: Ints) -> _Events:
    """The end of each session that did not outlive the drain, for each badge (given in order of devices) of
    its device."""
    sessions = history.sessions
    ended = np.flatnonzero(sessions.closed < history.window.drain_end)
    left = np.searchsorted(device, sessions.device[ended], side="left")
    right = np.searchsorted(device, sessions.device[ended], side="right")
    which, badge_of = spread(left, right - left)
    at = sessions.closed[ended[which]]
    return _events(_Kind.CLOSED, device[badge_of], conversation[badge_of], at, np.zeros(len(which)))


def _at_start(history: History, device: Ints, conversation: Ints) -> tuple[Ints, Ints]:
    """(newest message, how far the device's person had read), as seeded, for each badge."""
    membership = history.membership
    owner = np.zeros(int(max(device.max(initial=0), membership.device.max(initial=0))) + 1, np.int64)
    owner[membership.device] = membership.device_user
    people = membership.people + 1
    key = membership.conversation * people + membership.user
    order = np.argsort(key)
    asked = conversation * people + owner[device]
    place = order[np.minimum(np.searchsorted(key, asked, sorter=order), len(key) - 1)]
    return membership.history[conversation], np.where(key[place] == asked, membership.read_seq[place], 0)


class _Rows:
    """Events in order of badge and time; each answer holds from its event to the next of the badge."""

    def __init__(self, number: Ints, events: _Events) -> None:
        self._number = number
        self._events = events
        self._first = np.searchsorted(number, number) if len(number) else number

    def error(self, last_seq: Ints, read_seq: Ints) -> _Error:
        """`last_seq`, `read_seq`: at the start, by badge."""
        events, number = self._events, self._number
        complete = np.maximum(self._highest(events.seq, events.kind == _Kind.COMPLETE), last_seq[number])
        begun = np.maximum(self._highest(events.seq, events.kind == _Kind.BEGUN), complete)
        unknown = self._sum(events.kind == _Kind.UNKNOWN)
        read = np.maximum(self._highest(events.seq, events.kind == _Kind.READ), read_seq[number])
        reading = np.maximum(self._highest(events.seq, events.kind == _Kind.READING), read)
        low = np.maximum(0, complete - reading)
        high = np.maximum(0, begun + unknown - read)
        shown, known, counted = self._shown()
        error = np.where(shown > high, shown - high, np.where(shown < low, shown - low, 0))
        error[~known] = 0
        of_read = counted & (events.seq <= read)
        resurrects = (error > 0) & (self._is_number() | of_read)
        return _Error(error, resurrects, complete, read)

    def _shown(self) -> tuple[Ints, Bools, Bools]:
        """(number on the badge, whether there is one, whether the event is a MESSAGE that adds to it)."""
        events, rows = self._events, np.arange(len(self._events.kind))
        kind = events.kind
        message = (kind == _Kind.MESSAGE) & ~self._repeated()
        number = self._is_number() & ~self._outdated()
        counted = message & (events.seq > self._highest(events.covers, number))
        told = np.maximum(0, events.unread) + self._beyond(message, number)
        place = np.maximum(np.maximum.accumulate(np.where(number, rows, -1)), self._first)
        added = np.cumsum(counted)
        state = np.maximum.accumulate(np.where(kind == _Kind.STATE, rows, -1))
        closed = np.maximum.accumulate(np.where(kind == _Kind.CLOSED, rows, -1))
        known = (state >= self._first) & (state > closed)
        return told[place] + added - added[place], known, counted

    def _beyond(self, message: Bools, number: Bools) -> Ints:
        """For each number, how many messages came before it that it does not cover.  Few numbers have any:
        one by one."""
        events = self._events
        beyond = np.zeros(len(message), np.int64)
        newest = self._highest(events.seq, message)
        for row in np.flatnonzero(number & (newest > events.covers)).tolist():
            before = slice(self._first[row], row)
            beyond[row] = np.count_nonzero(message[before] & (events.seq[before] > events.covers[row]))
        return beyond

    def _outdated(self) -> Bools:
        """Numbers that come after a newer one: of a version, or where they have none a cursor, below the
        highest before; and UPDATEs of just that.  (An ACK of the same is the answer to a READ that changed
        nothing.)  What STATE says stands."""
        events = self._events
        cursor = self._before(self._highest(events.seq, self._is_number()))
        version = self._before(self._highest(events.version + 1, events.version >= 0)) - 1
        versioned = events.version >= 0
        mine, before = np.where(versioned, [events.version, version], [events.seq, cursor])
        same = (events.kind == _Kind.UPDATE) & (mine == before)
        outdated: Bools = (events.kind != _Kind.STATE) & ((mine < before) | same)
        return outdated

    def _is_number(self) -> Bools:
        kind = self._events.kind
        number: Bools = (kind >= _TOLD) & (kind != _Kind.MESSAGE) & (kind != _Kind.CLOSED)
        return number

    def _repeated(self) -> Bools:
        """MESSAGEs that this badge has had before."""
        message = self._events.kind == _Kind.MESSAGE
        rows = np.flatnonzero(message)
        number, seq = self._number[rows], self._events.seq[rows]
        order = np.lexsort((rows, seq, number))
        same = (np.diff(number[order]) == 0) & (np.diff(seq[order]) == 0)
        repeated = np.zeros(len(message), np.bool_)
        repeated[rows[order[1:][same]]] = True
        return repeated

    def _highest(self, value: Ints, which: Bools) -> Ints:
        """The highest of `which` so far in each badge; 0 before the first."""
        bits = int(value[which].max(initial=0)).bit_length() + 1
        packed = (self._number << bits) | np.where(which, value, 0)
        return np.maximum.accumulate(packed) & ((1 << bits) - 1)

    def _sum(self, which: Bools) -> Ints:
        total = np.cumsum(which)
        return total - (total - which)[self._first]

    def _before(self, value: Ints) -> Ints:
        """The value after the event before this one of the same badge; 0 at the first."""
        earlier = np.append(0, value)[: len(value)]
        return np.where(self._first == np.arange(len(value)), 0, earlier)


@dataclass(frozen=True)
class _Error:
    """After each event: how wrong the badge is, whether this event alone would have made it too high, and the
    newest message and the cursor that were acknowledged."""

    error: Ints
    resurrects: Bools
    complete: Ints
    read: Ints


# --- how long, and why ------------------------------------------------------------------------------------


def _episodes(
    history: History, number: Ints, events: _Events, found: _Error, badges: int, step: int
) -> Badge:
    window, n = history.window, len(number)
    error = found.error
    last = np.append(number[1:] != number[:-1], True)[:n]
    until = np.where(last, window.drain_end, np.append(events.at[1:], 0)[:n])
    inside = np.minimum(until, window.measure_end) - np.maximum(events.at, window.measure)
    wrong = np.abs(error) * np.maximum(0, inside)
    sign = np.sign(error)
    continues = np.append(False, (number[1:] == number[:-1]) & (sign[1:] == sign[:-1]))[:n]
    begin = np.flatnonzero((sign != 0) & ~continues)
    end = np.flatnonzero((sign != 0) & np.append(~continues[1:], True)[:n])
    total = np.concatenate([[0], np.cumsum(wrong)])
    largest = np.zeros(len(begin), np.int64)
    if len(begin):
        episode = np.cumsum((sign != 0) & ~continues) - 1
        np.maximum.at(largest, episode[sign != 0], np.abs(error)[sign != 0])
    cause = np.where(_told_later(number, events, found)[begin], Cause.LATE, Cause.LOST)
    cause = np.where(found.resurrects[begin], Cause.RESURRECTED, cause)
    spent = total[end + 1] - total[begin]
    seen = np.flatnonzero(spent > 0)
    begin = begin[seen]
    return Badge(
        events.device[begin],
        events.conversation[begin],
        events.at[begin],
        spent[seen],
        largest[seen],
        cause[seen],
        _connected_s(history, step),
        badges,
        step,
    )


def _told_later(number: Ints, events: _Events, found: _Error) -> Bools:
    """For each event, whether a push tells the device later in the same session of what it does not know: of
    a message, by a MESSAGE at or before the newest (the missing one may be an earlier one); of a READ, by an
    UPDATE or a message of the person's own at or after the cursor.  Also true if the session ended before the
    drain did."""
    kind, seq = events.kind, events.seq
    closed = kind == _Kind.CLOSED
    starts = np.append(True, (number[1:] != number[:-1]) | closed[:-1])[: len(number)]
    session = np.cumsum(starts)
    own = kind == _Kind.OWN_MESSAGE
    most = int(seq.max(initial=0)) + 1
    earliest = most - _highest_after(session, most - seq, (kind == _Kind.MESSAGE) | own)
    furthest = _highest_after(session, seq, (kind == _Kind.UPDATE) | own)
    told = np.where(found.error < 0, earliest <= np.minimum(found.complete, most - 1), furthest >= found.read)
    told |= _highest_after(session, np.ones_like(seq), closed) > 0
    return told.astype(np.bool_)


def _highest_after(session: Ints, value: Ints, which: Bools) -> Ints:
    """The highest of `which` from each event on in its session; 0 if none."""
    bits = int(value[which].max(initial=0)).bit_length() + 1
    backwards = (session.max(initial=0) - session[::-1] << bits) | np.where(which, value, 0)[::-1]
    return (np.maximum.accumulate(backwards) & ((1 << bits) - 1))[::-1]


def _connected_s(history: History, step: int) -> float:
    """Of all devices that are looked at together, in the measured window."""
    sessions, window = history.sessions, history.window
    inside = np.minimum(sessions.closed, window.measure_end) - np.maximum(sessions.subscribed, window.measure)
    return float(np.maximum(0, inside)[_is_ours(sessions.device, step)].sum()) / 1e9


# --- the summary's words ----------------------------------------------------------------------------------


def summarise(found: Badge) -> Json:
    """`badge` of `summary.json`: message-seconds per hour that a device was connected."""
    hours = found.connected_s / 3600
    if not found.shown or not hours:
        return {"available": False, "why_not": NOT_SHOWN}
    seconds = {cause.name.lower(): found.seconds(cause) for cause in Cause}
    seconds["total"] = sum(seconds.values())
    worst = int(np.argmax(found.wrong)) if len(found.wrong) else None
    return {
        "badges": found.shown,
        "every_so_many_devices": found.step,
        "user_hours": round(hours, 6),
        "error_s": {name: round(value, 6) for name, value in seconds.items()},
        "error_s_per_user_hour": {name: round(value / hours, 6) for name, value in seconds.items()},
        "episodes": {cause.name.lower(): int(np.count_nonzero(found.cause == cause)) for cause in Cause},
        "worst": None if worst is None else _worst(found, worst),
        "available": True,
        "why_not": None,
    }


def _worst(found: Badge, which: int) -> Json:
    return {
        "cause": Cause(int(found.cause[which])).name.lower(),
        "error_s": round(float(found.wrong[which]) / 1e9, 6),
        "largest": int(found.largest[which]),
        "device": int(found.device[which]),
        "conversation": int(found.conversation[which]),
        "began_ns": int(found.began[which]),
    }
