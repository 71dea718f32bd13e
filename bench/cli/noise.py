"""`bench noise`: the same thing against itself, and how small an effect this machine can see."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from bench.cli import run as running
from bench.metrics.intervals import ENOUGH
from bench.options import ALL, BadOptions, RunOptions

if TYPE_CHECKING:
    from pathlib import Path

    from bench.results import Json, RunFolder

DURATION_S: Final = 20.0
LEFT_OUT: Final[dict[str, Any]] = {
    "url": None, "token_secret": None, "control_secret": None, "server_pid": (), "promise": (),
    "write_population": None, "repeat": 1, "web": False, "dry_run": False, "fail_if": (), "fail_fast": False,
}  # fmt: skip
"""Options of `bench run` that mean nothing here, and what stands for them."""


def _command(blocks: int, **given: Any) -> None:
    try:
        options = _options(given, blocks)
    except BadOptions as why:
        raise click.UsageError(str(why)) from None
    sys.exit(_noise(options, quiet=given["quiet"], as_json=given["as_json"]))


def _options(given: dict[str, Any], blocks: int) -> RunOptions:
    """Those of the runs."""
    if given["scheme"] == ALL:
        raise BadOptions("bench noise is about one scheme at a time: name it with --scheme.")
    if given["duration"] is None and given["preset"] is None:
        given = given | {"duration": DURATION_S}
    return replace(running._options(LEFT_OUT | given), repeat=blocks)


command = running._Configured(
    "noise",
    params=[
        click.Option(
            ["--blocks"],
            type=click.IntRange(ENOUGH, 100),
            default=10,
            show_default=True,
            help="Runs of each side, interleaved.",
        ),
        *(param for param in running.command.params if param.name not in LEFT_OUT),
    ],
    callback=_command,
    help="""Run the same against itself, and say what the smallest effect is that this machine can see.

    \b
    bench noise --scheme redis
    bench noise --scheme db --model cursor --blocks 20 --duration 30s --rate 60

    Two sides, A and B, are one scheme with its options; each block runs both, in a random order. For CPU per
    message, READ p50 and p99, receipt lag p99 and throughput it says which effect 80 % of such comparisons
    would find, at 5 % two-sided. Each run takes 20 s unless --duration says otherwise; what was found is kept
    in a ledger of this machine.
    """,
)


def _noise(options: RunOptions, *, quiet: bool, as_json: bool) -> int:
    from bench import noise, report
    from bench.cli.progress import Line
    from bench.options import arms
    from bench.results import LATEST_COMPARISON, create_comparison, point

    (arm,) = arms(options)
    line = Line(quiet=quiet)
    folders = running.in_turns(options, [arm, arm], line, finish=_figures, sides=noise.SIDES)
    summaries = [folder.summary() for folder in folders]
    codes = {int(summary["verdict"]["exit_code"]) for summary in summaries}
    if len(folders) < 2 * options.repeat or not all(summary["operations"] for summary in summaries):
        click.echo("error: not every block was measured: nothing can be said of the noise", err=True)
        return next((code for code in running.PRECEDENCE if code in codes), running.EXIT_INVALID)
    now = datetime.now(UTC)
    out = create_comparison(options.out, now=now)
    line.say(f"writing {out / 'report.html'}")
    content = report.compare_runs(folders, out)
    point(options.out, LATEST_COMPARISON, out)
    found = _assess(folders, content, out, now)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _show(content, found, quiet=quiet)
    return next(code for code in running.PRECEDENCE if code in codes)


def _figures(folder: RunFolder) -> None:
    """A run's figures; its charts are drawn when somebody asks (`bench report RUN`)."""
    from bench import summary

    summary.write(folder)


def _assess(folders: list[RunFolder], content: Json, out: Path, now: datetime) -> Json:
    """What was found, written beside the comparison and into the ledger."""
    from bench import compare, noise
    from bench.results import write_text
    from bench.services.cache import cache_dir

    sides = compare.arms([compare.Run(one.run_id, one.summary(), one.manifest()) for one in folders])
    found = noise.entry(sides, noise.assess(sides), content["verdict"], now=now)
    write_text(out / "noise.json", json.dumps(found, indent=1) + "\n")
    noise.append(cache_dir() / noise.LEDGER, found)
    return found


def _show(content: Json, found: Json, *, quiet: bool) -> None:
    from bench.report import noise, terminal

    terminal.render(noise.noise_document(content, found["metrics"]), quiet=quiet)
