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
    """What the youngest reads saw; of one arm also the oldest."""
    known = [one for one in all_arms if one.n]
    if len(known) == 1:
        seen = [each for each in known[0].bins if each.n]
        ends = dict.fromkeys((seen[0], seen[-1]))
        return f"Reads that show the mark: {'; '.join(map(_said, ends))}"
    first = next(i for i, each in enumerate(known[0].bins) if each.n)
    who = (f"{one.arm.label} {figures.percent(one.bins[first].share)}" for one in known)
    return f"Reads that show the mark {ages(known[0].bins[first])} after its ACK: {'; '.join(who)}"


def _said(one: Bin) -> str:
    return f"{figures.percent(one.share)} of {figures.count(one.n)} at {ages(one)} after its ACK"


def draw(all_arms: Sequence[Soon], words: canvas.Words) -> canvas.Sheet:
    """A column for each range of ages, the arms beside each other in it."""
    figure = canvas.sheet(words, 3.4)
    axes = figure.subplots()
    known = [one for one in all_arms if one.n]
    labels = [_points(axes, one, place, len(known)) for place, one in enumerate(known)]
    columns = [ages(each).replace(" ", "\n") for each in known[0].bins]
    axes.set_xticks(range(len(columns)), columns)
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
