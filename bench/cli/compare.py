"""`bench compare RUN RUN…`: runs beside each other, in a folder of their own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from bench.cli.choosing import BadRun, open_run, out_option
from bench.results import LATEST_COMPARISON, ResultsError, RunFolder

VERSUS = "vs"


@click.command(name="compare")
@click.argument("run", nargs=-1, required=True)
@out_option
@click.option(
    "--decide",
    multiple=True,
    metavar="EXPRESSION",
    help='A figure that decides, and its tolerance, like "READ.p99 > +10%"; five at most.',
)
@click.option(
    "--anyway",
    "--allow-unlike",
    "allow_unlike",
    is_flag=True,
    help="Compare runs that had not the same plan, terms, versions or machine; they are not ranked.",
)
@click.option("--quiet", is_flag=True, help="Say only the VERDICT line.")
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json instead of the table.")
def command(
    run: tuple[str, ...],
    root: Path,
    decide: tuple[str, ...],
    allow_unlike: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Lay two or more RUNs beside each other: one table, the charts overlaid.

    \b
    bench compare RUN RUN…                   arms, by scheme and options
    bench compare RUN RUN… vs RUN RUN…       two sides, whatever they are

    RUN is a folder, the beginning of an id, or `latest`.  Several runs of one scheme and options are its
    blocks.  Of two arms, or two sides, it says whether the second is better, worse, the same, or cannot be
    told from the first.  Exits with the worst exit code of the runs.
    """
    from bench import report, results
    from bench.compare import UnlikeError
    from bench.report import terminal

    folders, baseline = _sides(run, root)
    tolerances = _tolerances(decide)
    try:
        out = results.create_comparison(root, now=datetime.now(UTC))
        try:
            content = report.compare_runs(
                folders, out, allow_unlike=allow_unlike, baseline=baseline, tolerances=tolerances
            )
        except BaseException:  # Ctrl-C too: half a comparison is none
            shutil.rmtree(out)
            raise
        results.point(root, LATEST_COMPARISON, out)
    except UnlikeError as why:
        raise BadRun(f"{why} Add --anyway to lay them beside each other all the same.") from why
    except ResultsError as why:
        raise BadRun(str(why)) from why
    if as_json:
        click.echo(json.dumps(content, indent=1))
    else:
        click.echo(f"{out / 'report.html'}", err=True)
        terminal.show_comparison(content, quiet=quiet)
    sys.exit(content["verdict"]["exit_code"])


def _sides(texts: Sequence[str], root: Path) -> tuple[list[RunFolder], int | None]:
    """The runs, each once, and how many of them stand before `vs`."""
    parts: list[dict[Path, RunFolder]] = [{}]
    for text in texts:
        if text == VERSUS:
            parts.append({})
        else:
            folder = open_run(text, root)
            parts[-1][folder.path] = folder
    if len(parts) > 2 or not all(parts):
        raise click.UsageError(
            f"two sides have one `{VERSUS}` between them, and a run on either side at least."
        )
    if len(parts) == 2 and parts[0].keys() & parts[1].keys():
        both = ", ".join(path.name for path in parts[0].keys() & parts[1].keys())
        raise click.UsageError(f"{both} cannot be on both sides.")
    folders = [folder for part in parts for folder in part.values()]
    if len(folders) < 2:
        raise click.UsageError("a comparison needs two different runs at least; bench list runs names them.")
    return folders, len(parts[0]) if len(parts) == 2 else None


def _tolerances(decide: Sequence[str]) -> dict[str, float] | None:
    from bench.expressions import ExpressionError
    from bench.gate.tolerances import asked, parse_relative

    try:
        for text in decide:
            parse_relative(text)
        return dict(asked(decide).tolerances) if decide else None
    except ExpressionError as why:
        raise click.UsageError(f"--decide: {why}") from None
