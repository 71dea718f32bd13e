"""Coordinated omission, by arithmetic: something stands still for 2 s of a window of 20 s.

Operations are planned evenly over the window.  One that is planned t seconds into the stop waits 2 - t, so
the share that waits longer than x is (2 - x) / 20: a twentieth waits longer than 1.0 s (p95) and a hundredth
longer than 1.8 s (p99).  After the stop the backlog is worked off, which takes the time of two seconds'
operations; CATCH_UP_US allows for that.

(a) The *generator* stops: nothing is sent, so that response (from the planned time) shows it and service
(from the send call) does not, and the run is void.  (b) The *server* stops under open arrivals: what is sent
lies in its sockets, and both show it.  (c) The same with closed arrivals: each of 50 devices has one
operation under way when the server stops, and sends nothing more.  50 of more than 5,000 operations are less
than a hundredth, so service p99 hides the stop; response, from the plan's time, shows it.

READs react to messages and count from their arrival; SEND and STATE are planned, and looked at here."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bench.metrics.history import History
from bench.metrics.operations import timed
from bench.record import Op
from bench.results import RunFolder
from bench.runner import Progress
from tests.e2e.small import judged, options, processes

pytestmark = [pytest.mark.services, pytest.mark.slow]

WINDOW_S, STOP_S = 20.0, 2.0
AT_S = 8.0
CATCH_UP_US = 700_000
"""Two seconds' operations at once, on a busy machine."""
QUICK_US = 200_000
"""A hundredth of the service times are below this when nobody stands still."""
USERS = 50


def waits_us(p: float) -> float:
    """The quantile at p of the wait: (2 - x) / 20 = 1 - p, solved for x."""
    return (STOP_S - WINDOW_S * (1 - p)) * 1e6


class Stopping:
    """Holds processes for STOP_S, once, AT_S into the measured window."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._thread: threading.Thread | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.phase == "measure" and progress.done_s >= AT_S and self._thread is None:
            self._thread = threading.Thread(target=self._hold)
            self._thread.start()

    def _hold(self) -> None:
        victims = [pid for pid, line in processes().items() if any(name in line for name in self._names)]
        held = [psutil.Process(pid) for pid in victims]
        assert held
        for process in held:
            process.send_signal(signal.SIGSTOP)
        time.sleep(STOP_S)
        for process in held:
            process.send_signal(signal.SIGCONT)


Quantiles = Callable[[Op, str, float], float]


def measured(out: Path, held: tuple[str, ...], **changes: Any) -> tuple[Quantiles, dict[str, Any], RunFolder]:
    """quantile(Op.SEND, response or service, p) in µs of all users, the summary, and the run."""
    plain = {"users": USERS, "rate_per_s": 115.0, "duration_s": WINDOW_S, "warmup_s": 5.0, "pin": "auto"}
    folder, made = judged(options(out, "memory", **plain | changes), show=Stopping(held))
    assert made["ended"]["how"] == "finished"
    history = History(folder)

    def quantile(op: Op, which: str, p: float) -> float:
        took = timed(history, op)
        return float(np.quantile(took.latency_us if which == "response" else took.service_us, p))

    return quantile, made, folder


def verdicts(made: dict[str, Any]) -> dict[str, str]:
    return {guard["guard"]: guard["verdict"] for guard in made["guards"]}


def test_a_generator_that_stops_shows_in_response_alone_and_voids_the_run(tmp_path: Path) -> None:
    quantile, made, _ = measured(tmp_path, ("bench.load.worker", "bench.load.probe_users"))
    for p in (0.95, 0.99):
        assert waits_us(p) - 100_000 < quantile(Op.SEND, "response", p) < waits_us(p) + CATCH_UP_US
    assert quantile(Op.SEND, "service", 0.99) < QUICK_US
    said = verdicts(made)
    assert made["verdict"]["status"] == "INVALID"
    assert (said["generator_stalls"], said["send_lag"]) == ("invalid", "invalid")
    assert made["processes"]["generator/0"]["gap_us_max"] == pytest.approx(2e6, abs=0.3e6)


def test_a_server_that_stops_shows_in_both(tmp_path: Path) -> None:
    quantile, made, _ = measured(tmp_path, ("-m schemes ",))
    for p in (0.95, 0.99):
        for which in ("response", "service"):
            assert waits_us(p) - 100_000 < quantile(Op.SEND, which, p) < waits_us(p) + CATCH_UP_US
    said = verdicts(made)
    assert (said["server_stalls"], said["hub_bound"]) == ("warn", "warn")
    assert made["processes"]["server"]["gap_us_max"] == pytest.approx(2e6, abs=0.3e6)
    assert {said[name] for name in ("generator_stalls", "send_lag", "offered_achieved")} == {"ok"}


def test_a_closed_loop_hides_a_server_that_stops_from_service_time(tmp_path: Path) -> None:
    quantile, made, _ = measured(tmp_path, ("-m schemes ",), arrivals="closed")
    operations = sum(made["operations"][name]["count"] for name in ("SEND", "READ", "STATE", "SYNC"))
    assert operations * 0.01 > USERS
    assert quantile(Op.SEND, "service", 0.99) < QUICK_US
    assert quantile(Op.SEND, "service", 1.0) > waits_us(1.0) - 300_000, "somebody was under way"
    for p in (0.95, 0.99):
        assert waits_us(p) - 100_000 < quantile(Op.SEND, "response", p) < waits_us(p) + CATCH_UP_US
    said = verdicts(made)
    assert {said[name] for name in ("generator_stalls", "send_lag", "offered_achieved")} == {"ok"}
    assert made["load"]["held_back"]["us_max"] > 1.5e6
    (told,) = [guard for guard in made["guards"] if guard["guard"] == "offered_achieved"]
    assert "the system was the limit" in told["message"]
