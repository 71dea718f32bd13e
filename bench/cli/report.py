"""`bench report RUN…`: make a run's summary, charts and page again from what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.cli.choosing import BadRun, open_run, out_option
from bench.results import ResultsError


@click.command(name="report")
@click.argument("run", nargs=-1)
@out_option
@click.option("--quiet", is_flag=True, help="Say only the VERDICT line.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the summary.")
def command(run: tuple[str, ...], root: Path, quiet: bool, as_json: bool) -> None:
    """Make summary, charts and page of each RUN again from its Parquet files (default: the latest run).

    RUN is a folder, the beginning of an id, or `latest`.
    """
    from bench import report
    from bench.report import terminal

    for folder in [open_run(text, root) for text in run or ("latest",)]:
        try:
            report.make(folder)
        except ResultsError as why:
            raise BadRun(str(why)) from why
        if as_json:
            click.echo(json.dumps(folder.summary(), indent=1))
        else:
            click.echo(f"{folder.path / 'report.html'}", err=True)
            terminal.show(folder.summary(), folder.manifest(), quiet=quiet)
