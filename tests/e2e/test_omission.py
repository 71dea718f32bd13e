"""Coordinated omission, by arithmetic: something stands still for 2 s of a window of 20 s.

Operations are planned evenly over the window.  One that is planned t seconds into the stop waits 2 - t, so
the share that waits longer than x is (2 - x) / 20: a twentieth waits longer than 1.0 s (p95) and a hundredth
longer than 1.8 s (p99).  The plan is random, so that the very operations are asked, too: what each had to
wait until the stop was over.  Then the backlog is worked off, which takes the time of two seconds'
operations; CATCH_UP_US allows for that.

(a) The *generator* stops: nothing is sent, so that response (from the planned time) shows it and service
(from the send call) does not, and the run is void.  (b) The *server* stops under open arrivals: what is sent
lies in its sockets, and both show it.  (c) The same with closed arrivals: each of 50 devices has one
operation under way when the server stops, and sends nothing more.  50 of more than 5,000 operations are less
than a hundredth, so service p99 hides the stop; response, from the plan's time, shows it.

READs react to messages and count from their arrival; SEND, STATE and SYNC are planned, and looked at here."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from bench.metrics.history import History
from bench.metrics.operations import timed
from bench.record import Op
from bench.runner import Progress
from tests.e2e.small import judged, options, processes

WINDOW_S, STOP_S = 20.0, 2.0
AT_S = 8.0
EVENLY_US = 250_000
"""How far a random plan's quantile may be from that of an even one."""
CATCH_UP_US = 1_000_000
"""Two seconds' operations at once, on a busy machine."""
HIDDEN_US = 250_000
"""What does not show the stop is below this, also while a backlog is worked off."""
USERS = 50
SLOWER_PER_S = 40.0
"""SEND/s where the backlog must not show as service time."""
GENERATOR, SERVER = ("bench.load.worker", "bench.load.probe_users"), ("-m schemes ",)
PLANNED = (Op.SEND, Op.STATE, Op.SYNC)


def waits_us(p: float) -> float:
    """The quantile at p of the wait: (2 - x) / 20 = 1 - p, solved for x."""
    return (STOP_S - WINDOW_S * (1 - p)) * 1e6


class Stopping:
    """Holds processes for STOP_S, once, AT_S into the measured window."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._marks = marks
        self._thread: threading.Thread | None = None
        self.began_ns = self.over_ns = 0

    def __call__(self, progress: Progress) -> None:
        if progress.phase == "measure" and progress.done_s >= AT_S and self._thread is None:
            self._thread = threading.Thread(target=self._hold)
            self._thread.start()

    def _hold(self) -> None:
        lines = processes().items()
        held = [psutil.Process(pid) for pid, line in lines if any(mark in line for mark in self._marks)]
        assert held
        self.began_ns = time.monotonic_ns()
        for process in held:
            process.send_signal(signal.SIGSTOP)
        time.sleep(STOP_S)
        for process in held:
            process.send_signal(signal.SIGCONT)
        self.over_ns = time.monotonic_ns()


@dataclass
class Measured:
    """Times in µs of all planned operations of all users, and what each had to wait by the plan alone."""

    response: NDArray[np.float64]
    service: NDArray[np.float64]
    waited: NDArray[np.float64]
    summary: dict[str, Any]

    @property
    def verdicts(self) -> dict[str, str]:
        return {guard["guard"]: guard["verdict"] for guard in self.summary["guards"]}


def measured(out: Path, marks: Sequence[str], **changes: Any) -> Measured:
    plain = {"users": USERS, "rate_per_s": 115.0, "duration_s": WINDOW_S, "warmup_s": 5.0, "pin": "auto"}
    stopping = Stopping(marks)
    folder, made = judged(options(out, "memory", **plain | changes), show=stopping)
    assert made["ended"]["how"] == "finished"
    history = History(folder)
    took = [timed(history, op) for op in PLANNED]
    due = np.concatenate([history.operations["intended"][one.row] for one in took])
    during = (due >= stopping.began_ns) & (due < stopping.over_ns)
    return Measured(
        np.concatenate([one.latency_us for one in took]),
        np.concatenate([one.service_us for one in took]),
        np.where(during, (stopping.over_ns - due) / 1e3, 0.0),
        made,
    )


def shows_the_stop(times_us: NDArray[np.float64], waited_us: NDArray[np.float64]) -> bool:
    """Whether p95 and p99 are what the plan's operations waited, and at most the catch-up more."""
    for p in (0.95, 0.99):
        expected, found = (float(np.quantile(values, p)) for values in (waited_us, times_us))
        assert expected == pytest.approx(waits_us(p), abs=EVENLY_US)
        if not expected - 50_000 < found < expected + CATCH_UP_US:
            return False
    return True


def test_the_arithmetic() -> None:
    assert (waits_us(0.95), waits_us(0.99)) == (pytest.approx(1.0e6), pytest.approx(1.8e6))
    due_s = np.linspace(0, WINDOW_S, 20_000, endpoint=False)
    waited = np.where((due_s >= AT_S) & (due_s < AT_S + STOP_S), AT_S + STOP_S - due_s, 0) * 1e6
    assert shows_the_stop(waited, waited)
    assert not shows_the_stop(np.zeros(20_000), waited)
    assert not shows_the_stop(waited * 2, waited)


@pytest.mark.services
@pytest.mark.proof
def test_a_generator_that_stops_shows_in_response_alone_and_voids_the_run(tmp_path: Path) -> None:
    run = measured(tmp_path, GENERATOR, rate_per_s=SLOWER_PER_S)
    assert shows_the_stop(run.response, run.waited)
    assert np.quantile(run.service, 0.99) < HIDDEN_US
    assert run.summary["verdict"]["status"] == "INVALID"
    assert (run.verdicts["generator_stalls"], run.verdicts["send_lag"]) == ("invalid", "invalid")
    assert run.summary["processes"]["generator/0"]["gap_us_max"] == pytest.approx(2e6, abs=0.3e6)


@pytest.mark.services
@pytest.mark.proof
def test_a_server_that_stops_shows_in_both(tmp_path: Path) -> None:
    run = measured(tmp_path, SERVER)
    assert shows_the_stop(run.response, run.waited)
    assert shows_the_stop(run.service, run.waited)
    assert (run.verdicts["server_stalls"], run.verdicts["hub_bound"]) == ("warn", "warn")
    assert run.summary["processes"]["server"]["gap_us_max"] == pytest.approx(2e6, abs=0.3e6)
    assert run.verdicts["offered_achieved"] == "ok"


@pytest.mark.services
@pytest.mark.proof
def test_a_closed_loop_hides_a_server_that_stops_from_service_time(tmp_path: Path) -> None:
    run = measured(tmp_path, SERVER, arrivals="closed")
    done = sum(run.summary["operations"][name]["count"] for name in ("SEND", "READ", "STATE", "SYNC"))
    assert done * 0.01 > USERS
    assert np.quantile(run.service, 0.99) < HIDDEN_US
    assert run.service.max() > waits_us(1.0) - EVENLY_US, "somebody was under way"
    assert shows_the_stop(run.response, run.waited)
    assert run.verdicts["offered_achieved"] == "ok"
    assert run.summary["load"]["held_back"]["us_max"] > 1.5e6
    (told,) = [guard for guard in run.summary["guards"] if guard["guard"] == "offered_achieved"]
    assert "the system was the limit" in told["message"]
