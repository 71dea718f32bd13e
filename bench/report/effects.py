"""The ratio of two sides by figure, with its interval and what is tolerated: what is worse, and what could
not be seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.report import canvas, figures, gate
from bench.report.canvas import Pictures, Words
from bench.report.document import Chart
from bench.results import Json

NAME: Final = "effects"
COLOURS: Final[Mapping[str, str]] = {
    "worse": canvas.ALARM, "better": "#009E73", "same": "#0072B2", "?": "#8c8c8c",
}  # fmt: skip
NOTE: Final = (
    "Point: estimated ratio; bar: 95 % interval, with an arrow where it reaches beyond the edge; shaded: "
    "the tolerance of a figure that decides. Right of the line the candidate has more of it. The grey ones "
    "below decide nothing."
)
QUERY: Final = """import json
change = json.load(open("{file}"))["change"]
for row in change["rows"]:
    print(row["metric"], row["ratio"], row["interval"], row["p"], row.get("verdict"))"""
WIDEST: Final = 1.5
"""Natural logarithm of the largest ratio that is drawn."""
OTHERS: Final = 14
"""So many figures that decide nothing are drawn, the furthest from 1."""


def chart(change: Json, file: str) -> tuple[Chart, Pictures] | None:
    """None where no figure has a ratio.  `file`: where the change stands."""
    rows = [row for row in change["rows"] if row["ratio"] is not None]
    if not rows:
        return None
    words = Words(finding(change), f"{gate.sides(change)} · {gate.how(change)}", NOTE)
    pictures = canvas.render(draw(rows, words), NAME)
    made = Chart(NAME, "What changed", words.title, pictures.inline, QUERY.format(file=file), (file,))
    return made, pictures


def finding(change: Json) -> str:
    """Worse first: nobody reads further than what is broken."""
    said = []
    for verdict, words in (
        ("worse", "worse"), ("better", "better"), ("?", "cannot be told"), ("same", "the same"),
    ):  # fmt: skip
        titles = [row["title"] for row in change["rows"] if row["deciding"] and row["verdict"] == verdict]
        if titles:
            said.append(f"{figures.joined(titles)} {words}")
    found = "; ".join(said) or "nothing decides"
    return found[:1].upper() + found[1:]


def draw(rows: Sequence[Json], words: Words) -> canvas.Sheet:
    deciding = [row for row in rows if row["deciding"]]
    others = sorted((r for r in rows if not r["deciding"]), key=_distance, reverse=True)[:OTHERS]
    shown = [*deciding, *others]
    sheet = canvas.sheet(words, 0.9 + 0.27 * len(shown))
    axes = sheet.subplots()
    edge = _edge(shown)
    for place, row in enumerate(shown):
        _one(axes, row, place, edge)
    axes.axvline(1.0, color=canvas.INK, linewidth=0.9)
    axes.set_xscale("log")
    axes.set_xlim(1 / edge, edge)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:.3g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [row["title"] for row in shown])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("candidate / baseline, log")
    return sheet


def _distance(row: Json) -> float:
    ratio: float = row["ratio"]
    return max(ratio, 1 / ratio)


def _edge(rows: Sequence[Json]) -> float:
    """Far enough for every point and most intervals, the same on both sides."""
    reach = [_distance(row) for row in rows]
    reach += [max(1 / row["interval"][0], row["interval"][1]) for row in rows if row["interval"]]
    reach += [1 + row["tolerance"] for row in rows if row["deciding"]]
    return float(min(max(reach) ** 1.08, math.exp(WIDEST)))


def _one(axes: Axes, row: Json, place: int, edge: float) -> None:
    colour = COLOURS[row["verdict"]] if row["deciding"] else canvas.SOFT
    if row["deciding"]:
        beyond = 1 + row["tolerance"]
        axes.barh(place, beyond - 1 / beyond, left=1 / beyond, height=0.8, color=canvas.SHADE, zorder=0)
    if row["interval"] is not None:
        low, high = row["interval"]
        ends = (max(low, 1 / edge), min(high, edge))
        axes.plot(ends, (place, place), color=colour, linewidth=2.2 if row["deciding"] else 1.2)
        for end, drawn, marker in ((low, ends[0], "<"), (high, ends[1], ">")):
            if end != drawn:
                axes.plot(drawn, place, marker=marker, color=colour, markersize=6, clip_on=False)
    at = min(max(row["ratio"], 1 / edge), edge)
    axes.plot(at, place, "o", color=colour, markersize=6.5 if row["deciding"] else 4)
    if row["deciding"]:
        said = f"{gate.MARKS[row['verdict']]}  {100 * (row['ratio'] - 1):+.1f} %"
        axes.annotate(
            said, (1.0, place), xycoords=("axes fraction", "data"), xytext=(8, 0),
            textcoords="offset points", va="center", color=colour, fontsize=8, fontweight="bold",
            annotation_clip=False,
        )  # fmt: skip
