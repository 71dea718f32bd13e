"""The load as the runner sees it: Locust's master, its workers and the probe users, processes of their own.

No locust in here.

    fleet = Fleet(config, folder, say)
    fleet.start(); fleet.connect()
    while (live := fleet.poll()).connected < live.wanted: ...
    fleet.freeze_gc(); fleet.begin(t0_ns)
    while not fleet.poll().finished: ...
    fleet.follow(plan_file, nonce); fleet.begin(t0_ns)  # another plan on the same connections, or more
    while not fleet.poll().finished: ...
    fleet.final_read(); paths = fleet.stop()

Every call raises WorkerLost when one of the processes has died or cannot go on; what it recorded until then
is whole (`paths`, `read_rows`).  `stop` may be called at any time and more than once, and leaves nothing
running. The children die with the thread that started them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from bench.cores import GENERATOR, PROBE_USERS
from bench.load.channel import Channel
from bench.load.config import Buckets, Live, LiveCount, LoadConfig, Report, quantile
from bench.load.recorder import read_rows
from bench.load.watched import Watched
from bench.population import PopulationOptions
from bench.record import TABLES

__all__ = ["Fleet", "Live", "LoadConfig", "PopulationOptions", "WorkerLost", "read_rows"]

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
FREEZE_TIMEOUT_S: Final = 30.0
FINAL_TIMEOUT_S: Final = 120.0


class WorkerLost(Exception):
    """A load process died unasked, or said that it cannot go on.

    `worker` is its number: -1 for Locust's master, that of the last worker + 1 for the probe users' process.
    `at_ns` (CLOCK_MONOTONIC) is when that was noticed."""

    def __init__(self, name: str, worker: int, pid: int, at_ns: int, reason: str) -> None:
        super().__init__(f"{name} (process {pid}) was lost: {reason}")
        self.worker = worker
        self.pid = pid
        self.at_ns = at_ns
        self.reason = reason


class _Child:
    """One process, its channel, and what it said last."""

    def __init__(
        self,
        name: str,
        module: str,
        worker: int,
        config: LoadConfig,
        first: dict[str, Any],
        log: IO[bytes],
    ) -> None:
        ours, theirs = socket.socketpair()
        self.name = name
        self.worker = worker
        self.channel = Channel(ours.detach())
        self.events: dict[str, dict[str, Any]] = {}
        self.report = Report()
        self.watched = Watched()
        self.sent_per_s = self.pushes_per_s = 0.0
        self.port = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
        theirs.close()
        if config.cores:
            os.sched_setaffinity(self.process.pid, config.cores)
        self.tell({"config": msgspec.to_builtins(config), **first})

    def tell(self, order: dict[str, Any]) -> None:
        try:
            self.channel.send(order)
        except OSError:
            raise self.lost(self._ending()) from None

    def take_events(self) -> None:
        """Raises WorkerLost."""
        try:
            messages = self.channel.receive()
        except EOFError:
            if "stopped" in self.events:
                return
            raise self.lost(self._ending()) from None
        for message in messages:
            name = message["event"]
            if name == "fatal":
                raise self.lost(message["reason"])
            if name == "live":
                self._take_report(msgspec.convert(message["report"], Report, strict=False))
            self.events[name] = message
            if name == "ready":
                self.port = message.get("port", 0)

    def _take_report(self, report: Report) -> None:
        passed_s = (report.at_ns - self.report.at_ns) / 1e9
        if self.report.at_ns and passed_s > 0:
            self.sent_per_s = (report.sent - self.report.sent) / passed_s
            self.pushes_per_s = (report.pushes - self.report.pushes) / passed_s
        self.report = report
        self.watched.told(report, time.monotonic_ns())

    def lost(self, reason: str) -> WorkerLost:
        return WorkerLost(self.name, self.worker, self.process.pid, time.monotonic_ns(), reason)

    def _ending(self) -> str:
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it closed its channel"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def end(self, deadline: float) -> None:
        """Waits until it is gone and takes its last words; kills it at the deadline."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(WorkerLost):
                self.take_events()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()


class Fleet:
    """The load processes of one run.  `folder` takes their logs; `say` gets lines for the user."""

    def __init__(self, config: LoadConfig, folder: Path, say: Callable[[str], None]) -> None:
        self.config = config
        self._folder = folder
        self._say = say
        self._master: _Child | None = None
        self._workers: list[_Child] = []
        self._probes: _Child | None = None
        self.watched: dict[str, Watched] = {}
        """What each load process said of its stalls and its clock, by component (`bench.cores`)."""
        self.counted: Live | None = None
        """After `stop`: the counts of all that was recorded.  None where a worker did not come to say
        them."""

    # --- the life of a run ------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the processes and waits until all are ready.  Raises WorkerLost, TimeoutError, OSError."""
        self.config.memory_folder.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        workers = self.config.workers
        self._master = self._child("Locust's master", "master", "bench.load.master", -1)
        self._workers = [
            self._child(f"load worker {number}", f"worker-{number}", "bench.load.worker", number)
            for number in range(workers)
        ]
        if self.config.probe_devices:
            name = "the probe users' load process"
            self._probes = self._child(name, "probe-users", "bench.load.probe_users", workers)
        self.watched = {f"{GENERATOR}/{child.worker}": child.watched for child in self._workers}
        if self._probes is not None:
            self.watched[PROBE_USERS] = self._probes.watched
        self._wait(self._children(), "ready", START_TIMEOUT_S)
        for worker in self._workers:
            worker.tell({"do": "join", "port": self._master.port})
        self._wait([self._master], "workers", START_TIMEOUT_S)
        if self.config.web_port is not None:
            self._say(f"Locust's page: http://127.0.0.1:{self.config.web_port}")

    def connect(self) -> None:
        """Tells Locust to start all users; `poll` says how many are connected."""
        assert self._master is not None, "start() comes first"
        probes = len(self.config.probe_devices)
        self._master.tell({"do": "spawn", "users": self.config.population.devices - probes})
        if self._probes is not None:
            self._probes.tell({"do": "spawn", "users": probes})

    def freeze_gc(self) -> None:
        """Collects and freezes garbage collection in every worker, now.  Raises WorkerLost, TimeoutError."""
        self._tell({"do": "freeze"})
        self._wait(self._loads(), "frozen", FREEZE_TIMEOUT_S)

    def begin(self, t0_ns: int) -> None:
        """The warm-up starts at t0_ns (CLOCK_MONOTONIC), the measured window after it; both end by
        themselves, and when no reply is outstanding any more `poll().finished` is true."""
        self._tell({"do": "begin", "t0_ns": t0_ns})

    def follow(self, plan_file: str, nonce: str) -> None:
        """Gives everybody another plan (as `LoadConfig.plan_file`) when the last one is finished; `begin`
        starts it.  Raises WorkerLost, TimeoutError."""
        for child in self._loads():
            del child.events["finished"]
        self._tell({"do": "follow", "plan_file": plan_file, "nonce": nonce})
        self._wait(self._loads(), "following", START_TIMEOUT_S)

    def final_read(self, timeout_s: float = FINAL_TIMEOUT_S) -> tuple[int, int]:
        """Reads everybody's state on fresh connections: (people read, people who could not be).

        Raises WorkerLost, TimeoutError."""
        self._tell({"do": "final"})
        done = self._wait(self._loads(), "final", timeout_s)
        return sum(event["read"] for event in done), sum(event["failed"] for event in done)

    def stop(self) -> list[Path]:
        """Ends every process, however far the run is, and says where the rows are."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        children = self._children()
        for child in children:
            try:
                child.tell({"do": "stop"})
            except WorkerLost:
                continue  # already gone, which is what was wanted
        for child in children:
            child.end(deadline)
        loads = self._loads()
        if loads and all("stopped" in child.events for child in loads):
            self.counted = self._live()
        self._workers, self._master, self._probes = [], None, None
        return self.paths()

    # --- watching it ------------------------------------------------------------------------------------

    def poll(self, wait_s: float = 0.0) -> Live:
        """What the workers said last; waits up to wait_s for news.  Raises WorkerLost."""
        channels = [child.channel for child in self._children()]
        if wait_s:
            select.select(channels, [], [], wait_s)
        for child in self._children():
            child.take_events()
        return self._live()

    def pids(self) -> dict[str, list[int]]:
        """Process ids by component."""
        found = {"master": _pids([self._master]), "worker": _pids(self._workers)}
        return found | ({"probe_users": _pids([self._probes])} if self._probes is not None else {})

    def paths(self) -> list[Path]:
        """The files of rows, `<table>-<worker>.rows`, also of workers that were lost."""
        return sorted(path for table in TABLES for path in self.config.memory_folder.glob(f"{table}-*.rows"))

    # --- inside -----------------------------------------------------------------------------------------

    def _children(self) -> list[_Child]:
        """All of them, the master last: the others hang on it."""
        return [child for child in [*self._loads(), self._master] if child is not None]

    def _loads(self) -> list[_Child]:
        """Those that carry out the plan."""
        return [child for child in [*self._workers, self._probes] if child is not None]

    def _child(self, name: str, log_name: str, module: str, worker: int) -> _Child:
        with (self._folder / f"load-{log_name}.log").open("ab") as log:
            return _Child(name, module, worker, self.config, {"worker": worker}, log)

    def _tell(self, order: dict[str, Any]) -> None:
        for child in self._loads():
            child.tell(order)

    def _wait(self, children: list[_Child], event: str, timeout_s: float) -> list[dict[str, Any]]:
        """Waits until all of these have said `event`."""
        deadline = time.monotonic() + timeout_s
        while not all(event in child.events for child in children):
            if time.monotonic() > deadline:
                silent = ", ".join(child.name for child in children if event not in child.events)
                raise TimeoutError(f"no {event!r} from {silent} within {timeout_s:.0f} s")
            self.poll(0.1)
        return [child.events.pop(event) for child in children]

    def _live(self) -> Live:
        loads = self._loads()
        reports = [child.report for child in loads]
        latency: dict[str, Buckets] = {}
        lag: Buckets = {}
        counters: Counter[str] = Counter()
        outcomes: dict[str, Counter[str]] = {}
        checks: dict[str, LiveCount] = {}
        for report in reports:
            _add(lag, report.send_lag)
            counters.update(report.counters)
            for op, buckets in report.latency.items():
                _add(latency.setdefault(op, {}), buckets)
            for op, counts in report.outcomes.items():
                outcomes.setdefault(op, Counter()).update(counts)
            for name, count in report.checks.items():
                checks[name] = checks.get(name, LiveCount()) + count
        return Live(
            at_ns=max((report.at_ns for report in reports), default=0),
            connected=sum(report.connected for report in reports),
            wanted=self.config.population.devices,
            offered=sum(report.offered for report in reports),
            achieved=sum(report.achieved for report in reports),
            sent=sum(report.sent for report in reports),
            sent_per_s=sum(child.sent_per_s for child in loads),
            pushes=sum(report.pushes for report in reports),
            pushes_per_s=sum(child.pushes_per_s for child in loads),
            outcomes={op: dict(counts) for op, counts in outcomes.items()},
            latency_us={op: (quantile(b, 0.5), quantile(b, 0.99)) for op, b in latency.items()},
            send_lag_us=(quantile(lag, 0.5), quantile(lag, 0.99)),
            counters=dict(counters),
            checks=checks,
            finished=bool(loads) and all("finished" in child.events for child in loads),
        )


def _pids(children: Sequence[_Child | None]) -> list[int]:
    return [child.process.pid for child in children if child is not None]


def _add(total: Buckets, more: Buckets) -> None:
    for bucket, count in more.items():
        total[bucket] = total.get(bucket, 0) + count
