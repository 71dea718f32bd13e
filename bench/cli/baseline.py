"""`bench baseline save|list|show|remove`: sides that are kept for bench check."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bench.cli.check import chosen, opened, where
from bench.cli.choosing import out_option

if TYPE_CHECKING:
    from bench.gate.baseline import Baseline

EXIT_INCONCLUSIVE = 5


@click.group(name="baseline")
def command() -> None:
    """Keep runs as what later ones are held against (bench check --baseline NAME)."""


@command.command()
@click.argument("name")
@click.argument("run", nargs=-1)
@out_option
@click.option("--replace", is_flag=True, help="Overwrite a baseline of that name.")
def save(name: str, run: tuple[str, ...], root: Path, replace: bool) -> None:
    """Keep RUNs, or the newest series of runs, as NAME. Ten are good, below six nothing can be said.

    Runs that are not VALID, or in which a promise was broken, are left out and named.
    """
    from bench.gate import baseline
    from bench.metrics.intervals import ENOUGH
    from bench.results import ResultsError

    said = " ".join(["bench", "baseline", "save", name, *run])
    runs = opened(chosen(run, root))
    try:
        content, left_out = baseline.make(name, runs, now=datetime.now(UTC), command=said)
        path = root / baseline.FOLDER / f"{name}.json"
        if path.exists() and not replace:
            raise click.UsageError(f"{path} is there already. Add --replace, or choose another name.")
        baseline.save(path.parent, content)
    except (baseline.BaselineError, ResultsError) as why:
        _fail(str(why))
    for run_id, out in left_out:
        click.echo(f"left out: {run_id} is {out}", err=True)
    kept = len(content["runs"])
    if kept < ENOUGH:
        click.echo(f"warning: {kept} runs: nothing can be said against fewer than {ENOUGH}", err=True)
    click.echo(f"{path}: {kept} runs, {path.stat().st_size / 1024:.0f} KiB")


@command.command(name="list")
@out_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(root: Path, as_json: bool) -> None:
    """What is kept, one a line; what cannot be read is said."""
    from bench.gate import baseline

    found = []
    for path in sorted((root / baseline.FOLDER).glob("*.json")):
        try:
            found.append(_about(baseline.load(path)))
        except baseline.BaselineError as why:
            click.echo(f"{path.stem}: {why}", err=True)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for one in found:
        click.echo(
            f"{one['name']:<24} {one['scheme']}/{one['model']}  {one['scenario']}  {one['users']} users  "
            f"{one['runs']} runs  seed {one['seed']}  machine {one['machine_class']}  {one['made_at'][:10]}"
        )
    if not found:
        click.echo("none; bench baseline save NAME RUN… makes one", err=True)


def _about(kept: Baseline) -> dict[str, Any]:
    named = {name: kept.run.get(name) for name in ("scheme", "model", "scenario", "users", "seed")}
    return {
        "name": kept.name,
        **named,
        "runs": len(kept.runs),
        "machine_class": kept.machine_class,
        "made_at": kept.made_at,
    }


@command.command()
@click.argument("name")
@out_option
def show(name: str, root: Path) -> None:
    """The figures of NAME that decide, with intervals, and the effect that ten new runs could show."""
    from bench.gate import baseline
    from bench.gate.metrics import METRICS, TOLERANCES
    from bench.gate.power import detectable_of_two
    from bench.gate.verdicts import judge, side
    from bench.report import gate

    try:
        kept = baseline.load(where(name, root))
    except baseline.BaselineError as why:
        _fail(str(why))
    click.echo(json.dumps(_about(kept)))
    itself = side(kept.name, kept.runs)
    for row in judge(itself, itself, TOLERANCES, ())["rows"]:
        values = [point.value for run in kept.runs if (point := METRICS[row["metric"]].of(run)) is not None]
        seen = detectable_of_two(values, 10, len(TOLERANCES)) if values else None
        click.echo(f"{gate.title(row):<24} {gate.value(row, 0):<28} ten runs show {gate.share(seen)}")


@command.command()
@click.argument("name")
@out_option
def remove(name: str, root: Path) -> None:
    """Delete NAME, if it is a baseline of this tool."""
    from bench.gate import baseline

    path = where(name, root)
    try:
        baseline.load(path)
    except baseline.BaselineError as why:
        if not path.exists() or "is no baseline of" in str(why):
            _fail(str(why))
    path.unlink()
    click.echo(f"removed {path}")


def _fail(text: str) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(EXIT_INCONCLUSIVE)
