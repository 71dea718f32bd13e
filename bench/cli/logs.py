"""`bench logs RUN [COMPONENT]`: what the processes of a run wrote."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from bench.cli.choosing import BadRun, open_run, out_option


@click.command(name="logs")
@click.argument("run", default="latest")
@click.argument("component", required=False)
@out_option
def command(run: str, component: str | None, root: Path) -> None:
    """Print the log of a COMPONENT of RUN; without one, list the logs there are.

    RUN is a folder, the beginning of an id, or `latest` (the default).
    """
    folder = open_run(run, root)
    logs = {
        path.relative_to(folder.logs).as_posix(): path
        for path in sorted(folder.logs.rglob("*"))
        if path.is_file()
    }
    if component is None:
        _names(logs, folder.logs)
        return
    wanted = [name for name in logs if component in (name, name.rpartition(".")[0])] or [
        name for name in logs if name.startswith(component)
    ]
    if not wanted:
        there = ", ".join(logs) or "none"
        raise BadRun(f"{folder.run_id} has no log of {component!r}. There are: {there}.")
    for name in wanted:
        if len(wanted) > 1:
            click.echo(f"==> {name}", err=True)
        with logs[name].open(errors="replace") as file:
            shutil.copyfileobj(file, sys.stdout)


def _names(logs: dict[str, Path], folder: Path) -> None:
    if not logs:
        click.echo(f"{folder} holds no logs", err=True)
    for name, path in logs.items():
        click.echo(f"{name}  {path.stat().st_size:,} bytes")
