"""A figure over the stored runs, with the points at which it changed: a table and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.gate.history import LEVEL, SMALLEST, Change
from bench.gate.metrics import Metric, told_in
from bench.report import canvas, figures
from bench.report.document import Document, Table

DAY: Final = 86_400
DATES_ONLY: Final = 8.0
"""Days from which on the time of day is left out."""
NOTE: Final = (
    f"A run a point. Dashed: a change point (on ranks, p ≤ {LEVEL:.0%} by shuffling, medians "
    f"further apart than {SMALLEST:.0%}); lines: medians between them. Only runs that are alike are drawn "
    "together."
)


@dataclass(frozen=True)
class Measured:
    """One run's figure."""

    run_id: str
    started: datetime
    value: float
    commit: str | None


def finding(metric: Metric, found: Sequence[Change], runs: Sequence[Measured]) -> str:
    if not found:
        return f"{metric.title}: no change over {len(runs)} runs"
    last = found[-1]
    words = "worse" if (last.after - last.before) * metric.sign > 0 else "better"
    many = f"{len(found)} change{'s' if len(found) > 1 else ''}"
    return f"{metric.title}: {many}, the last {last.share:+.1%} ({words}) at {runs[last.at].run_id}"


def document(metric: Metric, found: Sequence[Change], runs: Sequence[Measured], about: str) -> Document:
    write = figures.FORMATS[metric.unit]
    unit = " ms" if metric.unit == "us" else ""
    rows = tuple(
        (
            runs[change.at].run_id,
            write(change.before) + unit,
            write(change.after) + unit,
            f"{change.share:+.1%}",
            f"{change.p:.4f}",
            f"{runs[change.at - 1].commit or '?'}..{runs[change.at].commit or '?'}",
        )
        for change in found
    )
    columns = ("", "before", "after", "change", "p", "commits")
    note = "" if found else "No change point: too few runs, or nothing changed."
    return Document(
        title=f"History of {metric.title}",
        first=about,
        load=(),
        verdict=(finding(metric, found, runs),),
        good=None,
        answer=(),
        tables=(Table("Change points", columns, rows, note),) if rows else (),
        caveats=(note,) if note else (),
        last=f"HISTORY {metric.name} runs={len(runs)} changes={len(found)}",
    )


def draw(metric: Metric, found: Sequence[Change], runs: Sequence[Measured], about: str) -> canvas.Sheet:
    scale = 1e-3 if metric.unit == "us" else 2**-20 if metric.unit == "bytes" else 1.0
    times = [run.started.timestamp() / DAY for run in runs]
    values = [run.value * scale for run in runs]
    sheet = canvas.sheet(canvas.Words(finding(metric, found, runs), about, NOTE), 3.6)
    axes = sheet.subplots()
    axes.plot(times, values, "o", color="#0072B2", markersize=4.5)
    bounds = [0, *(change.at for change in found), len(runs)]
    for i in range(len(bounds) - 1):
        part = slice(bounds[i], bounds[i + 1])
        middle = sorted(values[part])[(bounds[i + 1] - bounds[i] - 1) // 2]
        axes.hlines(middle, times[part][0], times[part][-1], color=canvas.INK, linewidth=1.4)
    axes.set_ylim(0, 1.15 * max(values))
    for change in found:
        worse = (change.after - change.before) * metric.sign > 0
        colour = canvas.ALARM if worse else "#009E73"
        axes.axvline(times[change.at], color=colour, linewidth=1.1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{change.share:+.1%}", (times[change.at], 1.0), xycoords=("data", "axes fraction"),
            xytext=(4, -3), textcoords="offset points", va="top", color=colour, fontsize=8, fontweight="bold",
        )  # fmt: skip
    span = max(times[-1] - times[0], 1 / 24)
    axes.set_xlim(times[0] - span / 30, times[-1] + span / 30)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8))
    form = "%Y-%m-%d" if span > DATES_ONLY else "%m-%d %H:%M"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda day, _: _written(day, form)))
    unit = told_in(metric.name, metric.unit)
    axes.set_ylabel(f"{metric.title}, {unit}" if unit else metric.title)
    return sheet


def _written(day: float, form: str) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).strftime(form)
