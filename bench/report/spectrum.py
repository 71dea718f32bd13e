"""Chart 2, the percentile spectrum: how slow the slow ones are, as far out as the sample can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bench.metrics.history import DEADLINE_US
from bench.report import canvas, figures
from bench.report.arms import Arm

Floats = npt.NDArray[np.float64]

MARKS: Final = (0.5, 0.9, 0.99, 0.999)
"""Where an arm's marker is set, and what the labels of the axis name."""
SURE: Final = 10
"""Samples above a quantile for it to be drawn full; from 1 to this it is drawn faint."""


@dataclass(frozen=True)
class Curve:
    """Quantiles of one operation of one arm.  `p` ascends and ends where one sample is above: n (1 - p) >= 1.

    `response_us` counts from the intended start and knows unanswered operations (`info` of them) as at least
    their deadline; `service_us` from the send call, of the answered ones."""

    arm: Arm
    operation: str
    n: int
    info: int
    p: Floats
    response_us: Floats
    service_p: Floats
    service_us: Floats


def curve(arm: Arm, operation: str, response_us: Floats, service_us: Floats, info: int) -> Curve:
    """Both quantile functions, about 60 points a decade of 1/(1-p).  Empty samples give empty arrays."""
    p, service_p = grid(len(response_us)), grid(len(service_us))
    return Curve(
        arm,
        operation,
        len(response_us),
        info,
        p,
        quantiles(response_us, p),
        service_p,
        quantiles(service_us, service_p),
    )


def grid(n: int) -> Floats:
    """The quantiles that n samples support, MARKS among them, ascending from the median."""
    if n < 2:
        return np.empty(0)
    outermost = 1 - 1 / n
    tails = np.geomspace(2, n, max(2, int(60 * np.log10(n / 2)) + 1)) if n > 2 else np.array([2.0])
    marks = [mark for mark in MARKS if mark <= outermost]
    return np.unique(np.concatenate((np.minimum(1 - 1 / tails, outermost), marks)))


def quantiles(sample: Floats, p: Floats) -> Floats:
    """The nearest rank of each p, as `bench.metrics.quantiles` has it: a value that occurred."""
    if not len(p):
        return np.empty(0)
    ordered = np.sort(sample)
    ranks = np.ceil(np.round(p * len(sample), 6)).astype(np.int64)
    return ordered[np.clip(ranks, 1, len(sample)) - 1]


def at(one: Curve, p: float) -> float | None:
    """The response quantile p in µs; None if n can't support it."""
    where = np.flatnonzero(np.isclose(one.p, p, rtol=0, atol=1e-12))
    return float(one.response_us[where[0]]) if len(where) else None


def finding(curves: Sequence[Curve], floor_us: float | None) -> str:
    """The chart in a sentence, with its figures."""
    first = [one for one in curves if one.operation == curves[0].operation]
    measured = [(one, _outermost_sure(one)) for one in first]
    if len(first) == 1:
        words = [_said(one) for one in curves[:3]]
        return "Response times: " + "; ".join(words)
    told = [(one, p) for one, p in measured if p is not None]
    if not told:
        return f"{first[0].operation}: too few samples for a percentile"
    p = min(p for _, p in told)
    values = sorted(((at(one, p) or 0.0, one) for one, _ in told), key=lambda pair: pair[0])
    listed = ", ".join(f"{one.arm.label} {bound(one, us)}{figures.ms(us)}" for us, one in values)
    blurred = floor_us is not None and sum(us < 5 * floor_us for us, _ in values) > 1
    return f"{first[0].operation} {name(p)} in ms: {listed}" + (
        " (those below 5 × the resolution are not separated)" if blurred else ""
    )


def _said(one: Curve) -> str:
    p = _outermost_sure(one)
    if p is None:
        return f"{one.operation} too few samples ({one.n})"
    median, tail = at(one, 0.5), at(one, p)
    return f"{one.operation} p50 {_time(one, median)}, {name(p)} {_time(one, tail)}"


def _time(one: Curve, us: float | None) -> str:
    return figures.MISSING if us is None else bound(one, us) + figures.duration(us)


def bound(one: Curve, us: float) -> str:
    """≥ where the quantile lies among the unanswered."""
    return "≥" if one.info and us >= DEADLINE_US else ""


def _outermost_sure(one: Curve) -> float | None:
    sure = [mark for mark in MARKS[:3] if one.n * (1 - mark) >= SURE - 1e-9]
    return sure[-1] if sure else None


def name(p: float) -> str:
    """0.999 -> p99.9"""
    return f"p{100 * p:.6g}"


def draw(curves: Sequence[Curve], words: canvas.Words, floor_us: float | None) -> canvas.Sheet:
    """A panel per operation, the same axes for all."""
    operations = list(dict.fromkeys(one.operation for one in curves))
    columns = min(2, len(operations))
    rows = -(-len(operations) // columns)
    figure = canvas.sheet(words, 2.75 * rows)
    grid_of_axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid_of_axes.flat[len(operations) :]:
        axes.set_visible(False)
    furthest = max([float(1 / (1 - one.p[-1])) for one in curves if len(one.p)], default=1000)
    limits = _limits(curves, floor_us)
    for axes, operation in zip(grid_of_axes.flat, operations, strict=False):
        shown = [one for one in curves if one.operation == operation]
        axes.set_ylim(*limits)
        figure.label_ends(axes, _panel(axes, shown, operation, floor_us, furthest))
    for axes in grid_of_axes[:, 0]:
        axes.set_ylabel("ms")
    return figure


def _limits(curves: Sequence[Curve], floor_us: float | None) -> tuple[float, float]:
    """ms; room for every curve and for the floor."""
    ends = [
        us
        for one in curves
        for sample in (one.response_us, one.service_us)
        if len(sample)
        for us in sample[[0, -1]]
    ]
    ends += [5 * floor_us] if floor_us else []
    positive = [us / 1000 for us in ends if us > 0] or [1.0]
    return min(positive) / 1.5, max(positive) * 1.5


def _panel(
    axes: Axes, curves: Sequence[Curve], operation: str, floor_us: float | None, furthest: float
) -> list[canvas.Label]:
    axes.set_xscale("log")
    axes.set_yscale("log")
    labels: list[canvas.Label] = []
    for one in curves:
        if len(one.p):
            labels += _draw_curve(axes, one, alone=len(curves) == 1)
    marks = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999]
    marks = [mark for mark in marks if 1 / (1 - mark) <= furthest * 1.01]
    axes.set_xticks([1 / (1 - mark) for mark in marks], [name(mark) for mark in marks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(1.9, furthest * 1.1)
    canvas.log_ms(axes.yaxis)
    axes.set_title(f"{operation} · {_sample(curves)}")
    axes.title.set_fontsize(9)
    axes.tick_params(which="both", labelbottom=True, labelleft=True)
    if floor_us:
        _shade_floor(axes, floor_us)
    return labels


def _sample(curves: Sequence[Curve]) -> str:
    smallest, largest = min(one.n for one in curves), max(one.n for one in curves)
    n = (
        figures.count(largest)
        if smallest == largest
        else f"{figures.count(smallest)}–{figures.count(largest)}"
    )
    info = sum(one.info for one in curves)
    return f"n {n} · unanswered {figures.count(info)}"


def _draw_curve(axes: Axes, one: Curve, *, alone: bool) -> list[canvas.Label]:
    x, y = 1 / (1 - one.p), one.response_us / 1000
    sure = one.n * (1 - one.p) >= SURE - 1e-9
    colour = one.arm.look.colour
    axes.plot(x[sure], y[sure], color=colour, linewidth=1.8)
    last_sure = max(0, int(sure.sum()) - 1)
    axes.plot(x[last_sure:], y[last_sure:], color=colour, linewidth=1.0, alpha=0.45)
    for shown, fill in (
        (np.isin(one.p, MARKS) & sure, colour),
        (np.isin(one.p, MARKS) & ~sure, canvas.PAPER),
    ):
        axes.plot(x[shown], y[shown], one.arm.look.marker, color=colour, markersize=5, markerfacecolor=fill)
    if len(one.service_p):
        axes.plot(
            1 / (1 - one.service_p),
            one.service_us / 1000,
            color=colour,
            linewidth=1.2,
            linestyle=(0, (1, 1.6)),
        )
    labels = [canvas.Label(float(x[-1]), float(y[-1]), "response" if alone else one.arm.label, colour)]
    if alone and len(one.service_p):
        labels.append(canvas.Label(float(x[-1]), float(one.service_us[-1] / 1000), "service", colour))
    return labels


def _shade_floor(axes: Axes, floor_us: float) -> None:
    """Below 5 f two arms are not separated."""
    edge = 5 * floor_us / 1000
    axes.axhspan(1e-6, edge, color=canvas.SHADE, zorder=0, linewidth=0)
    axes.annotate(
        f"shaded: below 5 × resolution, {figures.digits(edge, 2)} ms",
        (1.0, 0.0),  # curves rise: this corner is empty
        xycoords="axes fraction",
        xytext=(-3, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=7,
        color=canvas.SOFT,
    )
