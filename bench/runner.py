"""One run, top to bottom: start, seed, connect, warm up, measure, drain, read finally, store.

The composition root of the harness.  What may go wrong ends in `Ended`, and whatever was recorded until
then is written; figures are computed from the written rows alone (`bench/summary.py`)."""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

import schemes
from bench import cores, machine, machine_state, manifest, owned, record, results, sampler, watching
from bench import plan as planning
from bench import population as people
from bench.calibrate import stored
from bench.connecting import Connecting
from bench.control import Control, ControlError, Door
from bench.load.config import ProbeDoor
from bench.load.fleet import Fleet, Live, LoadConfig, WorkerLost, read_rows
from bench.load.live_checks import PROMISES
from bench.load.shares import ProbeUsers, choose_probe_users
from bench.options import Arm, RunOptions
from bench.results import CONVERSATIONS, DEVICES, FINAL_STORE, MEMBERS, RunFolder
from bench.services import ServicesError, identity
from bench.services.counters import Counters
from bench.services.queue_lag import QueueLag
from bench.services.running import RunningServer
from bench.services.server import SchemeProcesses
from bench.services.totals import totals
from bench.setting_up import NO_CONTROL_SECRET, SettingUp
from bench.turns import Turn
from schemes.protocol import DumpRow

SCENARIOS: Final = Path(schemes.__file__).parent.parent / "scenarios"
MEMORY: Final = Path("/dev/shm")
"""Rows are recorded into memory; they outlive the process that writes them."""
WEB_PORT: Final = 8089
POLL_S: Final = 0.25
DRAIN_S: Final = 30.0
SETTLE_S: Final = 3.0
"""Where DRAIN cannot be asked, what is on its way is given this long."""
TOLD_S: Final = 0.6
"""By then a consumer has told its server what it has done."""
HEAD_START_NS: Final = 500_000_000
"""Between the command to begin and the first planned operation."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: for the progress line."""

    phase: str
    done_s: float
    total_s: float | None
    text: str


Say = Callable[[str], None]
Show = Callable[[Progress], None]
Through = Callable[[str], str]
"""The address of the server -> the address that the load is sent to."""


class Ended(Exception):
    """The run ended before its time.  `how` as in the manifest (`bench/results.py`)."""

    def __init__(self, how: str, phase: str, message: str, component: str = "") -> None:
        super().__init__(message)
        self.how = how
        self.phase = phase
        self.component = component


@dataclass(frozen=True)
class Load:
    """What every arm of one command carries out: the same people, the same plan."""

    population: people.Population
    plan: planning.Plan
    probe_users: ProbeUsers

    @classmethod
    def of(cls, options: RunOptions) -> Load:
        direct, group = options.history
        population = people.build(
            people.PopulationOptions(
                options.users, options.people, options.seed, history_direct=direct, history_group=group
            )
        )
        rate = options.rate_per_s
        if rate is None:
            rate = planning.PlanOptions().rate_per_s
            if options.intensity is not None:
                rate = planning.rate_of_intensity(options.intensity, population.connected)
        wanted = planning.PlanOptions(
            rate_per_s=rate,
            warmup_s=options.warmup_s,
            measure_s=options.duration_s,
            reads_per_mark=options.reads_per_mark,
            point_reads=options.scenario == planning.POINT_READS,
            probes="probes" not in options.leave_out,
        )
        plan = planning.make(population, wanted)
        nobody = "probe_users" in options.leave_out
        return cls(population, plan, ProbeUsers((), 0.0) if nobody else choose_probe_users(population, plan))


class NotStored(Exception):
    """What was recorded could not be written; everything that was started has been stopped."""


def run(
    arm: Arm,
    load: Load,
    options: RunOptions,
    *,
    say: Say,
    show: Show,
    through: Through | None = None,
    turn: Turn | None = None,
) -> RunFolder:
    """Carries out one run and returns its folder, with the manifest and every recorded row in it.

    `through` puts something between load and server; `turn` is its place among the runs of its command.
    Raises nothing that a run can meet: how it ended stands in the manifest."""
    folder = RunFolder.create(
        options.out, scheme=arm.scheme, scenario=options.scenario, now=datetime.now(UTC)
    )
    attempt = Attempt(arm, load, options, folder, say, show)
    attempt.through = through
    attempt.turn = turn
    conduct(attempt, folder)
    return folder


def conduct(attempt: Attempt, folder: RunFolder) -> None:
    """Carries out the attempt, whatever happens to it, and stores what it recorded.  Raises NotStored."""
    folder.write_manifest(attempt.manifest({"how": "running", "phase": "setup", "message": ""}))
    ended = {"how": "finished", "phase": "final", "message": ""}
    try:
        attempt.carry_out()
    except Ended as why:
        ended = {"how": why.how, "phase": why.phase, "message": str(why)}
    except KeyboardInterrupt:
        ended = {"how": "interrupted", "phase": attempt.phase, "message": "interrupted from outside (Ctrl-C)"}
    except Exception as bug:  # noqa: BLE001  the rim of a run: exit code 1, what was recorded is kept
        (folder.logs / "harness.log").write_text(traceback.format_exc())
        message = f"a bug of the harness, {type(bug).__name__}: {bug}; see {folder.logs / 'harness.log'}"
        ended = {"how": "internal_error", "phase": attempt.phase, "message": message}
    finally:
        with _uninterrupted():
            try:
                attempt.put_away()
                folder.write_manifest(attempt.manifest(ended))
            except (OSError, results.ResultsError) as why:
                raise NotStored(f"The run is lost, its rows could not be stored: {why}") from why


class Attempt:
    """One run in progress."""

    def __init__(
        self, arm: Arm, load: Load, options: RunOptions, folder: RunFolder, say: Say, show: Show
    ) -> None:
        self._arm = arm
        self._load = load
        self._options = options
        self._folder = folder
        self._say = say
        self._show = show
        self._facts = manifest.Facts(clock={"began": time.monotonic_ns()})
        self._secret = secrets.token_urlsafe(24)
        self._began = time.monotonic()
        self._phase_began = self._began
        self._exit = contextlib.ExitStack()
        self._fleet: Fleet | None = None
        self._sampler: sampler.Sampler | None = None
        self.setting_up = SettingUp(
            arm,
            load,
            options,
            run_id=folder.run_id,
            logs=folder.logs,
            secret=self._secret,
            facts=self._facts,
            until=self._exit,
            say=say,
        )
        self._server: SchemeProcesses | RunningServer | None = None
        self._memory: owned.Owned | None = None
        self._opened: Door | None = None
        self._queue_lag: QueueLag | None = None
        self._watching = watching.Watching()
        self.phase = "setup"
        self.through: Through | None = None
        self.turn: Turn | None = None

    # --- the story ------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        try:
            self._set_up()
            self._connect()
            self._carry_load()
            cores.release(self._ours(), machine.cores())
            self._read_finally()
        except (ServicesError, WorkerLost, ControlError, OSError) as why:
            raise self._ended_by(why) from why

    def _set_up(self) -> None:
        self._facts.ceilings = stored.find()
        self._server = self.setting_up.up()

    def _connect(self) -> None:
        self._enter("connect")
        assert self._server is not None
        url = self._server.url if self.through is None else self.through(self._server.url)
        config = self._load_config(url)
        fleet = self._fleet = Fleet(config, self._folder.logs, self._say)
        self._take_totals("before")
        self._start_sampling()
        fleet.start()
        fleet.connect()
        self._wait(Connecting(machine_state.ports()).all_are, total_s=None)

    def _carry_load(self) -> None:
        self._settle()
        self._warm_up_and_measure()
        self._drain()

    def _settle(self) -> None:
        """What must be so before anything counts."""
        assert self._fleet is not None
        self._freeze_gc(self._fleet)
        if self._options.pin == "auto":
            self._facts.pinned = self._arrange_cores()

    def _warm_up_and_measure(self) -> None:
        options, fleet = self._load.plan.options, self._fleet
        assert fleet is not None
        start = time.monotonic_ns() + HEAD_START_NS
        measure = start + round(options.warmup_s * 1e9)
        end = measure + round(options.measure_s * 1e9)
        self._facts.window = {"start": start, "measure": measure, "measure_end": end}
        fleet.begin(start)
        self._look()
        self._enter("warmup")
        self._wait(lambda _: time.monotonic_ns() >= measure, total_s=options.warmup_s)
        self._look()
        self._enter("measure")
        self._wait(lambda _: time.monotonic_ns() >= end, total_s=options.measure_s)
        self._look()
        self._ask_how_it_went()

    def _ask_how_it_went(self) -> None:
        """Server, consumer and services, when the measured window is over."""
        asked = time.monotonic_ns()
        self._facts.server = self._door().stats() or {}
        self._facts.server.pop("lag_ages", None)  # has a table of its own
        self._watching.heard("server", self._facts.server.pop("stalls", None), asked, time.monotonic_ns())
        if isinstance(self._server, SchemeProcesses):
            self._watching.heard("consumer", *watching.status(self._server.status_url))
        self._facts.services_seen["after"] = identity.of_all(self.setting_up.stack.services)

    def _freeze_gc(self, fleet: Fleet) -> None:
        """Collects and freezes garbage collection in every process, outside the measured window.  What is
        left of the start is waited for first: it shows that a consumer is there."""
        left = self._door().drain(DRAIN_S)
        if left:
            raise ServicesError(
                f"The {self._arm.scheme} scheme is not at rest {DRAIN_S:.0f} s after everybody connected: "
                f"{left} are left. See the logs of server and consumer in {self._folder.logs}."
            )
        self._door().freeze_gc()
        if isinstance(self._server, SchemeProcesses):
            self._server.signal("consumer", signal.SIGUSR1)
        fleet.freeze_gc()
        self._take_totals("connected")

    def _drain(self) -> None:
        self._enter("drain")
        fleet = self._fleet
        assert fleet is not None
        self._wait(lambda live: live.finished, total_s=None)
        left = self._door().drain(DRAIN_S)
        if left is None:
            settled = time.monotonic() + SETTLE_S
            self._wait(lambda _: time.monotonic() >= settled, total_s=None)
        else:
            self._facts.drained = not left
        if left:
            self._say(f"not drained after {DRAIN_S:.0f} s: {left}")
        self._facts.window["drain_end"] = time.monotonic_ns()
        self._look()
        self._check_alive()
        self._take_totals("after")
        fleet.poll(POLL_S)

    def _read_finally(self) -> None:
        self._enter("final")
        assert self._fleet is not None
        everybody = self._load.population
        stored = self._door().dump("store")
        if stored is not None:
            self._folder.write_once("final_store", _final_cursors(stored, everybody))
        if "redis" in self.setting_up.needs:  # before the final read, which fills it
            self._folder.write_once(
                "final_cache", _final_cursors(self._door().dump("cache") or [], everybody)
            )
        self._show(Progress(self.phase, 0.0, None, "reading everybody's state on fresh connections"))
        answered, failed = self._fleet.final_read()
        self._facts.final = {
            "asked": answered + failed,
            "answered": answered,
            "held_against": "api" if stored is None else "store",
        }
        self._check_alive()

    # --- what the load is given -----------------------------------------------------------------------------

    def _load_config(self, url: str) -> LoadConfig:
        options = self._options
        self._memory = owned.make(self._folder.run_id, MEMORY)
        plan_file = self._memory.path / "plan.npz"
        self._load.plan.save(plan_file)
        return LoadConfig(
            host=url,
            scenario=str(SCENARIOS / f"{options.scenario}.py"),
            memory=str(self._memory.path),
            plan_file=str(plan_file),
            population=self._load.population.options,
            plan=self._load.plan.options,
            nonce=self._secret[:6],
            secret=self._token_secret(),
            workers=options.workers,
            probe_devices=self._load.probe_users.devices,
            delivered_window_s=options.delivered_window_s,
            arrivals=options.arrivals,
            web_port=WEB_PORT if options.web else None,
            door=self._door_of_probes(),
            trace="stamps" not in options.leave_out,
        )

    def _door_of_probes(self) -> ProbeDoor | None:
        """MySQL and Redis, as far as the scheme has them, are asked for what the probes read."""
        questions = {"mysql": "DURABLE", "redis": "CACHED"}
        asked = tuple(question for service, question in questions.items() if service in self.setting_up.needs)
        return ProbeDoor(self._secret, asked) if asked else None

    def _token_secret(self) -> str | None:
        if self._options.target is not None:
            return self._options.target.token_secret
        return self._secret if self._options.auth == "hmac" else None

    def _start_sampling(self) -> None:
        counters = Counters(self.setting_up.stack.services)
        self._exit.callback(counters.close)
        asked = [counters.sample]
        seldom = "samplers" in self._options.leave_out
        if "kafka" in self.setting_up.needs and not seldom:
            self._queue_lag = QueueLag(self._new_door)
            self._exit.callback(self._queue_lag.close)
            asked.append(self._queue_lag.sample)
        assert self._memory is not None
        data = self.setting_up.stack.folder
        places = {"results": self._folder.path, "memory": self._memory.path, "data": data}
        asked.append(machine_state.MachineState(places).sample)
        self._facts.services_seen["before"] = identity.of_all(self.setting_up.stack.services)
        self._sampler = sampler.Sampler(
            self._components, lambda: [one for ask in asked for one in ask()], seldom=seldom
        )
        self._sampler.start()

    def _look(self) -> None:
        """At the borders of a window, where nobody looks once a second."""
        if self._sampler is not None:
            self._sampler.look()

    def _components(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        if self._fleet is not None:
            found |= cores.parts_of_generator(self._fleet.pids())
        if self._server is not None:
            found |= self._server.pids()
        return found | {name: list(service.pids) for name, service in self.setting_up.stack.services.items()}

    def _ours(self) -> dict[str, list[int]]:
        """What the harness started: it binds nobody else's processes to cores."""
        ours = self._options.target is None
        return {part: pids for part, pids in self._components().items() if ours or cores.is_generator(part)}

    def _arrange_cores(self) -> str:
        said = cores.arrange(self._ours(), machine.cores())
        if self._options.target is None:
            return said
        return f"{said.split(' · ')[0]} · server: where it runs already"

    # --- while it goes on -----------------------------------------------------------------------------------

    def _door(self) -> Door:
        assert self._server is not None
        if self._opened is None:
            target = self._options.target
            secret = self._secret if target is None else target.control_secret
            self._opened = Door(
                Control(self._server.control_url, secret) if secret is not None else None,
                why_not=NO_CONTROL_SECRET,
                lenient=target is not None,
            )
            self._exit.callback(self._opened.close)
        return self._opened

    def _take_totals(self, moment: str) -> None:
        """For the work ledger: what the stores and the server say that they have done by now."""
        if self._options.target is not None:
            return
        if "kafka" in self.setting_up.needs:
            time.sleep(TOLD_S)
        now = time.monotonic_ns()
        try:
            asked = totals(self.setting_up.stack.services, self._arm.options.get("topic"))
        except ServicesError as why:
            self._say(f"no work ledger: {why}")
            return
        self._facts.ledger[moment] = {"t": now, "server": self._door().stats() or {}, **asked}
        self._facts.ledger[moment]["server"].get("scheme", {}).pop("lag_ages", None)

    def _new_door(self) -> Control:
        assert self._server is not None
        return Control(self._server.control_url, self._secret)

    def _enter(self, phase: str) -> None:
        now = time.monotonic()
        self._facts.seconds[self.phase] = self._facts.seconds.get(self.phase, 0.0) + now - self._phase_began
        self.phase = phase
        self._phase_began = now

    def _wait(self, done: Callable[[Live], bool], *, total_s: float | None) -> None:
        """Until `done`, showing progress and watching that everything lives."""
        assert self._fleet is not None
        while True:
            self._check_alive()
            live = self._fleet.poll(POLL_S)
            spent = time.monotonic() - self._phase_began
            self._show(Progress(self.phase, spent, total_s, _describe(live)))
            if self._options.fail_fast:
                self._check_promises(live)
            if done(live):
                return

    def _check_alive(self) -> None:
        assert self._server is not None
        for text in (*self._server.alive(), *self.setting_up.stack.alive()):
            raise self._death(text.split(" ", 1)[0], text)

    def _check_promises(self, live: Live) -> None:
        """Raises Ended for the first violation of what this run promises."""
        said = manifest.said_of_the_server(self._arm, self._options.target, self._facts.welcome)
        broken = [
            (count.first, name, count)
            for name, count in live.checks.items()
            if count.first is not None and PROMISES[name] in said["promises"]
        ]
        if broken:
            first, name, count = min(broken, key=lambda found: found[0].at_ns)
            where = f"{people.user_id(first.user)}"
            if first.conversation != people.NOBODY:
                where += f" in {self._load.population.conversation_id(first.conversation)}"
            raise Ended(
                "violation",
                self.phase,
                f"--fail-fast: {name} was violated for {where}, {self._when(first.at_ns)}; until then "
                f"{count.violations} of {count.eligible}, and the promise was {PROMISES[name]}",
            )

    def _when(self, at_ns: int) -> str:
        start = self._facts.window.get("start")
        if start is None or at_ns < start:
            return "before the load began"
        return f"{(at_ns - start) / 1e9:.1f} s after the load began"

    def _death(self, component: str, text: str) -> Ended:
        start = self._facts.window.get("start")
        at_s = (time.monotonic_ns() - start) / 1e9 if start else time.monotonic() - self._began
        message = (
            f"{text} in {self.phase}, {at_s:.1f} s {'after the load began' if start else 'after the start'}"
        )
        self._facts.deaths.append(
            {"component": component, "at_s": at_s, "phase": self.phase, "message": message}
        )
        return Ended("failed", self.phase, message, component)

    def _ended_by(self, why: Exception) -> Ended:
        """What really happened: a broken connection is often the death of whoever was at its other end."""
        if isinstance(why, WorkerLost):
            return self._death("worker", str(why))
        if self._server is not None:
            with contextlib.suppress(ServicesError):
                time.sleep(POLL_S)
                try:
                    self._check_alive()
                except Ended as death:
                    return death
        how = "not_started" if self.phase in ("setup", "connect") else "failed"
        return Ended(how, self.phase, str(why) or type(why).__name__)

    # --- afterwards -----------------------------------------------------------------------------------------

    def put_away(self) -> None:
        """Stops everything, then writes what was recorded."""
        self._enter("stopped")
        files = self._fleet.stop() if self._fleet is not None else []
        self._facts.clock["ended"] = time.monotonic_ns()
        self._watching.load(self._fleet.watched if self._fleet is not None else {})
        self._facts.watched = self._watching.watched
        samples = self._sampler.stop() if self._sampler is not None else []
        self._exit.close()
        try:
            self._write(files, samples)
        finally:
            if self._memory is not None:
                self._memory.remove()

    def manifest(self, ended: Mapping[str, str]) -> dict[str, Any]:
        """What can be said of the run by now."""
        if self._fleet is not None and self._fleet.counted is not None:
            self._facts.live = manifest.counted(self._fleet.counted)
        if self._opened is not None:
            self._facts.not_available |= self._opened.missing
        if self.turn is not None:
            self._facts.repeat = self.turn.to_dict()
        return manifest.of(self._folder.run_id, self._arm, self._load, self._options, self._facts, ended)

    def _operations(self, shard: str, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """One worker's operations as they are stored."""
        return settled(rows)

    def _write(self, files: list[Path], samples: list[sampler.Sample]) -> None:
        for path in files:
            table, _, worker = path.stem.rpartition("-")
            rows = read_rows(path)
            self._facts.rows[path.stem] = len(rows)
            rows = self._operations(path.stem, rows) if table == "operations" else rows
            self._folder.write_rows(table, int(worker), rows)
        if samples:
            self._folder.write_timeseries(samples)
        self._folder.write_once("stalls", self._watching.rows())
        if self._queue_lag is not None:
            self._folder.write_once("queue_ages", self._queue_lag.ages())
        for name, rows in made_of(self._load.population, self._load.plan).items():
            self._folder.write_once(name, rows)


def settled(operations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What was still unanswered when its process ended is unknown, not pending."""
    rows = np.array(operations)
    pending = rows["outcome"] == record.Outcome.PENDING
    rows["outcome"][pending] = record.Outcome.INFO
    rows["error"][pending] = record.ERROR_CODES["CLOSED"]
    return rows


def _describe(live: Live) -> str:
    """The live figures of the progress line."""
    parts = [f"{live.connected:,}/{live.wanted:,} connected"]
    if live.sent_per_s:
        parts.append(f"{live.sent_per_s:,.0f} op/s, {live.pushes_per_s:,.0f} pushes/s")
    for op in ("SEND", "READ", "STATE"):
        if op in live.latency_us:
            p50, p99 = live.latency_us[op]
            parts.append(f"{op} {p50 / 1000:.1f}|{p99 / 1000:.1f} ms")
    bad = sum(
        n for counts in live.outcomes.values() for name, n in counts.items() if name in ("FAIL", "INFO")
    )
    if bad:
        parts.append(f"{bad} failed or unknown")
    parts += [
        f"{name} violated {count.violations}x" for name, count in live.checks.items() if count.violations
    ]
    return " · ".join(parts)


def _final_cursors(held: list[DumpRow], population: people.Population) -> np.ndarray[Any, Any]:
    """A server of somebody else's may hold more than the population: that is nobody's business here."""
    everyone = len(population.of_person_start) - 1
    rows = [
        (
            people.index_of(row.conversation_id),
            row.user_id - 1,
            row.read_seq,
            row.delivered_seq,
            row.version,
            row.last_seq,
        )
        for row in held
        if people.index_of(row.conversation_id) < population.conversations and 0 < row.user_id <= everyone
    ]
    return np.array(rows, FINAL_STORE)


def made_of(population: people.Population, plan: planning.Plan) -> dict[str, np.ndarray[Any, Any]]:
    """The tables that say what the run was made of."""
    conversations, members = [], []
    for index, seeded in enumerate(population.seed_conversations(plan.unread_at_start)):
        conversations.append((int(seeded.kind != "direct"), seeded.history))
        members += [
            (index, user - 1, read) for user, read in zip(seeded.members, seeded.read_seq, strict=True)
        ]
    devices = [(device, person) for device, person in enumerate(population.device_person.tolist())]
    return {
        "conversations": np.array(conversations, CONVERSATIONS),
        "members": np.array(members, MEMBERS),
        "devices": np.array(devices, DEVICES),
    }


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Putting away is quick and must not be cut short: a second Ctrl-C waits for its end.  Signals are the
    main thread's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
