"""The charts of a report, in their order: what each is called, what it says, and the query behind it.

One function for one run and for several: a comparison is the same charts with more than one arm on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.record import Op
from bench.report import canvas, cpu, figures, flow, heatmap, queries, soon, spectrum, stages, visibility
from bench.report.document import Chart, Table
from bench.report.sources import SHOWN, ChartData
from bench.report.wording import LAGS

OPERATIONS: Final = ("operations-*.parquet",)
PUSHED: Final = (*OPERATIONS, "pushes-*.parquet", "items-*.parquet", "connections-*.parquet")
PROBED: Final = (*OPERATIONS, "items-*.parquet")


@dataclass(frozen=True)
class Setting:
    """What all charts of a report share.  `runs`: the folders of the runs as seen from the page."""

    subtitle: str
    floor_us: float | None
    runs: Sequence[str]


@dataclass(frozen=True)
class _Plan:
    """How one chart is made.  `draw` returns None if there is nothing to draw."""

    name: str
    heading: str
    note: str
    query: str
    files: Sequence[str]
    draw: Callable[[Sequence[ChartData], Setting, str], tuple[str, canvas.Sheet] | None]
    table: Callable[[Sequence[ChartData]], Table | None] = lambda _: None


def charts(data: Sequence[ChartData], setting: Setting) -> Iterator[tuple[Chart, canvas.Pictures]]:
    """Draws one after the other; a chart for which nothing was recorded is left out."""
    for plan in PLANS:
        drawn = plan.draw(data, setting, plan.note)
        if drawn is None:
            continue
        title, figure = drawn
        pictures = canvas.render(figure, plan.name)
        files = tuple(name if run == "." else f"{run}/{name}" for run in setting.runs for name in plan.files)
        query = queries.filled(plan.query, setting.runs)
        yield (
            Chart(plan.name, plan.heading, title, pictures.inline, query, files, plan.table(data)),
            pictures,
        )


def _words(title: str, setting: Setting, note: str) -> canvas.Words:
    return canvas.Words(title, setting.subtitle, note)


def _spectrum(data: Sequence[ChartData], setting: Setting, note: str) -> tuple[str, canvas.Sheet] | None:
    curves = [one for op in SHOWN for run in data for one in run.curves if one.operation == op.name and one.n]
    if not curves:
        return None
    title = spectrum.finding(curves, setting.floor_us)
    return title, spectrum.draw(curves, _words(title, setting, note), setting.floor_us)


def _heat_map(data: Sequence[ChartData], setting: Setting, note: str) -> tuple[str, canvas.Sheet] | None:
    shown = SHOWN if len(data) == 1 else (Op.READ, Op.SEND)
    maps = [one for run in data for one in run.maps if one.operation in [op.name for op in shown] and one.n]
    if not maps:
        return None
    title = heatmap.finding(maps)
    return title, heatmap.draw(maps, _words(title, setting, note))


def _hidden(data: Sequence[ChartData], setting: Setting, note: str) -> tuple[str, canvas.Sheet] | None:
    curves = [one for run in data for one in run.hidden]
    if not any(one.n for one in curves):
        return None
    title = visibility.finding(curves)
    return title, visibility.draw(curves, _words(title, setting, note))


def _soon(data: Sequence[ChartData], setting: Setting, note: str) -> tuple[str, canvas.Sheet] | None:
    points = [run.soon for run in data]
    if not any(one.n for one in points):
        return None
    title = soon.finding(points)
    return title, soon.draw(points, _words(title, setting, note))


def _soon_table(data: Sequence[ChartData]) -> Table | None:
    """Shown of made, by age, a column per arm."""
    known = [run.soon for run in data if run.soon.n]
    if not known:
        return None
    rows = [
        (soon.ages(each), *(f"{one.bins[i].shown:,} of {one.bins[i].n:,}" for one in known))
        for i, each in enumerate(known[0].bins)
    ]
    return Table("Reads that show the mark", ("age", *(one.arm.label for one in known)), tuple(rows))


def _flow(data: Sequence[ChartData], setting: Setting, note: str) -> tuple[str, canvas.Sheet] | None:
    flows = [run.flow for run in data if run.flow.n]
    if not flows:
        return None
    title = flow.finding(flows)
    return title, flow.draw(flows, _words(title, setting, note))


def _cpu(data: Sequence[ChartData], setting: Setting, note: str) -> tuple[str, canvas.Sheet] | None:
    demands = [run.demand for run in data]
    if not any(one.parts for one in demands):
        return None
    title = cpu.finding(demands)
    return title, cpu.draw(demands, _words(title, setting, note))


def _stages(data: Sequence[ChartData], setting: Setting, note: str) -> tuple[str, canvas.Sheet] | None:
    splits = [one for op in SHOWN for run in data for one in run.splits if one.operation == op.name]
    if not splits:
        return None
    title = stages.finding(splits)
    return title, stages.draw(splits, _words(title, setting, note))


def _waiting_table(data: Sequence[ChartData]) -> Table | None:
    """Waiting / arrived / censored by time, a row per arm and lag."""
    curves = [one for lag in LAGS for run in data for one in run.hidden if one.lag == lag and one.table]
    if not curves:
        return None
    times = [row.ms for row in max((one.table for one in curves), key=len)]
    rows = []
    for one in curves:
        by_time = {row.ms: f"{row.waiting:,} / {row.arrived:,} / {row.censored:,}" for row in one.table}
        last = f"0 / {one.n - one.censored:,} / {one.censored:,}"
        rows.append((f"{one.arm.label} {one.lag}", *(by_time.get(ms, last) for ms in times)))
    return Table(
        "Waiting / arrived / censored",
        ("after ms", *(figures.digits(ms, 2) for ms in times)),
        tuple(rows),
    )


PLANS: Final = (
    _Plan(
        "percentile-spectrum",
        "How slow the slow ones are",
        "Solid: response, from the intended start; unanswered operations count as at least 5 s. Dotted: "
        "service, from the send call, of the answered. Faint lines and hollow markers: fewer than 10 "
        "samples beyond. Lines end where one sample is left. Shaded: arms that both lie there are not "
        "separated.",
        queries.SPECTRUM,
        OPERATIONS,
        _spectrum,
    ),
    _Plan(
        "latency-heat-map",
        "When it was slow",
        "Every operation of every phase by its intended start and its response; 12 bins to a factor of ten, "
        "nothing averaged, one colour scale. Red crosses: seconds with operations that nobody answered.",
        queries.HEAT_MAP,
        OPERATIONS,
        _heat_map,
    ),
    _Plan(
        "not-yet-visible",
        "How far behind the others are",
        "Kaplan–Meier with its 95 % band; ticks: watching ended (session closed, run over). A level end is "
        "what never came. Visible, durable, cache: Turnbull's estimate from polls, the band is what lies "
        "between two polls. Queue: every event, the band is the width of the classes they are counted in. "
        "Only READs of the measured window that changed something; only sessions subscribed before the "
        "write.",
        queries.HIDDEN,
        PUSHED,
        _hidden,
        _waiting_table,
    ),
    _Plan(
        "t-visibility",
        "How soon a read shows a mark",
        "Reads on another connection of the same person, at planned ages: each was made whatever others had "
        "shown. Bars: Wilson's 95 % interval. Faint: fewer than 10 reads. A READ and its read are probes', "
        "on conversations of their own.",
        queries.SOON,
        PROBED,
        _soon,
        _soon_table,
    ),
    _Plan(
        "cumulative-flow",
        "Whether it keeps up",
        "READs of the measured window of which somebody had to be told. Grey: intended; dotted: "
        "acknowledged; solid: every device that had to be told has been. Above, a vertical gap is a backlog "
        "and a horizontal one a lag.",
        queries.FLOW,
        PUSHED,
        _flow,
    ),
    _Plan(
        "cpu-per-message",
        "Where a message's CPU goes",
        "CPU time of everything under test, without the generator, per acknowledged SEND and all that "
        "follows from it, idle background work included. Hatched: spent after the measured window, until "
        "nothing was on its way.",
        queries.CPU,
        (*OPERATIONS, "timeseries.parquet"),
        _cpu,
    ),
    _Plan(
        "time-by-stage",
        "Where an operation's time goes",
        "Answered operations that told their stages. Means add up; percentiles of stages would not. Server "
        "stages are the server's own clock, the rest is the client's.",
        queries.STAGES,
        OPERATIONS,
        _stages,
    ),
)
