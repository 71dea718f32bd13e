"""`bench compare RUN RUN…`: runs beside each other, in a folder of their own."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from bench.cli.choosing import BadRun, open_run, out_option
from bench.results import LATEST_COMPARISON, ResultsError


@click.command(name="compare")
@click.argument("run", nargs=-1, required=True)
@out_option
@click.option(
    "--anyway",
    "--allow-unlike",
    "allow_unlike",
    is_flag=True,
    help="Compare runs that had not the same plan, terms, versions or machine; they are not ranked.",
)
@click.option("--quiet", is_flag=True, help="Say only the VERDICT line.")
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json instead of the table.")
def command(run: tuple[str, ...], root: Path, allow_unlike: bool, quiet: bool, as_json: bool) -> None:
    """Lay two or more RUNs beside each other: one table, the charts overlaid.

    RUN is a folder, the beginning of an id, or `latest`.  Several runs of one scheme and options are its
    blocks.  Exits with the worst exit code of the runs.
    """
    from bench import report, results
    from bench.compare import UnlikeError
    from bench.report import terminal

    folders = list({folder.path: folder for folder in (open_run(text, root) for text in run)}.values())
    if len(folders) < 2:
        raise click.UsageError("a comparison needs two different runs at least; bench list runs names them.")
    try:
        out = results.create_comparison(root, now=datetime.now(UTC))
        try:
            content = report.compare_runs(folders, out, allow_unlike=allow_unlike)
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
