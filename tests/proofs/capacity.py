"""Searches for a capacity that is known by construction: `make proof-capacity`.

The server is the control with a planted service time (`tests/e2e/slow_server.py`): SENDs pass one at a time,
each for so many ms, so that their delays follow from the planned times alone (`in_line`).  The true capacity
is the rate at which the median, over several plans, of the p99 that follows is what the objective
allows."""

from __future__ import annotations

import heapq
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench import machine
from bench.capacity import objective
from bench.capacity.search import FOUND, Found, Limits
from bench.capacity.study import SAMPLES, Pace, Study
from bench.cli.signals import end_as_by_ctrl_c
from bench.metrics.quantiles import rank
from bench.options import Places, RunOptions
from bench.plan import Floats, Ints, PlanOptions, make
from bench.population import PopulationOptions, build
from bench.services import server

USERS = 100
DRAWS = 101
CASES = ((40.0, 400.0), (30.0, 300.0), (25.0, 250.0))
"""(service time, limit of SEND.p99), ms: long beside what a busy machine adds to either."""
PACE = Pace(warmup_s=2.0, measure_s=8.0, budget_s=1200.0)


def p99_ms(rate_per_s: float, draw: int, service_ms: float, pace: Pace = PACE, users: int = USERS) -> float:
    """What the planted queue alone makes of one plan's SENDs; those of probes pass it too.

    A device's SEND waits until its one before is answered (docs/protocol.md: a mutation waits for the one
    before it), and only then stands in line."""
    plan = make(
        build(PopulationOptions(users)),
        PlanOptions(rate_per_s, pace.warmup_s, max(pace.measure_s, SAMPLES / rate_per_s), draw=draw),
    )
    at = np.concatenate([plan.sends["at"], plan.probes["at"]]) / 1e6
    asker = np.concatenate([plan.sends["device"], users + plan.probes["pair"]])
    delays = in_line(at, asker, service_ms)
    of_probes = np.arange(len(at)) >= len(plan.sends)
    measured = np.sort(delays[~of_probes & (at >= pace.warmup_s * 1e3)])
    return float(measured[rank(len(measured), 0.99)])


def in_line(at: Floats, asker: Ints, service_ms: float) -> Floats:
    """Delays, ms, of what comes `at`, ms: one server, and one of each asker's in its line at a time."""
    waiting: dict[int, list[int]] = {}
    for i in np.argsort(at, kind="stable")[::-1].tolist():
        waiting.setdefault(int(asker[i]), []).append(i)
    line = [(float(at[own[-1]]), own.pop()) for own in waiting.values()]
    heapq.heapify(line)
    delays, free = np.empty(len(at)), 0.0
    while line:
        came, i = heapq.heappop(line)
        free = max(free, came) + service_ms
        delays[i] = free - at[i]
        if own := waiting[int(asker[i])]:
            heapq.heappush(line, (max(free, float(at[own[-1]])), own.pop()))
    return delays


def truth(service_ms: float, limit_ms: float, pace: Pace = PACE, users: int = USERS) -> float:
    """SEND/s, within 0.2 %."""
    low, high = 300.0 / service_ms, 1300.0 / service_ms
    while high / low > 1.002:
        rate = (low * high) ** 0.5
        found = np.median([p99_ms(rate, draw, service_ms, pace, users) for draw in range(DRAWS)])
        low, high = (rate, high) if found < limit_ms else (low, rate)
    return (low * high) ** 0.5


class OfPlanted(Study):
    """What tells the control's drift is more than a planted server carries: left behind, it would be in the
    steps after it."""

    @property
    def drift_rate(self) -> float:
        return self.limits.start


def search(service_ms: float, limit_ms: float, out: Path, seed: int, limits: Limits, pace: Pace) -> Study:
    os.environ["PLANTED_SERVICE_MS"] = str(service_ms)
    server.MODULE = "tests.e2e.slow_server"
    options = RunOptions("memory", users=USERS, seed=seed, out=out, places=Places("local"), command="proof")
    wanted = objective.parse(f"SEND.p99<{limit_ms:g}ms, errors<0.1%, violations=0")
    study = OfPlanted(options, wanted, limits, pace, say=_say, show=lambda _: None)
    study.conduct()
    return study


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def row(service_ms: float, limit_ms: float, true: float, study: Study, found: Found) -> str:
    if found.interval is None or found.capacity is None or found.half_width is None:
        return f"| {service_ms:g} | {limit_ms:g} | {true:.1f} | {found.how}: {found.why} | | | | | |"
    low, high = found.interval
    said = ", ".join(f"{check.share:.0%}: held in {check.held} of {check.steps}" for check in found.checks)
    return (
        f"| {service_ms:g} | {limit_ms:g} | {true:.1f} | {found.capacity:.1f} [{low:.1f}, {high:.1f}] "
        f"| {'yes' if low <= true <= high else 'NO'} | {found.half_width:.1%} | {found.binding} "
        f"| {said or 'not reached'} "
        f"| {len(study.climbers[0].steps)} in {study.spent_s:.0f} s |"
    )


def good(true: float, found: Found) -> bool:
    inside = found.interval is not None and found.interval[0] <= true <= found.interval[1]
    checked = [check.agrees for check in found.checks]
    return found.how == FOUND and inside and (found.half_width or 1) <= 0.10 and checked == [True, True]


def main(cases: Sequence[tuple[float, float]] = CASES) -> int:
    machine.make_room(USERS)
    end_as_by_ctrl_c()
    rows, all_good = [], True
    with tempfile.TemporaryDirectory() as folder:
        for seed, (service_ms, limit_ms) in enumerate(cases, start=1):
            true = truth(service_ms, limit_ms)
            study = search(service_ms, limit_ms, Path(folder), seed, replace(Limits(), high=2000.0), PACE)
            found = study.climbers[0].found()
            rows.append(row(service_ms, limit_ms, true, study, found))
            all_good &= good(true, found)
    print("# Capacity of servers whose capacity is known by construction\n")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()['class']}, `make proof-capacity`.\n")
    columns = "service ms, SEND p99 < ms, true msg/s, found, covered, half-width, binding, once more, steps"
    print(f"| {' | '.join(columns.split(', '))} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    which = "All" if all_good else "NOT all"
    print(f"\n{which} searches cover the truth, are within 10 %, hold at 90 % and fail at 115 %.")
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
