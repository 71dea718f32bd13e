"""Chart 3, the latency heat map: every operation of the run by second and by response time, nothing averaged.

A stall, a slow start or a bimodal store shows as a shape; a percentile per second would show noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from bench.report import canvas, figures
from bench.report.arms import Arm
from bench.report.phases import Event, Phases, mark

PER_DECADE: Final = 12
"""Bins a factor of ten in time: each is 21 % wider than the one below."""
COLUMNS_MAX: Final = 300
GROUND, GROUND_SHADE, GROUND_INK = "#f6f7f9", "#e6e9ee", "#606872"
"""Under the cells, on every paper: a colour scale means something on one ground only."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeatMap:
    """counts[i, j]: operations intended from seconds[j] to seconds[j + 1] that took edges_us[i] to [i + 1].

    Seconds count from the start of the measured window.  `info[j]`: unanswered in that column, in no row."""

    arm: Arm
    operation: str
    seconds: Floats
    edges_us: Floats
    counts: Counts
    info: Counts
    phases: Phases
    events: tuple[Event, ...]

    @property
    def n(self) -> int:
        return int(self.counts.sum())


def heat_map(
    arm: Arm,
    operation: str,
    intended_s: Floats,
    response_us: Floats,
    answered: npt.NDArray[np.bool_],
    phases: Phases,
    events: Sequence[Event] = (),
) -> HeatMap:
    """Bin what was intended between the first warm-up second and the end of the drain.

    `intended_s` from the start of the measured window, in seconds; `response_us` is read where `answered`."""
    step = max(1.0, np.ceil((phases.end - phases.begin) / COLUMNS_MAX))
    seconds = np.arange(np.floor(phases.begin / step) * step, phases.end + step, step)
    edges_us = edges(response_us[answered])
    counts = np.histogram2d(
        np.maximum(response_us[answered], edges_us[0]), intended_s[answered], [edges_us, seconds]
    )
    info = np.histogram(intended_s[~answered], seconds)[0]
    return HeatMap(
        arm,
        operation,
        seconds,
        edges_us,
        counts[0].astype(np.int64),
        info.astype(np.int64),
        phases,
        tuple(events),
    )


def edges(response_us: Floats) -> Floats:
    """Bin edges in µs, powers of 10^(1/PER_DECADE), that enclose the sample (10 µs at the least)."""
    if not len(response_us):
        return np.power(10.0, np.arange(2 * PER_DECADE, 4 * PER_DECADE + 1) / PER_DECADE)
    low = np.floor(PER_DECADE * np.log10(max(10.0, float(response_us.min()))))
    high = np.floor(PER_DECADE * np.log10(max(10.0, float(response_us.max())))) + 1
    return np.power(10.0, np.arange(low, high + 1) / PER_DECADE)


def finding(maps: Sequence[HeatMap]) -> str:
    """Where the slowest second was, if one stands out; that none did, if not."""
    known = [one for one in maps if one.n]
    if not known:
        return "No operation was answered"
    outstanding = [said for one in known if (said := _outstanding(one))]
    if outstanding:
        return "; ".join(outstanding[:3])
    alone = len({one.arm.key for one in known}) == 1
    slowest = [one for one in known if alone or one.operation == known[0].operation]
    names = [one.operation if alone else f"{one.arm.label} {one.operation}" for one in slowest]
    times = [figures.duration(_slowest(one)) for one in slowest]
    listed = ", ".join(f"{name} {time}" for name, time in zip(names, times, strict=True))
    return f"No second stands out; slowest answers: {listed}"


def _tops(one: HeatMap) -> tuple[Floats, Floats]:
    """Second and slowest answer (upper edge, µs; 0: none) of each column of the measured window."""
    inside = np.flatnonzero((one.seconds[:-1] >= 0) & (one.seconds[:-1] < one.phases.measured))
    return one.seconds[inside], np.array([_top(one, j) for j in inside.tolist()])


def _slowest(one: HeatMap) -> float:
    return float(_tops(one)[1].max(initial=0))


def _outstanding(one: HeatMap) -> str | None:
    """The second whose slowest answer is at least 4 times the typical second's, in words."""
    seconds, tops = _tops(one)
    if not tops.any():
        return None
    worst, typical = int(np.argmax(tops)), float(np.median(tops[tops > 0]))
    if tops[worst] < 4 * typical:
        return None
    said = f"in second {seconds[worst]:g} up to {figures.duration(tops[worst])}"
    return f"{one.arm.label} {one.operation}: {said}, in a typical second {figures.duration(typical)}"


def _top(one: HeatMap, column: int) -> float:
    filled = np.flatnonzero(one.counts[:, column])
    return float(one.edges_us[filled[-1] + 1]) if len(filled) else 0.0


def draw(maps: Sequence[HeatMap], words: canvas.Words) -> canvas.Sheet:
    """A panel per map, one time axis, one latency axis, one colour scale."""
    columns = min(2, len(maps))
    rows = -(-len(maps) // columns)
    figure = canvas.sheet(words, 2.5 * rows + 0.2)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    highest = max([int(one.counts.max(initial=1)) for one in maps], default=1)
    norm = LogNorm(1, max(10, highest))
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    low = min(float(one.edges_us[0]) for one in maps) / 1000
    high = max(float(one.edges_us[-1]) for one in maps) / 1000
    for axes, one in zip(grid.flat, maps, strict=False):
        _panel(axes, one, norm, low, high)
    for axes in grid[:, 0]:
        axes.set_ylabel("response, ms")
    for axes in grid[-1]:
        axes.set_xlabel("seconds since the measured window began")
    bar = figure.colorbar(
        grid.flat[0].collections[0], ax=grid, shrink=0.7, aspect=30, pad=0.01, label="operations in a cell"
    )
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    bar.outline.set_visible(False)
    return figure


def _panel(axes: Axes, one: HeatMap, norm: LogNorm, low: float, high: float) -> None:
    axes.set_yscale("log")
    axes.grid(visible=False)
    axes.set_facecolor(GROUND)
    shown = np.ma.masked_equal(one.counts, 0)
    axes.pcolormesh(one.seconds, one.edges_us / 1000, shown, norm=norm, cmap="viridis_r", rasterized=True)
    axes.set_ylim(low, high * 2.2)
    axes.set_xlim(one.seconds[0], one.seconds[-1])
    canvas.log_ms(axes.yaxis)
    axes.set_title(f"{one.arm.label} · {one.operation} · {_sample(one)}")
    axes.title.set_fontsize(9)
    axes.title.set_color(one.arm.look.colour)
    lost = np.flatnonzero(one.info)
    if len(lost):
        middle = (one.seconds[lost] + one.seconds[lost + 1]) / 2
        axes.plot(
            middle, np.full(len(lost), high * 1.5), "x", color=canvas.ALARM, markersize=4, clip_on=False
        )
    mark(axes, one.phases, one.events, shade=GROUND_SHADE, ink=GROUND_INK)
    axes.tick_params(which="both", labelbottom=True, labelleft=True)


def _sample(one: HeatMap) -> str:
    return f"n {figures.count(one.n)} · unanswered {figures.count(int(one.info.sum()))}"
