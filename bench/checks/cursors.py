"""Do read cursors behave: in real time, and as each connection, device and person may expect?

Real time is promised by nobody here and measured everywhere.  What a scheme promises of sessions is judged on
each connection and each device; across the devices of a person it would take real time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import episodes, register, sentences, sessions
from bench.checks.check import Check, Judgement, findings_max
from bench.checks.fills import CACHE_ASIDE, Fills
from bench.checks.observed import SEED, Observed, collect
from bench.checks.story import Story
from bench.metrics.history import History
from bench.metrics.ragged import Groups
from bench.results import Json

Ints = NDArray[np.int64]

SCOPES: Final = ("session", "device", "person")
WHOSE: Final = {"session": "the same connection", "device": "the same device", "person": "the same person"}
STALE_OVER_S: Final = (0.0, 0.01, 0.1, 1.0, 10.0)


def judge(history: History, unknown: str, observed: Observed | None = None) -> Judgement:
    """`unknown`: why the record is not whole, empty if it is; else no check says `pass`.  `observed`: what
    `collect` gives, where somebody has it."""
    case = _Case(history, Story(history), observed or collect(history), unknown)
    results = [case.real_time()]
    for scope in SCOPES:
        results.append(case.session("read_your_writes", scope, sessions.read_your_writes))
        results.append(case.session("monotonic_reads", scope, sessions.monotonic_reads))
    return Judgement(
        [check for check, _ in results], [finding for _, findings in results for finding in findings]
    )


@dataclass(frozen=True)
class _Wrong:
    """Wrong reads: row, kind, what accuses each (-1: nothing in the record) and how long it had, in ns."""

    read: Ints
    kind: list[str]
    witness: Ints
    age: Ints


@dataclass
class _Case:
    history: History
    story: Story
    observed: Observed
    unknown: str

    def real_time(self) -> tuple[Check, list[Json]]:
        verdict = register.judge(self.observed.operations)
        rest = [
            np.setdiff1d(rows, verdict.stale, assume_unique=True)
            for rows in (verdict.superseded, verdict.unwritten)
        ]
        nothing = np.zeros(len(rest[0]) + len(rest[1]), np.int64)
        wrong = _Wrong(
            np.concatenate([verdict.stale, *rest]),
            ["stale"] * len(verdict.stale) + ["superseded"] * len(rest[0]) + ["unwritten"] * len(rest[1]),
            np.concatenate([verdict.witness, nothing - 1]),
            np.concatenate([verdict.age, nothing]),
        )
        judged = np.flatnonzero(~self.observed.operations.write)

        def tell(i: int) -> Json:
            if wrong.kind[i] != "stale":
                return self._never(wrong.kind[i], int(wrong.read[i]))
            missed = {
                "missed": int(verdict.missed[i]),
                "missed_at_most": int(verdict.missed_at_most[i]),
            }
            return self._stale(wrong, i, "") | missed

        check, findings = self._result("linearizable", "linearizable", judged, wrong, tell)
        return replace(check, figures=severity(verdict)), findings

    def session(
        self,
        promise: str,
        scope: str,
        judge: Callable[[register.Operations, NDArray[np.integer]], sessions.Broken],
    ) -> tuple[Check, list[Json]]:
        observed = self.observed
        whose: dict[str, NDArray[np.integer]] = {
            "session": observed.session,
            "device": observed.device,
            "person": np.where(observed.row == SEED, SEED, 0).astype(np.int8),  # a cursor is one person's
        }
        broken = judge(observed.operations, whose[scope])
        kind = promise.replace("_", " ")
        wrong = _Wrong(broken.reads, [kind] * len(broken.reads), broken.witness, broken.age)
        promised = promise if scope != "person" else "linearizable"
        return self._result(
            f"{promise}_{scope}",
            promised,
            broken.judged,
            wrong,
            lambda i: self._stale(wrong, i, WHOSE[scope]),
        )

    def _result(
        self, name: str, promise: str, judged: Ints, wrong: _Wrong, tell: Callable[[int], Json]
    ) -> tuple[Check, list[Json]]:
        """`tell` gives what is particular to a violation: kind, sentence, records and figures."""
        operations = self.observed.operations
        found = episodes.group(
            operations.key, operations.invoked, judged, wrong.read, wrong.witness, wrong.age
        )
        findings = []
        for i in found.told[: findings_max()].tolist():
            cursor = int(self.observed.cursor[operations.key[wrong.read[i]]])
            findings.append(
                {"check": name, "conversation": cursor >> 32, "user": cursor & 0xFFFFFFFF}
                | tell(i)
                | {"episode": int(found.of[i]), "in_episode": int(found.size[found.of[i]])}
            )
        worst = findings[0] if findings else None
        promised = promise in (self.history.run.get("promises") or ())
        check = Check(name, promise, promised, len(judged), len(wrong.read), worst, self.unknown, found.count)
        return check, findings

    def _stale(self, wrong: _Wrong, i: int, whose: str) -> Json:
        read, age_s = int(wrong.read[i]), round(int(wrong.age[i]) / 1e9, 6)
        witness, shown = self._record(int(wrong.witness[i])), self._record(read)
        records, says = [witness, shown], sentences.stale(shown, witness, age_s, whose)
        suspect = self._fills.suspect(read) if self._fills else None
        if suspect is not None:
            filler = self.story.operation(suspect.row, "filler", suspect.value)
            records = [witness, filler | {"suspects": suspect.suspects}, shown]
            says += sentences.suspected(filler, suspect.suspects)
        return {"kind": wrong.kind[i], "says": says, "records": records, "age_s": age_s}

    def _never(self, kind: str, read: int) -> Json:
        """A value that the cursor cannot have had."""
        operations, shown = self.observed.operations, self._record(read)
        key = int(operations.key[read])
        mine = self._of_cursor.row[slice(*self._of_cursor.start[key : key + 2])]
        before = mine[operations.responded[mine] < operations.invoked[read]]
        if kind == "unwritten":
            highest = before[np.argsort(operations.value[before])][-1:]
            records = [self._record(int(row)) | {"part": "before"} for row in highest]
            return {"kind": kind, "says": sentences.unwritten(shown), "records": [*records, shown]}
        same = mine[operations.write[mine] & (operations.value[mine] == operations.value[read])]
        write = int(same[np.argmin(operations.invoked[same])])
        higher = mine[operations.value[mine] > operations.value[read]]
        first = self._record(int(higher[np.argmin(operations.responded[higher])])) | {"part": "before"}
        written = self._record(write)
        return {
            "kind": kind,
            "says": sentences.superseded(shown, written, first),
            "records": [first, written, shown],
        }

    @cached_property
    def _of_cursor(self) -> Groups:
        return Groups(self.observed.operations.key, len(self.observed.cursor))

    @cached_property
    def _fills(self) -> Fills | None:
        if self.history.run.get("scheme") != CACHE_ASIDE:
            return None
        return Fills(self.history, self.observed)

    def _record(self, i: int) -> Json:
        row, value = int(self.observed.row[i]), int(self.observed.operations.value[i])
        if row == SEED:
            return self.story.seed(value)
        return self.story.operation(row, "write" if self.observed.operations.write[i] else "read", value)


def severity(verdict: register.Verdict) -> Json:
    """How wrong it is, besides how often: Gamma of the cursors that were read, and reads by their age."""
    gamma = verdict.gamma[verdict.read]
    above = gamma[gamma > 0]
    return {
        "cursors_read": len(gamma),
        "gamma_above_0": len(above),
        "gamma_s": {
            "p50": _seconds(np.quantile(above, 0.5, method="inverted_cdf")) if len(above) else None,
            "max": _seconds(gamma.max(initial=0)),
        },
        "stale_reads_older_than_s": {
            f"{limit:g}": int(np.count_nonzero(verdict.age > limit * 1e9)) for limit in STALE_OVER_S
        },
        "missed_max": int(verdict.missed.max(initial=0)),
        "missed_at_most_max": int(verdict.missed_at_most.max(initial=0)),
    }


def _seconds(ns: np.generic | int) -> float:
    return round(int(ns) / 1e9, 6)
