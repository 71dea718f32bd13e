"""`bench show RUN`: a run's summary, or a comparison's, once more on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.cli.choosing import BadRun, is_comparison, open_run, out_option, resolve
from bench.results import ResultsError

CHECK = "check.json"


@click.command(name="show")
@click.argument("run", default="latest")
@out_option
@click.option("--quiet", is_flag=True, help="Say only the VERDICT line.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json, comparison.json or check.json.")
def command(run: str, root: Path, quiet: bool, as_json: bool) -> None:
    """Show the summary of RUN again.

    RUN is a folder, the beginning of an id, `latest` (the default) or `latest-comparison`; or the folder of a
    check.
    """
    from bench.report import terminal

    path = resolve(run, root)
    try:
        if (path / CHECK).exists():
            content = json.loads((path / CHECK).read_text())
            manifest = None
        elif is_comparison(path):
            content = json.loads((path / "comparison.json").read_text())
            manifest = None
        else:
            folder = open_run(run, root)
            content, manifest = folder.summary(), folder.manifest()
    except (ResultsError, OSError, ValueError) as why:
        raise BadRun(f"{path} can't be shown: {why}") from why
    if as_json:
        click.echo(json.dumps(content, indent=1))
        return
    try:
        if content.get("kind") == "capacity":
            from bench.report.capacity import capacity_document

            terminal.render(capacity_document(content), quiet=quiet)
        elif (path / CHECK).exists():
            from bench.report.gate import check_document

            terminal.render(check_document(content), quiet=quiet)
        elif manifest is None:
            terminal.show_comparison(content, quiet=quiet)
        else:
            terminal.show(content, manifest, quiet=quiet)
    except KeyError as why:
        raise BadRun(
            f"{path} was summed up by another version: it has no {why}. bench report RUN makes it again."
        ) from why
