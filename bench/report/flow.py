"""Chart 5, the cumulative flow of READs: intended, acknowledged, told, and below it the gaps between them.

In the upper panel a vertical gap is a backlog and a horizontal gap a lag; the lower panel has the vertical
gaps on a scale of their own, since in a run that keeps up they are a line's width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.report import canvas, figures
from bench.report.arms import Arm
from bench.report.phases import Event, Phases, mark

POINTS: Final = 600
BINS_MAX: Final = 300
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Flow:
    """Counts at `seconds` since the measured window began.

    Of the READs intended in it of which somebody had to be told.  `told`: every device that had to be told
    has been.  `waiting_*[i]`: the most that waited at once between bins[i] and bins[i + 1]."""

    arm: Arm
    seconds: Floats
    intended: Floats
    acknowledged: Floats
    told: Floats
    bins: Floats
    waiting_ack: Floats
    waiting_told: Floats
    n: int
    never_acknowledged: int
    never_told: int
    phases: Phases
    events: tuple[Event, ...]


def flow(
    arm: Arm,
    intended_s: Floats,
    acknowledged_s: Floats,
    told_s: Floats,
    phases: Phases,
    events: Sequence[Event] = (),
) -> Flow:
    """One entry per READ; NaN = never.  Seconds since the measured window began."""
    seconds = np.linspace(0, phases.end, POINTS + 1)
    step = max(1.0, np.ceil(phases.end / BINS_MAX))
    bins = np.arange(0, phases.end + step, step)
    return Flow(
        arm,
        seconds,
        intended=_cumulative(intended_s, seconds),
        acknowledged=_cumulative(acknowledged_s, seconds),
        told=_cumulative(told_s, seconds),
        bins=bins,
        waiting_ack=_most_waiting(intended_s, acknowledged_s, bins),
        waiting_told=_most_waiting(intended_s, told_s, bins),
        n=len(intended_s),
        never_acknowledged=int(np.isnan(acknowledged_s).sum()),
        never_told=int(np.isnan(told_s).sum()),
        phases=phases,
        events=tuple(events),
    )


def _cumulative(times: Floats, at: Floats) -> Floats:
    happened = np.sort(times[~np.isnan(times)])
    return np.searchsorted(happened, at, side="right").astype(np.float64)


def _most_waiting(begin: Floats, end: Floats, bins: Floats) -> Floats:
    """The greatest number begun and not ended at one moment, per bin."""
    ended = end[~np.isnan(end)]
    times = np.concatenate((begin, ended))
    order = np.argsort(times, kind="stable")
    waiting = np.cumsum(np.concatenate((np.ones(len(begin)), -np.ones(len(ended))))[order])
    at_edges = np.concatenate(([0.0], waiting))[np.searchsorted(times[order], bins, side="right")]
    most = at_edges[:-1].copy()
    column = np.searchsorted(bins, times[order], side="right") - 1
    inside = (column >= 0) & (column < len(most))
    np.maximum.at(most, column[inside], waiting[inside])
    return most


def finding(flows: Sequence[Flow]) -> str:
    alone = len(flows) == 1
    said = [_said(one) if alone else f"{one.arm.label} {_said(one)}" for one in flows]
    return "READs not yet told to everyone, at most in the window: " + "; ".join(said)


def _said(one: Flow) -> str:
    inside = one.bins[:-1] < one.phases.measured
    worst = int(np.argmax(np.where(inside, one.waiting_told, -1)))
    left = f", {figures.count(one.never_told)} never" if one.never_told else ""
    return f"{figures.count(one.waiting_told[worst])} at {one.bins[worst]:.0f} s{left}"


def draw(flows: Sequence[Flow], words: canvas.Words) -> canvas.Sheet:
    figure = canvas.sheet(words, 5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    longest = max(flows, key=lambda one: float(one.seconds[-1]))
    end = float(longest.seconds[-1])
    labels: list[canvas.Label] = []
    gaps: list[canvas.Label] = []
    for one in flows:
        labels += _counts(upper, one, end, alone=len(flows) == 1)
        gaps += _backlog(lower, one, end, alone=len(flows) == 1)
    upper.set_ylim(bottom=0)
    upper.set_ylabel("READs, cumulative")
    upper.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    waiting = (most for one in flows for most in (one.waiting_told, one.waiting_ack))
    lower.set_ylim(0, 1.2 * max(float(most.max(initial=1)) for most in waiting))
    lower.yaxis.set_major_locator(MaxNLocator(integer=True))
    lower.set_ylabel("READs waiting")
    step = flows[0].bins[1] - flows[0].bins[0]
    lower.set_xlabel("seconds since the measured window began")
    how = "solid not yet told to everyone, dotted not yet acknowledged"
    lower.set_title(f"Most at once in {step:g} s: {how}")
    for axes in (upper, lower):
        axes.set_xlim(0, end)
        mark(axes, longest.phases, longest.events if len(flows) == 1 else ())
    figure.label_ends(upper, labels)
    figure.label_ends(lower, gaps)
    return figure


def _counts(axes: Axes, one: Flow, end: float, *, alone: bool) -> list[canvas.Label]:
    """`end`: where the axis ends, and with it the longest arm."""
    colour = one.arm.look.colour
    axes.plot(one.seconds, one.intended, color=canvas.SOFT, linewidth=1.0)
    axes.plot(one.seconds, one.acknowledged, color=colour, linewidth=1.2, linestyle=(0, (1, 1.6)))
    axes.plot(one.seconds, one.told, color=colour, linewidth=1.6)
    if not alone:
        return [canvas.Label(end, float(one.told[-1]), one.arm.label, colour)]
    return [
        canvas.Label(end, float(one.intended[-1]), "intended", canvas.SOFT),
        canvas.Label(end, float(one.acknowledged[-1]), "acknowledged", colour),
        canvas.Label(end, float(one.told[-1]), "told", colour),
    ]


def _backlog(axes: Axes, one: Flow, end: float, *, alone: bool) -> list[canvas.Label]:
    colour = one.arm.look.colour
    axes.stairs(
        one.waiting_ack, one.bins, baseline=None, color=colour, linewidth=1.0, linestyle=(0, (1, 1.6))
    )
    axes.stairs(one.waiting_told, one.bins, baseline=None, color=colour, linewidth=1.4)
    told = float(one.waiting_told[-1])
    if not alone:
        return [canvas.Label(end, told, one.arm.label, colour)]
    unacknowledged = canvas.Label(end, float(one.waiting_ack[-1]), "no ACK", colour)
    return [canvas.Label(end, told, "not told", colour), unacknowledged]
