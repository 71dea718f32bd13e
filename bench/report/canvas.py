"""The sheet every chart is drawn on: title, subtitle, footnote, colours of paper and ink, labels kept apart.

What a chart says is decided in its own module; here is only how all of them look.  A figure is rendered three
times: SVG and PNG on white paper for pasting, and an SVG that takes paper and ink from the page around it."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK: Final = "#1b1f24"
SOFT: Final = "#5f6873"
RULE: Final = "#d5dae0"
SHADE: Final = "#eceff3"
PAPER: Final = "#ffffff"

WIDTH: Final = 11.0
"""Inches.  Type sizes below are chosen for it."""
DPI: Final = 144
KEY_COLUMNS: Final = 4
ALARM: Final = "#c0392b"
"""Faults and lost answers.  Reads on both papers."""

_OF_THE_PAGE: Final = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    RULE: "var(--rule)",
    SHADE: "var(--shade)",
    PAPER: "var(--paper)",
    "#0072b2": "var(--blue)",  # too dark for the dark page
}

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 8.5,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": SOFT,
        "axes.titlecolor": INK,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 7.5,
        "text.color": INK,
        "svg.fonttype": "none",  # text stays text: it can be searched, copied and recoloured
        "svg.hashsalt": "bench",  # the same data gives the same file
        "figure.facecolor": PAPER,
        "axes.facecolor": "none",
        "savefig.facecolor": PAPER,
        "hatch.linewidth": 0.8,
    }
)


@dataclass(frozen=True)
class Words:
    """What stands around the panels.  `title` is the finding, `subtitle` load, n, blocks and durability,
    `note` what the chart leaves out or how it is to be read."""

    title: str
    subtitle: str
    note: str


@dataclass(frozen=True)
class Label:
    """A name beside the end of its line, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


class Sheet(Figure):
    """A figure that knows which labels have to be kept apart once its layout is known."""

    def __init__(self, *, figsize: tuple[float, float]) -> None:
        super().__init__(figsize=figsize, dpi=DPI)
        self.groups: list[tuple[Axes, list[Annotation]]] = []

    def label_ends(
        self, axes: Axes, labels: Sequence[Label], *, size: float = 8, weight: str = "bold"
    ) -> None:
        """Write each label to the right of its point; `render` moves apart those that would touch."""
        written = [
            axes.annotate(
                label.text,
                (label.x, label.y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                ha="left",
                color=label.colour,
                fontsize=size,
                fontweight=weight,
                annotation_clip=False,
                path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
            )
            for label in labels
        ]
        self.groups.append((axes, written))

    def settle(self) -> None:
        """Lay out, then place the labels."""
        engine = self.get_layout_engine()
        if engine is not None:
            engine.execute(self)
        self.set_layout_engine("none")  # once: both formats agree, and in half the time
        for axes, labels in self.groups:
            self._place(axes, labels)

    def _place(self, axes: Axes, labels: Sequence[Annotation]) -> None:
        pixels = self.dpi / 72
        points = [(float(axes.transData.transform(label.xy)[1]), label) for label in labels]
        points.sort(key=lambda pair: pair[0])
        low, high = (float(axes.transAxes.transform((0, y))[1]) for y in (0, 1))
        sizes = [label.get_window_extent().height + 1.5 * pixels for _, label in points]
        heights = spread([min(max(y, low), high) for y, _ in points], sizes, low, high)
        for (y, label), height in zip(points, heights, strict=True):
            label.set_position((6, (height - y) / pixels))


def sheet(words: Words, height: float, key: Sequence[Patch] = ()) -> Sheet:
    """An empty figure with its words and, where colours are not named beside what they colour, a `key`.

    Panels added to it are laid out between them; `height` inches are theirs."""
    title = textwrap.wrap(words.title, 98, break_on_hyphens=False)
    subtitle = textwrap.wrap(words.subtitle, 165, break_on_hyphens=False)
    note = textwrap.wrap(words.note, 195, break_on_hyphens=False)
    words_high = 0.12 + 0.23 * len(title) + 0.175 * len(subtitle)
    head = words_high + 0.2 * -(-len(key) // KEY_COLUMNS) + 0.08
    foot = 0.10 + 0.155 * len(note)
    total = height + head + foot
    figure = Sheet(figsize=(WIDTH, total))
    figure.set_layout_engine(
        "constrained", rect=(0.004, foot / total, 0.992, 1 - (head + foot) / total), h_pad=0.05, w_pad=0.05
    )
    top = total - 0.10
    _lines(figure, title, top, total, 0.23, size=12.5, weight="bold", color=INK)
    _lines(figure, subtitle, top - 0.23 * len(title) - 0.02, total, 0.175, size=8.5, color=SOFT)
    _lines(figure, note, foot - 0.05, total, 0.155, size=7.5, color=SOFT)
    if key:
        place = (0.06 / WIDTH, 1 - words_high / total)
        figure.legend(
            handles=list(key),
            loc="upper left",
            bbox_to_anchor=place,
            ncols=KEY_COLUMNS,
            frameon=False,
            fontsize=7.5,
        ).set_in_layout(False)
    return figure


def _lines(figure: Figure, lines: Sequence[str], top: float, total: float, step: float, **font: Any) -> None:
    for index, line in enumerate(lines):
        figure.text(0.11 / WIDTH, (top - step * index) / total, line, va="top", ha="left", **font)


@dataclass(frozen=True)
class Pictures:
    """One chart, rendered.  `inline` goes into the page as it is."""

    svg: bytes
    png: bytes
    inline: str

    def save(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.svg").write_bytes(self.svg)
        (folder / f"{name}.png").write_bytes(self.png)


def render(figure: Sheet, name: str) -> Pictures:
    """Draw `figure`; `name` keeps the element ids of several charts on one page apart."""
    figure.settle()
    svg, png = io.BytesIO(), io.BytesIO()
    about = {"Date": None, "Creator": "bench"}
    # not savefig, which draws everything twice; PNG first, since print_svg leaves the figure at 72 dpi
    FigureCanvasAgg(figure).print_png(png)  # type: ignore[no-untyped-call]
    FigureCanvasSVG(figure).print_svg(svg, metadata=about)  # type: ignore[no-untyped-call]
    return Pictures(svg.getvalue(), png.getvalue(), _inline(svg.getvalue().decode(), name))


def _inline(svg: str, name: str) -> str:
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for colour, variable in _OF_THE_PAGE.items():
        body = body.replace(colour, variable)
    return body


def log_ms(axis: Any) -> None:
    """A logarithmic axis in ms with plain numbers: 0.1, 1, 10, 100; 2 and 5 too where there are few of them.

    Set the limits first."""
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(base=10, numticks=12))
    axis.set_minor_locator(LogLocator(base=10, subs=(2, 5), numticks=40))
    axis.set_major_formatter(plain)
    axis.set_minor_formatter(plain if high < 120 * low else NullFormatter())


def spread(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """The sorted centres `wanted`, moved as little as possible so that things of these sizes don't overlap
    and, where there is room, all lie within [low, high]."""
    placed = list(wanted)
    for _ in range(200):
        moved = False
        for i in range(len(placed) - 1):
            lack = (sizes[i] + sizes[i + 1]) / 2 - (placed[i + 1] - placed[i])
            if lack > 1e-6:
                placed[i] -= lack / 2
                placed[i + 1] += lack / 2
                moved = True
        if not moved:
            break
    if placed:
        over = max(0.0, placed[-1] + sizes[-1] / 2 - high)
        placed = [y - over for y in placed]
        under = max(0.0, low - (placed[0] - sizes[0] / 2))
        placed = [y + under for y in placed]
    return placed
