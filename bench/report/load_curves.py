"""Chart 1 of a capacity study: load against latency, a panel for each operation and the receipt lag.

A line joins the steps of the ladder, up to the lowest load that failed, where it ends; steps of blocks are
points without a line.  A hollow marker: the objective did not hold, or a backlog grew.  A bar at the foot of
each panel is the capacity's interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.capacity.search import FAILS, HOLDS
from bench.report import canvas, figures
from bench.report.arms import Arm
from bench.results import Json

PANELS: Final = {
    "READ": ("operations", "READ", "READ"),
    "SEND": ("operations", "SEND", "SEND"),
    "STATE": ("operations", "STATE", "STATE"),
    "lag.receipt": ("lag", "receipt", "receipt lag"),
}
"""Figure as an objective names it -> where it is in a step's figures, and the panel's title."""
NOTE: Final = (
    "Hollow: the objective did not hold, or a backlog grew. A line ends at the lowest load that failed; "
    "faint: steps of blocks, near the capacity, whose interval is the bar at the foot. Grey: the control."
)
LADDER: Final = frozenset({"base", "drift", "staircase", "down", "bisection", "check"})


@dataclass(frozen=True)
class Point:
    """One step: ms; None where the sample is too small."""

    load: float
    p50: float | None
    p99: float | None
    held: bool
    of_ladder: bool


@dataclass(frozen=True)
class Curve:
    """One arm in one panel.  Steps that said nothing, or that the generator did not send as planned, are no
    points."""

    arm: Arm
    panel: str
    points: tuple[Point, ...]
    interval: tuple[float, float] | None

    def line(self) -> list[Point]:
        """The ladder by load, repeated loads as their median, up to the first that failed in the end."""
        told: list[Point] = []
        for load in sorted({point.load for point in self.points if point.of_ladder}):
            same = [point for point in self.points if point.load == load and point.of_ladder]
            held = same[-1].held
            told.append(
                Point(load, _middle([p.p50 for p in same]), _middle([p.p99 for p in same]), held, True)
            )
            if not held:
                break
        return told


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def curves(content: Json, named: Sequence[Arm]) -> list[Curve]:
    return [
        Curve(
            arm,
            panel,
            tuple(_point(step, of, name) for step in entry["steps"] if step["said"] in (HOLDS, FAILS)),
            tuple(entry["found"]["interval"]) if entry["found"]["interval"] else None,
        )
        for panel, (of, name, _) in PANELS.items()
        for arm, entry in zip(named, content["arms"], strict=True)
        if any(name in step["figures"][of] for step in entry["steps"])
    ]


def _point(step: Json, of: str, name: str) -> Point:
    entry = step["figures"][of].get(name) or {}
    quantiles = entry.get("latency_us") or entry.get("quantiles") or {}
    p50, p99 = (None if quantiles.get(q) is None else quantiles[q] / 1000 for q in ("p50", "p99"))
    return Point(step["load"], p50, p99, step["said"] == HOLDS, step["stage"] in LADDER)


def limits_ms(content: Json) -> dict[str, float]:
    """The objective's limits of p99, ms, by panel."""
    found = {}
    for part in content["objective"].split(","):
        name, _, limit = part.strip().partition("<")
        figure, _, statistic = name.strip().rpartition(".")
        number = limit.strip().lstrip("=").strip()
        for unit, factor in (("ms", 1.0), ("us", 0.001), ("s", 1000.0)):
            if statistic == "p99" and figure in PANELS and number.endswith(unit):
                found[figure] = float(number.removesuffix(unit)) * factor
                break
    return found


def finding(content: Json) -> str:
    """The arms as the table has them, with what stops them: sorted they would be a ranking, and not all may
    be ranked."""
    known = [arm for arm in content["arms"] if arm["found"]["capacity"] is not None]
    if not known:
        return "Load against latency: no arm's capacity is known"
    said = (
        f"{arm['arm']} {figures.digits(arm['found']['capacity'])} ({arm['found']['binding']})"
        for arm in known
    )
    timing = content["verdict"]["status"]
    doubt = "" if timing == "VALID" else f"; not ranked: timing {timing}"
    return f"Inside the objective, {content['unit']}: {'; '.join(said)}{doubt}"


def draw(found: Sequence[Curve], content: Json, words: canvas.Words) -> canvas.Sheet:
    """The same axes for all panels."""
    panels = [panel for panel in PANELS if any(one.panel == panel for one in found)]
    rows = -(-len(panels) // 2)
    figure = canvas.sheet(words, 2.9 * rows)
    grid = figure.subplots(rows, min(2, len(panels)), sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    limits, natural = limits_ms(content), content["intensity_of_one"]
    loads = [point.load for one in found for point in one.points]
    times = [t for one in found for p in one.points for t in (p.p50, p.p99) if t]
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(min(loads) / 1.15, max(loads) * 1.5)
        axes.set_ylim(min(times) / 3, max(times) * 1.5)
        mine = [one for one in found if one.panel == panel]
        figure.label_ends(axes, [label for one in mine for label in _draw(axes, one)])
        for place, one in enumerate(mine):
            _foot(axes, one, place)
        _axes(axes, PANELS[panel][2], limits.get(panel))
        _loads(axes, content["unit"], natural)
    for axes in grid[:, 0]:
        axes.set_ylabel("ms")
    return figure


def _loads(axes: Axes, unit: str, natural: float | None) -> None:
    """The axis across, with times natural below each load where that differs."""

    def both(load: float, _: object) -> str:
        return f"{load:,g}" if natural is None else f"{load:,g}\n×{figures.digits(load * natural, 2)}"

    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(both))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelbottom=True, labelleft=True)
    axes.set_xlabel(f"offered {unit}" + ("" if natural is None else ", and times natural"))


def _axes(axes: Axes, title: str, limit: float | None) -> None:
    canvas.log_ms(axes.yaxis)
    if limit is not None:
        axes.axhline(limit, color=canvas.INK, linewidth=1.0, linestyle=(0, (5, 3)))
    axes.set_title(f"{title}: p50 dotted, p99 solid" + (", objective dashed" if limit is not None else ""))


def _draw(axes: Axes, one: Curve) -> list[canvas.Label]:
    colour, marker, line = one.arm.look.colour, one.arm.look.marker, one.line()
    for level, style, wide in (("p50", ":", 1.2), ("p99", "-", 1.6)):
        told = [(point.load, getattr(point, level)) for point in line if getattr(point, level)]
        axes.plot(*zip(*told, strict=True) if told else ((), ()), style, color=colour, linewidth=wide)
    ladder = {point.load for point in line}
    for point in one.points:
        if point.p99 is not None:
            alpha, size = (1.0, 5.0) if point.of_ladder and point.load in ladder else (0.4, 3.0)
            filled = colour if point.held or marker == "x" else canvas.PAPER
            (drawn,) = axes.plot(point.load, point.p99, marker, color=colour, markerfacecolor=filled)
            drawn.set(markersize=size, alpha=alpha)
    ends = [point for point in line if point.p99 is not None]
    return [canvas.Label(ends[-1].load, ends[-1].p99 or 1.0, one.arm.label, colour)] if ends else []


def _foot(axes: Axes, one: Curve, place: int) -> None:
    """The interval of the capacity."""
    if one.interval is not None:
        low, high = one.interval
        height = 0.03 + 0.035 * place
        axes.plot(
            [low, high], [height, height], transform=axes.get_xaxis_transform(), color=one.arm.look.colour,
            linewidth=3.5, solid_capstyle="butt",
        )  # fmt: skip
