"""What an event costs that is recorded and checked live, without what calls it here."""

from __future__ import annotations

import itertools
import os
import shutil
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.load.live_checks import LiveChecks
from bench.load.recorder import Recorder
from bench.record import NONE, Op, Phase, PushKind

pytestmark = pytest.mark.speed

NUMBER = 50_000
ROUNDS = 5
BUDGET_US = 1.5
"""Of recording and checking one event."""
SESSIONS, CONVERSATIONS = 500, 40


def cpu_us(what: Callable[[int], None]) -> float:
    """CPU of one call, the least of a few rounds: a busy machine only adds."""
    number = itertools.count(1)
    took = timeit.repeat(lambda: what(next(number)), number=NUMBER, repeat=ROUNDS, timer=time.process_time)
    return min(took) / NUMBER * 1e6


@pytest.fixture
def recorder() -> Recorder:
    folder = Path(f"/dev/shm/readstate-live-{os.getpid()}")
    folder.mkdir()
    try:
        return Recorder(folder, 0)
    finally:
        shutil.rmtree(folder)  # the mapped files stay until they are let go


def test_recording_and_checking_an_event_stays_within_its_budget(recorder: Recorder) -> None:
    checks = LiveChecks(100_000, 100_000)
    checks.begin(1)
    heards = [checks.heard(session) for session in range(SESSIONS)]
    for session in range(SESSIONS):
        checks.subscribed(session)
    row = recorder.operation(Op.STATE, 1, 2, 3, 4, 5, Phase.MEASURE)

    def nothing(n: int) -> None:
        _ = n % SESSIONS, n % CONVERSATIONS

    def message(n: int) -> None:
        recorder.push(0, n, 3, n, NONE, NONE, 7, 8, 9, 10, 11, Phase.MEASURE)
        checks.message(n % SESSIONS, 8, n % CONVERSATIONS, 11, n, n)

    def update(n: int) -> None:
        recorder.push(1, n, 3, n, n, n, 7, 8, 9, 10, 11, Phase.MEASURE)
        checks.update(n % SESSIONS, 8, PushKind.READ, n % CONVERSATIONS, 11, n, n, n, n)

    def item(n: int) -> None:
        recorder.item(row, 0, 6, 7, n, 9, 0, 0, 10)
        checks.shown(heards[n % SESSIONS], 8, n % CONVERSATIONS, 5, n, n + 1)

    def acknowledged(n: int) -> None:
        recorder.answered(row, n, 10, 11, NONE, 0, 1, 1, None)
        checks.wrote(heards[n % SESSIONS], n % CONVERSATIONS, n, n)

    cost = {what.__name__: cpu_us(what) - cpu_us(nothing) for what in (message, update, item, acknowledged)}
    print(", ".join(f"{name} {us:.2f} µs" for name, us in cost.items()))
    assert max(cost.values()) <= BUDGET_US, cost
    assert checks.counts["push_order"].violations == 0
