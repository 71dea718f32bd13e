"""From results to what people read: terminal, Markdown, HTML and charts.

`make` writes everything of one run into its folder, `compare_runs` a comparison into a folder of its own.
The figures are `bench/summary.py`'s and `bench/compare.py`'s; here is only what a chart needs besides.  This
package alone imports matplotlib, and only when something is drawn: importing it is cheap."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results import Json, RunFolder, write_text

if TYPE_CHECKING:
    from bench.compare import Arm, Run
    from bench.report.canvas import Pictures
    from bench.report.document import Chart, Document, Found, Table


def make(folder: RunFolder) -> None:
    """summary.json, .csv and .md, findings.jsonl, report.html and charts/ of a run, from what it recorded.

    Charts for which nothing was recorded are left out.  Raises ResultsError for a damaged folder."""
    from bench import summary as figures
    from bench.report import arms, wording
    from bench.report.charts import Setting, charts
    from bench.report.findings import found
    from bench.report.run_report import detail_tables, provenance, run_document
    from bench.report.sources import chart_data

    summary, manifest = figures.write(folder), folder.manifest()
    data = [chart_data(folder, arms.arms([summary["run"]])[0], summary)]
    setting = Setting(
        wording.subtitle([summary], [manifest]), summary["generator"]["resolution_floor_us"], ["."]
    )
    drawn = charts(data, setting)
    _write(
        folder.path,
        run_document(summary, manifest),
        drawn,
        detail_tables(summary),
        provenance(manifest),
        found(folder.findings()),
    )


def compare_runs(
    folders: Sequence[RunFolder],
    out: Path,
    *,
    allow_unlike: bool = False,
    baseline: int | None = None,
    tolerances: Mapping[str, float] | None = None,
) -> Json:
    """comparison.json and .csv, summary.md, report.html and charts/ in `out`, of runs that have a summary.

    Two arms are also judged (`bench/gate/verdicts.py`), the second that was given against the first.
    `baseline`: so many of the folders, from the first, are one side, and the others the other, whatever they
    are.  `tolerances`: the figures that decide.

    Returns what is in comparison.json.  Raises `bench.compare.UnlikeError` for runs that had not the same to
    do, unless allowed, and ResultsError for a run without a readable summary."""
    from bench import compare
    from bench.report import arms, comparison
    from bench.report.charts import Setting, charts
    from bench.report.sources import chart_data

    given = [compare.Run(folder.run_id, folder.summary(), folder.manifest()) for folder in folders]
    if baseline is None:
        compared = compare.arms(sorted(given, key=lambda run: arms.rank(run.summary["run"])))
    else:
        compared = [compare.Arm(tuple(given[:baseline])), compare.Arm(tuple(given[baseline:]))]
    named = arms.arms([arm.middle.summary["run"] for arm in compared])
    content = compare.compare(compared, [arm.label for arm in named], allow_unlike=allow_unlike)
    content |= _judged(compared, [arm.label for arm in named], given[0], content, tolerances)
    by_id = {folder.run_id: folder for folder in folders}
    shown = [by_id[arm.middle.run_id] for arm in compared]
    data = [
        chart_data(folder, look, arm.middle.summary)
        for folder, look, arm in zip(shown, named, compared, strict=True)
    ]
    setting = Setting(
        comparison.subtitle(content), content["resolution_floor_us"], [_seen_from(out, f) for f in shown]
    )
    write_text(out / "comparison.json", compare.to_json(content))
    write_text(out / "comparison.csv", comparison.to_csv(content))
    _write(
        out,
        comparison.comparison_document(content),
        [*_effects(content, "comparison.json"), *charts(data, setting)],
        comparison.detail_tables(content),
        comparison.provenance(content),
    )
    return content


def _judged(
    compared: Sequence[Arm],
    labels: Sequence[str],
    first: Run,
    content: Json,
    tolerances: Mapping[str, float] | None,
) -> Json:
    """`change` and `why` of two arms that are alike; nothing otherwise."""
    from bench.gate import why
    from bench.gate.metrics import TOLERANCES
    from bench.gate.verdicts import judge, side

    if len(compared) != 2 or content["unlike"]:
        return {}
    both = sorted(zip(compared, labels, strict=True), key=lambda pair: first not in pair[0].runs)
    a, b = (side(label, arm.runs) for arm, label in both)
    change = judge(a, b, tolerances or TOLERANCES)
    return {"change": change, "why": why.explain(change, a, b)}


def _effects(content: Json, file: str) -> list[tuple[Chart, Pictures]]:
    from bench.report import effects

    made = effects.chart(content["change"], file) if content.get("change") else None
    return [] if made is None else [made]


def check(content: Json, out: Path) -> None:
    """check.json, summary.md, report.html and charts/ of a check (`bench/gate/decide.py`) in `out`."""
    from bench.report import gate

    write_text(out / "check.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    provenance = (f"Made by: {content['command']}",)
    document, aside = gate.apart(content)
    _write(out, document, _effects(content, "check.json"), aside, provenance)


def capacity_study(content: Json, out: Path) -> None:
    """summary.md, report.html and charts/ of a capacity study, from its comparison.json, in its folder."""
    from bench.capacity import ratios, winners
    from bench.capacity.content import labelled
    from bench.report import canvas, capacity, crossover, load_curves, queries, robustness, trade_off
    from bench.report.ceiling import ceiling
    from bench.report.document import Chart

    named, subtitle, drawn = labelled(content["arms"]), capacity.subtitle(content), []
    curves, crosses = load_curves.curves(content, named), trade_off.crosses(content, named)
    if any(one.points for one in curves):
        words = canvas.Words(load_curves.finding(content), subtitle, load_curves.NOTE)
        drawn.append(("load-latency", "Load and latency", words, load_curves.draw(curves, content, words)))
    if crosses:
        unit, timing = content["unit"], content["verdict"]["status"]
        words = canvas.Words(
            trade_off.finding(crosses, unit, timing), subtitle, trade_off.note(crosses, timing)
        )
        sheet = trade_off.draw(crosses, words, unit, ceiling(content), timing=timing)
        drawn.append(("trade-off", "Trade-off", words, sheet))
    if not winners.why_not(content):
        cells = winners.cells(content)
        note = (
            crossover.NOTE
            if len({cell.mix for cell in cells}) > 1
            else f"{crossover.NOTE} {crossover.ONE_MIX}"
        )
        words = canvas.Words(crossover.finding(cells, content["unit"]), subtitle, note)
        drawn.append(("crossover", "Crossover map", words, crossover.draw(cells, named, content, words)))
    if not ratios.why_not(content):
        pairs = ratios.ratios(content)
        note = (
            f"{robustness.NOTE} {robustness.ONE_SETTING}"
            if robustness.one_setting(pairs)
            else robustness.NOTE
        )
        words = canvas.Words(robustness.finding(pairs), subtitle, note)
        drawn.append(("robustness", "Robustness", words, robustness.draw(pairs, words)))
    made = []
    for name, heading, words, figure in drawn:
        pictures = canvas.render(figure, name)
        chart = Chart(name, heading, words.title, pictures.inline, queries.STEPS, ("comparison.json",))
        made.append((chart, pictures))
    document, tables = capacity.capacity_document(content), capacity.detail_tables(content)
    _write(out, document, made, tables, capacity.provenance(content))


def claims_study(content: Json, out: Path) -> None:
    """summary.md, report.html and charts/ of `bench claims`, from its claims.json, in its folder."""
    from bench.report import canvas, claims
    from bench.report.document import Chart

    made = []
    if any(entry for cell in content["cells"] for entry in cell["figures"].values()):
        words = claims.words(content)
        pictures = canvas.render(claims.draw(content, words), "claims")
        heading = "The article's ratios, cell by cell"
        chart = Chart("claims", heading, words.title, pictures.inline, claims.QUERY, ("claims.json",))
        made.append((chart, pictures))
    tables = (claims.why_table(content), claims.figures_table(content))
    _write(out, claims.claims_document(content), made, tables, claims.provenance(content))


def _seen_from(page: Path, folder: RunFolder) -> str:
    return os.path.relpath(folder.path, page)


def _write(
    path: Path,
    document: Document,
    drawn: Iterable[tuple[Chart, Pictures]],
    detail: Sequence[Table],
    provenance: Sequence[str],
    found: Found | None = None,
) -> None:
    from bench.report import html, markdown

    charts = []
    for chart, pictures in drawn:
        pictures.save(path / "charts", chart.name)
        charts.append(chart)
    listed = (found.table, *detail) if found else detail
    write_text(path / "summary.md", markdown.markdown(document, charts, listed))
    write_text(path / "report.html", html.page(document, charts, detail, provenance, found))
