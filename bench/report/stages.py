"""Chart 8, where an operation's time goes: mean ms by stage, for all operations and for those around the p99.

The stages of a reply never overlap, so means add up; percentiles of stages would not, and are not drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bench.report import canvas, figures
from bench.report.arms import Arm
from bench.report.tables import overlap_ms
from bench.results import Json

STAGES: Final = {
    "client": ("#c9ced6", "client: meant to be sent → sent"),
    "network": ("#93a1b0", "network: sockets, kernel, unread at either end"),
    "wait": ("#e0b354", "wait: the server's locks, pool and loop"),
    "store": ("#b98d4f", "store: database"),
    "cache": ("#b5565f", "cache: Redis"),
    "queue": ("#7e6aa3", "queue: broker"),
    "other": ("#4a6078", "other: the rest of the server's time"),
}
"""Stage of `bench.metrics.operations` -> (colour, what it is), in the order of the bars."""
ENOUGH: Final = 10
"""Operations that a mean must rest on."""


@dataclass(frozen=True)
class Split:
    """Mean ms by stage of one operation of one arm, of its `n` answered operations that told their stages;
    `slow` of those whose response lies in p98.5-p99.5, None when fewer than ENOUGH do.

    `overlap`: where the server told stages that add up to more than its own time, by how many ms.  They can't
    be drawn as parts of a whole then, and the server's time is one piece, `other`."""

    arm: Arm
    operation: str
    n: int
    mean: Mapping[str, float]
    slow_n: int
    slow: Mapping[str, float] | None
    overlap: float = 0.0

    @property
    def total_ms(self) -> float:
        return sum(self.mean.values())


def split(arm: Arm, operation: str, figures_of: Json) -> Split | None:
    """From an operation's entry in `summary.json`.  None if no reply told its stages."""
    mean, slow = figures_of["mean_ms"], figures_of["mean_ms_slow"]
    if mean is None:
        return None
    slow_n = 0 if slow is None else slow["n"]
    overlap = max(overlap_ms(mean), overlap_ms(slow) if slow_n >= ENOUGH else 0.0)
    parts = _parts if not overlap else _whole
    return Split(
        arm, operation, mean["n"], parts(mean), slow_n, parts(slow) if slow_n >= ENOUGH else None, overlap
    )


def _parts(entry: Json) -> dict[str, float]:
    """In the order of the bars."""
    return {name: max(0.0, entry[name]) for name in STAGES}


def _whole(entry: Json) -> dict[str, float]:
    server = sum(entry[name] for name in ("wait", "store", "cache", "queue", "other"))
    return {
        **dict.fromkeys(STAGES, 0.0),
        "client": entry["client"],
        "network": entry["network"],
        "other": server,
    }


def finding(splits: Sequence[Split]) -> str:
    """The stage that takes most of the mean: of one operation for several arms, of three for one."""
    if not splits:
        return "Where the time goes is not available: no reply told its stages"
    if len({one.arm.key for one in splits}) == 1:
        return "Mean time goes to: " + "; ".join(_said(one, one.operation) for one in splits[:3])
    first = [one for one in splits if one.operation == splits[0].operation]
    return f"Mean {first[0].operation} goes to: " + "; ".join(_said(one, one.arm.label) for one in first)


def _said(one: Split, name: str) -> str:
    if one.overlap:
        return f"{name} {figures.duration(1000 * one.total_ms)}, its stages overlap"
    most = max(one.mean, key=lambda stage: one.mean[stage])
    share = figures.percent(one.mean[most] / one.total_ms, 2)
    return f"{name} {figures.duration(1000 * one.total_ms)}, {share} {most}"


def draw(splits: Sequence[Split], words: canvas.Words) -> canvas.Sheet:
    """Two panels on one scale: the mean of all, and the mean of the operations around p99."""
    shown = [name for name in STAGES if any(one.mean.get(name) for one in splits)]
    key = [Patch(color=STAGES[name][0], label=STAGES[name][1]) for name in shown]
    groups = len({one.operation for one in splits})
    figure = canvas.sheet(words, 0.8 + 0.25 * len(splits) + 0.11 * groups, key)
    mean, tail = figure.subplots(1, 2, sharey=True, sharex=True)
    longest = max([sum(part.values()) for one in splits for part in (one.mean, one.slow or {})], default=1)
    rows = _rows(splits)
    for row, one in zip(rows, splits, strict=True):
        _bar(mean, row, one.mean)
        if one.overlap:
            _remark(mean, row, one, f"undivided: stages overlap by {figures.digits(one.overlap)}")
        elif one.total_ms < 0.5 * longest:
            _remark(mean, row, one, _largest(one))
        if one.slow is None:
            tail.text(0, row, f" too few: {one.n} operations", va="center", fontsize=7, color=canvas.SOFT)
        else:
            _bar(tail, row, one.slow)
    names = [f"{one.operation} · {one.arm.label} · n {figures.count(one.n)}" for one in splits]
    mean.set_yticks(rows, names)
    for tick, one in zip(mean.get_yticklabels(), splits, strict=True):
        tick.set_color(one.arm.look.colour)
    mean.set_ylim(max(rows) + 0.6, -0.6)
    mean.set_xlim(0, longest * 1.12)
    mean.set_title("all operations, mean ms")
    tail.set_title("operations in p98.5–p99.5 of response, mean ms")
    tail.tick_params(labelleft=False)
    for axes in (mean, tail):
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("ms")
    return figure


def _rows(splits: Sequence[Split]) -> list[float]:
    """Positions from the top, a gap between operations."""
    rows, position = [], 0.0
    for index, one in enumerate(splits):
        if index and one.operation != splits[index - 1].operation:
            position += 0.45
        rows.append(position)
        position += 1
    return rows


def _largest(one: Split) -> str:
    """The three largest stages in figures."""
    largest = sorted(one.mean, key=lambda name: -one.mean[name])[:3]
    return " · ".join(f"{name} {figures.digits(one.mean[name], 2)}" for name in largest if one.mean[name])


def _remark(axes: Axes, row: float, one: Split, text: str) -> None:
    """Small, to the right of the bar and its figure."""
    axes.annotate(
        text,
        (one.total_ms, row),
        xytext=(34, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
        color=canvas.SOFT,
    )


def _bar(axes: Axes, row: float, parts: Mapping[str, float]) -> None:
    left = 0.0
    for name, ms in parts.items():
        axes.barh(row, ms, left=left, height=0.74, color=STAGES[name][0], linewidth=0)
        left += ms
    axes.annotate(
        figures.digits(left),
        (left, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        fontweight="bold",
    )
