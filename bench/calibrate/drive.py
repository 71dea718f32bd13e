"""Drives a server with the generator of a run, and says what each side's CPU bought.

Both go before everything else on the machine where that is allowed: what others do would only blur it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from bench import cores, machine, owned
from bench import plan as planning
from bench.load.fleet import Fleet, Live, LoadConfig
from bench.plan import Plan
from bench.runner import HEAD_START_NS, MEMORY, SCENARIOS, Load
from bench.sampler import usage

GENERATOR: Final = "generator"
CONNECT_S: Final = 60.0
FINISH_S: Final = 30.0
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


class Drive:
    """One server under load, a slice at a time, on the same connections.

    `pids`: components of the other side.  `cut`: what is left out of each plan.  A context manager:
    leaving it ends the generator."""

    def __init__(
        self,
        url: str,
        load: Load,
        *,
        secret: str | None,
        logs: Path,
        pids: Callable[[], Mapping[str, list[int]]],
        cut: Callable[[Plan], Plan] = lambda plan: plan,
    ) -> None:
        self._load = replace(load, plan=cut(load.plan))
        self._pids, self._cut = pids, cut
        self._memory = owned.make("calibrate", MEMORY)
        self._fleet = Fleet(self._config(url, secret), logs, lambda _: None)
        self._slices = 0

    def __enter__(self) -> Drive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fleet.stop()
        self._memory.remove()

    def slice(self) -> Driven:
        """A plan of the load's kind and length, its warm-up not counted; before the first everybody connects.

        Raises WorkerLost, TimeoutError."""
        if self._slices:
            self._follow()
        else:
            self._connect()
        self._slices += 1
        begun = time.monotonic_ns() + HEAD_START_NS
        self._fleet.begin(begun)
        warm_s, seconds = self._load.plan.options.warmup_s, self._load.plan.options.measure_s
        first = self._look(begun / 1e9 + warm_s)
        last = self._look(begun / 1e9 + warm_s + seconds)
        self._until(lambda live: live.finished, FINISH_S, "not everything was answered")
        return Driven(
            last[0] - first[0],
            last[1] - first[1],
            last[2] - first[2],
            {name: last[3][name] - first[3][name] for name in first[3]},
        )

    def _connect(self) -> None:
        self._fleet.start()
        self._fleet.connect()
        self._until(lambda live: live.connected >= live.wanted, CONNECT_S, "not everybody was connected")
        self._fleet.freeze_gc()
        parts = cores.parts_of_generator(self._fleet.pids())
        cores.arrange({**parts, **self._pids()}, machine.cores())
        cores.prefer([pid for of in self._pids().values() for pid in of])

    def _follow(self) -> None:
        options = replace(self._load.plan.options, draw=self._slices)
        plan = self._cut(planning.make(self._load.population, options, self._load.plan))
        self._load = replace(self._load, plan=plan)
        self._fleet.follow(str(self._saved()), f"calib{self._slices}")

    def _saved(self) -> Path:
        file = self._memory.path / "plan.npz"
        self._load.plan.save(file)
        return file

    def _config(self, url: str, secret: str | None) -> LoadConfig:
        return LoadConfig(
            host=url,
            scenario=str(SCENARIOS / "steady_chat.py"),
            memory=str(self._memory.path),
            plan_file=str(self._saved()),
            population=self._load.population.options,
            plan=self._load.plan.options,
            nonce="calib0",
            secret=secret,
            report_s=POLL_S,
        )

    def _until(self, done: Callable[[Live], bool], within_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + within_s
        while not done(self._fleet.poll(POLL_S)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{otherwise} within {within_s:.0f} s")

    def _look(self, at_s: float) -> tuple[float, int, int, dict[str, float]]:
        """(seconds, operations, pushes, CPU seconds by component) at the first report after `at_s`."""
        live = self._fleet.poll(POLL_S)
        while live.at_ns / 1e9 < at_s:
            live = self._fleet.poll(POLL_S)
        components = {GENERATOR: self._fleet.pids()["worker"], **self._pids()}
        cpu = {name: usage(of)["cpu_s"] for name, of in components.items()}
        done = sum(counts.get("OK", 0) for counts in live.outcomes.values())
        return live.at_ns / 1e9, done, live.pushes, cpu
