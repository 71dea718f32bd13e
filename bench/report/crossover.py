"""Chart 9 of a capacity study, the crossover map: state reads per mark across, load up, colour the winner.

Nothing is interpolated: what was not measured is no cell.  The control's capacity is a line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.capacity.winners import NONE, TOGETHER, Cell
from bench.report import canvas, figures
from bench.report.arms import Arm
from bench.report.ceiling import Ceiling, ceiling
from bench.results import Json

GREY: Final = "#c3c9d0"
WIDE: Final = 2**0.5
"""A cell reaches this factor to either side where it has no neighbour."""
NOTE: Final = (
    "A cell (dot) is a load that was carried at this mix; colour: lowest READ p99 of the arms that held the "
    "objective there, white: not separated, grey: none held it. Nothing between was measured. Group size is "
    "not varied."
)
ONE_MIX: Final = "One mix only: --reads-per-mark N --beside STUDY adds a column."


def finding(found: Sequence[Cell], unit: str) -> str:
    """What the map shows, from the lowest mix up."""
    said = []
    for mix in sorted({cell.mix for cell in found}):
        column = [cell for cell in found if cell.mix == mix]
        runs: list[list[Cell]] = []
        for cell in column:
            if runs and runs[-1][-1].winner == cell.winner:
                runs[-1].append(cell)
            else:
                runs.append([cell])
        told = (f"{_who(run[0].winner)} {_loads(run)}" for run in runs)
        said.append(f"{figures.digits(mix)} state reads per mark: {', '.join(told)}")
    return f"Lowest READ p99 inside the objective, {unit}, at {'; at '.join(said)}"


def _who(winner: str) -> str:
    return {NONE: "nobody", TOGETHER: "not separated"}.get(winner, winner)


def _loads(run: Sequence[Cell]) -> str:
    ends = [figures.digits(cell.load) for cell in run]
    return f"at {ends[0]}" if len(run) == 1 else f"from {ends[0]} to {ends[-1]}"


def draw(found: Sequence[Cell], named: Sequence[Arm], content: Json, words: canvas.Words) -> canvas.Sheet:
    colours = {arm.label: arm.look.colour for arm in named}
    winners = [cell.winner for cell in found]
    key = [
        Patch(facecolor=_colour(winner, colours), edgecolor=canvas.SOFT, label=_who(winner))
        for winner in (*colours, TOGETHER, NONE)
        if winner in winners
    ]
    figure = canvas.sheet(words, 4.2, key)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    mixes = sorted({cell.mix for cell in found})
    across = _edges(mixes)
    for mix in mixes:
        column = [cell for cell in found if cell.mix == mix]
        up = _edges([cell.load for cell in column])
        left, right = across[mix]
        for cell in column:
            low, high = up[cell.load]
            axes.add_patch(
                Rectangle(
                    (left, low), right - left, high - low, facecolor=_colour(cell.winner, colours),
                    edgecolor=canvas.PAPER if cell.winner != TOGETHER else canvas.RULE, alpha=0.85,
                )
            )  # fmt: skip
            axes.plot(mix, cell.load, "o", color=canvas.INK, markersize=3.5)
    loads = sorted({cell.load for cell in found})
    top = _above(axes, ceiling(content), max(loads))
    axes.set_xlim(mixes[0] / 3, mixes[-1] * 3)
    axes.set_ylim(loads[0] / 1.6, top * 1.5)
    plain = FuncFormatter(lambda value, _: figures.digits(value))
    for axis, values in ((axes.xaxis, mixes), (axes.yaxis, loads)):
        axis.set_major_locator(FixedLocator(values))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(plain)
    axes.set_xlabel("state reads per mark, as carried")
    axes.set_ylabel(f"offered {content['unit']}")
    return figure


def _above(axes: Axes, control: Ceiling | None, loads: float) -> float:
    """The control's line; returns what must be seen."""
    if control is None:
        return loads
    control.draw(axes)
    return max(loads, control.load)


def _colour(winner: str, colours: dict[str, str]) -> str:
    return {NONE: GREY, TOGETHER: canvas.PAPER}.get(winner) or colours[winner]


def _edges(values: Sequence[float]) -> dict[float, tuple[float, float]]:
    """Each one's borders: half-way to its neighbours on a logarithmic axis."""
    values = sorted(values)
    between = [(low * high) ** 0.5 for low, high in pairwise(values)]
    borders = [values[0] / WIDE, *between, values[-1] * WIDE]
    if not between:
        return {values[0]: (borders[0], borders[1])}
    borders[0] = values[0] ** 2 / between[0]
    borders[-1] = values[-1] ** 2 / between[-1]
    return dict(zip(values, pairwise(borders), strict=True))
