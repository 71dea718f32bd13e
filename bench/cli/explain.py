"""`bench explain RUN [FINDING]`: what went wrong in a run, each story in full."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from bench.cli.choosing import BadRun, open_run, out_option
from bench.results import Json, ResultsError, RunFolder

SHOWN_MAX = 50


@click.command(name="explain")
@click.argument("run", default="latest")
@click.argument("finding", required=False)
@out_option
@click.option("--json", "as_json", is_flag=True, help="Print what findings.jsonl has of it.")
def command(run: str, finding: str | None, root: Path, as_json: bool) -> None:
    """Tell what the checks found in RUN: a list of causes, worst first, or one FINDING (like f1) in full.

    RUN is a folder, the beginning of an id, or `latest` (the default).
    """
    folder = open_run(run, root)
    found, summary = _read(folder)
    if finding is None:
        _list(folder, found, summary, as_json)
    else:
        _tell(folder, found, summary, finding, as_json)


def _read(folder: RunFolder) -> tuple[list[Json], Json]:
    try:
        found, summary = folder.findings(), folder.summary()
    except (ResultsError, OSError, ValueError) as why:
        raise BadRun(f"The findings of {folder.path} can't be read: {why}") from why
    if any("id" not in finding for finding in found):
        raise BadRun(
            f"{folder.path} was summed up by another version: its findings have no ids. "
            f"bench report {folder.run_id} makes them again."
        )
    return found, summary


def _list(folder: RunFolder, found: list[Json], summary: Json, as_json: bool) -> None:
    import json

    from bench.checks.findings import causes
    from bench.report import explaining, findings

    shown = causes(found)
    if as_json:
        click.echo("\n".join(json.dumps(one) for one in shown))
        return
    for line in explaining.listing(shown[:SHOWN_MAX], [findings.heading(one) for one in shown[:SHOWN_MAX]]):
        click.echo(line)
    if len(shown) > SHOWN_MAX:
        click.echo(f"… and {len(shown) - SHOWN_MAX:,} more, in {folder.path / 'findings.jsonl'}")
    if not shown:
        checks = summary["consistency"]["checks"]
        judged = sum(check["eligible"] for check in checks)
        unknown = sum(check["verdict"] == "unknown" for check in checks)
        click.echo(
            f"{len(checks)} checks found nothing wrong in {judged:,} cases"
            + (
                f"; {unknown} of them could not see everything (bench show {folder.run_id})"
                if unknown
                else ""
            )
        )
    else:
        click.echo(f"One in full: bench explain {folder.run_id} {shown[0]['id']}", err=True)


def _tell(folder: RunFolder, found: list[Json], summary: Json, name: str, as_json: bool) -> None:
    import json

    from bench.report import explaining, findings

    by_id = {one["id"]: one for one in found}
    if name not in by_id:
        raise BadRun(_unknown(folder, name, list(by_id)))
    one = by_id[name]
    if as_json:
        click.echo(json.dumps(one, indent=1))
        return
    for line in explaining.story(one, findings.heading(one), summary["run"]):
        click.echo(line)


def _unknown(folder: RunFolder, name: str, ids: list[str]) -> str:
    if not ids:
        return f"No finding {name!r}: nothing was found in {folder.run_id}."
    near = difflib.get_close_matches(name, ids, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"No finding {name!r} in {folder.run_id}: there are {ids[0]} to {ids[-1]}.{hint}"
