"""Chart 4, the not-yet-visible curve: what share of the marks nobody could see yet, t ms after the READ.

Undelivered marks and marks whose watching ended early are in it: a distribution of the delivered alone would
look better the more is lost.  The estimators (Kaplan-Meier, Turnbull) are `bench/metrics`'."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from bench.metrics.lags import Lag
from bench.metrics.queue_lag import QueueLag
from bench.metrics.survival import Intervals
from bench.metrics.visible import Visible
from bench.report import canvas, figures
from bench.report.arms import Arm
from bench.report.wording import LAGS

TICKS_MAX: Final = 200
STEPS_MAX: Final = 400
TABLE_MS: Final = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Waiting:
    """At `ms` after the start: still waiting, arrived by then, watching ended by then.  They add up to n."""

    ms: float
    waiting: int
    arrived: int
    censored: int


@dataclass(frozen=True)
class Hidden:
    """A step curve: from `time_us[i]` on, the share `share[i]` is not yet visible, within [low, high] (95 %).

    `ticks_us`: censoring times, at most TICKS_MAX.  `undelivered`: never came though every chance was given.
    `why_not`: why there is no curve."""

    arm: Arm
    lag: str
    n: int
    censored: int
    undelivered: int
    time_us: Floats
    share: Floats
    low: Floats
    high: Floats
    ticks_us: Floats
    table: tuple[Waiting, ...]
    why_not: str | None


def hidden(arm: Arm, name: str, lag: Lag) -> Hidden:
    """The Kaplan-Meier curve of a lag that pushes or replies tell of."""
    if not len(lag.time):
        return nothing(arm, name, "nobody had to be told in the measured window")
    curve = lag.curve()
    kept = thinned(curve.time, STEPS_MAX)
    return Hidden(
        arm,
        name,
        n=curve.n,
        censored=len(curve.censored),
        undelivered=lag.undelivered,
        time_us=curve.time[kept],
        share=curve.survival[kept],
        low=curve.low[kept],
        high=curve.high[kept],
        ticks_us=curve.censored[thinned(curve.censored, TICKS_MAX)],
        table=waiting_table(lag.time / 1e3, lag.observed),
        why_not=None,
    )


def hidden_polled(arm: Arm, name: str, seen: Visible) -> Hidden:
    """Turnbull's curve of a polled lag, of at least one probe.

    Between two polls the data say nothing: `low` and `high` put an interval's mass at its earlier and its
    later end, `share` spreads it evenly; they are bounds of the polling, not of the sample."""
    intervals = seen.intervals()
    ends = np.concatenate((intervals.left, intervals.right[np.isfinite(intervals.right)]))
    time_us = np.unique(np.maximum(ends, 0))
    time_us = time_us[thinned(time_us, STEPS_MAX)]
    never = np.isinf(seen.right)
    return Hidden(
        arm,
        name,
        n=len(seen.left),
        censored=int(never.sum()),
        undelivered=int(never.sum()),
        time_us=time_us,
        share=_left_after(time_us, intervals, 0.5),
        low=_left_after(time_us, intervals, 0.0),
        high=_left_after(time_us, intervals, 1.0),
        ticks_us=np.sort(seen.left[never] / 1e3)[:TICKS_MAX],
        table=waiting_table(np.where(never, seen.left, seen.right) / 1e3, ~never),
        why_not=None,
    )


def hidden_queue(arm: Arm, behind: QueueLag) -> Hidden:
    """The Kaplan-Meier curve of the events' upper bounds; `low` is that of their lower bounds."""
    curve, lower = behind.curve(), behind.lower_curve()
    kept = thinned(curve.time, STEPS_MAX)
    time_us, share = curve.time[kept], curve.survival[kept]
    earlier = np.append(1.0, lower.survival)[np.searchsorted(lower.time, time_us, side="right")]
    return Hidden(
        arm,
        "queue",
        n=curve.n,
        censored=len(curve.censored),
        undelivered=len(curve.censored),
        time_us=time_us,
        share=share,
        low=np.minimum(earlier, share),
        high=share,
        ticks_us=curve.censored[thinned(curve.censored, TICKS_MAX)],
        table=waiting_table(behind.within_us, behind.applied),
        why_not=None,
    )


def _left_after(time_us: Floats, intervals: Intervals, where: float) -> Floats:
    """1 - the mass up to each time, an interval's at its left end (0), its right end (1) or spread evenly."""
    finite = np.isfinite(intervals.right)
    left, right, mass = intervals.left[finite], intervals.right[finite], intervals.mass[finite]
    if where == 0.5:
        width = np.maximum(right - left, 1e-9)
        inside = np.clip((time_us[:, None] - left[None, :]) / width[None, :], 0, 1)
        return 1 - inside @ mass
    ends = np.sort(right) if where else np.sort(left)
    total = np.concatenate(([0.0], np.cumsum(mass[np.argsort(right if where else left)])))
    return 1 - total[np.searchsorted(ends, time_us, side="right")]


def nothing(arm: Arm, name: str, why_not: str) -> Hidden:
    """A lag that could not be measured."""
    empty = np.empty(0)
    return Hidden(arm, name, 0, 0, 0, empty, empty, empty, empty, empty, (), why_not)


def waiting_table(lag_us: npt.NDArray[Any], arrived: npt.NDArray[np.bool_]) -> tuple[Waiting, ...]:
    """How many still waited, had arrived, were watched no longer, by each of TABLE_MS up to the longest."""
    came, left = np.sort(lag_us[arrived]), np.sort(lag_us[~arrived])
    longest = float(lag_us.max(initial=0.0)) / 1000
    rows = []
    for ms in TABLE_MS:
        there = int(np.searchsorted(came, ms * 1000, side="right"))
        gone = int(np.searchsorted(left, ms * 1000, side="right"))
        rows.append(Waiting(ms, len(lag_us) - there - gone, there, gone))
        if ms > longest:
            break
    return tuple(rows)


def thinned(values: Floats, most: int) -> npt.NDArray[np.int64]:
    """Indexes of about `most` of ascending `values`, with the first and the last.

    They are even over the logarithm of the rank from either end, so that the tail keeps its steps."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    half = most // 2
    ranks = np.unique(np.geomspace(1, n, half).astype(np.int64)) - 1
    return np.unique(np.concatenate((ranks, n - 1 - ranks)))


def share_at(one: Hidden, ms: float) -> float:
    """The share not yet visible `ms` after the start."""
    index = int(np.searchsorted(one.time_us, ms * 1000, side="right")) - 1
    return float(one.share[index]) if index >= 0 else 1.0


def reached(one: Hidden, share: float) -> float | None:
    """The first time in µs at which at most `share` was not yet visible; None if that never comes."""
    where = np.flatnonzero(one.share <= share)
    return float(one.time_us[where[0]]) if len(where) else None


def finding(curves: Sequence[Hidden]) -> str:
    known = [one for one in curves if one.why_not is None and one.n]
    if not known:
        return "No lag could be measured"
    lag = next(
        name for name in ("receipt", "own_device", "visible", *LAGS) if any(c.lag == name for c in known)
    )
    chosen = [one for one in known if one.lag == lag]
    return f"{LAGS[lag].split(':')[0]}: " + "; ".join(_said(one, alone=len(chosen) == 1) for one in chosen)


def _said(one: Hidden, *, alone: bool) -> str:
    deepest = next((share for share in (0.001, 0.01, 0.1, 0.5) if one.n * share >= 10), None)
    who = "" if alone else f"{one.arm.label} "
    lost = (
        f", {figures.count(one.undelivered)} of {figures.count(one.n)} undelivered" if one.undelivered else ""
    )
    if deepest is None:
        return f"{who}too few samples ({one.n}){lost}"
    when = reached(one, deepest)
    seen = f"{100 * (1 - deepest):g} %"
    if when is None:
        return f"{who}never {seen} visible{lost}"
    return (
        f"{who}{seen} after {figures.duration(max(when, 0))}{lost or (', none undelivered' if alone else '')}"
    )


def draw(curves: Sequence[Hidden], words: canvas.Words) -> canvas.Sheet:
    """A panel per lag, the same axes for all; the last cell names what could not be measured."""
    lags = [name for name in LAGS if any(one.lag == name and one.why_not is None for one in curves)]
    absent = [one for one in curves if one.lag not in lags]
    cells = len(lags) + bool(absent)
    columns = min(2, cells)
    rows = -(-cells // columns)
    figure = canvas.sheet(words, 2.8 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(lags) :]:
        axes.set_axis_off()
    if absent:
        _say_absent(grid.flat[len(lags)], absent)
    limits = _limits(curves)
    for axes, lag in zip(grid.flat, lags, strict=False):
        shown = [one for one in curves if one.lag == lag]
        figure.label_ends(axes, _panel(axes, shown, LAGS[lag], limits), size=6.8, weight="normal")
    for axes in grid[:, 0]:
        axes.set_ylabel("not yet visible")
    return figure


def _say_absent(axes: Axes, absent: Sequence[Hidden]) -> None:
    reasons: dict[str, dict[str, None]] = {}
    for one in absent:
        reasons.setdefault(f"{one.lag}: {figures.unavailable(one.why_not)}", {})[one.arm.label] = None
    everyone = len({one.arm.label for one in absent})
    lines = [
        textwrap.fill(why + ("" if len(who) == everyone else f" ({', '.join(who)})"), 74)
        for why, who in reasons.items()
    ]
    axes.text(0.0, 1.0, "\n".join(lines), va="top", fontsize=7.5, color=canvas.SOFT, linespacing=1.5)


def _limits(curves: Sequence[Hidden]) -> tuple[float, float, float]:
    """Shortest and longest time in ms, least share."""
    times = [float(us) / 1000 for one in curves for us in one.time_us if us > 0] or [1.0]
    shares = [float(share) for one in curves for share in one.share if share > 0] or [0.1]
    return max(0.01, min(times) / 1.5), max(times) * 1.3, max(1e-5, min(shares) / 2)


def _panel(
    axes: Axes, curves: Sequence[Hidden], title: str, limits: tuple[float, float, float]
) -> list[canvas.Label]:
    shortest, longest, least = limits
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(shortest, longest)
    axes.set_ylim(least, 1.6)
    labels = [_curve(axes, one, limits) for one in curves if one.why_not is None and one.n]
    canvas.log_ms(axes.xaxis)
    axes.tick_params(which="both", labelbottom=True, labelleft=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.set_title(title)
    axes.title.set_fontsize(8.5)
    axes.set_xlabel("ms")
    return labels


def _curve(axes: Axes, one: Hidden, limits: tuple[float, float, float]) -> canvas.Label:
    shortest, longest, least = limits
    colour = one.arm.look.colour
    ms = np.maximum(one.time_us / 1000, shortest)
    x = np.concatenate(([shortest], ms, [longest] if one.undelivered else []))
    y, low, high = (
        np.concatenate(([1.0], sample, sample[-1:] if one.undelivered else []))
        for sample in (one.share, one.low, one.high)
    )
    high = np.where(y > 0, high, np.nan)  # nobody is left: there is no band
    axes.fill_between(x, np.maximum(low, least / 2), high, step="post", color=colour, alpha=0.15, linewidth=0)
    axes.step(x, np.maximum(y, least / 2), where="post", color=colour, linewidth=1.6)
    if len(one.ticks_us):
        heights = [max(share_at(one, us / 1000), least) for us in one.ticks_us]
        axes.plot(one.ticks_us / 1000, heights, "|", color=colour, markersize=6, markeredgewidth=0.9)
    counts = f"{one.arm.label}\nn {figures.count(one.n)}"
    if one.censored:
        counts += f", {figures.count(one.censored)} censored\n{figures.count(one.undelivered)} undelivered"
    return canvas.Label(longest, float(max(y[-1], least)), counts, colour)
