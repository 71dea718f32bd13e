"""Conducts the measuring of `bench claims`: a grid of cells, and a burst; what it leaves is plain data.

A *stand* is a history and a pool ratio, with every arm up; a *cell* is a stand and a mix.  In each block
every arm has one turn, in rotated order (`bench/turns.py`): some seconds open, at a rate that is the same for
all arms, and some closed, as fast as it goes."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import cores, machine, population
from bench.claims import mix
from bench.claims.block import MOST, Figures, Runner
from bench.claims.client import connect
from bench.claims.grid import BASE_TIMES, BURST_TIMES, CONTROL, DB, QUEUE, REDIS, Grid, stand_name
from bench.claims.stand import Place, Stand
from bench.options import Arm
from bench.plan import HotSet, hot_set
from bench.population import Population, PopulationOptions
from bench.services import ServicesError
from bench.turns import orders
from schemes import SCHEMES

GENERATOR: Final = "generator/0"
AGAIN: Final = 2
"""Blocks that may be repeated in a cell because one was void."""
LATE_US: Final = 5_000.0
GENERATOR_CPU: Final = 0.90
MOST_REQUESTS_PER_S: Final = 6_000.0
EACH_PER_S: Final = 60.0
STAND_S: Final = 25.0
"""Bringing a stand up: until one has shown how long it takes."""
OVERHEAD_S: Final = 0.25
"""Of an arm's turn, beside its seconds."""
DRAIN_S: Final = 30.0
PILOT_S: Final = 0.8

Json = dict[str, Any]
Say = Callable[[str], None]
Show = Callable[[str, float, float | None], None]
"""(what, seconds spent, seconds in all)."""


@dataclass(frozen=True)
class Pace:
    """Seconds; `at_once`: operations under way in a closed block; `load`: of an open block, by what the
    slowest arm carries."""

    blocks: int = 6
    open_s: float = 1.2
    closed_s: float = 1.0
    warm_s: float = 2.0
    at_once: int = 16
    load: float = 0.5
    burst: bool = True
    budget_s: float = 780.0


@dataclass
class Study:
    grid: Grid
    pace: Pace
    users: int
    people: int
    seed: int
    logs: Path
    say: Say
    show: Show
    cells: list[Json] = field(default_factory=list)
    burst: Json = field(default_factory=dict)
    places: dict[str, Json] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    interrupted: bool = False
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _began: float = field(default_factory=time.monotonic)
    _stand_s: float = STAND_S

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._began

    def conduct(self) -> None:
        """As much as the budget allows; Ctrl-C keeps what was measured.  Raises ServicesError."""
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection would be in somebody's latency; between blocks it is asked for
        try:
            for number, (history, ratio) in enumerate(self.grid.stands()):
                self._stand(history, ratio, controlled=number == 0)
            if self.pace.burst:
                self._burst()
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            gc.enable()
            gc.unfreeze()

    def content(self) -> Json:
        """What was measured; `bench.claims.claims.judge` says what that is worth."""
        return {
            "schema_version": 1,
            "started_at": self.started_at,
            "duration_s": round(self.spent_s, 1),
            "interrupted": self.interrupted,
            "seed": self.seed,
            "users": self.users,
            "people": self.people,
            "pace": asdict(self.pace),
            "machine": machine.describe(),
            "places": self.places,
            "cells": self.cells,
            "burst": self.burst,
            "left_out": self.left_out,
        }

    # --- the grid -------------------------------------------------------------------------------------------

    def _stand(self, history: tuple[int, int], ratio: float | None, *, controlled: bool) -> None:
        names = (DB, REDIS, CONTROL) if controlled else (DB, REDIS)
        where = stand_name(history, ratio)
        turns_s = self.pace.blocks * len(names) * (self.pace.open_s + self.pace.closed_s + OVERHEAD_S)
        if self._out_of_time(self._stand_s + turns_s):
            self.left_out += [f"{where}, {mark:g} reads per mark" for mark in self.grid.reads_per_mark]
            return
        began = time.monotonic()
        people = self._population(history)
        arms = {name: arm_of(name) for name in names}
        self.show(f"bringing up {where}", self.spent_s, self.pace.budget_s)
        with Stand(arms, people, ratio, self.logs, lambda _: None) as stand:
            self._stand_s = max(self._stand_s / 2, time.monotonic() - began)
            self.places[where] = {name: place.facts() for name, place in stand.places.items()}
            with _FirstInLine(stand):
                asyncio.run(self._cells(stand, people, where, history, ratio, turns_s))

    async def _cells(
        self,
        stand: Stand,
        people: Population,
        where: str,
        history: tuple[int, int],
        ratio: float | None,
        turns_s: float,
    ) -> None:
        hot = hot_set(people)
        runners = await _connect(stand, people, hot)
        for runner in runners.values():
            warm = mix.draw(people, hot, reads_per_mark=4.0, count=MOST, rate_per_s=1.0, seed=(0, 0, 0))
            await runner.closed(warm, self.pace.warm_s, self.pace.at_once)
        for number, per_mark in enumerate(self.grid.reads_per_mark):
            name = f"{where}, {per_mark:g} reads per mark"
            if self._out_of_time(turns_s):
                self.left_out.append(name)
                continue
            cell: Json = {
                "history": list(history),
                "pool_ratio": ratio,
                "reads_per_mark": per_mark,
                "blocks": [],
                "void": [],
            }
            self.cells.append(cell)
            before = _hits(stand.places[REDIS])
            await self._cell(cell, stand, people, hot, runners, number, name)
            hits, misses = (now - then for now, then in zip(_hits(stand.places[REDIS]), before, strict=True))
            cell["cache_hit_ratio"] = round(hits / (hits + misses), 4) if hits + misses else None

    async def _cell(
        self,
        cell: Json,
        stand: Stand,
        people: Population,
        hot: HotSet,
        runners: Mapping[str, Runner],
        number: int,
        name: str,
    ) -> None:
        names, pace, per_mark = list(runners), self.pace, cell["reads_per_mark"]
        carried = []
        for arm in names:
            asked = mix.draw(
                people, hot, reads_per_mark=per_mark, count=MOST, rate_per_s=1.0, seed=(number, 999, 0)
            )
            found = await runners[arm].closed(asked, PILOT_S, pace.at_once)
            carried.append((found.looks + found.marks) / PILOT_S)
        rate = cell["open_per_s"] = round(max(1.0, pace.load * min(carried)), 1)
        for block, order in enumerate(orders(len(names), pace.blocks + AGAIN, self.seed + number)):
            if len(cell["blocks"]) == pace.blocks:
                break
            count = round(rate * pace.open_s * 2) + 100
            steady = mix.draw(
                people, hot, reads_per_mark=per_mark, count=count, rate_per_s=rate, seed=(number, block, 1)
            )
            full = mix.draw(
                people, hot, reads_per_mark=per_mark, count=MOST, rate_per_s=1.0, seed=(number, block, 2)
            )
            told: Json = {"block": block, "order": [names[i] for i in order], "arms": {}}
            for i in order:
                self.show(f"{name}: block {block + 1}, {names[i]}", self.spent_s, self.pace.budget_s)
                gc.collect()
                opened = await runners[names[i]].open(steady, pace.open_s)
                closed = await runners[names[i]].closed(full, pace.closed_s, pace.at_once)
                told["arms"][names[i]] = {"open": opened.to_dict(), "closed": closed.to_dict()}
                told.setdefault("why", []).extend(
                    f"{names[i]}: {why}" for why in (*void(opened, paced=True), *void(closed, paced=False))
                )
            if dead := stand.alive():
                raise ServicesError(dead[0])
            cell["void" if told["why"] else "blocks"].append(told)

    # --- the burst ------------------------------------------------------------------------------------------

    def _burst(self) -> None:
        turn_s = 2 * self.pace.open_s + 2.0
        if self._out_of_time(2 * self._stand_s + 2 * self.pace.blocks * turn_s):
            self.left_out.append("the burst")
            return
        history = self.grid.histories[0]
        people = self._population(history)
        arms = {DB: arm_of(DB), QUEUE: arm_of(QUEUE, {"queue-order": "queue_first"})}
        self.show("bringing up db and queue for the burst", self.spent_s, self.pace.budget_s)
        with Stand(arms, people, None, self.logs, lambda _: None) as stand:
            self.places["burst"] = {name: place.facts() for name, place in stand.places.items()}
            with _FirstInLine(stand):
                asyncio.run(self._bursts(stand, people))

    async def _bursts(self, stand: Stand, people: Population) -> None:
        hot, pace = hot_set(people), self.pace
        runners = await _connect(stand, people, hot)
        per_mark = 1.0
        warm = mix.draw(people, hot, reads_per_mark=per_mark, count=MOST, rate_per_s=1.0, seed=(9, 0, 0))
        for name in (QUEUE, DB):
            found = await runners[name].closed(warm, pace.warm_s, pace.at_once)
            await asyncio.to_thread(stand.places[name].control.drain, DRAIN_S)
        carried = (found.looks + found.marks) / pace.warm_s  # of db, the last
        self.burst |= {"reads_per_mark": per_mark, "db_per_s": round(carried, 1), "blocks": []}
        names = list(runners)
        for block, order in enumerate(orders(len(names), pace.blocks, self.seed + 9)):
            told: Json = {"block": block, "order": [names[i] for i in order], "arms": {}}
            for i in order:
                self.show(f"burst {block + 1}, {names[i]}", self.spent_s, self.pace.budget_s)
                gc.collect()
                told["arms"][names[i]] = await self._one_burst(
                    stand, runners[names[i]], names[i], people, hot, carried, block
                )
            if dead := stand.alive():
                raise ServicesError(dead[0])
            self.burst["blocks"].append(told)

    async def _one_burst(
        self,
        stand: Stand,
        runner: Runner,
        name: str,
        people: Population,
        hot: HotSet,
        carried: float,
        block: int,
    ) -> Json:
        found: Json = {}
        control = stand.places[name].control
        for part, times in (("before", BASE_TIMES), ("burst", BURST_TIMES)):
            rate = carried * times
            asked = mix.draw(
                people,
                hot,
                reads_per_mark=1.0,
                count=round(rate * self.pace.open_s * 2) + 100,
                rate_per_s=rate,
                seed=(9, block, 1 + (part == "burst")),
            )
            found[part] = (await runner.open(asked, self.pace.open_s)).to_dict()
        if name == QUEUE:
            said = await asyncio.to_thread(control.ask, "LAG")
            found["lag"] = {key: (said.stats or {}).get(key) for key in ("lag_events", "lag_ms")}
        began = time.monotonic()
        left = await asyncio.to_thread(control.drain, DRAIN_S)
        found |= {"drain_s": round(time.monotonic() - began, 3), "left": left}
        return found

    # --- both -----------------------------------------------------------------------------------------------

    def _population(self, history: tuple[int, int]) -> Population:
        direct, group = history
        return population.build(
            PopulationOptions(
                self.users, self.people, self.seed, history_direct=direct, history_group=group, probe_pairs=0
            )
        )

    def _out_of_time(self, more_s: float) -> bool:
        return self.spent_s + more_s > self.pace.budget_s


def arm_of(scheme: str, options: Mapping[str, str] | None = None) -> Arm:
    """A scheme with its defaults, but for `options`."""
    chosen = {name: about.default for name, about in SCHEMES[scheme].options.items()}
    return Arm(scheme, chosen | dict(options or {}))


def void(found: Figures, *, paced: bool) -> list[str]:
    """Why a block's figures are not the arm's."""
    reasons = []
    if found.errors or found.unanswered:
        reasons.append(f"{found.errors} errors, {found.unanswered} unanswered")
    if not found.looks:
        reasons.append("no look was answered")
    if found.generator_cpu > GENERATOR_CPU:
        reasons.append(f"the client used {found.generator_cpu:.2f} of a core")
    if paced and (found.late_p99_us or 0.0) > LATE_US:
        reasons.append(f"operations were sent {(found.late_p99_us or 0) / 1000:.1f} ms late (p99)")
    return reasons


def _hits(place: Place) -> tuple[int, int]:
    """(hits, misses) in keys, since the server's start."""
    scheme = (place.control.ask("STATS").stats or {}).get("scheme", {})
    return scheme.get("cache_hits", 0), scheme.get("cache_misses", 0)


async def _connect(stand: Stand, people: Population, hot: HotSet) -> dict[str, Runner]:
    devices = mix.devices(people, hot, MOST_REQUESTS_PER_S, EACH_PER_S)
    runners = {}
    for name, place in stand.places.items():
        try:
            connected = await connect(place.server.url, devices, place.secret)
        except (OSError, TimeoutError) as why:
            raise ServicesError(f"Not everybody could connect to {name}: {why}.") from why
        runners[name] = Runner(people, connected, secrets.token_hex(4))
    return runners


class _FirstInLine:
    """While a stand is measured: the client on its core, before the others; afterwards as it was, since what
    is started next would inherit it."""

    def __init__(self, stand: Stand) -> None:
        self._parts = {GENERATOR: [os.getpid()]}
        for place in stand.places.values():
            for name, pids in place.server.pids().items():
                self._parts[f"{place.arm.scheme} {name}"] = pids
            for name, service in place.stack.services.items():
                self._parts[f"{place.arm.scheme} {name}"] = list(service.pids)

    def __enter__(self) -> None:
        cores.arrange(self._parts, machine.cores())

    def __exit__(self, *_: object) -> None:
        cores.release({GENERATOR: self._parts[GENERATOR]}, machine.cores())
