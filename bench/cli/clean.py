"""`bench clean --keep N`: remove old results."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.choosing import BadRun, out_option


@click.command(name="clean")
@click.option("--keep", type=click.IntRange(min=0), required=True, help="How many of the newest to keep.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@out_option
def command(keep: int, yes: bool, root: Path) -> None:
    """Remove all runs and comparisons but the newest N.

    Touches nothing that bench did not make; baselines stay.
    """
    from bench import results
    from bench.services import ServicesError
    from bench.services.lock import run_lock

    old = results.ours(root)[keep:]
    if not old:
        click.echo(f"Nothing to remove: {root}/ holds {keep} or fewer.")
        return
    for path in old:
        click.echo(path.name, err=True)
    if not yes and not click.confirm(f"Remove these {len(old)} from {root}/?", err=True):
        raise click.Abort
    try:
        with run_lock("bench clean"):
            removed = results.clean(root, keep=keep)
    except ServicesError as why:
        raise BadRun(f"{why} Nothing was removed: a run's folder is among the newest while it runs.") from why
    except OSError as why:
        raise BadRun(f"{why.filename} could not be removed: {why.strerror}. What is older is left.") from why
    click.echo(f"Removed {len(removed)}, kept the newest {keep}.")
