"""A capacity study: the control first and last, each arm's search in one visit or several, in rotated order.

A visit brings up one arm's services and server, seeds them, connects everybody, and carries as many steps as
its part of the search asks for.  Its first step is always the base load: the figures at equal load come from
it, and the control's tell how much the machine drifted.  Of several rounds the last is for confirming: a
figure whose confirmation is all of the same minutes is contradicted by a host that was slower in these."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from bench import options as running
from bench.capacity import content, words
from bench.capacity import objective as objectives
from bench.capacity.climb import STEPS, Measured, Wanted, climb
from bench.capacity.objective import Objective
from bench.capacity.search import CHECK, DISTURBED, HOLDS, UNKNOWN, Ask, Found, Limits, Search, Seen
from bench.capacity.words import FAILED
from bench.checks import all_checks
from bench.metrics import whole
from bench.metrics.history import History
from bench.options import CONTROL, Arm, RunOptions
from bench.plan import intensity_of_rate
from bench.results import Json, ResultsError, RunFolder
from bench.runner import Load, Progress, Say, Show

BASE: Final = "base"
"""Stage of the first step of a visit that is no question of the search."""
DRIFT: Final = "drift"
"""Stage of the second step of the control's first and last visit: its CPU per message tells whether the
machine is still the same."""
DRIFT_RATE: Final = 160.0
"""SEND/s of that step, where the limits allow it: at the base load the control uses a twentieth of a core,
and a clock tick more or less would be a drift."""
DRIFT_S: Final = 12.0
DRIFT_AGAIN: Final = 12
"""So many times it is repeated where others on the host disturbed it: what they took would be a drift.  On a
host where somebody always takes a little, that is known by then (USUAL_AFTER)."""
SAMPLES: Final = 150
"""SENDs of a step, if the load allows it in LONGEST_S: a p99 needs a hundred."""
LONGEST_S: Final = 30.0
CHECKS_BEFORE: Final = 2
"""Steps at each share before the last round, so that what confirms the figure is of two times as well."""
RESERVE_S: Final = 30.0
"""Of the budget: for the final read, the checks of the whole record and the report."""
USUAL_AFTER: Final = 12
"""Steps, and it is known how much others on the host usually take."""
PATIENCE: Final = 6
"""Steps one after the other that others on the host disturbed, and an arm's turn comes again later,"""
MORE_TURNS: Final = 2
"""so many times after the last round."""
VISIT_S: Final = 60.0
"""Of a visit until its first answer: services, seeding, the base load."""
LATELY: Final = 3
"""Steps that tell how long the next one takes: those of the staircase drain an overload, others do not."""
STEP_OVERHEAD_S: Final = 4.0
"""Of a step, beside its plan: until the first one has shown how much it is."""


@dataclass(frozen=True)
class Pace:
    """Times in seconds; `rounds`: visits to each arm; `budget_s` None: as long as it takes."""

    warmup_s: float = 2.0
    measure_s: float = 8.0
    rounds: int = 1
    budget_s: float | None = None


@dataclass
class Stepped:
    """One step: what was asked, what it said, its figures."""

    ask: Ask
    seen: Seen
    wanted: Wanted
    run_id: str
    step: str
    conditions: Sequence[Json]
    figures: Json

    def to_dict(self) -> Json:
        return {
            **asdict(self.ask),
            **asdict(self.seen),
            "measure_s": self.wanted.measure_s,
            "run_id": self.run_id,
            "step": self.step,
            "conditions": list(self.conditions),
            "figures": self.figures,
        }


@dataclass
class Climber:
    """One arm, and how far its search is."""

    arm: Arm
    search: Search
    steps: list[Stepped] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    run: Json = field(default_factory=dict)
    broken: list[Json] = field(default_factory=list)
    ended: Json = field(default_factory=dict)
    """Where a visit did not finish: how, phase, message."""
    disturbed: int = 0
    """The last steps of its last visit, one after the other, that others on the host disturbed."""

    def found(self) -> Found:
        found = self.search.found()
        bad = self.ended.get("how") not in (None, "interrupted")
        return (
            replace(found, how=FAILED, capacity=None, interval=None, why=self.ended["message"])
            if bad
            else found
        )


@dataclass
class Visit:
    """`blocks`: the search goes on until it asks for this one; None: for all; 0: the base load only.
    `checks`: after its blocks it confirms until it asks for this step at a share; None: to its end."""

    climber: Climber
    blocks: int | None
    checks: int | None = None
    drift: bool = False
    """Has a step that tells the machine's drift."""
    patience: int | None = PATIENCE
    """It is left after so many disturbed steps; None: the search says when it is enough."""


def visits(climbers: Sequence[Climber], control: Climber, rounds: int, blocks: int) -> Iterator[Visit]:
    """The control first and last; the others between, each round beginning with the next one.  The blocks are
    in all rounds but the last of several."""
    others = [climber for climber in climbers if climber is not control]
    searched = control in climbers
    for number in range(rounds):
        last = number == rounds - 1
        of_blocks = max(1, rounds - 1)
        until = math.ceil(blocks * (number + 1) / of_blocks) if number < of_blocks - 1 else None
        checks = None if last else CHECKS_BEFORE
        turn = number * max(1, len(others) // rounds) % max(1, len(others))
        if number == 0:
            yield Visit(control, until if searched else 0, checks, drift=True)
        for climber in (*others[turn:], *others[:turn]):
            yield Visit(climber, until, checks)
        if last:
            yield Visit(control, None if searched and rounds > 1 else 0, drift=True)
        elif number and searched:
            yield Visit(control, until, checks)


class Study:
    """Conducts it.  `show` and `say` as of a run; `name` is told of each arm whose turn it is."""

    unit = words.UNITS["rate"]

    def __init__(
        self,
        options: RunOptions,
        objective: Objective,
        limits: Limits,
        pace: Pace,
        *,
        say: Say,
        show: Show,
        name: Callable[[str], None] = lambda _: None,
        beside: Sequence[Json] = (),
    ) -> None:
        self.objective, self.limits, self.pace = objective, limits, pace
        self._options = self._at(options, limits.start)
        self._say, self._show, self._name = say, show, name
        self._beside = list(beside)
        self._began = time.monotonic()
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.climbers = [Climber(arm, Search(limits)) for arm in running.arms(options)]
        self.control = next(
            (one for one in self.climbers if one.arm.scheme == CONTROL),
            Climber(Arm(CONTROL, {}), Search(limits)),
        )
        self.interrupted = False
        self._stolen: list[float] = []
        """CPU, in cores, that other machines on the host took in each step."""
        self.load = Load.of(self._options)

    def _at(self, options: RunOptions, load: float) -> RunOptions:
        """The options of a step at this load."""
        return replace(
            options,
            rate_per_s=load,
            intensity=None,
            warmup_s=self.pace.warmup_s,
            duration_s=self.measure_s(load),
        )

    @property
    def intensity_of_one(self) -> float | None:
        """How many times natural one unit of load is; None where every load is natural, or as much more."""
        return intensity_of_rate(1.0, self.load.population.connected)

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._began

    def content(self) -> Json:
        """`comparison.json` of what is known by now."""
        arms = []
        for climber in self.climbers:
            found, run = climber.found(), climber.run or _unvisited(climber.arm)
            steps = [step.to_dict() for step in climber.steps]
            arms.append(content.arm(climber.arm.name, run, climber.runs, found, steps, climber.broken))
        for climber, named, arm in zip(self.climbers, content.labelled(arms), arms, strict=True):
            arm["arm"] = named.label
            arm["sentence"] = words.sentence(climber.found(), named.label, self.objective.text, self.unit)
        steps = [step.to_dict() for step in self.control.steps]
        about = {
            "people": self.load.population.people,
            "intensity_of_one": self.intensity_of_one,
            "beside": self._beside,
        }
        return content.of(
            arms,
            content.control(self.control.runs, [one for one in steps if one["stage"] == DRIFT]),
            objective=self.objective.text,
            unit=self.unit,
            base=self.limits.start,
            options=self._options,
            started_at=self.started_at,
            duration_s=self.spent_s,
            interrupted=self.interrupted,
            about=about,
        )

    def conduct(self) -> None:
        """All visits, or as many as are possible; arms whose last one met a busy host are visited again.
        Raises NotStored."""
        *planned, last = visits(self.climbers, self.control, self.pace.rounds, self.limits.blocks)
        for visit in planned:
            self._visit(visit)
        for turn in range(1, MORE_TURNS + 1):
            patience = PATIENCE if turn < MORE_TURNS else None
            for climber in self.climbers:
                if climber.disturbed >= PATIENCE and not self.out_of_time(VISIT_S, self._reserve_s()):
                    self._visit(Visit(climber, None, patience=patience))
        self._visit(last, last=True)

    def _visit(self, visit: Visit, *, last: bool = False) -> None:
        over = visit.blocks != 0 and visit.climber.search.ask is None and not visit.drift
        if over or visit.climber.ended or self.interrupted:
            return
        climber, options = visit.climber, self._options
        climber.disturbed = 0
        self._name(climber.arm.name)
        folder = RunFolder.create(
            options.out, scheme=climber.arm.scheme, scenario=options.scenario, now=datetime.now(UTC)
        )
        climber.runs.append(folder.run_id)
        steps = _Steps(self, visit, folder, reserve_s=0.0 if last else self._reserve_s())
        climb(
            climber.arm,
            self.load,
            options,
            folder,
            wanted=steps.wanted,
            tell=steps.tell,
            say=self._say,
            show=steps.show(self._show),
        )
        manifest = folder.manifest()
        climber.run = manifest["run"]
        ended = manifest["ended"]
        self.interrupted |= ended["how"] == "interrupted"
        if ended["how"] not in ("finished", "interrupted"):
            climber.ended = ended
        else:
            climber.broken += self._broken_promises(folder)

    def _reserve_s(self) -> float:
        """What comes after this visit: the control's last."""
        steps_s = self.pace.measure_s + DRIFT_S + 2 * (self.pace.warmup_s + STEP_OVERHEAD_S)
        return RESERVE_S + steps_s

    def _broken_promises(self, folder: RunFolder) -> list[Json]:
        """What all checks say of the whole record, where it is against a promise."""
        self._say("checking the whole record")
        try:
            history = History(folder)
            judged = all_checks.judge(history, whole.why_not(whole.look(history)))
        except ResultsError as why:
            return [{"name": "record", "violations": 1, "eligible": 1, "message": str(why)}]
        folder.write_findings(judged.findings)
        return [
            {"name": check.name, "violations": check.violations, "eligible": check.eligible}
            for check in judged.checks
            if check.promised and check.violations
        ]

    def judge(self, summary: Json) -> Seen:
        """What a step says, beside how quiet the host usually is: the quarter of steps that were quietest.
        Of the first few steps that is not known: a busy hour would be taken for the usual one."""
        self._stolen.append(objectives.stolen_cores(summary))
        known = len(self._stolen) >= USUAL_AFTER
        quiet = sorted(self._stolen)[len(self._stolen) // 4] if known else 0.0
        seen = objectives.judge(self.objective, summary, quiet)
        generator = (summary["resources"].get("generator") or {}).get("cpu_cores_mean")
        return replace(seen, cores=objectives.own_cores(summary) or None, generator=generator or None)

    def out_of_time(self, step_s: float, reserve_s: float) -> bool:
        budget = self.pace.budget_s
        return budget is not None and self.spent_s + step_s + reserve_s > budget

    def measure_s(self, load: float) -> float:
        """How long a step at this load is measured: longer where there would be too few samples."""
        return min(LONGEST_S, max(self.pace.measure_s, SAMPLES / self.rate(load)))

    def rate(self, load: float) -> float:
        """SEND/s of a load."""
        return load

    @property
    def drift_rate(self) -> float:
        return min(self.limits.high, max(self.limits.start, DRIFT_RATE))


class _Steps:
    """The questions and answers of one visit."""

    def __init__(self, study: Study, visit: Visit, folder: RunFolder, *, reserve_s: float) -> None:
        self._study, self._visit, self._folder = study, visit, folder
        self._search = visit.climber.search
        self._reserve_s = reserve_s
        self._asked: Ask | None = None
        self._of_search = False
        self._began = 0.0
        self._overheads_s = [STEP_OVERHEAD_S]
        self._count = 0
        self._drifts: list[str] = []
        """What the steps that tell the drift said."""

    def wanted(self) -> Wanted | None:
        """The base load first, perhaps the one for the drift; then what the search asks, as far as blocks and
        time go."""
        start = self._study.limits.start
        ask = self._search.ask
        if self._count == 0:
            self._of_search = self._visit.blocks != 0 and not self._search.steps
            return self._begin(ask if self._of_search and ask is not None else Ask(start, BASE))
        if self._visit.drift and self._drift_is_unknown():
            self._of_search = False
            return self._begin(Ask(self._study.drift_rate, DRIFT))
        if ask is None or self._visit.blocks == 0:
            return None
        if self._is_for_another_visit(ask):
            return None
        patience = self._visit.patience
        if patience is not None and self._visit.climber.disturbed >= patience:
            self._study._say("others keep this host busy: this arm's turn comes again later")
            return None
        if self._is_too_late_for(ask):
            return None
        self._of_search = True
        return self._begin(ask)

    def _drift_is_unknown(self) -> bool:
        """One step tells it, however late; it is repeated while others disturb it and there is time."""
        said = self._drifts
        if not said:
            return True
        again = said[-1] in (DISTURBED, UNKNOWN) and len(said) <= DRIFT_AGAIN
        return again and not self._is_too_late_for(Ask(self._study.drift_rate, DRIFT))

    def _is_too_late_for(self, ask: Ask) -> bool:
        wanted = self._wanted(ask)
        step_s = wanted.warmup_s + wanted.measure_s + max(self._overheads_s[-LATELY:])
        return self._study.out_of_time(step_s, self._reserve_s)

    def _is_for_another_visit(self, ask: Ask) -> bool:
        visit = self._visit
        if ask.stage == CHECK:
            return visit.blocks is not None or (visit.checks is not None and ask.block >= visit.checks)
        return visit.blocks is not None and ask.block >= visit.blocks

    def _wanted(self, ask: Ask) -> Wanted:
        measure_s = DRIFT_S if ask.stage == DRIFT else self._study.measure_s(ask.load)
        return Wanted(ask.load, self._study.pace.warmup_s, measure_s)

    def _begin(self, ask: Ask) -> Wanted:
        self._asked, self._began = ask, time.monotonic()
        self._count += 1
        return self._wanted(ask)

    def tell(self, measured: Measured) -> None:
        ask, study = self._asked, self._study
        assert ask is not None
        seen = study.judge(measured.summary)
        climber = self._visit.climber
        climber.disturbed = climber.disturbed + 1 if seen.said == DISTURBED else 0
        climber.steps.append(
            Stepped(
                ask,
                seen,
                measured.wanted,
                self._folder.run_id,
                f"{STEPS}/{measured.folder.path.name}",
                objectives.shares(study.objective, measured.summary),
                digest(measured.summary),
            )
        )
        spent = time.monotonic() - self._began
        self._overheads_s.append(spent - measured.wanted.warmup_s - measured.wanted.measure_s)
        study._say(said_of(ask, seen, study.unit))
        if ask.stage == DRIFT:
            self._drifts.append(seen.said)
        if self._of_search:
            self._search.tell(seen)

    def show(self, show: Show) -> Show:
        """The progress line with the question in it."""

        def with_question(progress: Progress) -> None:
            text = progress.text
            if (ask := self._asked) is not None:
                block = f" {ask.block + 1}" if ask.block >= 0 else ""
                load = words.load(ask.load, self._study.unit)
                text = f"step {self._count}, {ask.stage}{block}: {load} · {text}"
            show(replace(progress, text=text))

        return with_question


def _unvisited(arm: Arm) -> Json:
    """What can be said of an arm whose turn never came."""
    return {
        "scheme": arm.scheme,
        "model": arm.options.get("model"),
        "options": dict(arm.options),
        "mysql_driver": arm.driver,
    }


def said_of(ask: Ask, seen: Seen, unit: str) -> str:
    share = "" if seen.share is None else f" ({seen.share:.2f} of the limit)"
    because = seen.binding or seen.why
    said = "nothing can be said" if seen.said in (UNKNOWN, DISTURBED) else seen.said
    why = f": {because}" if because and seen.said != HOLDS else ""
    return f"{words.load(ask.load, unit)}: {said}{share}{why}"


def digest(summary: Json) -> Json:
    """What is kept of a step for tables and charts."""
    resources = summary["resources"]
    return {
        "messages_per_s": summary["load"]["messages_per_s"],
        "pushes_per_s": summary["load"]["pushes_per_s"],
        "operations": {
            name: {field: entry[field] for field in ("count", "ok", "fail", "info", "latency_us", "from")}
            for name, entry in summary["operations"].items()
        },
        "lag": {
            name: {field: entry[field] for field in ("quantiles", "eligible", "undelivered_share")}
            for name, entry in summary["lag"].items()
            if entry["available"]
        },
        "cpu_cores": {name: used["cpu_cores_mean"] for name, used in resources.items()},
        "cpu_s_per_1000_messages": {n: used["cpu_s_per_1000_messages"] for n, used in resources.items()},
        "rss_bytes": {name: used["rss_bytes_max"] for name, used in resources.items()},
        "stores": summary["stores"],
        "ledger": summary["ledger"].get("per_message"),
        "resolution_floor_us": summary["generator"]["resolution_floor_us"],
        "backlog": [one for one in summary["backlog"] if one["grows"]],
        "foreign_cores": round(objectives.foreign_cores(summary), 3),
        "badge": summary["badge"],
        "consistency": [
            {field: check[field] for field in ("name", "promised", "eligible", "violations")}
            for check in summary["consistency"]["checks"]
        ],
        "guards": [g for g in summary["guards"] if g["verdict"] in ("invalid", "inconclusive")],
    }
