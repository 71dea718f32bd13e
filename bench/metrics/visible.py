"""L4: how long after its ACK a probe's READ is shown to other connections, from polls.

A poll says only "not yet" or "by now", so each probe gives an interval: from when the last poll that did not
show it was sent, to when the first one after that was answered.  First-seen times would be late by up to the
poll's spacing, last-absent times early; Turnbull's estimate is neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, Marks, items_of, marks
from bench.metrics.ragged import last_before
from bench.metrics.survival import Intervals, turnbull
from bench.record import Op, Outcome

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Visible:
    """One entry per probe: seen between `left` and `right` ns after its ACK; right may be infinite."""

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    flapped: int
    """Probes whose value was seen, was gone again, and came back."""
    by_probes: bool = False
    """The probe users' process took its times."""

    def intervals(self) -> Intervals:
        """In µs."""
        return turnbull(self.left / 1e3, self.right / 1e3)


def visible(history: History) -> Visible:
    """L4: for good, that is after the last poll that did not show it.

    A probe's polls are the PROBE_STATEs of its conversation from its ACK to the next probe there."""
    operations, items = history.operations, history.items
    rows = history.measured_rows(Op.PROBE_READ)
    probes = marks(history, Op.PROBE_READ, rows[operations["outcome"][rows] == Outcome.OK])
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
    return _intervals(
        history.probe_worker is not None,
        probes,
        probe,
        operations["sent"][poll],
        operations["acknowledged"][poll],
        items["value"][index] >= probes.up_to[probe],
    )


def _probe_of(probes: Marks, conversation: Ints, actor: Ints, sent: Ints) -> Ints:
    """The last probe of that cursor that was acknowledged before the poll was sent; -1 if none was."""
    key = np.concatenate([(conversation << 32) | actor, (probes.conversation << 32) | probes.user])
    _, group = np.unique(key, return_inverse=True)
    asked, of = group[: len(sent)].astype(np.int64), group[len(sent) :].astype(np.int64)
    return last_before(of, probes.acknowledged, asked, sent + 1)


def _intervals(
    by_probes: bool, probes: Marks, probe: Ints, sent: Ints, answered: Ints, shows: Bools
) -> Visible:
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
    return Visible(left[polled], right[polled], int(np.count_nonzero(flapped)), by_probes)
