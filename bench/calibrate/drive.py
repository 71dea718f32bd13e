"""Drives a server with the generator of a run, and says what each side's CPU bought.

Both go before everything else on the machine where that is allowed: what others do would only blur it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import cores, machine
from bench.load.fleet import Fleet, Live, LoadConfig
from bench.runner import HEAD_START_NS, MEMORY, SCENARIOS, Load
from bench.sampler import usage

GENERATOR: Final = "generator"
CONNECT_S: Final = 60.0
POLL_S: Final = 0.2


@dataclass(frozen=True)
class Driven:
    """In the measured seconds: operations that were answered, pushes, CPU seconds by component."""

    seconds: float
    operations: int
    pushes: int
    cpu_s: Mapping[str, float]

    def per_cpu_s(self, component: str) -> float:
        """Operations that a core of this component would carry."""
        return self.operations / max(self.cpu_s[component], 1e-9)


def drive(
    url: str, load: Load, *, secret: str | None, logs: Path, pids: Callable[[], Mapping[str, list[int]]]
) -> Driven:
    """The plan of `load`, its warm-up not counted.  `pids`: components of the other side.

    Raises WorkerLost, TimeoutError."""
    memory = Path(tempfile.mkdtemp(prefix="readstate-calibrate-", dir=MEMORY))
    fleet = Fleet(_config(url, load, secret, memory), logs, lambda _: None)
    try:
        fleet.start()
        fleet.connect()
        _until(fleet, lambda live: live.connected >= live.wanted, time.monotonic() + CONNECT_S)
        fleet.freeze_gc()
        parts = cores.parts_of_generator(fleet.pids())
        cores.arrange({**parts, **pids()}, machine.cores())
        cores.prefer([pid for of in pids().values() for pid in of])
        begun = time.monotonic_ns() + HEAD_START_NS
        fleet.begin(begun)
        warm_s, seconds = load.plan.options.warmup_s, load.plan.options.measure_s
        first = _look(fleet, pids, begun / 1e9 + warm_s)
        last = _look(fleet, pids, begun / 1e9 + warm_s + seconds)
    finally:
        fleet.stop()
        shutil.rmtree(memory, ignore_errors=True)
    return Driven(
        last[0] - first[0],
        last[1] - first[1],
        last[2] - first[2],
        {name: last[3][name] - first[3][name] for name in first[3]},
    )


def _config(url: str, load: Load, secret: str | None, memory: Path) -> LoadConfig:
    plan_file = memory / "plan.npz"
    load.plan.save(plan_file)
    return LoadConfig(
        host=url,
        scenario=str(SCENARIOS / "steady_chat.py"),
        memory=str(memory),
        plan_file=str(plan_file),
        population=load.population.options,
        plan=load.plan.options,
        nonce="calibr",
        secret=secret,
    )


def _until(fleet: Fleet, done: Callable[[Live], bool], deadline_s: float) -> None:
    while not done(fleet.poll(POLL_S)):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not everybody was connected within {CONNECT_S:.0f} s")


def _look(
    fleet: Fleet, pids: Callable[[], Mapping[str, list[int]]], at_s: float
) -> tuple[float, int, int, dict[str, float]]:
    """(seconds, operations, pushes, CPU seconds by component) at the first report after `at_s`."""
    live = fleet.poll(POLL_S)
    while live.at_ns / 1e9 < at_s:
        live = fleet.poll(POLL_S)
    components = {GENERATOR: fleet.pids()["worker"], **pids()}
    cpu = {name: usage(of)["cpu_s"] for name, of in components.items()}
    done = sum(counts.get("OK", 0) for counts in live.outcomes.values())
    return live.at_ns / 1e9, done, live.pushes, cpu
