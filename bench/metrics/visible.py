"""L4, L5, L6: how long after its ACK a probe's READ is shown to other connections, is in MySQL, is in Redis.

All three are polled for.  A poll says only "not yet" or "by now", so each probe gives an interval: from when
the last poll that did not show it was sent, to when the first one after that was answered.  First-seen times
would be late by up to the poll's spacing, last-absent times early; Turnbull's estimate is neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, Marks, items_of, marks
from bench.metrics.ragged import last_before
from bench.metrics.survival import Intervals, turnbull
from bench.record import Op, Outcome

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_STORE: Final = "no durable store"
NO_CACHE: Final = "no cache"
NOT_ASKED: Final = "the stores were not asked: it takes the server's control door"
NO_PROBE: Final = "no probe was answered in the measured window"
Reason: TypeAlias = str
"""Why there is nothing."""


@dataclass(frozen=True)
class Visible:
    """One entry per probe: seen between `left` and `right` ns after its ACK; right may be infinite."""

    left: Floats
    right: Floats
    flapped: int
    """Probes whose value was seen, was gone again, and came back."""
    polls: int = 0
    """How often it was asked, all probes together."""
    by_probes: bool = False
    """The probe users' process took its times."""

    def intervals(self) -> Intervals:
        """In µs."""
        return turnbull(self.left / 1e3, self.right / 1e3)


def collect(history: History) -> dict[str, Visible | Reason]:
    """The polled lags by name, or why there is none."""
    services = history.run.get("services") or {}
    stored: Visible | Reason = NO_STORE
    cached: Visible | Reason = NO_CACHE if "mysql" in services else NO_STORE
    if "mysql" in services:
        stored = _known(history, Op.PROBE_DURABLE, durable)
    if "redis" in services:
        cached = _known(history, Op.PROBE_CACHED, cache)
    seen = visible(history)
    return {"visible": seen if len(seen.left) else NO_PROBE, "durable": stored, "cache": cached}


def _known(history: History, op: Op, of: Any) -> Visible | Reason:
    if not len(history.rows(op)):
        return NOT_ASKED
    found: Visible = of(history)
    return found if len(found.left) else NO_PROBE


# --- L4 ---------------------------------------------------------------------------------------------------


def visible(history: History) -> Visible:
    """L4: for good, that is after the last poll that did not show it.

    A probe's polls are the PROBE_STATEs of its conversation from its ACK to the next probe there."""
    operations, items = history.operations, history.items
    probes = answered_probes(history)
    probes = probes.take(np.lexsort((probes.acknowledged, probes.user, probes.conversation)))
    polls = history.rows(Op.PROBE_STATE)
    index, poll = items_of(history, polls[operations["outcome"][polls] == Outcome.OK])
    conversation, actor = (
        items["conversation"][index].astype(np.int64),
        items["actor"][index].astype(np.int64),
    )
    probe = _probe_of(probes, conversation, actor, operations["sent"][poll])
    mine = np.flatnonzero(probe >= 0)
    probe, poll, index = probe[mine], poll[mine], index[mine]
    return _intervals(history, probes, probe, poll, items["value"][index] >= probes.up_to[probe]).seen()


def answered_probes(history: History) -> Marks:
    """The measured READs of probes that were acknowledged."""
    rows = history.measured_rows(Op.PROBE_READ)
    return marks(history, Op.PROBE_READ, rows[history.outcome(rows, Outcome.OK)])


def _probe_of(probes: Marks, conversation: Ints, actor: Ints, sent: Ints) -> Ints:
    """The last probe of that cursor that was acknowledged before the poll was sent; -1 if none was."""
    key = np.concatenate([(conversation << 32) | actor, (probes.conversation << 32) | probes.user])
    _, group = np.unique(key, return_inverse=True)
    asked, of = group[: len(sent)].astype(np.int64), group[len(sent) :].astype(np.int64)
    return last_before(of, probes.acknowledged, asked, sent + 1)


# --- L5 and L6 --------------------------------------------------------------------------------------------


def durable(history: History) -> Visible:
    """L5: from the ACK of a READ until MySQL holds it, as the server tells through `/control`.

    Where the ACK means "on disk" it holds it by then: the first poll shows it, and the interval is [0, first
    poll], which bounds the time of asking and not of writing."""
    return _asked(history, Op.PROBE_DURABLE).seen()


def cache(history: History) -> Visible:
    """L6: from when MySQL holds it until Redis does or has no entry (then the next reader asks MySQL).

    MySQL holds it at the ACK where that means "on disk", else somewhere in L5's interval (d, e]; with Redis
    in (c, f] after the ACK the lag is in (max(0, c - e), f - d]."""
    cached = _asked(history, Op.PROBE_CACHED)
    if (history.run.get("ack") or {}).get("read") == "durable":
        return cached.seen()
    stored = _asked(history, Op.PROBE_DURABLE)
    with np.errstate(invalid="ignore"):
        left = np.maximum(0, cached.left - np.where(np.isinf(stored.right), np.inf, stored.right))
        right = np.maximum(left, cached.right - stored.left)
    return replace(cached, left=left, right=right, polled=cached.polled & stored.polled).seen()


def _asked(history: History, op: Op) -> _Polled:
    """A poll belongs to the probe whose conversation and seq it asks for."""
    operations, probes = history.operations, answered_probes(history)
    polls = history.rows(op)
    polls = polls[history.outcome(polls, Outcome.OK)]
    probe = probe_asked_for(history, probes, polls)
    polls, probe = polls[probe >= 0], probe[probe >= 0]
    value = operations["value"][polls]
    shows = value >= probes.up_to[probe]
    if op == Op.PROBE_CACHED:
        shows |= value < 0
    return _intervals(history, probes, probe, polls, shows)


def probe_asked_for(history: History, probes: Marks, rows: Ints) -> Ints:
    """For rows that name a conversation and the seq that they wait for: which probe that is; -1 if none."""
    operations = history.operations
    if not len(probes.row):
        return np.full(len(rows), -1, np.int64)
    key = (probes.conversation << 32) | probes.up_to
    order = np.argsort(key)
    asked = (operations["conversation"][rows].astype(np.int64) << 32) | operations["argument"][rows]
    place = order[np.minimum(np.searchsorted(key, asked, sorter=order), len(key) - 1)]
    return np.where(key[place] == asked, place, -1)


# --- intervals --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Polled:
    """As Visible, for every probe; of those that nobody polled for nothing is known."""

    left: Floats
    right: Floats
    polled: Bools
    flapped: int
    polls: int
    by_probes: bool

    def seen(self) -> Visible:
        left, right = self.left[self.polled], self.right[self.polled]
        return Visible(left, right, self.flapped, self.polls, self.by_probes)


def _intervals(history: History, probes: Marks, probe: Ints, poll: Ints, shows: Bools) -> _Polled:
    """`probe[i]`: which probe poll i (a row of operations) is of; `shows[i]`: whether it shows the value."""
    sent, answered = history.operations["sent"][poll], history.operations["acknowledged"][poll]
    n = len(probes.row)
    never = np.iinfo(np.int64).max
    last_absent = np.zeros(n, np.int64)
    np.maximum.at(last_absent, probe[~shows], sent[~shows])
    first_present = np.full(n, never)
    np.minimum.at(first_present, probe[shows], answered[shows])
    settled = shows & (sent > last_absent[probe])
    settled_at = np.full(n, never)
    np.minimum.at(settled_at, probe[settled], answered[settled])
    polled = np.bincount(probe, minlength=n) > 0
    left = np.maximum(0, last_absent - probes.acknowledged).astype(np.float64)
    right = np.where(settled_at == never, np.inf, (settled_at - probes.acknowledged).astype(np.float64))
    flapped = (first_present < never) & (first_present < last_absent)
    by_probes = history.probe_worker is not None
    return _Polled(left, right, polled, int(np.count_nonzero(flapped)), len(probe), by_probes)
