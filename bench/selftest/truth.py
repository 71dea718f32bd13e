"""What was planted against what was found.  Pure.

A lie is found if a finding is about it: it names the very operation, or, for what spoils a stream or a cursor
(a push, a lost acknowledgement), the same conversation and the same device or person.  A finding that is
about no lie accuses something clean: it is false.  A held push is no error: it must be measured as late as it
was.  Nor is a cut connection or a missing answer, and no check may accuse anybody of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.metrics.history import History
from bench.population import NOBODY
from bench.record import PushKind
from bench.results import Json
from bench.selftest.lies import KINDS, NO_ERROR, Planted

RESIDUAL_NS: Final = 20_000_000
"""A held push must be recorded so soon after it was let go."""
OF_A_STREAM: Final = frozenset({"dropped_push", "duplicated_push", "reordered_push", "late_push"})
OF_A_CURSOR: Final = frozenset({"lost_ack"})

Place = tuple[str, int | None, int | None]
"""(operation, user or device; conversation; its number)."""


@dataclass(frozen=True)
class Row:
    """One kind of lie: `events` that could have been altered, lies that had an `effect`, those found."""

    kind: str
    events: int
    planted: int
    effect: int
    found: int
    missed: tuple[Planted, ...]
    residual_p99_us: float | None = None


@dataclass(frozen=True)
class Result:
    rows: tuple[Row, ...]
    false: tuple[Json, ...]
    """Findings that are about nothing planted."""

    @property
    def good(self) -> bool:
        return not self.false and not any(row.missed for row in self.rows)


def judge(
    history: History, findings: Sequence[Json], planted: Sequence[Planted], events: Mapping[str, int]
) -> Result:
    """`planted`, `events`: as the liar told them when all was over."""
    names = _Names(history)
    places: dict[Place, list[Planted]] = {}
    for lie in planted:
        for place in names.places(lie):
            places.setdefault(place, []).append(lie)
    found: set[int] = set()
    false = []
    for finding in findings:
        about = [lie for place in _about(finding) for lie in places.get(place, ())]
        found.update(id(lie) for lie in about if lie.kind != "late_push")
        if all(lie.kind in NO_ERROR for lie in about):
            false.append(finding)
    residual = _residuals(history, names, planted)
    found |= {lie for lie, late in residual.items() if 0 <= late <= RESIDUAL_NS}
    return Result(tuple(_row(kind, planted, events, found, residual) for kind in KINDS), tuple(false))


def _row(
    kind: str,
    planted: Iterable[Planted],
    events: Mapping[str, int],
    found: set[int],
    residual: Mapping[int, int],
) -> Row:
    lies = [lie for lie in planted if lie.kind == kind]
    effective = [lie for lie in lies if lie.effective]
    missed = () if kind in NO_ERROR else tuple(lie for lie in effective if id(lie) not in found)
    late = [residual[id(lie)] / 1e3 for lie in effective if id(lie) in residual]
    return Row(
        kind,
        events.get(kind, 0),
        len(lies),
        len(effective),
        len(effective) - len(missed),
        missed,
        float(np.quantile(late, 0.99)) if late else None,
    )


def _about(finding: Json) -> Iterator[Place]:
    """The operations, devices and people that a finding is about, in its conversation if it names one."""
    conversation, records = finding.get("conversation"), finding.get("records") or ()
    for record in records:
        yield "operation", conversation, record.get("op_id")
    for user in {finding.get("user"), *(record.get("user") for record in records)}:
        yield "user", conversation, user
    for device in {finding.get("device"), *(record.get("device") for record in records)}:
        yield "device", conversation, device


class _Names:
    """From what the liar saw on the wire to what the record calls it."""

    def __init__(self, history: History) -> None:
        record, membership = history.operations, history.membership
        number, user, device = (
            record["op_id"] & ((1 << 40) - 1),
            record["user"].astype(np.int64),
            record["device"].astype(np.int64),
        )
        self._first = np.full(membership.people, -1, np.int64)
        order = np.argsort(-membership.device)
        self._first[membership.device_user[order]] = membership.device[order]
        self._op_id = dict(
            zip(
                zip(number.tolist(), user.tolist(), device.tolist(), strict=True),
                record["op_id"].tolist(),
                strict=True,
            )
        )

    def device(self, lie: Planted) -> int:
        """Its number in the population; NOBODY for probes and the final read."""
        kind, _, number = lie.device.rpartition("-")
        if kind != "device" or not number.isdigit():
            return NOBODY
        return int(self._first[lie.user]) + int(number) - 1

    def places(self, lie: Planted) -> Iterator[Place]:
        """Where a finding about this lie must be.  One answer may hold lies of several conversations."""
        if lie.request.isdigit():
            op_id = self._op_id.get((int(lie.request), lie.user, self.device(lie)))
            yield "operation", lie.conversation, op_id
            yield "operation", None, op_id
        if lie.kind in OF_A_STREAM:
            yield "device", lie.conversation, self.device(lie)
        elif lie.kind in OF_A_CURSOR:
            yield "user", lie.conversation, lie.user


def _residuals(history: History, names: _Names, planted: Iterable[Planted]) -> dict[int, int]:
    """How long after it was let go each held push was received, ns; without those that never came."""
    pushes = history.pushes
    rows = np.flatnonzero(pushes["kind"] == PushKind.READ)
    columns = [pushes[name][rows].astype(np.int64) for name in ("device", "conversation", "actor", "value")]
    received = pushes["received"][rows]
    at: dict[tuple[int, ...], list[int]] = {}
    for key, moment in zip(zip(*(c.tolist() for c in columns), strict=True), received.tolist(), strict=True):
        at.setdefault(key, []).append(moment)
    found = {}
    for lie in planted:
        if lie.kind == "late_push" and lie.effective:
            came = at.get((names.device(lie), lie.conversation, lie.actor, lie.value), [])
            after = [moment - lie.at_ns for moment in came if moment >= lie.at_ns]
            if after:
                found[id(lie)] = min(after)
    return found
