"""How far behind: from a change until others know of it, with what never arrived kept in.

ack          READ written -> ACK
own_device   READ written -> UPDATE at each other device of the reader
receipt      READ written -> UPDATE at the devices of the direct peer, or in groups up to the receipt limit of
             the senders of the messages that it newly covered
message      SEND written -> MESSAGE at each device of the members but the sending socket
visible      ACK of a probe's READ -> first STATE on another connection that shows it for good
durable      ACK of a probe's READ -> MySQL holds it                          (`visible.py` has these three)
cache        MySQL holds a probe's READ -> Redis holds it or has no entry
queue        an event was produced -> the consumer has applied it             (`queue_lag.py`)

Told are the sessions whose SUB was acknowledged before the write was sent.  A push of a value at
least as high covers the write.  What never came is censored when the session closed or the run's drain ended;
it is `undelivered` if the session outlived the drain.  A READ that nobody answered may have happened: it
counts if a push shows it, and is censored at its deadline if none does.  Quantiles are Kaplan-Meier's.
Counts are of all devices that had to be told, quantiles of those that `headline.py` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics import headline, queue_lag
from bench.metrics.history import DEADLINE_US, History, Marks, marks
from bench.metrics.queue_lag import QueueLag
from bench.metrics.ragged import distinct
from bench.metrics.receivers import effective, told
from bench.metrics.survival import Curve, kaplan_meier
from bench.metrics.visible import Reason, Visible
from bench.metrics.wrong import wrong
from bench.record import Op, Outcome, PushKind
from bench.results import Json

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Lag:
    """One entry per write and device that had to be told, ns.  `from_ack` is signed: a push may beat the ack.

    `operation` is the row of the write.  `outlived`: the session was there to the end of the drain, so that
    what is not observed is undelivered.  `of_probes`: the probe users' process took its time."""

    time: Ints
    from_ack: Ints
    observed: Bools
    outlived: Bools
    operation: Ints
    of_probes: Bools

    def take(self, which: Bools) -> Lag:
        return Lag(**{name: getattr(self, name)[which] for name in self.__dataclass_fields__})

    @property
    def undelivered(self) -> int:
        return int(np.count_nonzero(self.outlived & ~self.observed))

    def curve(self) -> Curve:
        """In µs since the write."""
        return kaplan_meier(self.time / 1e3, self.observed)

    def curve_from_ack(self) -> Curve:
        return kaplan_meier(self.from_ack / 1e3, self.observed)


# --- ack --------------------------------------------------------------------------------------------------


def ack(history: History) -> Lag:
    """L1, of READs that were answered (by what can be right) or may have happened."""
    rows = history.measured_rows(Op.READ)
    operations = history.operations
    outcome = operations["outcome"][rows]
    rows = rows[((outcome == Outcome.OK) | (outcome == Outcome.INFO)) & ~wrong(history, rows)]
    observed = operations["outcome"][rows] == Outcome.OK
    took = operations["acknowledged"][rows] - operations["sent"][rows]
    time = np.where(observed, took, np.maximum(took, DEADLINE_US * 1_000))
    return Lag(time, np.zeros_like(time), observed, observed, rows, history.by_probes[rows])


# --- pushes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """Which write, which session row."""

    write: Ints
    session: Ints


def own_device(history: History, writes: Marks, pushes: Covering) -> Lag:
    """L2 of the effective READs."""
    which, device = history.membership.devices_of(writes.user)
    other = device != writes.device[which]
    return _pushed(history, writes, pushes, _subscribed(history, writes.sent, which[other], device[other]))


def receipt(history: History, writes: Marks, pushes: Covering) -> Lag:
    """L3 of the effective READs."""
    which, person = told(history, writes)
    asked, device = history.membership.devices_of(person)
    return _pushed(history, writes, pushes, _subscribed(history, writes.sent, which[asked], device))


def _subscribed(history: History, sent: Ints, which: Ints, device: Ints) -> _Pairs:
    """The devices' sessions whose SUB was acknowledged before the write was sent, and which were open
    then."""
    sessions = history.sessions
    asked, session = sessions.of_devices(device)
    at = sent[which[asked]]
    eligible = (sessions.subscribed[session] < at) & (sessions.closed[session] > at)
    return _Pairs(which[asked][eligible], session[eligible])


def _pushed(history: History, writes: Marks, pushes: Covering, pairs: _Pairs) -> Lag:
    """When the first UPDATE that covers each write came to each session."""
    received = pushes.first(
        history.sessions.session[pairs.session],
        writes.conversation[pairs.write],
        writes.user[pairs.write],
        writes.up_to[pairs.write],
    )
    return _lag(history, writes, pairs, received)


def _lag(history: History, writes: Marks, pairs: _Pairs, received: Ints) -> Lag:
    """`received` 0: no covering push.  What came after the drain is no observation of this run."""
    end = history.window.drain_end
    sent = writes.sent[pairs.write]
    answered = writes.outcome[pairs.write] == Outcome.OK
    deadline = sent + DEADLINE_US * 1_000
    closed = history.sessions.closed[pairs.session]
    until = np.minimum(closed, end)
    until = np.where(answered, until, np.minimum(until, deadline))
    observed = (received > 0) & (received <= end)
    at = np.where(observed, received, np.maximum(until, sent))
    acknowledged = np.where(answered, writes.acknowledged[pairs.write], deadline)
    outlived = (closed >= end) & answered
    of_probes = history.probe_sessions(history.sessions.session[pairs.session])
    return Lag(at - sent, at - acknowledged, observed, outlived, writes.row[pairs.write], of_probes)


class Covering:
    """UPDATE read/ pushes, as running maxima per (session, conversation, whose cursor)."""

    def __init__(self, history: History) -> None:
        pushes = history.pushes
        self._sessions = history.sessions
        self._people = history.membership.people + 1
        self._conversations = len(history.membership.direct) + 1
        rows = np.flatnonzero(pushes["kind"] == PushKind.READ)
        rows = rows[self._sessions.number(pushes["session"][rows]) >= 0]
        value, received = pushes["value"][rows].astype(np.int64), pushes["received"][rows]
        key = self._key(
            *(pushes[name][rows].astype(np.int64) for name in ("session", "conversation", "actor"))
        )
        self._keys, group = np.unique(key, return_inverse=True)
        order = np.lexsort((received, group))
        self._bits = int(value.max(initial=0)).bit_length() + 1
        self._received = received[order]
        self._group = group[order].astype(np.int64)
        self._highest = np.maximum.accumulate((self._group << self._bits) | value[order])

    def _key(self, session: Ints, conversation: Ints, actor: Ints) -> Ints:
        return (self._sessions.number(session) * self._conversations + conversation) * self._people + actor

    def first(self, session: Ints, conversation: Ints, actor: Ints, value: Ints) -> Ints:
        """When the first push with at least this value came, ns; 0 if none did."""
        if not len(self._keys):
            return np.zeros(len(session), np.int64)
        key = self._key(session, conversation, actor)
        group = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        value = np.minimum(value, (1 << self._bits) - 1)
        place = np.searchsorted(self._highest, (group << self._bits) | value)
        inside = np.minimum(place, len(self._highest) - 1)
        found = (self._keys[group] == key) & (place < len(self._highest)) & (self._group[inside] == group)
        return np.where(found, self._received[inside], 0)


# --- messages ---------------------------------------------------------------------------------------------


def message(history: History) -> Lag:
    """SENDs that were answered, at every subscribed device of every member but the sending socket."""
    operations, sessions = history.operations, history.sessions
    rows = history.measured_rows(Op.SEND)
    rows = rows[(operations["outcome"][rows] == Outcome.OK) & (operations["value"][rows] > 0)]
    sends = marks(history, Op.SEND, rows)
    sends = Marks(**{**sends.__dict__, "up_to": operations["value"][sends.row].astype(np.int64)})
    which, person = history.membership.members_of(sends.conversation)
    asked, device = history.membership.devices_of(person)
    pairs = _subscribed(history, sends.sent, which[asked], device)
    other = sessions.session[pairs.session] != sends.session[pairs.write]
    pairs = _Pairs(pairs.write[other], pairs.session[other])
    received = _messages_received(history, sends, pairs)
    return _lag(history, sends, pairs, received)


def _messages_received(history: History, sends: Marks, pairs: _Pairs) -> Ints:
    """When each message first came to each session, ns; 0 if it did not."""
    pushes, sessions = history.pushes, history.sessions
    rows = np.flatnonzero(pushes["kind"] == PushKind.MESSAGE)
    bits = int(max(pushes["value"][rows].max(initial=0), sends.up_to.max(initial=0))).bit_length()
    asked = (sends.conversation << bits) | sends.up_to
    messages = distinct(asked)
    key = _pack(
        messages,
        (pushes["conversation"][rows].astype(np.int64) << bits) | pushes["value"][rows].astype(np.int64),
        sessions.number(pushes["session"][rows]),
        sessions.count,
    )
    key, received = key[key >= 0], pushes["received"][rows][key >= 0]
    if not len(key):
        return np.zeros(len(pairs.write), np.int64)
    order = np.lexsort((received, key))
    key, received = key[order], received[order]
    session = sessions.number(sessions.session[pairs.session])
    wanted = _pack(messages, asked[pairs.write], session, sessions.count)
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[place] == wanted, received[place], 0)


def _pack(messages: Ints, message: Ints, session: Ints, sessions: int) -> Ints:
    """One number for (message, session); -1 where either is none of ours."""
    if not len(messages):
        return np.full(len(message), -1, np.int64)
    place = np.minimum(np.searchsorted(messages, message), len(messages) - 1)
    ours = (messages[place] == message) & (session >= 0)
    return np.where(ours, place * sessions + session, -1)


# --- the summary's words ----------------------------------------------------------------------------------


def collect(history: History) -> dict[str, Lag]:
    """All lags that are told of by replies and pushes, by name."""
    writes, pushes = effective(history), Covering(history)
    return {
        "ack": ack(history),
        "own_device": own_device(history, writes, pushes),
        "receipt": receipt(history, writes, pushes),
        "message": message(history),
    }


def summarise(
    lags: Mapping[str, Lag], polled: Mapping[str, Visible | Reason], queue: QueueLag | Reason
) -> Json:
    """`lag` of `summary.json`."""
    entries = {name: _entry(name, lag) for name, lag in lags.items()}
    for name, seen in polled.items():
        entries[name] = _unavailable(seen) if isinstance(seen, str) else _polled_entry(seen)
    entries["queue"] = _unavailable(queue) if isinstance(queue, str) else queue_lag.summarise(queue)
    return entries


def _entry(name: str, lag: Lag) -> Json:
    if not len(lag.time):
        return _unavailable("nobody had to be told in the measured window")
    eligible = int(np.count_nonzero(lag.outlived))
    choice = headline.choose(lag.of_probes)
    shown = lag.take(choice.rows)
    quantiles = shown.curve().summarise()
    entry: Json = {
        "count": len(lag.time),
        "censored": int(np.count_nonzero(~lag.observed)),
        "undelivered": lag.undelivered,
        "eligible": eligible,
        "undelivered_share": lag.undelivered / eligible if eligible else None,
        "from": choice.source,
        "quantiles": quantiles,
        "cross_check": headline.cross_check(
            choice,
            np.where(lag.observed, lag.time / 1e3, np.inf),
            quantiles,
            lambda rows: {"quantiles": lag.take(rows).curve().summarise()},
            "quantiles",
        ),
        "available": True,
        "why_not": None,
    }
    if name != "ack":
        entry["from_ack"] = shown.curve_from_ack().summarise()
    return entry


def _polled_entry(seen: Visible) -> Json:
    n = len(seen.left)
    estimate, lower, upper = seen.intervals().summarise()
    return {
        "count": n,
        "censored": int(np.count_nonzero(np.isinf(seen.right))),
        "undelivered": int(np.count_nonzero(np.isinf(seen.right))),
        "eligible": n,
        "undelivered_share": float(np.mean(np.isinf(seen.right))),
        "from": headline.PROBES if seen.by_probes else headline.ALL,
        "cross_check": None,
        "quantiles": estimate,
        "lower": lower,
        "upper": upper,
        "flapped": seen.flapped,
        "polls": seen.polls,
        "available": True,
        "why_not": None,
    }


def _unavailable(why_not: str) -> Json:
    return {
        "count": 0,
        "censored": 0,
        "undelivered": 0,
        "eligible": 0,
        "undelivered_share": None,
        "from": None,
        "quantiles": None,
        "cross_check": None,
        "available": False,
        "why_not": why_not,
    }
