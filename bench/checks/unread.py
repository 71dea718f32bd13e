"""Are the unread numbers that people are shown true?

While others send and read, a number is right if it lies between what was certain when it was asked for and
what was possible when it came (`bounds.py`).  At the end, when nothing is going on any more, the two meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import sentences
from bench.checks.bounds import NOTHING
from bench.checks.check import Check, Judgement, findings_max
from bench.checks.counted import Counted, collect
from bench.checks.observed import SEED, Observed
from bench.checks.story import Story
from bench.metrics.history import History
from bench.metrics.ragged import distinct
from bench.record import Op, Outcome
from bench.results import Json

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ACCURATE, CONVERGENCE, TOTAL = "accurate_unread", "convergence", "total_unread"
"""The promises."""
OWN: Final = "own message unread"
STALE_CURSOR: Final = "too high: stale cursor"
HIGH: Final = "too high"
STALE_HEAD: Final = "too low: newest messages not shown yet"
AHEAD: Final = "too low: cursor ahead of all writes"
LOW: Final = "too low"


def judge(history: History, unknown: str, observed: Observed | None = None) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else nobody knows what was certain, no check
    says `pass`, and no number is called wrong.  `observed`: what wrote cursors
    (`observed.collect(…).written()`), where somebody has it."""
    promises = set(history.run.get("promises") or ())
    case = _Case(history, Story(history), collect(history, observed), unknown, promises)
    results = [case.shown(), case.at_end(), case.total()]
    return Judgement(
        [check for check, _ in results], [finding for _, findings in results for finding in findings]
    )


@dataclass(frozen=True)
class _Case:
    history: History
    story: Story
    counted: Counted
    unknown: str
    promises: set[str]

    def shown(self) -> tuple[Check, list[Json]]:
        """While the run went on."""
        among = len(self.counted.shown.row) - self.counted.finally_shown
        return self._out_of_bounds("unread", ACCURATE, among, ~self.counted.wrong.final, self.unknown)

    def at_end(self) -> tuple[Check, list[Json]]:
        """On the fresh connections of the final read.  A number that is what the store itself holds has
        converged; if the store lost something, that is told of the store."""
        wrong, unknown = self.counted.wrong, self.unknown
        if self.history.manifest.get("drained") is not True:
            unknown = unknown or "something may still have been on its way"
        other = wrong.final & (wrong.shown.unread != wrong.stored)
        return self._out_of_bounds("unread_at_end", CONVERGENCE, self.counted.finally_shown, other, unknown)

    def _out_of_bounds(
        self, name: str, promise: str, eligible: int, which: Bools, unknown: str
    ) -> tuple[Check, list[Json]]:
        """Which of those that are out of their bounds; the furthest first."""
        wrong = np.flatnonzero(which & (not unknown))
        wrong = wrong[np.argsort(-np.abs(self.counted.wrong.bounds.drift[wrong]), kind="stable")]
        kinds = _kinds(self.counted, wrong[: findings_max()])
        findings = [
            self._tell(name, kind, int(i)) for i, kind in zip(wrong[: findings_max()], kinds, strict=True)
        ]
        return self._check(name, promise, eligible, len(wrong), findings, unknown), findings

    def _tell(self, name: str, kind: str, i: int) -> Json:
        counted, shown, limits = self.counted, self.counted.wrong.shown, self.counted.wrong.bounds
        high = limits.drift[i] > 0
        write, message = (limits.least, limits.last) if high else (limits.most, limits.message)
        records = []
        if message[i] != NOTHING:
            sent = int(message[i])
            records.append(
                self.story.operation(int(counted.sends_row[sent]), "message", int(counted.sends.seq[sent]))
            )
        if write[i] != NOTHING:
            row, value = int(counted.cursors_row[write[i]]), int(counted.cursors.value[write[i]])
            told = self.story.seed(value) if row == SEED else self.story.operation(row, "write", value)
            if not records or told["op_id"] != records[0]["op_id"]:
                records.append(told)
        unread, head = int(shown.unread[i]), int(shown.last_seq[i])
        records.append(self.story.operation(int(shown.row[i]), "read", unread))
        return {
            "check": name,
            "kind": kind,
            "conversation": int(shown.conversation[i]),
            "user": int(shown.user[i]),
            "unread": unread,
            "low": int(limits.low[i]),
            "high": int(limits.high[i]),
            "drift": int(limits.drift[i]),
            "read_seq_shown": int(shown.read_seq[i]),
            "last_seq_shown": head if head >= 0 else None,
            "says": sentences.unread(records[-1], int(limits.low[i]), int(limits.high[i]), kind),
            "records": records,
        }

    def total(self) -> tuple[Check, list[Json]]:
        """`total_unread` against the sum over the same answer, where that lists all of a person's
        conversations.  Both come from the server: a difference is its own contradiction."""
        operations, membership = self.history.operations, self.history.membership
        told = (operations["op"] == Op.STATE) & (operations["outcome"] == Outcome.OK)
        rows = np.flatnonzero(told & (operations["unread"] >= 0))
        listed, total = self._sums(rows)
        of = np.bincount(membership.user, minlength=int(operations["user"][rows].max(initial=0)) + 1)
        whole = listed == of[operations["user"][rows]]
        wrong = np.flatnonzero(whole & (total != operations["unread"][rows]))
        findings = [self._tell_total(int(rows[i]), int(total[i])) for i in wrong[: findings_max()]]
        eligible = int(np.count_nonzero(whole))
        return self._check("total_unread", TOTAL, eligible, len(wrong), findings, self.unknown), findings

    def _tell_total(self, row: int, added: int) -> Json:
        said = int(self.history.operations["unread"][row])
        read = self.story.operation(row, "read", said)
        return {
            "check": "total_unread",
            "kind": "total is not the sum",
            "says": sentences.total(read, added),
            "user": read["user"],
            "total": said,
            "sum": added,
            "records": [read],
        }

    def _sums(self, rows: Ints) -> tuple[Ints, Ints]:
        """(conversations listed, their unread numbers added up) of STATEs."""
        row, unread = self.counted.shown.row, self.counted.shown.unread
        place = np.full(self.history.operations.rows, -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        of = place[row]
        mine = of >= 0
        of = of[mine]
        listed = np.bincount(of, minlength=len(rows))
        total = np.bincount(of, unread[mine], minlength=len(rows)).astype(np.int64)
        return listed, total

    def _check(
        self, name: str, promise: str, eligible: int, wrong: int, findings: list[Json], unknown: str
    ) -> Check:
        worst = findings[0] if findings else None
        return Check(name, promise, promise in self.promises, eligible, wrong, worst, unknown)


def _kinds(counted: Counted, wrong: Ints) -> list[str]:
    """What explains each number, as far as the same answer shows it."""
    limits, shown = counted.wrong.bounds, counted.wrong.shown.take(wrong)
    unread, read_seq, head = shown.unread, shown.read_seq, shown.last_seq
    top = np.where(head >= 0, head, limits.possibly_sent[wrong])
    others = top - read_seq - _own_between(counted, wrong, read_seq, top)
    read, possibly_read, sent = (column[wrong] for column in (limits.read, limits.possibly_read, limits.sent))
    high = limits.drift[wrong] > 0
    ahead = (read_seq > possibly_read) & (unread >= np.maximum(0, sent - read_seq))
    behind = (head >= 0) & (head < sent) & (unread >= np.maximum(0, head - possibly_read))
    told = [
        (high & (unread > others) & (unread <= top - read_seq), OWN),
        (high & (read_seq < read) & (unread <= limits.possibly_sent[wrong] - read_seq), STALE_CURSOR),
        (high, HIGH),
        (behind, STALE_HEAD),
        (ahead, AHEAD),
    ]
    return [str(kind) for kind in np.select([which for which, _ in told], [kind for _, kind in told], LOW)]


def _own_between(counted: Counted, wrong: Ints, above: Ints, up_to: Ints) -> Ints:
    """How many messages that the person sent, and was told of, are in (above, up_to]."""
    own, shown = counted.own, counted.wrong.key[wrong]
    bits = int(max(own.value.max(initial=0), up_to.max(initial=0), above.max(initial=0))).bit_length() + 1
    packed = distinct((own.key << bits) | own.value)
    first, last = (np.searchsorted(packed, (shown << bits) | seq, side="right") for seq in (above, up_to))
    between: Ints = np.maximum(0, last - first)
    return between
