"""What the speed tests of generator and server share: a fleet on one core, what processes cost, and how a
comparison is said."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from bench.cores import GENERATOR, arrange
from bench.load.fleet import Fleet, LoadConfig
from bench.plan import PlanOptions, make
from bench.population import PopulationOptions, build

HERE = Path(__file__).parent
SECRET = "x"
CONNECT_TIMEOUT_S = 60.0
TURN_NS = 2_000_000_000
"""Of one server, when several are loaded in turn."""


def first_core() -> tuple[int, ...]:
    """Where the load runs."""
    return (min(os.sched_getaffinity(0)),)


def other_cores() -> tuple[int, ...]:
    """Where the server runs."""
    cores = sorted(os.sched_getaffinity(0))
    return tuple(cores[1:] or cores)


def cpu_s(pid: int) -> float:
    """CPU that a process has used, all threads: clock_getcpuclockid(3), which counts no ticks."""
    return time.clock_gettime(~pid << 3 | 2)


def pss_bytes(pid: int) -> int:
    """Memory of a process, its share of what it has in common with others."""
    return int(psutil.Process(pid).memory_full_info().pss)


@contextmanager
def fleet_of(
    port: int,
    scenario: str,
    population: PopulationOptions,
    ops_per_s: int,
    duration_s: float,
    folder: Path,
    *,
    turn: int = 0,
    turns: int = 1,
) -> Iterator[Fleet]:
    """A started fleet for a server on this port, on its core and first in line as in a run; `scenario` is a
    file beside this one.  Several servers may take turns (`reads.py`)."""
    options = PlanOptions(rate_per_s=0.1, warmup_s=1.0, measure_s=duration_s, probes=False)
    make(build(population), options).save(folder / "plan.npz")
    memory = Path(f"/dev/shm/readstate-speed-{os.getpid()}-{turn}")
    os.environ["SPEED_OPS"] = str(ops_per_s)
    os.environ["SPEED_TURN"] = f"{turn}/{turns}"
    os.environ["SPEED_TURN_NS"] = str(TURN_NS)
    config = LoadConfig(
        host=f"ws://127.0.0.1:{port}", scenario=str(HERE / scenario), memory=str(memory),
        plan_file=str(folder / "plan.npz"), population=population, plan=options, nonce="x", secret=SECRET,
        cores=first_core(),
    )  # fmt: skip
    fleet = Fleet(config, folder / "logs", print)
    try:
        fleet.start()
        arrange({GENERATOR: [pid for pids in fleet.pids().values() for pid in pids]}, os.cpu_count() or 1)
        yield fleet
    finally:
        fleet.stop()
        shutil.rmtree(memory)


def connect(fleet: Fleet) -> None:
    """Waits until all users are signed in and caught up."""
    fleet.connect()
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while (live := fleet.poll(0.01)).connected < live.wanted:
        assert time.monotonic() < deadline, live


def say(what: str, unit: str, sides: dict[str, list[float]]) -> None:
    """Prints each side's median, its rounds (sorted; the quartiles of many), and how often it is the second
    side's."""
    medians = {side: statistics.median(rounds) for side, rounds in sides.items()}
    base = list(medians.values())[1]
    print(f"\n{what} (load average {os.getloadavg()[0]:.1f}):")
    for side, rounds in sides.items():
        shown = sorted(rounds) if len(rounds) <= 8 else np.quantile(rounds, [0, 0.25, 0.5, 0.75, 1])
        spread = ", ".join(f"{value:.1f}" for value in shown)
        print(f"  {side}: {medians[side]:.1f} {unit} ({spread}), x {medians[side] / base:.2f}")
