"""What one arm carries by what another does, setting by setting: the ratios of chart 10.  Pure.

Pairs are each arm over the first one, with the same driver and in the same study.  A ratio's interval is the
widest that both capacities' intervals allow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from bench import alike, drivers
from bench.capacity import beside
from bench.options import CONTROL
from bench.report import arms as looks
from bench.results import Json

HERE: Final = "as in this study"


@dataclass(frozen=True)
class Ratio:
    """`pair`: (arm, first arm), without their drivers; `colour` is the arm's."""

    pair: tuple[str, str]
    setting: str
    value: float
    interval: tuple[float, float]
    colour: str

    @property
    def apart(self) -> bool:
        return not self.interval[0] <= 1 <= self.interval[1]


def why_not(content: Json) -> str:
    """Why there is no such chart; empty if there is one."""
    if ratios(content):
        return ""
    if content["verdict"]["status"] != "VALID":
        return "the study's timing is not VALID, and a ratio of two arms is a ranking"
    return "no two arms of one class have a capacity with an interval"


def ratios(content: Json) -> list[Ratio]:
    """Pair by pair, this study's first."""
    found: dict[tuple[str, str], list[Ratio]] = {}
    for study in (content, *(content.get("beside") or ())):
        if study.get("status", content["verdict"]["status"]) != "VALID" or study["unit"] != content["unit"]:
            continue
        setting = beside.differs(content["settings"], study["settings"])
        setting += "" if study["objective"] == content["objective"] else f" inside {study['objective']}"
        for ratio in _of_study(study, setting):
            found.setdefault(ratio.pair, []).append(ratio)
    return [ratio for pair in found.values() for ratio in pair]


def _of_study(study: Json, setting: str) -> list[Ratio]:
    searched = [arm for arm in study["arms"] if arm["run"].get("scheme") != CONTROL]
    names = {json.dumps(_plain(arm["run"]), sort_keys=True): _plain(arm["run"]) for arm in searched}
    labels = dict(zip(names, (arm.label for arm in looks.arms(list(names.values()))), strict=True))
    several = drivers.both({arm["arm"]: arm["run"] for arm in searched})
    found = []
    for driver in several or [""]:
        mine = [arm for arm in searched if not driver or drivers.of(arm["run"]) == driver]
        for arm in mine[1:]:
            of = tuple(labels[json.dumps(_plain(one["run"]), sort_keys=True)] for one in (arm, mine[0]))
            said = ", ".join(part for part in (setting, f"driver {driver}" if driver else "") if part)
            ratio = _ratio(arm, mine[0], (of[0], of[1]), said or HERE)
            found += [ratio] if ratio else []
    return found


def _plain(run: Json) -> Json:
    """A run without what a setting says of it."""
    return {name: run.get(name) for name in ("scheme", "model", "options")}


def _ratio(arm: Json, first: Json, pair: tuple[str, str], setting: str) -> Ratio | None:
    one, other = arm["found"], first["found"]
    fair = alike.class_of(arm["run"]) == alike.class_of(first["run"])
    if not fair or not one["interval"] or not other["interval"]:
        return None
    both = one["interval"][0] / other["interval"][1], one["interval"][1] / other["interval"][0]
    look = looks.arms([_plain(arm["run"])])[0].look
    return Ratio(pair, setting, one["capacity"] / other["capacity"], both, look.colour)
