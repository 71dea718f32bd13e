"""What the last second's rows say: for the runner's progress line, and for Locust's own statistics.

Nothing is counted on the hot path: once a second numpy looks at the rows that ended since.  Locust keeps two
digits of a latency, so its page is for watching; what is reported is computed from the rows.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from locust.env import Environment
from locust.stats import StatsEntry, bucket_response_time

from bench.load.config import BUCKETS_PER_OCTAVE, Buckets, Report
from bench.load.pacing import now_ns
from bench.load.process import LoadProcess
from bench.record import ERROR_NAMES, NONE, Op, Outcome

Rows = npt.NDArray[np.void]
PROTOCOL: Final = "ws"
_CELLS: Final = len(Outcome)


class Statistics:
    """Call `report` once a second."""

    def __init__(self, load: LoadProcess, environment: Environment) -> None:
        self._load = load
        self._environment = environment
        self._planned_at = load.timeline.planned_at()
        self._first = 0
        """Rows before this one have ended and are counted in `_ended`."""
        self._ended = np.zeros(len(Op) * _CELLS, np.int64)
        self._achieved = 0
        self._since_ns = 0

    def follow(self) -> None:
        """The load process has another plan: what is offered and achieved is of that one."""
        self.report()
        self._planned_at = self._load.timeline.planned_at()
        self._achieved = 0

    def report(self) -> Report:
        """Counts so far and durations since the last call; also told to Locust."""
        now, engine = now_ns(), self._load.engine
        report = Report(
            at_ns=now, connected=self._load.crowd.ready, sent=engine.recorder.operations.count,
            pushes=engine.recorder.pushes.count, counters=dict(engine.counters),
            checks=engine.live.counts, since_ns=self._load.stalls.since_ns, stalls=self._load.stalls.take(),
        )  # fmt: skip
        rows = engine.recorder.since(self._first)
        counts = self._ended + sum((_count(part) for part in rows), np.zeros(len(Op) * _CELLS, np.int64))
        report.outcomes = {
            op.name: {outcome.name: int(n) for outcome in Outcome if (n := counts[op * _CELLS + outcome])}
            for op in Op
            if counts[op * _CELLS : (op + 1) * _CELLS].any()
        }
        report.achieved = self._achieved + sum(_achieved(part) for part in rows)
        if self._load.timeline.t0_ns:
            due = now - self._load.timeline.t0_ns
            report.offered = int(np.searchsorted(self._planned_at, due, side="right"))
        self._durations(rows, report)
        self._move_on(rows)
        self._since_ns = now
        return report

    def _move_on(self, rows: list[Rows]) -> None:
        for part in rows:
            open_rows = np.flatnonzero(part["outcome"] == Outcome.PENDING)
            ended = int(open_rows[0]) if len(open_rows) else len(part)
            self._ended += _count(part[:ended])
            self._achieved += _achieved(part[:ended])
            self._first += ended
            if ended < len(part):
                return

    def _durations(self, rows: list[Rows], report: Report) -> None:
        told: list[tuple[int, npt.NDArray[np.int64]]] = []
        for part in rows:
            recent = part[part["acknowledged"] > self._since_ns]
            latency = (recent["acknowledged"] - recent["intended"]) // 1000
            for op in np.unique(recent["op"]):
                of_op = latency[recent["op"] == op]
                _merge(report.latency.setdefault(Op(op).name, {}), of_op)
                told.append((int(op), of_op))
            paced = part[(part["sent"] > self._since_ns) & (part["plan"] != NONE) & (part["attempt"] == 0)]
            _merge(report.send_lag, (paced["sent"] - paced["intended"]) // 1000)
            self._tell_errors(part[(part["error"] > 0) & (part["intended"] > self._since_ns)])
        for op_number, latencies in told:
            self._tell(Op(op_number).name, latencies // 1000)

    def _tell(self, name: str, latency_ms: npt.NDArray[np.int64]) -> None:
        """One entry for all of a second: `request.fire` for each would cost more than the request."""
        stats, now = self._environment.stats, time.time()
        entry = StatsEntry(stats, name, PROTOCOL)
        values, counts = np.unique(latency_ms, return_counts=True)
        entry.num_requests = len(latency_ms)
        entry.num_reqs_per_sec[int(now)] = len(latency_ms)
        entry.last_request_timestamp = now
        entry.total_response_time = int(latency_ms.sum())
        entry.min_response_time, entry.max_response_time = int(values[0]), int(values[-1])
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            entry.response_times[bucket_response_time(value)] += count
        stats.get(name, PROTOCOL).extend(entry)
        stats.total.extend(entry)

    def _tell_errors(self, rows: Rows) -> None:
        kinds = Counter(zip(rows["op"].tolist(), rows["error"].tolist(), strict=True))
        for (op, error), count in kinds.items():
            for _ in range(count):
                self._environment.stats.log_error(PROTOCOL, Op(op).name, ERROR_NAMES[error])


def _count(rows: Rows) -> npt.NDArray[np.int64]:
    cells = rows["op"].astype(np.int64) * _CELLS + rows["outcome"]
    return np.bincount(cells, minlength=len(Op) * _CELLS)


def _achieved(rows: Rows) -> int:
    carried_out = (rows["plan"] != NONE) & (rows["attempt"] == 0) & (rows["outcome"] != Outcome.UNSENT)
    return int(carried_out.sum())


def _merge(buckets: Buckets, durations_us: npt.NDArray[Any]) -> None:
    """Adds durations to buckets (config.bucket_of, for arrays)."""
    places = np.round(np.log2(np.maximum(durations_us, 1)) * BUCKETS_PER_OCTAVE).astype(np.int64)
    for place, count in zip(*np.unique(places, return_counts=True), strict=True):
        buckets[int(place)] = buckets.get(int(place), 0) + int(count)
