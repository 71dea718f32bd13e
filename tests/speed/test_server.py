"""How fast and how small the reference server is, beside bare servers on the same work in the same run.

CPU is of the whole server process over a steady window; a comparison repeats its sides in turn and takes the
median of each, since a busy machine makes everything dearer.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import websockets.sync.client
from websockets.typing import Subprotocol

from bench.control import Control
from bench.load.fleet import Fleet, read_rows
from bench.population import PopulationOptions, build
from bench.record import NONE, Op, Outcome, PushKind
from schemes.protocol import (
    CONTROL_PATH,
    PATH,
    SUBPROTOCOL,
    Hello,
    SeedConversation,
    Send,
    encode,
    make_token,
)
from tests.speed.measuring import HERE, SECRET, TURN_NS, connect, cpu_s, fleet_of, other_cores, pss_bytes, say

ROUNDS = 3
LEAD_S = 1.0
OP_ROUNDS = 6
MARGIN_NS = 200_000_000
"""At both ends of a turn, so that each operation counts where it is paid."""
PUSH_ROUNDS = 24
PUSH_WINDOW_S = 0.5
"""Many short windows: what the machine does besides changes within seconds, and is as large as what is
looked for."""
LOOP_TICK_S, FINE_TICK_S = 0.02, 0.001
THOUSAND = PopulationOptions(1_000, probe_pairs=0)
pytestmark = pytest.mark.speed


class Server:
    """`serve.py` in a process of its own, or the Go peer's server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        os.sched_setaffinity(process.pid, other_cores())
        self.port = int(process.stdout.readline())
        self.pid = process.pid

    def ask(self, order: str) -> int:
        """One line to `serve.py` and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @contextmanager
    def control(self) -> Iterator[Control]:
        door = Control(f"ws://127.0.0.1:{self.port}{CONTROL_PATH}", SECRET)
        yield door
        door.close()


@contextmanager
def serving(*command: str | Path) -> Iterator[Server]:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield Server(process)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serving_python(what: str, population: PopulationOptions, tick_s: float = LOOP_TICK_S) -> Iterator[Server]:
    """`memory` with this population seeded, or `bare`."""
    with serving(sys.executable, HERE / "serve.py", what, str(tick_s)) as server:
        if what == "memory":
            with server.control() as door:
                door.seed(build(population).seed_frames(), warm=False)
        yield server


# --- operations -------------------------------------------------------------------------------------------


@dataclass
class Side:
    """One of the servers that are loaded in turn, and what it cost in each of its turns."""

    server: Server
    fleet: Fleet
    turns: list[tuple[int, int, float]] = field(default_factory=list)
    """From and to when, in nanoseconds, and the CPU seconds."""

    def take_turn(self, start_ns: int) -> None:
        sleep_until(start_ns + MARGIN_NS)
        before_s, before_ns = cpu_s(self.server.pid), time.monotonic_ns()
        sleep_until(start_ns + TURN_NS - MARGIN_NS)
        self.turns.append((before_ns, time.monotonic_ns(), cpu_s(self.server.pid) - before_s))

    def costs(self) -> list[float]:
        """Microseconds of CPU for an operation, by turn."""
        rows = read_rows(self.fleet.config.memory_folder / "operations-0.rows")
        rows = rows[(rows["op"] == Op.READ) & (rows["plan"] != NONE)]
        return [spent_s / self._done(rows, start, end) * 1e6 for start, end, spent_s in self.turns]

    def _done(self, rows: np.ndarray, start: int, end: int) -> int:
        rows = rows[(rows["sent"] >= start) & (rows["sent"] < end)]
        assert (rows["outcome"] == Outcome.OK).all()
        assert len(rows) > 0.9 * 2_000 * (end - start) / 1e9
        return len(rows)


def sleep_until(at_ns: int) -> None:
    time.sleep(max(0, at_ns - time.monotonic_ns()) / 1e9)


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not found: there is no peer to compare with")
def test_an_operation_costs_at_most_one_and_a_half_times_a_bare_echo(peer: Path, tmp_path: Path) -> None:
    """2,000 READ/s over 1,000 connections, to three servers in turn."""
    duration_s = 3 * OP_ROUNDS * TURN_NS / 1e9
    with ExitStack() as stack:
        memory, bare = (stack.enter_context(serving_python(what, THOUSAND)) for what in ("memory", "bare"))
        sides = []
        for turn, server in enumerate([memory, bare, stack.enter_context(serving(peer, "serve"))]):
            fleet = fleet_of(
                server.port, "reads.py", THOUSAND, 2_000, duration_s, tmp_path, turn=turn, turns=3
            )
            sides.append(Side(server, stack.enter_context(fleet)))
            connect(sides[-1].fleet)
            sides[-1].fleet.freeze_gc()
        memory.ask("freeze")
        bare.ask("freeze")
        t0_ns = time.monotonic_ns() + 100_000_000
        for side in sides:
            side.fleet.begin(t0_ns)
        for number in range(3 * OP_ROUNDS):
            sides[number % 3].take_turn(t0_ns + number * TURN_NS)
        names = ("memory", "bare echo on the same shell", "bare Go echo")
        costs = dict(zip(names, (side.costs() for side in sides), strict=True))
    say("2,000 op/s over 1,000 connections: the server's CPU per operation", "µs", costs)
    ratio = statistics.median(np.divide(costs["memory"], costs["bare echo on the same shell"]))
    print(f"  memory against the bare echo beside it, median of the rounds: x {ratio:.2f}")
    assert ratio <= 1.5


# --- pushes -----------------------------------------------------------------------------------------------


def window(server: Server, way: str, per_s: int) -> tuple[float, int]:
    """(CPU seconds per second, pushes) of one window."""
    before = server.ask(f"{way} {per_s}")
    before_s, start = cpu_s(server.pid), time.monotonic()
    time.sleep(PUSH_WINDOW_S)
    spent_s, passed_s = cpu_s(server.pid) - before_s, time.monotonic() - start
    return spent_s / passed_s, server.ask(f"{way} 0") - before


def test_a_push_costs_at_most_a_fifth_more_than_a_bare_write(tmp_path: Path) -> None:
    """What 3,000 pushes/s add to 2,000 op/s; both ways within one process, in turn."""
    costs: dict[str, list[float]] = {"hub": [], "straight": []}
    duration_s = LEAD_S + 3 * PUSH_ROUNDS * (PUSH_WINDOW_S + 0.1)
    with (
        serving_python("memory", THOUSAND) as server,
        fleet_of(server.port, "reads.py", THOUSAND, 2_000, duration_s, tmp_path) as fleet,
    ):
        connect(fleet)
        fleet.freeze_gc()
        server.ask("freeze")
        fleet.begin(time.monotonic_ns())
        time.sleep(LEAD_S)
        for _ in range(PUSH_ROUNDS):
            without, _ = window(server, "hub", 0)
            for way, cost in costs.items():
                with_pushes, pushes = window(server, way, 3_000)
                assert pushes > 0.9 * 3_000 * PUSH_WINDOW_S
                cost.append((with_pushes - without) * PUSH_WINDOW_S / pushes * 1e6)
        pushed = server.ask("hub 0")
        assert received(fleet, pushed) == pushed
    say("3,000 pushes/s on 2,000 op/s over 1,000 connections: CPU per push", "µs", costs)
    assert statistics.median(costs["hub"]) <= 1.2 * statistics.median(costs["straight"])


def received(fleet: Fleet, wanted: int, timeout_s: float = 5.0) -> int:
    """Pushes that have arrived; waits for as many as wanted."""
    deadline = time.monotonic() + timeout_s
    while True:
        fleet.poll(0.05)
        arrived = len(read_rows(fleet.config.memory_folder / "pushes-0.rows"))
        if arrived >= wanted or time.monotonic() > deadline:
            return arrived


# --- size -------------------------------------------------------------------------------------------------


def test_an_idle_connection_is_small(tmp_path: Path) -> None:
    population = PopulationOptions(10_000, probe_pairs=0)
    with (
        serving_python("memory", population) as server,
        fleet_of(server.port, "reads.py", population, 0, 1.0, tmp_path) as fleet,
    ):
        before = pss_bytes(server.pid)
        connect(fleet)
        time.sleep(1.0)
        each = (pss_bytes(server.pid) - before) / 10_000
    print(f"\n{each / 1024:.1f} KiB per idle, subscribed connection at 10,000")
    assert each <= 20 * 1024


# --- fan-out ----------------------------------------------------------------------------------------------


def test_one_message_to_five_thousand_devices_does_not_hold_the_loop(tmp_path: Path) -> None:
    """What other processes do can only lengthen a gap on the clock, so of those the shortest counts; of those
    by CPU each one does."""
    population = PopulationOptions(5_000, probe_pairs=0)
    people = build(population).people
    everybody = SeedConversation("g999999", "group", list(range(1, people + 2)), 0, [0] * (people + 1))
    with (
        serving_python("memory", population, FINE_TICK_S) as server,
        fleet_of(server.port, "reads.py", population, 0, 60.0, tmp_path) as fleet,
        server.control() as door,
    ):
        door.seed([[everybody]], warm=False)
        connect(fleet)
        fleet.freeze_gc()
        server.ask("freeze")
        loop_gap_ms(door)
        gaps: dict[str, list[float]] = {"by CPU": [], "on the clock": [], "on the clock, without": []}
        for number in range(1, 2 * ROUNDS + 1):
            time.sleep(1.0)
            gaps["on the clock, without"].append(loop_gap_ms(door))
            server.ask("held")
            send(server, people + 1, number)
            assert received(fleet, 5_000 * number) == 5_000 * number
            gaps["by CPU"].append(server.ask("held") / 1000)
            gaps["on the clock"].append(loop_gap_ms(door))
        pushes = read_rows(fleet.config.memory_folder / "pushes-0.rows")
        assert (pushes["kind"] == PushKind.MESSAGE).all()
        assert (np.unique(pushes["device"], return_counts=True)[1] == 2 * ROUNDS).all()
    say("a SEND to 5,000 devices: longest loop gap", "ms", gaps)
    assert max(gaps["by CPU"]) <= 5.0
    assert min(gaps["on the clock"]) <= 5.0


def loop_gap_ms(door: Control) -> float:
    """The longest since it was last asked for."""
    stats = door.ask("STATS").stats
    assert stats is not None
    return float(stats["loop_gap_us_max"]) / 1000


def send(server: Server, user: int, number: int) -> None:
    """One message from a device of its own, a new connection each time."""
    with websockets.sync.client.connect(
        f"ws://127.0.0.1:{server.port}{PATH}", subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
    ) as socket:
        token = make_token(SECRET.encode(), f"u{user}", "sender", int(time.time()) + 3600)
        socket.send(encode(Hello(f"u{user}", "sender", token)), text=True)
        socket.recv()
        socket.send(encode(Send("g999999", f"m{number}", "hello")), text=True)
        assert b'"ACK"' in socket.recv(decode=False)
