"""`bench selftest`: plant known errors, and see whether they are found, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.selftest.suite import Dose, Stopped

EXIT_NOT_TO_BE_TRUSTED = 4
EXIT_INTERRUPTED = 130


@click.command()
@click.option("--users", type=click.IntRange(20), default=200, show_default=True, help="Devices.")
@click.option("--rate", type=click.FloatRange(0.1), default=40.0, show_default=True, help="SEND/s.")
@click.option(
    "--duration", type=click.FloatRange(5), default=20.0, show_default=True, help="Seconds measured."
)
@click.option(
    "--dose",
    "doses",
    type=click.IntRange(1),
    multiple=True,
    default=(10, 1_000, 100_000),
    show_default=True,
    help="One in so many events of each kind is altered, and at least one; may be given several times.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the load's plan.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results/selftest"), show_default=True,
    help="Folder for the runs and selftest.json.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print selftest.json instead of the tables.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    users: int,
    rate: float,
    duration: float,
    doses: tuple[int, ...],
    seed: int,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Does this instrument find what is wrong, and accuse nothing that is right?

    An honest server is measured through a proxy that lies: it holds, drops, doubles and reorders pushes,
    answers with what was true before, acknowledges reads and throws them away, miscounts unread messages,
    and cuts connections after what they sent. What it planted is compared with what the checks found. In a
    last run the load generator itself is stopped for two seconds: nobody may be accused of that.

    Exit codes: 0 everything planted was found and nothing else, 4 the instrument is not to be trusted.
    """
    from bench import machine
    from bench.cli.progress import Line
    from bench.options import BadOptions, RunOptions, check
    from bench.selftest import suite
    from bench.services import ServicesError
    from bench.services.lock import run_lock

    options = RunOptions(
        "selftest", users=users, rate_per_s=rate, duration_s=duration, warmup_s=5.0, seed=seed, out=out,
        command=" ".join(["bench", *sys.argv[1:]]),
    )  # fmt: skip
    line = Line(quiet=quiet)
    found: list[Dose] = []
    try:
        check(options)
        machine.make_room(2 * users)
        out.mkdir(parents=True, exist_ok=True)
        with run_lock(options.command):
            for dose in doses:
                line.prefix = f"1 in {dose:,}  "
                found.append(suite.with_lies(options, dose, say=line.say, show=line.show))
                line.clear()
                if not as_json:
                    _tell(found[-1])
            line.prefix = "generator stopped  "
            stopped = suite.with_a_stopped_generator(options, say=line.say, show=line.show)
            line.clear()
    except BadOptions as why:
        raise click.UsageError(str(why)) from None
    except ServicesError as why:
        line.clear()
        click.echo(f"Error: {why}", err=True)
        sys.exit(3)
    except KeyboardInterrupt:
        line.clear()
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    told = suite.to_json(found, stopped)
    (out / "selftest.json").write_text(json.dumps(told, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(told, indent=1))
    else:
        _conclude(found, stopped)
    sys.exit(0 if told["good"] else EXIT_NOT_TO_BE_TRUSTED)


def _tell(dose: Dose) -> None:
    """One table per dose."""
    click.echo(f"1 in {dose.dose:,} altered ({dose.folder.path})")
    click.echo(f"  {'':<16}{'events':>9}{'planted':>9}{'effective':>11}{'found':>8}{'missed':>8}")
    for row in dose.result.rows:
        found = "-" if row.kind == "cut" else f"{row.found:,}"
        late = (
            f"   late by at most {row.residual_p99_us / 1000:.2f} ms more (p99)"
            if row.residual_p99_us
            else ""
        )
        click.echo(
            f"  {row.kind:<16}{row.events:>9,}{row.planted:>9,}{row.effect:>11,}{found:>8}"
            f"{len(row.missed):>8,}{late}"
        )
        for lie in row.missed[:3]:
            click.echo(f"    missed: {vars(lie)}")
    click.echo(f"  {'false':<16}{len(dose.result.false):>53,}")
    for finding in dose.result.false[:3]:
        click.echo(f"    false: {json.dumps(finding)[:300]}")


def _conclude(doses: list[Dose], stopped: Stopped) -> None:
    click.echo(
        f"generator stopped for 2 s: {stopped.findings} accused, timing {stopped.timing} "
        f"({'good' if stopped.good else 'it must be neither VALID nor anybody accused'})"
    )
    click.echo("smallest dose found, one planted in so many events:")
    for kind in (row.kind for row in doses[0].result.rows if row.kind != "cut"):
        rows = [row for dose in doses for row in dose.result.rows if row.kind == kind and row.found]
        smallest = max((row.events / row.planted for row in rows), default=None)
        click.echo(f"  {kind:<16}{'none was planted' if smallest is None else f'1 in {smallest:,.0f}':>20}")
    good = stopped.good and all(dose.result.good for dose in doses)
    click.echo("SELFTEST " + ("GOOD" if good else "BAD: the instrument is not to be trusted"))
