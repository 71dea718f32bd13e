"""Chart 7, where a message's CPU goes: demand in CPU-ms per message and component, the drain's share hatched.

Demand, not utilisation: it travels to other core counts, and work that a scheme puts off is still in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bench.metrics.history import Window
from bench.metrics.resources import Series, growth
from bench.report import canvas, figures
from bench.report.arms import Arm

COMPONENTS: Final = {
    "server": ("#4a6078", "Python server and driver"),
    "consumer": ("#8fa5bb", "Python consumer and driver"),
    "mysql": ("#b98d4f", "database"),
    "redis": ("#b5565f", "Redis"),
    "kafka": ("#7e6aa3", "broker"),
}
"""Everything under test: component of `timeseries.parquet` -> (colour, what it is).  Not the generator."""


@dataclass(frozen=True)
class Spent:
    """CPU-ms per acknowledged SEND of the measured window."""

    measured: float
    drain: float

    @property
    def drained(self) -> float:
        return self.measured + self.drain


@dataclass(frozen=True)
class Demand:
    """`parts` by component in the order of COMPONENTS, those sampled.  `messages`: acknowledged SENDs."""

    arm: Arm
    messages: int
    drain_s: float
    parts: Mapping[str, Spent]

    @property
    def drained(self) -> float:
        return sum(part.drained for part in self.parts.values())


def demand(arm: Arm, series: Series, window: Window, messages: int) -> Demand:
    """From the cumulative `cpu_s` of each component, its parts added up, over measured window and drain."""
    parts = {}
    for component in COMPONENTS if messages else ():
        grown = [
            growth(*samples)
            for (part, metric), samples in series.items()
            if part.partition("/")[0] == component and metric == "cpu_s"
        ]
        if grown:
            ends = [window.measure / 1e9, window.measure_end / 1e9, window.drain_end / 1e9]
            begin, middle, last = np.sum([np.interp(ends, t, cpu_s) for t, cpu_s in grown], axis=0)
            if last == begin:  # whoever dies early has no samples there
                continue
            parts[component] = Spent(1000 * (middle - begin) / messages, 1000 * (last - middle) / messages)
    return Demand(arm, messages, (window.drain_end - window.measure_end) / 1e9, parts)


def finding(demands: Sequence[Demand]) -> str:
    known = [one for one in demands if one.parts]
    if not known:
        return "CPU per message is not available: no component was sampled twice in the window"
    if len(known) == 1:
        one = known[0]
        most = max(one.parts, key=lambda name: one.parts[name].drained)
        return (
            f"A message costs {figures.digits(one.drained)} CPU-ms in all, drain included; "
            f"{figures.percent(one.parts[most].drained / one.drained, 2)} of it in the {COMPONENTS[most][1]}"
        )
    listed = [f"{one.arm.label} {figures.digits(one.drained)}" for one in known]
    return f"CPU-ms per message, drain included: {', '.join(listed)}"


def draw(demands: Sequence[Demand], words: canvas.Words) -> canvas.Sheet:
    """A bar per arm from 0."""
    used = [name for name in COMPONENTS if any(name in one.parts for one in demands)]
    key = [Patch(color=COMPONENTS[name][0], label=f"{name}: {COMPONENTS[name][1]}") for name in used]
    key.append(Patch(facecolor="none", edgecolor=canvas.SOFT, hatch="////", label="during the drain"))
    figure = canvas.sheet(words, 0.7 + 0.48 * len(demands), key)
    axes = figure.subplots()
    longest = max([one.drained for one in demands], default=0) or 1
    for row, one in enumerate(demands):
        _bar(axes, row, one, longest)
    axes.set_yticks(range(len(demands)), [one.arm.label for one in demands])
    for tick, one in zip(axes.get_yticklabels(), demands, strict=True):
        tick.set_color(one.arm.look.colour)
        tick.set_fontweight("bold")
    axes.set_ylim(len(demands) - 0.4, -0.6)
    axes.set_xlim(0, longest * 1.14)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("CPU-ms per message")
    return figure


def _bar(axes: Axes, row: int, one: Demand, longest: float) -> None:
    left = 0.0
    for component, spent in one.parts.items():
        colour = COMPONENTS[component][0]
        axes.barh(row, spent.measured, left=left, height=0.62, color=colour)
        axes.barh(
            row,
            spent.drain,
            left=left + spent.measured,
            height=0.62,
            color=colour,
            hatch="////",
            edgecolor=canvas.PAPER,
            linewidth=0,
        )
        if spent.measured > 0.045 * longest:  # beside the hatching, not on it
            middle = left + spent.measured / 2
            axes.text(
                middle,
                row,
                figures.digits(spent.drained, 2),
                ha="center",
                va="center",
                color="white",
                fontsize=7.5,
            )
        left += spent.drained
    if one.arm.control:
        axes.barh(row, left, height=0.62, fill=False, edgecolor=canvas.INK, linewidth=1.4)
    said = figures.digits(left) if one.parts else figures.unavailable("no CPU samples")
    axes.annotate(
        said,
        (left, row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        fontweight="bold",
    )
