"""How many users: a search whose load is the number of connected devices, all at the same intensity.

Another number of users is another population, other connections and other data, so that each step is a run of
its own, and there is nothing to be reused.  A machine that cannot hold so many is what binds then."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from bench import runner
from bench import summary as figures
from bench.capacity import backlog, words
from bench.capacity import objective as objectives
from bench.capacity.climb import Wanted
from bench.capacity.search import GENERATOR, Ask, Limits, Seen
from bench.capacity.study import Pace, Stepped, Study, digest, said_of
from bench.metrics.history import History
from bench.options import RunOptions
from bench.plan import rate_of_intensity
from bench.results import Json, RunFolder
from bench.runner import Load

PEOPLE_PER_DEVICE: Final = 2 / 3
RUN_S: Final = 30.0
"""Of a run, beside its load: until the first one has shown how much it is."""


class ByUsers(Study):
    """`limits` are in users; one arm, and no control: its load would be another."""

    unit = words.UNITS["users"]

    def __init__(
        self, options: RunOptions, objective: objectives.Objective, limits: Limits, pace: Pace, **told: object
    ) -> None:
        self.intensity = options.intensity or 1.0
        super().__init__(options, objective, limits, pace, **told)  # type: ignore[arg-type]

    @property
    def intensity_of_one(self) -> float | None:
        return None

    def conduct(self) -> None:
        """All steps, or as many as the budget allows.  Raises NotStored."""
        (climber,) = self.climbers
        longest = RUN_S
        while (ask := climber.search.ask) is not None and not self.interrupted:
            if self.out_of_time(longest + self.pace.warmup_s + self.measure_s(ask.load), 0.0):
                break
            began = time.monotonic()
            self._step(ask)
            longest = max(longest, time.monotonic() - began)

    def rate(self, load: float) -> float:
        return rate_of_intensity(self.intensity, round(load * PEOPLE_PER_DEVICE))

    def _step(self, ask: Ask) -> None:
        (climber,) = self.climbers
        options = self._at(self._options, ask.load)
        load = Load.of(options)
        folder = runner.run(climber.arm, load, options, say=self._say, show=self._show)
        climber.runs.append(folder.run_id)
        manifest = folder.manifest()
        climber.run, ended = manifest["run"], manifest["ended"]
        self.interrupted |= ended["how"] == "interrupted"
        if ended["how"] == "interrupted":
            return
        if ended["how"] != "finished":
            seen = Seen(GENERATOR, "this machine", why=ended["message"])
            self._say(said_of(ask, seen, self.unit))
            climber.search.tell(seen)
            return
        summary = _summary(folder)
        seen = self.judge(summary)
        wanted = Wanted(load.plan.options.rate_per_s, options.warmup_s, options.duration_s)
        conditions = objectives.shares(self.objective, summary)
        climber.steps.append(Stepped(ask, seen, wanted, folder.run_id, ".", conditions, digest(summary)))
        climber.broken += [
            {"name": check["name"], "violations": check["violations"], "eligible": check["eligible"]}
            for check in summary["consistency"]["checks"]
            if check["promised"] and check["violations"]
        ]
        self._say(said_of(ask, seen, self.unit))
        climber.search.tell(seen)

    def _at(self, options: RunOptions, load: float) -> RunOptions:
        return replace(
            options,
            users=round(load),
            people=None,
            rate_per_s=None,
            intensity=self.intensity,
            warmup_s=self.pace.warmup_s,
            duration_s=self.measure_s(load),
        )


def _summary(folder: RunFolder) -> Json:
    found = figures.write(folder)
    found["backlog"] = backlog.to_dicts(backlog.look(History(folder)))
    return found
