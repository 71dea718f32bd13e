"""`bench calibrate`: measures every ceiling in about three minutes.

What a second of CPU buys moves on a shared host, by a tenth from one second to the next.  So everything is up
at once and comes in turns, a slice in each of many rounds: every ceiling has seen the same weather, and much
of it."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from bench import environment, machine
from bench.calibrate.drive import GENERATOR, Drive
from bench.calibrate.reference import steps_per_cpu_s
from bench.calibrate.stored import key
from bench.control import Control
from bench.metrics.intervals import Block, interval
from bench.options import RunOptions
from bench.plan import Plan
from bench.runner import Load
from bench.services import ServicesError, local
from bench.services.cache import scratch_dir
from bench.services.daemon import Daemon, until
from bench.services.exercise import exercise, prepare
from bench.services.ports import free_ports
from bench.services.server import SchemeProcesses
from bench.services.stack import NAMES, Service

USERS: Final = 1_000
ECHO_SENDS_PER_S: Final = 2_000.0
MIXED_SENDS_PER_S: Final = 300.0
"""Most of a core: idle, the generator wakes up for each operation; behind, it struggles with its backlog."""
ROUNDS: Final = 12
"""A slice is off by a tenth, and the next one anew: a loop that only computes moves otherwise, and slices
divided by it lie further apart, mostly.  So it takes many."""
WARM_S: Final = 0.5
MEASURE_S: Final = 1.5
STORE_WARM_S: Final = 0.3
STORE_S: Final = {"mysql": 1.5, "redis": 1.0, "kafka": 2.0}
UNITS: Final = {
    "generator": "requests and replies",
    "generator_mixed": "operations, with their pushes",
    "memory": "operations, generator and server on a core each",
    "mysql": "one-row commits",
    "redis": "commands",
    "kafka": "records",
}
MANY_CORES: Final = ("mysql", "kafka")
"""What may use every core; the others one, however many there are."""
READY_S: Final = 20.0

Json = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Slice:
    """A second or two of one part: by ceiling, operations for a second of CPU."""

    per_cpu_s: Mapping[str, float]
    per_s: float
    """Operations that were done."""
    pushes: float = 0.0
    """For each of them."""


Part = Callable[[], Slice]


def calibrate(say: Say) -> Json:
    """What `stored.py` keeps.  Raises ServicesError, WorkerLost, TimeoutError."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="readstate-calibrate-", dir=scratch_dir()) as folder,
        ExitStack() as up,
    ):
        say("starting everything")
        parts = [*_generator(up, Path(folder)), *_stores(up)]
        slices, core = list[Slice](), list[float]()
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            core.append(steps_per_cpu_s())
            slices += [part() for part in parts]
    return {
        **key(),
        "measured_at": datetime.now(UTC).isoformat(" ", "seconds"),
        "seconds": round(time.monotonic() - began, 1),
        "load_1m": machine.describe()["load_1m"],
        "git": environment.git("rev-parse", "--short=12", "HEAD"),
        "reference_per_cpu_s": round(middle(core)),
        "ceilings": {name: ceiling(name, slices) for name in UNITS if _of(name, slices)},
    }


def ceiling(name: str, slices: Sequence[Slice]) -> Json:
    """From its slices of all rounds."""
    own = _of(name, slices)
    cores = machine.cores() if name in MANY_CORES else 1
    rates = [one.per_cpu_s[name] * cores for one in own]
    return {
        "unit": UNITS[name],
        "per_s": round(middle(rates), 1),
        "interval": interval([Block(rate) for rate in rates]),
        "slices_per_s": [round(rate) for rate in rates],
        "measured_at_per_s": round(median(one.per_s for one in own), 1),
        "pushes_per_operation": round(median(one.pushes for one in own), 3),
        "cores": cores,
    }


def middle(values: Sequence[float]) -> float:
    """The mean of the middle half: as sure as of all, and no slice that was disturbed or lucky is in it."""
    cut = len(values) // 4
    return fmean(sorted(values)[cut : len(values) - cut])


def _of(name: str, slices: Sequence[Slice]) -> list[Slice]:
    return [one for one in slices if name in one.per_cpu_s]


# --- the generator ----------------------------------------------------------------------------------------


def _generator(up: ExitStack, logs: Path) -> list[Part]:
    """Against an echo, and with the control (`memory`) behind it."""
    echo, control = (
        up.enter_context(_echo(up, logs / "echo")),
        up.enter_context(_control(up, logs / "control")),
    )
    return [
        lambda: _driven(echo, {"generator": (GENERATOR,)}),
        lambda: _driven(control, {"generator_mixed": (GENERATOR,), "memory": (GENERATOR, "server")}),
    ]


def _driven(drive: Drive, ceilings: Mapping[str, Sequence[str]]) -> Slice:
    """Each is what the busiest of its components would carry with a core of its own."""
    driven = drive.slice()
    return Slice(
        {name: min(map(driven.per_cpu_s, components)) for name, components in ceilings.items()},
        driven.operations / driven.seconds,
        driven.pushes / max(1, driven.operations),
    )


def _load(send_per_s: float) -> Load:
    return Load.of(
        RunOptions(
            "memory",
            users=USERS,
            rate_per_s=send_per_s,
            duration_s=MEASURE_S,
            warmup_s=WARM_S,
            history=(1, 1),
        )
    )


def _without_reads(plan: Plan) -> Plan:
    """A READ waits for its message, and an echo pushes none."""
    return replace(plan, reads=plan.reads[:0], later=plan.later[:0], probes=plan.probes[:0])


def _echo(up: ExitStack, logs: Path) -> Drive:
    logs.mkdir()
    port = free_ports(1)[0]
    log = logs / "echo.log"
    server = Daemon([sys.executable, "-m", "bench.calibrate.echo", str(port)], log=log)
    up.callback(server.stop, 1.0)
    deadline = time.monotonic() + READY_S
    while not server.listens_on(port):
        if server.poll() or not until(deadline):
            raise ServicesError(f"The echo did not start. Its log ends with:\n{server.tail()}")
    return Drive(
        f"ws://127.0.0.1:{port}",
        _load(ECHO_SENDS_PER_S),
        secret=None,
        logs=logs,
        pids=lambda: {"echo": [server.pid]},
        cut=_without_reads,
    )


def _control(up: ExitStack, logs: Path) -> Drive:
    logs.mkdir()
    secret, load = secrets.token_urlsafe(24), _load(MIXED_SENDS_PER_S)
    server = up.enter_context(SchemeProcesses("memory", {}, settings={}, secret=secret, logs=logs))
    server.wait_ready()
    control = Control(server.control_url, secret)
    control.seed(load.population.seed_frames(load.plan.unread_at_start), warm=False)
    control.ask("FREEZE_GC", timeout_s=30)
    control.close()
    return Drive(server.url, load, secret=secret, logs=logs, pids=server.pids)


# --- the stores -------------------------------------------------------------------------------------------


def _stores(up: ExitStack) -> list[Part]:
    """Those that are installed, each alone while it has its turn."""
    there = frozenset(name for name in NAMES if not local.missing(frozenset({name})))
    stack = up.enter_context(local.start(there, folder=None, say=lambda _: None))
    for service in stack.services.values():
        prepare(service)
    return [partial(_exercised, service) for service in stack.services.values()]


def _exercised(service: Service) -> Slice:
    done = exercise(service, warm_s=STORE_WARM_S, seconds=STORE_S[service.name])
    return Slice({service.name: done.operations / done.cpu_s}, done.operations / done.seconds)
