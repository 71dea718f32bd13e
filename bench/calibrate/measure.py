"""`bench calibrate`: measures every ceiling, one after the other, within two minutes."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from bench import environment, machine
from bench.calibrate.drive import GENERATOR, Driven, drive
from bench.calibrate.reference import steps_per_cpu_s
from bench.calibrate.stored import key
from bench.control import Control
from bench.options import RunOptions
from bench.runner import Load
from bench.services import ServicesError, local
from bench.services.cache import scratch_dir
from bench.services.daemon import Daemon, until
from bench.services.exercise import exercise
from bench.services.ports import free_ports
from bench.services.server import SchemeProcesses
from bench.services.stack import NAMES

USERS: Final = 1_000
ECHO_SENDS_PER_S: Final = 2_000.0
MIXED_SENDS_PER_S: Final = 300.0
"""Most of a core: idle, the generator wakes up for each operation; behind, it struggles with its backlog."""
WARM_S: Final = 3.0
MEASURE_S: Final = 8.0
STORE_WARM_S: Final = {"mysql": 2.0, "redis": 1.0, "kafka": 30.0}
"""Of Kafka the most: it ends when its CPU per record has settled."""
STORE_S: Final = {"mysql": 20.0, "redis": 10.0, "kafka": 12.0}
UNITS: Final = {"mysql": "one-row commits", "redis": "commands", "kafka": "records"}
ONE_CORE: Final = ("redis",)
"""Stores that use one core however many there are."""
READY_S: Final = 20.0

Json = dict[str, Any]
Say = Callable[[str], None]
T = TypeVar("T")


def calibrate(say: Say) -> Json:
    """What `stored.py` keeps.  Raises ServicesError, WorkerLost, TimeoutError."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="readstate-calibrate-", dir=scratch_dir()) as folder:
        logs = Path(folder)
        say("the generator against an echo")
        at_echo, echo = _with_reference(lambda: _echo(logs))
        say("the generator with the control (memory) behind it")
        at_mixed, mixed = _with_reference(lambda: _mixed(logs))
    there = [name for name in NAMES if not local.missing(frozenset({name}))]
    both = "operations, generator and server on a core each"
    ceilings = {
        "generator": at_echo | _driven("requests and replies", echo, GENERATOR),
        "generator_mixed": at_mixed | _driven("operations, with their pushes", mixed, GENERATOR),
        "memory": at_mixed | _driven(both, mixed, GENERATOR, "server"),
        **{name: _store(name, say) for name in there},
    }
    return {
        **key(),
        "measured_at": datetime.now(UTC).isoformat(" ", "seconds"),
        "seconds": round(time.monotonic() - began, 1),
        "load_1m": machine.describe()["load_1m"],
        "git": environment.git("rev-parse", "--short=12", "HEAD"),
        "ceilings": ceilings,
    }


def _with_reference(measure: Callable[[], T]) -> tuple[Json, T]:
    """What the core was like meanwhile, and what was measured."""
    before = steps_per_cpu_s()
    found = measure()
    return {"reference_per_cpu_s": round((before + steps_per_cpu_s()) / 2)}, found


def _driven(unit: str, driven: Driven, *components: str) -> Json:
    """What the busiest of these would carry with a core of its own."""
    return {
        "unit": unit,
        "per_s": round(min(map(driven.per_cpu_s, components)), 1),
        "measured_at_per_s": round(driven.operations / driven.seconds, 1),
        "pushes_per_operation": round(driven.pushes / max(1, driven.operations), 3),
    }


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


def _requests(send_per_s: float) -> Load:
    """No READ: it waits for its message, and an echo pushes none."""
    load = _load(send_per_s)
    plan = replace(load.plan, reads=load.plan.reads[:0], probes=load.plan.probes[:0])
    return replace(load, plan=plan)


def _echo(logs: Path) -> Driven:
    port = free_ports(1)[0]
    log = logs / "echo.log"
    server = Daemon([sys.executable, "-m", "bench.calibrate.echo", str(port)], log=log)
    try:
        deadline = time.monotonic() + READY_S
        while not server.listens_on(port):
            if server.poll() or not until(deadline):
                raise ServicesError(f"The echo did not start. Its log ends with:\n{server.tail()}")
        url = f"ws://127.0.0.1:{port}"
        return drive(
            url, _requests(ECHO_SENDS_PER_S), secret=None, logs=logs, pids=lambda: {"echo": [server.pid]}
        )
    finally:
        server.stop(1.0)


def _mixed(logs: Path) -> Driven:
    secret, load = secrets.token_urlsafe(24), _load(MIXED_SENDS_PER_S)
    with SchemeProcesses("memory", {}, settings={}, secret=secret, logs=logs) as server:
        server.wait_ready()
        control = Control(server.control_url, secret)
        control.seed(load.population.seed_frames(load.plan.unread_at_start), warm=False)
        control.ask("FREEZE_GC", timeout_s=30)
        control.close()
        return drive(server.url, load, secret=secret, logs=logs, pids=server.pids)


def _store(name: str, say: Say) -> Json:
    """One store at a time: what it is alone, the others do not disturb."""
    say(f"{name} alone")
    with local.start(frozenset({name}), folder=None, say=lambda _: None) as stack:
        service = stack.services[name]
        core, done = _with_reference(
            lambda: exercise(service, warm_s=STORE_WARM_S[name], seconds=STORE_S[name])
        )
    cores = 1 if name in ONE_CORE else machine.cores()
    return {
        "unit": UNITS[name],
        "per_s": round(done.per_cpu_s * cores, 1),
        "measured_at_per_s": round(done.operations / done.seconds, 1),
        "cores": cores,
        **core,
    }
