"""How fast and how small the load generator is, beside a bare Go client on the same work in the same run.

CPU is of the whole process, over a steady window, from the kernel's accounts; a comparison repeats both sides
in turn and takes the median of each, since a busy machine makes everything dearer.  Needs `go`, for the
server too.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
import timeit
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench.load.fleet import read_rows
from bench.load.recorder import Recorder
from bench.load.replies import Stages
from bench.population import PopulationOptions
from bench.record import NONE, Op, Outcome, Phase
from tests.speed.measuring import connect, cpu_s, first_core, fleet_of, other_cores, pss_bytes, say

HERE = Path(__file__).parent
WINDOW_S = 6.0
LEAD_S = 1.0
ROUNDS = 3
pytestmark = [
    pytest.mark.speed,
    pytest.mark.skipif(
        shutil.which("go") is None, reason="go is not found: there is no peer to compare with"
    ),
]


@dataclass
class Server:
    port: int

    def push(self, per_s: int) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/push?rate={per_s}").close()


@pytest.fixture
def server(peer: Path) -> Iterator[Server]:
    process = subprocess.Popen([peer, "serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    os.sched_setaffinity(process.pid, other_cores())
    yield Server(int(process.stdout.readline()))
    process.kill()
    process.wait()


@dataclass
class Measured:
    """Of one steady window: CPU of the load process in seconds, its operations and pushes, its memory."""

    cpu_s: float
    operations: np.ndarray
    pushes: int
    bytes_at_start: int
    bytes_connected: int
    connect_s: float

    @property
    def send_lag_us(self) -> np.ndarray:
        return (self.operations["sent"] - self.operations["intended"]) / 1000


def measure(server: Server, users: int, ops_per_s: int, pushes_per_s: int, folder: Path) -> Measured:
    population = PopulationOptions(users, probe_pairs=0)
    with fleet_of(server.port, "paced.py", population, ops_per_s, WINDOW_S + LEAD_S, folder) as fleet:
        pid = fleet.pids()["worker"][0]
        bytes_at_start = pss_bytes(pid)
        connect(fleet)
        rows = read_rows(fleet.config.memory_folder / "operations-0.rows")
        connects = rows[rows["op"] == Op.CONNECT]
        connect_s = float(connects["acknowledged"].max() - connects["sent"].min()) / 1e9
        bytes_connected = pss_bytes(pid)
        fleet.freeze_gc()
        server.push(pushes_per_s)
        t0_ns = time.monotonic_ns()
        fleet.begin(t0_ns)
        time.sleep(LEAD_S)
        before_s, before_ns = cpu_s(pid), time.monotonic_ns()
        time.sleep(WINDOW_S)
        spent_s, after_ns = cpu_s(pid) - before_s, time.monotonic_ns()
        server.push(0)
        while not fleet.poll(0.2).finished:
            assert time.monotonic_ns() < t0_ns + 30_000_000_000
        operations = np.array(read_rows(fleet.config.memory_folder / "operations-0.rows"))
        pushes = read_rows(fleet.config.memory_folder / "pushes-0.rows")["received"]
        within = (operations["sent"] >= before_ns) & (operations["sent"] < after_ns)
        return Measured(
            cpu_s=spent_s,
            operations=operations[within & (operations["op"] == Op.READ) & (operations["plan"] != NONE)],
            pushes=int(((pushes >= before_ns) & (pushes < after_ns)).sum()),
            bytes_at_start=bytes_at_start,
            bytes_connected=bytes_connected,
            connect_s=connect_s,
        )


def measure_go(peer: Path, server: Server, users: int, ops_per_s: int, pushes_per_s: int) -> float:
    """CPU seconds of the Go client in a window."""
    process = subprocess.Popen(
        [peer, "client", f"ws://127.0.0.1:{server.port}/ws", str(users), str(ops_per_s)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        os.sched_setaffinity(process.pid, first_core())
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        server.push(pushes_per_s)
        time.sleep(LEAD_S)
        before_s = cpu_s(process.pid)
        time.sleep(WINDOW_S)
        return cpu_s(process.pid) - before_s
    finally:
        server.push(0)
        process.kill()
        process.communicate()


@pytest.mark.parametrize("users", [1_000, 10_000])
def test_an_operation_costs_no_more_than_a_bare_go_clients(
    peer: Path, server: Server, users: int, tmp_path: Path
) -> None:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        measured = measure(server, users, 2_000, 0, tmp_path)
        assert (measured.operations["outcome"] == Outcome.OK).all()
        assert len(measured.operations) > 0.97 * 2_000 * WINDOW_S
        ours.append(measured.cpu_s / len(measured.operations) * 1e6)
        theirs.append(measure_go(peer, server, users, 2_000, 0) / (2_000 * WINDOW_S) * 1e6)
    say(f"{users} users, 2,000 op/s: CPU per operation", "µs", {"ours": ours, "bare Go client": theirs})
    assert statistics.median(ours) <= statistics.median(theirs)


@pytest.mark.parametrize("users", [1_000, 10_000])
def test_a_push_costs_at_most_half_of_a_bare_go_clients(
    peer: Path, server: Server, users: int, tmp_path: Path
) -> None:
    """What 3,000 pushes/s add to 6,000 op/s: alone, a push is the price of waking up."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        without, with_pushes = (measure(server, users, 6_000, rate, tmp_path) for rate in (0, 3_000))
        assert with_pushes.pushes > 0.97 * 3_000 * WINDOW_S
        ours.append((with_pushes.cpu_s - without.cpu_s) / with_pushes.pushes * 1e6)
        go_without, go_with = (measure_go(peer, server, users, 6_000, rate) for rate in (0, 3_000))
        theirs.append((go_with - go_without) / (3_000 * WINDOW_S) * 1e6)
    say(
        f"{users} users, 3,000 pushes/s on 6,000 op/s: CPU per push",
        "µs",
        {"ours": ours, "bare Go client": theirs},
    )
    assert statistics.median(ours) <= statistics.median(theirs) / 2


@pytest.mark.parametrize(("ops_per_s", "pushes_per_s", "p99_ms"), [(2_000, 0, 1), (6_000, 3_000, 2)])
def test_it_sends_when_it_should(
    server: Server, ops_per_s: int, pushes_per_s: int, p99_ms: float, tmp_path: Path
) -> None:
    lag = measure(server, 10_000, ops_per_s, pushes_per_s, tmp_path).send_lag_us / 1000
    p50, p99, most = np.quantile(lag, [0.5, 0.99, 1])
    print(f"10,000 users, {ops_per_s} op/s: send lag p50 {p50:.2f} p99 {p99:.2f} max {most:.1f} ms")
    assert p99 <= p99_ms
    assert most <= 50


def test_ten_thousand_users_stay_small(server: Server, tmp_path: Path) -> None:
    measured = measure(server, 10_000, 0, 0, tmp_path)
    per_user = (measured.bytes_connected - measured.bytes_at_start) / 10_000
    print(
        f"{per_user / 1024:.1f} KiB per user; {10_000 / measured.connect_s:.0f} users/s connect, sign in, "
        "subscribe and catch up"
    )
    assert per_user <= 10 * 1024


def test_five_thousand_connects_a_second(server: Server) -> None:
    command = [sys.executable, str(HERE / "connects.py"), f"ws://127.0.0.1:{server.port}", "10000"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    per_s = []
    for _ in range(ROUNDS):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        per_s.append(float(done.stdout))
    print(f"connects/s: {[round(rate) for rate in per_s]}")
    assert max(per_s) >= 5_000


def test_recording_costs_at_most_one_and_a_half_microseconds_an_event(tmp_path: Path) -> None:
    """An operation is two events, sent and answered; a push is one."""
    folder = Path(f"/dev/shm/readstate-record-{os.getpid()}")
    folder.mkdir()
    try:
        recorder, stages = Recorder(folder, 0), Stages(5, 4, 3, 2, 1)

        def operation() -> None:
            row = recorder.operation(Op.READ, 1, 2, 3, 4, 5, Phase.MEASURE, 6, 7, 8)
            recorder.answered(row, 9, 10, 11, NONE, 0, 1, 1, stages)

        def push() -> None:
            recorder.push(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, Phase.MEASURE)

        cost = {what.__name__: min(timeit.repeat(what, number=50_000, timer=time.process_time)) / 0.05
                for what in (operation, push)}  # fmt: skip
    finally:
        shutil.rmtree(folder)
    print(f"recording: {cost['operation'] / 2:.2f} µs an operation's event, {cost['push']:.2f} µs a push")
    assert cost["operation"] / 2 <= 1.5
    assert cost["push"] <= 1.5
