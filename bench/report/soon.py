"""Chart 5, t-visibility: how likely a read shows a mark, by how long after the ACK it is made.

A point per range of ages, from reads that were made whatever earlier ones had shown, with Wilson's 95 %
interval (`bench/metrics/t_visibility.py`).  Nothing is joined or smoothed: between the points nobody
looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes

from bench.metrics.t_visibility import Bin
from bench.report import canvas, figures
from bench.report.arms import Arm

ENOUGH: Final = 10
"""Reads of one range of ages, below which a point is faint."""


@dataclass(frozen=True)
class Soon:
    """One arm's points."""

    arm: Arm
    bins: tuple[Bin, ...]

    @property
    def n(self) -> int:
        return sum(one.n for one in self.bins)


def soon(arm: Arm, bins: Sequence[Bin]) -> Soon:
    return Soon(arm, tuple(bins))


def ages(one: Bin) -> str:
    """Of a point's reads."""
    return figures.ages(one.from_us, one.to_us)


def finding(all_arms: Sequence[Soon]) -> str:
    """What the youngest and the oldest reads saw."""
    return "Reads that show the mark: " + "; ".join(
        _said(one, alone=len(all_arms) == 1) for one in all_arms if one.n
    )


def _said(one: Soon, *, alone: bool) -> str:
    known = [each for each in one.bins if each.n]
    who = "" if alone else f"{one.arm.label} "
    ends = known if len(known) == 1 else [known[0], known[-1]]
    return who + ", ".join(
        f"{figures.percent(each.share)} at {ages(each)} (n {figures.count(each.n)})" for each in ends
    )


def draw(all_arms: Sequence[Soon], words: canvas.Words) -> canvas.Sheet:
    """A column for each range of ages, the arms beside each other in it."""
    figure = canvas.sheet(words, 3.4)
    axes = figure.subplots()
    known = [one for one in all_arms if one.n]
    labels = [_points(axes, one, place, len(known)) for place, one in enumerate(known)]
    axes.set_xticks(range(len(known[0].bins)), [ages(each) for each in known[0].bins])
    axes.set_xlim(-0.6, len(known[0].bins) - 0.4)
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("age of the read: after the ACK")
    axes.set_ylabel("reads that show the mark")
    figure.label_ends(axes, labels)
    return figure


def _points(axes: Axes, one: Soon, place: int, of: int) -> canvas.Label:
    """Side by side in their column; faint where few reads were made."""
    shift = (place - (of - 1) / 2) * 0.7 / max(1, of)
    colour = one.arm.look.colour
    for column, each in enumerate(one.bins):
        if each.share is None:
            continue
        low, high = each.interval
        faint = 0.4 if each.n < ENOUGH else 1.0
        axes.vlines(column + shift, low, high, color=colour, linewidth=1.6, alpha=faint)
        axes.plot(column + shift, each.share, one.arm.look.marker, color=colour, markersize=5, alpha=faint)
    last = next(each for each in reversed(one.bins) if each.share is not None)
    right = len(one.bins) - 0.4
    return canvas.Label(right, last.share or 0.0, f"{one.arm.label}\nn {figures.count(one.n)}", colour)
