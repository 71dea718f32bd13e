"""Do read cursors behave: in real time, and as each connection, device and person may expect?

Real time is promised by nobody here and measured everywhere.  What a scheme promises of sessions is judged on
each connection and each device; across the devices of a person it would take real time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import register, sessions
from bench.checks.check import FINDINGS_MAX, Check, Judgement
from bench.checks.observed import SEED, Observed, collect
from bench.checks.story import Story
from bench.metrics.history import History
from bench.results import Json

Ints = NDArray[np.int64]

SCOPES: Final = ("session", "device", "person")


def judge(history: History, missing_rows: int) -> Judgement:
    """`missing_rows`: rows that the record's running counters miss; then no check says `pass`."""
    unknown = f"{missing_rows} rows are missing from the record" if missing_rows else ""
    case = _Case(Story(history), collect(history), unknown, set(history.run.get("promises") or ()))
    results = [case.real_time()]
    for scope in SCOPES:
        results.append(case.session("read_your_writes", scope, sessions.read_your_writes))
        results.append(case.session("monotonic_reads", scope, sessions.monotonic_reads))
    return Judgement(
        [check for check, _ in results], [finding for _, findings in results for finding in findings]
    )


@dataclass(frozen=True)
class _Case:
    story: Story
    observed: Observed
    unknown: str
    promises: set[str]

    def real_time(self) -> tuple[Check, list[Json]]:
        verdict = register.judge(self.observed.operations)
        order = np.argsort(-verdict.age, kind="stable")
        findings = [
            self._tell("linearizable", "stale", verdict.stale[i], verdict.witness[i])
            | {"age_s": round(int(verdict.age[i]) / 1e9, 6), "missed": int(verdict.missed[i])}
            for i in order[:FINDINGS_MAX]
        ]
        others = (("superseded", verdict.superseded), ("unwritten", verdict.unwritten))
        findings += [
            self._tell("linearizable", kind, row, None)
            for kind, rows in others
            for row in rows[:FINDINGS_MAX]
        ]
        wrong = len(verdict.stale) + len(verdict.superseded) + len(verdict.unwritten)
        return self._check("linearizable", "linearizable", verdict.reads, wrong, findings)

    def session(
        self,
        promise: str,
        scope: str,
        judged: Callable[[register.Operations, Ints], sessions.Broken],
    ) -> tuple[Check, list[Json]]:
        observed = self.observed
        person = np.where(observed.row == SEED, SEED, observed.cursor[observed.operations.key] & 0xFFFFFFFF)
        of = {"session": observed.session, "device": observed.device, "person": person}[scope]
        broken = judged(observed.operations, of)
        name = f"{promise}_{scope}"
        findings = [
            self._tell(name, promise.replace("_", " "), read, witness)
            for read, witness in zip(broken.reads[:FINDINGS_MAX], broken.witness[:FINDINGS_MAX], strict=True)
        ]
        promised = promise if scope != "person" else "linearizable"
        return self._check(name, promised, broken.eligible, len(broken.reads), findings)

    def _check(
        self, name: str, promise: str, eligible: int, wrong: int, findings: list[Json]
    ) -> tuple[Check, list[Json]]:
        worst = findings[0] if findings else None
        promised = promise in self.promises
        return Check(name, promise, promised, eligible, wrong, worst, self.unknown), findings

    def _tell(self, check: str, kind: str, read: int, witness: int | None) -> Json:
        cursor = int(self.observed.cursor[self.observed.operations.key[read]])
        records = [self._record(read)] if witness is None else [self._record(witness), self._record(read)]
        return {
            "check": check,
            "kind": kind,
            "conversation": cursor >> 32,
            "user": cursor & 0xFFFFFFFF,
            "operations": records,
        }

    def _record(self, i: int) -> Json:
        row, value = int(self.observed.row[i]), int(self.observed.operations.value[i])
        if row == SEED:
            return self.story.seed(value)
        return self.story.operation(row, "write" if self.observed.operations.write[i] else "read", value)
