"""`bench history METRIC`: a figure over the stored runs, and when it changed."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.choosing import BadRun, out_option

if TYPE_CHECKING:
    from bench.compare import Run
    from bench.gate.metrics import Metric
    from bench.report.history import Measured

EXIT_INCONCLUSIVE = 5


@click.command(name="history")
@click.argument("metric")
@out_option
@click.option(
    "--like", metavar="RUN", default=None, help="Runs that are like this one.  [default: the newest]"
)
@click.option(
    "--chart",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The chart, SVG or PNG by its ending.  [default: history-METRIC.svg in the results folder]",
)
@click.option("--quiet", is_flag=True, help="Say only the last line.")
def command(metric: str, root: Path, like: str | None, chart: Path | None, quiet: bool) -> None:
    """Draw METRIC over the stored runs that had the same to do on the same kind of machine.

    \b
    bench history READ.p99
    bench history cpu_s_per_1000_messages --like 20261126T0158 --chart cpu.png

    Change points are marked: where the runs before and after are surely apart. Runs whose timing is not VALID
    are left out. Exit code 5 if there is no run to draw.
    """
    from bench.gate.history import changes
    from bench.gate.metrics import METRICS, known, possible
    from bench.report import canvas, history, terminal

    if not known(metric):
        raise click.UsageError(f"there is no figure {metric!r}. {possible(metric)}")
    of = METRICS[metric]
    runs, about = _measured(of, root, like)
    if not runs:
        click.echo(f"error: no valid run in {root}/ has {metric}", err=True)
        sys.exit(EXIT_INCONCLUSIVE)
    found = changes([run.value for run in runs])
    pictures = canvas.render(history.draw(of, found, runs, about), "history")
    path = chart or root / f"history-{metric}.svg"
    try:
        path.write_bytes(pictures.png if path.suffix == ".png" else pictures.svg)
    except OSError as why:
        raise BadRun(f"{path} could not be written: {why.strerror}.") from why
    click.echo(str(path), err=True)
    terminal.render(history.document(of, found, runs, about), quiet=quiet)


def _measured(metric: Metric, root: Path, like: str | None) -> tuple[list[Measured], str]:
    """The runs that are like the one that was named, oldest first; and what they are."""
    from bench.report.history import Measured

    every = _valid(root)
    first = _like(every, like, root)
    if first is None:
        return [], ""
    alike = [run for run in every if _kind(run) == _kind(first)]
    found = [
        Measured(
            run.run_id,
            datetime.fromisoformat(run.manifest["started_at"]),
            point.value,
            (run.manifest.get("machine") or {}).get("git"),
        )
        for run in alike
        if (point := metric.of(run)) is not None
    ]
    of, machine = first.summary["run"], (first.manifest.get("machine") or {}).get("class")
    about = (
        f"{of.get('scenario')} · {of['scheme']}/{of.get('model')} · {of.get('users'):,} users · "
        f"seed {of.get('seed')} · machine {machine} · {len(found)} runs"
    )
    return sorted(found, key=lambda run: run.started), about


def _valid(root: Path) -> list[Run]:
    """Newest first; a folder without a summary is no run to draw."""
    from bench.compare import Run
    from bench.results import ResultsError, runs

    found = []
    for folder in runs(root):
        try:
            run = Run(folder.run_id, folder.summary(), folder.manifest())
        except ResultsError:
            continue
        if run.summary["verdict"]["status"] == "VALID":
            found.append(run)
    return found


def _like(every: list[Run], like: str | None, root: Path) -> Run | None:
    from bench.cli.check import opened
    from bench.cli.choosing import open_run

    if like is None:
        return every[0] if every else None
    (run,) = opened([open_run(like, root)])
    found: Run = run
    return found


def _kind(run: Run) -> str:
    """What must be the same: the arm, what it had to do, and the kind of machine; not the code."""
    from bench.compare import IDENTITY

    said = run.summary["run"]
    parts = [said.get(name) for name in (*IDENTITY, "scenario", "users", "people", "seed")]
    machine = (run.manifest.get("machine") or {}).get("class")
    return json.dumps(
        [*parts, (said.get("durability") or {}).get("asked"), run.manifest.get("plan_sha256"), machine]
    )
