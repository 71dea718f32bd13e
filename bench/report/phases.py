"""What charts over time share: phases and events, in seconds since the measured window began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes

from bench.report import canvas


@dataclass(frozen=True)
class Phases:
    """Warm-up is [begin, 0), the measured window [0, measured), the drain [measured, end].  Seconds."""

    begin: float
    measured: float
    end: float


@dataclass(frozen=True)
class Event:
    """Something that happened to the run at `second`: a fault, a death, a lost connection."""

    second: float
    what: str


def mark(
    axes: Axes,
    phases: Phases,
    events: Sequence[Event],
    *,
    shade: str = canvas.SHADE,
    ink: str = canvas.SOFT,
) -> None:
    """Shade what is not measured and name it; a line and a name per event.  Set the limits first."""
    if max(phases.begin, axes.get_xlim()[0]) < 0:
        axes.axvspan(phases.begin, 0, color=shade, zorder=-1, linewidth=0)
        _name(axes, phases.begin, " warm-up", ink, "left")
    if phases.end > phases.measured:
        axes.axvspan(phases.measured, phases.end, color=shade, zorder=-1, linewidth=0)
        _name(axes, phases.end, "drain ", ink, "right")
    for event in events:
        axes.axvline(event.second, color=canvas.ALARM, linewidth=0.9, linestyle="--")
        _name(axes, event.second, f" {event.what}", canvas.ALARM, "left")


def _name(axes: Axes, x: float, text: str, colour: str, align: Literal["left", "right"]) -> None:
    axes.annotate(
        text,
        (x, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, -2),
        textcoords="offset points",
        ha=align,
        va="top",
        fontsize=7,
        color=colour,
    )
