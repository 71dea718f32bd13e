"""Chart 6 of a capacity study: how much an arm carries against how far behind it is, the article's trade-off.

Across: receipt lag p99 at the step that was nearest to 70 % of the arm's own capacity, with the range of
those within a tenth of it.  Up: the capacity inside the objective, with its interval.  The title names the
arms that no other surely beats in both; a staircase joins those whose point no other's beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import alike
from bench.report import canvas, figures, wording
from bench.report.arms import CONTROL, LOOKS, Arm
from bench.report.ceiling import Ceiling
from bench.results import Json

OF_CAPACITY: Final = 0.70
NEAR: Final = 1.35
"""Steps of loads within this factor of it stand for it."""
NOTE: Final = (
    "Across: the range of receipt lag p99 over the steps nearest to 70 % of the arm's capacity. Up: the "
    "capacity's interval. Filled: an ACK means on disk."
)
DASHED: Final = (
    "Dashed, by the points alone: arms that no other of their durability class beats in both (without the "
    "control). In the title: those that none beats in both with ranges that are apart."
)
SEEN: Final = 2.5
"""A control above this factor of everything else would leave no room for the others."""
DURABLE: Final = "on disk"
"""What an ACK means where the marker is filled."""


@dataclass(frozen=True)
class Cross:
    """One arm: ms, and the study's unit of load."""

    arm: Arm
    lag: float
    lag_range: tuple[float, float]
    capacity: float
    interval: tuple[float, float]
    durability: str
    durability_class: str | None = None

    def surely_beats(self, other: Cross) -> bool:
        """It carries more and lags less, and the ranges of both are apart."""
        return self.interval[0] > other.interval[1] and self.lag_range[1] < other.lag_range[0]


def crosses(content: Json, named: Sequence[Arm]) -> list[Cross]:
    """The arms whose capacity is known."""
    found = []
    for arm, entry in zip(named, content["arms"], strict=True):
        known, lags = entry["found"], _lags(entry)
        if known["capacity"] is not None and known["interval"] and lags:
            low, high = known["interval"]
            run, ends = entry["run"], (min(lags), max(lags))
            durable = wording.durability(run), alike.class_of(run)
            found.append(Cross(arm, median(lags), ends, known["capacity"], (low, high), *durable))
    return found


def _lags(entry: Json) -> list[float]:
    """Receipt lag p99 in ms of the steps nearest to 70 % of the capacity: those of one load, or near it."""
    capacity = entry["found"]["capacity"]
    if capacity is None:
        return []
    wanted = OF_CAPACITY * capacity
    lags = {}
    for number, step in enumerate(entry["steps"]):
        p99 = ((step["figures"]["lag"].get("receipt") or {}).get("quantiles") or {}).get("p99")
        ratio = max(step["load"] / wanted, wanted / step["load"])
        if p99 is not None and step["said"] == "holds" and ratio <= NEAR:
            lags[number] = (ratio, p99 / 1000)
    nearest = min((ratio for ratio, _ in lags.values()), default=0.0)
    return [lag for ratio, lag in lags.values() if ratio <= nearest * 1.1]


def unbeaten(found: Sequence[Cross]) -> list[list[Cross]]:
    """By durability class, those that no other of the class surely beats in both, by lag."""
    return [[one for one in of if not any(other.surely_beats(one) for other in of)] for of in _classes(found)]


def _classes(found: Sequence[Cross]) -> list[list[Cross]]:
    """The control keeps nothing and is in none.  Who is alone in a class was held against nobody."""
    classes: dict[str | None, list[Cross]] = {}
    for one in sorted((c for c in found if not c.arm.control), key=lambda cross: cross.lag):
        classes.setdefault(one.durability_class, []).append(one)
    return [of for of in classes.values() if len(of) > 1]


def _staircase(by_lag: Sequence[Cross]) -> list[Cross]:
    best: list[Cross] = []
    for one in by_lag:
        if not best or one.capacity > best[-1].capacity:
            best.append(one)
    return best


def finding(found: Sequence[Cross], unit: str, timing: str) -> str:
    """Ranks nobody where the study's `timing` is not VALID."""
    about, ranked = "Capacity against receipt lag p99 at 70 % of it", unbeaten(found)
    if timing != "VALID" or not ranked:
        why = f"timing {timing}" if timing != "VALID" else "no two of one durability class"
        return f"{about}; not ranked: {why}"
    said = (
        f"{one.arm.label} {figures.digits(one.capacity)} {unit} at {figures.digits(one.lag)} ms"
        for best in ranked
        for one in best
    )
    return f"{about}; surely beaten by nobody of their class in both: {'; '.join(said)}"


def note(found: Sequence[Cross], timing: str) -> str:
    """What the marks mean, of those that are drawn."""
    return f"{NOTE} {DASHED}" if timing == "VALID" and _classes(found) else NOTE


def draw(
    found: Sequence[Cross],
    words: canvas.Words,
    unit: str,
    control: Ceiling | None = None,
    *,
    timing: str = "VALID",
) -> canvas.Sheet:
    """`control`: its line, or where that is far above, a word at the upper edge."""
    figure = canvas.sheet(words, 4.2)
    axes = figure.subplots()
    axes.set_xscale("log")
    lags = [lag for one in found for lag in one.lag_range]
    axes.set_xlim(min(lags) / 2, max(lags) * 4)
    top = max(one.interval[1] for one in found)
    if control is not None and control.load <= SEEN * top:
        control.draw(axes)
        top = max(top, control.load)
    elif control is not None:
        axes.set_title(f"above: {control.text}", color=LOOKS[CONTROL, ""].colour, loc="right")
    axes.set_ylim(0, top * 1.12)
    canvas.log_ms(axes.xaxis)
    for one in found:
        colour = one.arm.look.colour
        axes.plot(one.lag_range, [one.capacity] * 2, color=colour, linewidth=1.6)
        axes.plot([one.lag] * 2, one.interval, color=colour, linewidth=1.6)
        hollow = one.durability != DURABLE and one.arm.look.marker != "x"
        face = canvas.PAPER if hollow else colour
        axes.plot(
            one.lag, one.capacity, one.arm.look.marker, color=colour, markerfacecolor=face, markersize=8
        )
    for best in map(_staircase, _classes(found) if timing == "VALID" else ()):
        axes.step(
            [c.lag for c in best], [c.capacity for c in best], where="post", color=canvas.RULE, linewidth=0.9,
            linestyle=(0, (4, 3)),
        )  # fmt: skip
    figure.label_ends(
        axes,
        [
            canvas.Label(c.lag_range[1], c.capacity, f"{c.arm.label} ({c.durability})", c.arm.look.colour)
            for c in found
        ],
    )
    axes.set_xlabel("receipt lag p99, ms, at 70 % of the arm's own capacity")
    axes.set_ylabel(f"capacity inside the objective, {unit}")
    return figure
