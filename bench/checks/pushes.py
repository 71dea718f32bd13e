"""Are pushes what a client takes them for: in order, each once, none missing, messages before receipts?

Within one server each connection is told of everything in the order in which it happened.  Between servers,
and by way of a queue, less may be promised; all of it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import sentences
from bench.checks.check import Check, Judgement, findings_max
from bench.checks.pushed import Pushed
from bench.checks.story import Story
from bench.checks.streams import Broken
from bench.checks.told import NOTHING, Lost, lost, settled
from bench.metrics.history import History
from bench.population import user_id
from bench.record import Op, PushKind
from bench.results import Json

Ints = NDArray[np.int64]

ORDERED, NONE_LOST, CAUSAL = "ordered_pushes", "no_push_lost", "causal_receipts"
"""The promises."""
_WORDS: Final = {PushKind.MESSAGE: "message", PushKind.READ: "read", PushKind.DELIVERED: "delivered"}


def judge(history: History, unknown: str) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else no check says `pass`, and nothing counts
    as lost."""
    case = _Case(history, Story(history), Pushed(history), unknown, set(history.run.get("promises") or ()))
    results = [case.duplicates(), case.order(), case.regress(), case.gaps(), case.causal()]
    return Judgement(
        [check for check, _ in results], [finding for _, findings in results for finding in findings]
    )


@dataclass(frozen=True)
class _Case:
    history: History
    story: Story
    pushed: Pushed
    unknown: str
    promises: set[str]

    def duplicates(self) -> tuple[Check, list[Json]]:
        log, changes = self.pushed.log
        found = self.pushed.by_version.duplicates()
        in_log = changes.duplicates()
        wrong = _either(found, Broken(log[in_log.rows], log[in_log.witness]))
        return self._broken(
            "push_duplicates", ORDERED, len(self.pushed.row), wrong, "duplicate push", sentences.push_again
        )

    def order(self) -> tuple[Check, list[Json]]:
        log, changes = self.pushed.log
        found, in_log = self.pushed.by_version.late(), changes.late()
        extent = np.zeros(len(self.pushed.row), np.int64)
        extent[log[in_log.rows]] = in_log.extent
        extent[found.rows] = found.extent
        wrong = _either(found, Broken(log[in_log.rows], log[in_log.witness]))
        check, findings = self._broken(
            "push_order", ORDERED, len(self.pushed.row), wrong, "reordered push", sentences.push_late,
            lambda entry: {"extent": int(extent[entry])},
        )  # fmt: skip
        again = (self.pushed.by_version.duplicates().rows, log[changes.duplicates().rows])
        figures = {"again_or_late": len(np.unique(np.concatenate([wrong.rows, *again])))}
        return replace(check, figures=figures), findings

    def regress(self) -> tuple[Check, list[Json]]:
        wrong = _once(self.pushed.regressed())
        return self._broken(
            "push_regress", ORDERED, len(self.pushed.row), wrong, "version regress",
            lambda before, after, _: sentences.version_again(before, after),
        )  # fmt: skip

    def causal(self) -> tuple[Check, list[Json]]:
        found = self.pushed.overtaken()
        return self._broken(
            "receipt_before_message", CAUSAL, found.eligible, found, "receipt before its message",
            sentences.receipt_early,
        )  # fmt: skip

    def gaps(self) -> tuple[Check, list[Json]]:
        name, unknown = "push_gaps", self.unknown
        if not settled(self.history):
            unknown = unknown or "the run did not end with nothing on its way: what is last may still come"
        eligible, gone = lost(self.history, self.pushed)
        if self.unknown:
            gone = gone.take(np.zeros(0, np.int64))
        findings = [self._tell_lost(name, gone, i) for i in range(min(len(gone.session), findings_max()))]
        return self._check(name, NONE_LOST, eligible, len(gone.session), findings, unknown), findings

    def _broken(
        self,
        name: str,
        promise: str,
        eligible: int,
        wrong: Broken,
        kind: str,
        says: Callable[[Json, Json, float], str],
        more: Callable[[int], Json] = lambda _: {},
    ) -> tuple[Check, list[Json]]:
        """The longest since its witness first."""
        late = self.pushed.received[wrong.rows] - self.pushed.received[wrong.witness]
        findings = [
            self._tell(name, kind, int(wrong.rows[i]), int(wrong.witness[i]), int(late[i]) / 1e9, says)
            | more(int(wrong.rows[i]))
            for i in np.argsort(-late, kind="stable")[: findings_max()]
        ]
        return self._check(name, promise, eligible, len(wrong.rows), findings, self.unknown), findings

    def _check(
        self, name: str, promise: str, eligible: int, wrong: int, findings: list[Json], unknown: str
    ) -> Check:
        worst = findings[0] if findings else None
        return Check(name, promise, promise in self.promises, eligible, wrong, worst, unknown)

    def _tell(
        self,
        name: str,
        kind: str,
        entry: int,
        witness: int,
        age_s: float,
        says: Callable[[Json, Json, float], str],
    ) -> Json:
        pushed = self.pushed
        first, wrong = (self.story.push(int(pushed.row[i])) for i in (witness, entry))
        return {
            "check": name,
            "kind": kind,
            "conversation": int(pushed.conversation[entry]),
            "user": int(pushed.user[entry]),
            "stream": self._stream(
                *(int(c[entry]) for c in (pushed.kind, pushed.conversation, pushed.actor))
            ),
            "says": says(first, wrong, age_s),
            "age_s": round(age_s, 6),
            "records": [first | {"part": "before"}, wrong],
        }

    def _tell_lost(self, name: str, gone: Lost, i: int) -> Json:
        """The change, what shows that it was told to others, and the later push that this one did get."""
        operation, elsewhere, later = (int(c[i]) for c in (gone.operation, gone.elsewhere, gone.later))
        value, session = int(gone.value[i]), int(gone.session[i])
        records = []
        if operation != NOTHING:
            listed = self.history.operations["op"][operation] == Op.SYNC
            records.append(self.story.operation(operation, "read" if listed else "write", value))
        records += [self.story.push(row) for row in (elsewhere, later) if row != NOTHING]
        user = self._user(session)
        stream = self._stream(*(int(c[i]) for c in (gone.kind, gone.conversation, gone.actor)))
        who = f"{user_id(user)} on session {int(self.pushed.session_id[session]):#x}"
        return {
            "check": name,
            "kind": "tail gap" if later == NOTHING else "gap",
            "says": sentences.push_lost(stream, value, who, records, later=later != NOTHING),
            "conversation": int(gone.conversation[i]),
            "user": user,
            "stream": stream,
            "value": value,
            "device": int(self.pushed.device[session]),
            "subscribed_s": self.story.seconds(int(self.pushed.subscribed[session])),
            "closed_s": self.story.seconds(int(self.pushed.closed[session])),
            "records": records,
        }

    def _user(self, session: int) -> int:
        membership = self.history.membership
        return int(
            membership.device_user[np.flatnonzero(membership.device == self.pushed.device[session])[0]]
        )

    @staticmethod
    def _stream(kind: int, conversation: int, actor: int) -> str:
        word = f"{_WORDS[PushKind(kind)]}/{conversation}"
        return word if kind == PushKind.MESSAGE else f"{word}/{actor}"


def _either(found: Broken, other: Broken) -> Broken:
    return _once(
        Broken(np.concatenate([found.rows, other.rows]), np.concatenate([found.witness, other.witness]))
    )


def _once(found: Broken) -> Broken:
    """Each push once, by the first that shows it wrong."""
    rows, first = np.unique(found.rows, return_index=True)
    return Broken(rows, found.witness[first])
