"""The control's line in charts of throughput: the same server and protocol with a dict behind it."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes

from bench.options import CONTROL
from bench.report import figures
from bench.report.arms import LOOKS
from bench.results import Json


@dataclass(frozen=True)
class Ceiling:
    """What it carries, in the study's unit; `bounded`: at least that, the generator binds first."""

    load: float
    bounded: bool
    unit: str

    @property
    def text(self) -> str:
        return f"control {'≥ ' if self.bounded else ''}{figures.digits(self.load)} {self.unit}"

    def draw(self, axes: Axes) -> None:
        """Across, at its load on the axis that goes up."""
        colour = LOOKS[CONTROL, ""].colour
        axes.axhline(self.load, color=colour, linewidth=1.2, linestyle=(0, (6, 3)))
        axes.annotate(
            self.text, (1.0, self.load), xycoords=axes.get_yaxis_transform(), xytext=(-4, 3),
            textcoords="offset points", ha="right", va="bottom", color=colour, fontsize=8, fontweight="bold",
        )  # fmt: skip


def ceiling(content: Json) -> Ceiling | None:
    """Of a study in which the control was searched; None where nothing is known of it."""
    arm = next((arm for arm in content["arms"] if arm["run"].get("scheme") == CONTROL), None)
    if arm is None:
        return None
    capacity, held = arm["found"]["capacity"], arm["found"]["held"]
    load = held if capacity is None else capacity
    return None if load is None else Ceiling(float(load), capacity is None, content["unit"])
