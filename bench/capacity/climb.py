"""Many loads, one after the other, on one set of connections, services and data; each leaves its own record.

A step is a plan of its own, with its warm-up: people go on where the last one ended (`bench.plan.make`).  Its
rows are cut out of what the fleet has written, and its figures computed from them alone, by what computes the
figures of a run.  What a step cannot know by itself, how far everybody had read when it began, is told in its
`members`.  When the climb is over, the whole record is stored as a run's is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import manifest, sampler, summary
from bench import plan as planning
from bench.capacity import backlog
from bench.checks.check import Check
from bench.load.fleet import read_rows
from bench.load.live_checks import PROMISES
from bench.load.shares import planned_share
from bench.metrics.history import History, Marks, marks
from bench.options import Arm, RunOptions
from bench.record import NONE, Op, Outcome
from bench.results import Json, RunFolder
from bench.runner import Attempt, Load, Say, Show, conduct, made_of, settled

Rows = np.ndarray[Any, Any]
STEPS: Final = "steps"
MARGIN_NS: Final = 2_000_000_000
"""Around a step, for clocks and samples of once a second."""
OP_ID: Final = (1 << 40) - 1
"""The bits of an op_id that are its row in its worker."""


@dataclass(frozen=True)
class Wanted:
    """One step's load."""

    rate_per_s: float
    warmup_s: float
    measure_s: float


@dataclass(frozen=True)
class Measured:
    """What became of it."""

    wanted: Wanted
    folder: RunFolder
    summary: Json


Next = Callable[[], Wanted | None]
"""The next step; None ends the climb.  The first must be what the load that was seeded has."""
Tell = Callable[[Measured], None]


def climb(
    arm: Arm,
    load: Load,
    options: RunOptions,
    folder: RunFolder,
    *,
    wanted: Next,
    tell: Tell,
    say: Say,
    show: Show,
) -> None:
    """Carries out steps until `wanted` has no more; `folder` holds it all, its manifest says how it ended.

    Raises NotStored, and nothing else that a run can meet."""
    conduct(Climb(arm, load, options, folder, say, show, wanted, tell), folder)


class Climb(Attempt):
    """An attempt whose load is many."""

    def __init__(
        self,
        arm: Arm,
        load: Load,
        options: RunOptions,
        folder: RunFolder,
        say: Say,
        show: Show,
        wanted: Next,
        tell: Tell,
    ) -> None:
        super().__init__(arm, load, options, folder, say, show)
        self._seeded = load
        self._wanted, self._tell = wanted, tell
        self._made = made_of(load.population, load.plan)
        self._cut: dict[str, int] = {}
        """By shard: rows that belong to steps that are over."""
        self._plans: dict[str, list[tuple[int, int]]] = {}
        """By shard of operations: (first row, what is added to plan numbers so that each is there once)."""
        self._planned = 0
        self._cut_at = 0
        self._counted: dict[str, tuple[int, int]] = {}
        self._at_rest: Json = {}
        """The counters of stores and server when the last step was over."""
        self._windows: list[dict[str, int]] = []

    def _carry_load(self) -> None:
        self._settle()
        self._cut_at = self._facts.clock["began"]
        number = 0
        while (wanted := self._next()) is not None:
            if number:
                self._follow(number, wanted)
            self._facts.drained = None
            self._warm_up_and_measure()
            self._drain()
            self._windows.append(dict(self._facts.window))
            self._tell(Measured(wanted, *self._record(number)))
            number += 1
        self._load = self._seeded

    def _next(self) -> Wanted | None:
        """Nothing is looked at while this stands still: another one may carry its load."""
        assert self._sampler is not None
        self._sampler.pause()
        try:
            return self._wanted()
        finally:
            self._sampler.go_on()

    def _follow(self, number: int, wanted: Wanted) -> None:
        """Gives everybody the plan of the next step."""
        self._enter("plan")
        assert self._fleet is not None
        assert self._memory is not None
        population = self._load.population
        options = replace(
            self._load.plan.options,
            rate_per_s=wanted.rate_per_s,
            warmup_s=wanted.warmup_s,
            measure_s=wanted.measure_s,
            draw=number,
        )
        plan = planning.make(population, options, self._load.plan)
        devices = self._load.probe_users.devices
        probes = replace(self._load.probe_users, planned_share=planned_share(population, plan, devices))
        self._load = Load(population, plan, probes)
        file = self._memory.path / "plan.npz"
        plan.save(file)
        self._fleet.follow(str(file), f"{self._secret[:6]}s{number}")

    # --- the record of a step -------------------------------------------------------------------------------

    def _record(self, number: int) -> tuple[RunFolder, Json]:
        assert self._fleet is not None
        path = self._folder.path / STEPS / f"{number:03}"
        path.mkdir(parents=True)
        folder = RunFolder(path)
        facts = replace(self._facts, rows={}, live={}, final={}, window=dict(self._facts.window))
        facts.ledger = self._moments()
        facts.clock = {"began": self._cut_at - MARGIN_NS, "ended": time.monotonic_ns()}
        for shard, rows in self._own_rows(self._fleet.paths()).items():
            table, _, worker = shard.rpartition("-")
            facts.rows[shard] = len(rows)
            folder.write_rows(table, int(worker), rows)
        folder.write_timeseries(self._samples())
        if self._queue_lag is not None:
            folder.write_once("queue_ages", self._queue_lag.ages())
        for name, rows in self._made.items():
            folder.write_once(name, rows)
        ended = {"how": "finished", "phase": "drain", "message": ""}
        folder.write_manifest(manifest.of(path.name, self._arm, self._load, self._options, facts, ended))
        figures = self._figures(folder, number)
        folder.write_summary(figures)
        self._cut_at = facts.clock["ended"]
        self._at_rest = self._facts.ledger.get("after", {})
        return folder, figures

    def _moments(self) -> Json:
        """Of the step's work ledger: it begins where the last one ended, everybody being connected."""
        moments = dict(self._facts.ledger)
        if self._at_rest:
            moments |= {"before": self._at_rest, "connected": self._at_rest}
        return moments

    def _figures(self, folder: RunFolder, number: int) -> Json:
        """The first step's record is all that was until then, so that everything can be told of it."""
        checks = self._checks()
        figures = summary.of_a_step(folder, checks) if number else summary.summarize(folder)
        history = History(folder)
        figures["backlog"] = backlog.to_dicts(backlog.look(history))
        self._read_on(history)
        return figures

    def _own_rows(self, paths: list[Path]) -> dict[str, Rows]:
        """By shard: the rows since the last step, numbered from 0; of connections all, which last longer."""
        written = {path.stem: read_rows(path) for path in paths}
        before = {shard: self._cut.get(shard, 0) for shard in written}
        found: dict[str, Rows] = {}
        for shard, rows in written.items():
            table, _, worker = shard.rpartition("-")
            if table == "connections":
                found[shard] = np.array(rows)
                continue
            own = np.array(rows[before[shard] :])
            if table in ("operations", "items"):
                first = before[f"operations-{worker}"]
                own = own[(own["op_id"] & OP_ID) >= first]
                own["op_id"] -= first
            found[shard] = settled(own) if table == "operations" else own
            self._cut[shard] = len(rows)
            if table == "operations":
                self._plans.setdefault(shard, []).append((before[shard], self._planned))
        self._planned += self._load.plan.count
        return found

    def _samples(self) -> list[sampler.Sample]:
        """Those around the step; waits for the first one after its window."""
        assert self._sampler is not None
        window = self._facts.window
        give_up = time.monotonic_ns() + MARGIN_NS
        while (found := self._sampler.so_far())[-1][0] < window[
            "measure_end"
        ] and time.monotonic_ns() < give_up:
            time.sleep(0.05)
        return [sample for sample in found if sample[0] >= window["start"] - MARGIN_NS]

    def _checks(self) -> list[Check]:
        """What the live checks counted since the last step."""
        assert self._fleet is not None
        said = manifest.said_of_the_server(self._arm, self._options.target, self._facts.welcome)
        found = []
        for name, count in self._fleet.poll().checks.items():
            eligible, violations = self._counted.get(name, (0, 0))
            self._counted[name] = (count.eligible, count.violations)
            found.append(
                Check(
                    name,
                    PROMISES[name],
                    PROMISES[name] in said["promises"],
                    count.eligible - eligible,
                    count.violations - violations,
                )
            )
        return found

    def _read_on(self, history: History) -> None:
        """Moves the cursors of `members` to where this step left them."""
        operations, members = history.operations, self._made["members"]
        ok = operations["outcome"] == Outcome.OK
        sends = np.flatnonzero((operations["op"] == Op.SEND) & ok)
        own = marks(history, Op.SEND, sends)
        reads = marks(history, Op.READ, np.flatnonzero((operations["op"] == Op.READ) & ok))
        people = int(members["user"].max(initial=0)) + 1
        key = members["conversation"].astype(np.int64) * people + members["user"]
        order = np.argsort(key)
        for moved, value in ((own, operations["value"][own.row]), (reads, reads.up_to)):
            row = order[np.searchsorted(key, _key(moved, people), sorter=order)]
            np.maximum.at(members["read_seq"], row, np.maximum(value, 0).astype(np.uint32))

    # --- the record of all of it --------------------------------------------------------------------------

    def put_away(self) -> None:
        self._load = self._seeded
        super().put_away()

    def _operations(self, shard: str, rows: Rows) -> Rows:
        """Plan numbers go on from step to step."""
        stored = super()._operations(shard, rows)
        steps = [*self._plans.get(shard, []), (self._cut.get(shard, 0), self._planned)]
        for (first, more), (last, _) in zip(steps, [*steps[1:], (len(stored), 0)], strict=True):
            planned = stored["plan"][first:last]
            planned[planned != NONE] += more
        return stored

    def manifest(self, ended: Any) -> dict[str, Any]:
        if self._windows:
            self._facts.window = {**self._windows[-1], "start": self._windows[0]["start"]}
            self._facts.window["measure"] = self._windows[0]["measure"]
        content = super().manifest(ended)
        content["load"]["planned"] = self._planned or content["load"]["planned"]
        return content | {"steps": len(self._windows)}


def _key(moved: Marks, people: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    key: np.ndarray[Any, np.dtype[np.int64]] = moved.conversation * people + moved.user
    return key
