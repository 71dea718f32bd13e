"""`bench selftest`: plant known errors, and see whether they are found, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.signals import end_as_by_ctrl_c

if TYPE_CHECKING:
    from bench.cli.progress import Line
    from bench.options import RunOptions
    from bench.selftest.suite import Clean, Dose, Stopped

EXIT_NOT_TO_BE_TRUSTED = 4
EXIT_INTERRUPTED = 130


@click.command()
@click.option("--users", type=click.IntRange(20), default=200, show_default=True, help="Devices.")
@click.option("--rate", type=click.FloatRange(0.1), default=40.0, show_default=True, help="SEND/s.")
@click.option("--duration", type=click.FloatRange(5), default=20.0, show_default=True, help="Seconds.")
@click.option("--scheme", type=click.Choice(["memory", "db"]), default="memory", show_default=True,
              help="The honest server.")  # fmt: skip
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
    "--clean",
    type=click.IntRange(1),
    help="Instead: so many honest runs of 60 users for a few seconds, half of them disturbed by cut "
    "connections and swallowed answers. None may be accused. Goes on where an earlier call stopped.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/selftest"), show_default=True,
              help="Folder for the runs, selftest.json and clean.jsonl.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    users: int,
    rate: float,
    duration: float,
    scheme: str,
    doses: tuple[int, ...],
    seed: int,
    clean: int | None,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Does this instrument find what is wrong, and accuse nothing that is right?

    An honest server is measured through a proxy that lies: it holds, drops, doubles and reorders pushes,
    answers with what was true before, acknowledges reads and throws them away, miscounts unread messages,
    cuts connections after what they sent, and swallows answers. What it planted is compared with what the
    checks found. In a last run the load generator itself is stopped for two seconds: nobody may be accused
    of that.

    Exit codes: 0 everything planted was found and nothing else, 4 the instrument is not to be trusted.
    """
    from bench.cli.progress import Line
    from bench.options import RunOptions

    line = Line(quiet=quiet)
    options = RunOptions(
        scheme, users=users, rate_per_s=rate, duration_s=duration, warmup_s=5.0, seed=seed, out=out,
        command=" ".join(["bench", *sys.argv[1:]]),
    )  # fmt: skip
    if not as_json:
        _head(options.command)
    if clean is not None:
        options = replace(options, users=60, rate_per_s=30.0, duration_s=4.0, warmup_s=1.0)
        good = _held(options, line, lambda: _clean_series(options, clean, line, as_json=as_json))
    else:
        good = _held(options, line, lambda: _doses(options, doses, line, as_json=as_json))
    sys.exit(0 if good else EXIT_NOT_TO_BE_TRUSTED)


def _head(command: str) -> None:
    """What evidence needs to be believed: when, where and by which command."""
    from datetime import UTC, datetime

    from bench import machine

    here = machine.describe()
    click.echo(f"{command}, {datetime.now(UTC):%Y-%m-%d}")
    click.echo(
        f"{here['cores']} cores ({here['cpu']}), machine class {here['class']}, Python {here['python']}"
    )


def _held(options: RunOptions, line: Line, work: Callable[[], bool]) -> bool:
    """Does the work while this machine is ours; what may go wrong ends in one paragraph and an exit code."""
    from bench import machine
    from bench.options import BadOptions, check
    from bench.services import ServicesError
    from bench.services.lock import run_lock

    end_as_by_ctrl_c()
    try:
        check(options)
        machine.make_room(2 * options.users)
        options.out.mkdir(parents=True, exist_ok=True)
        with run_lock(options.command):
            return work()
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


def _doses(options: RunOptions, doses: tuple[int, ...], line: Line, *, as_json: bool) -> bool:
    from bench.selftest import suite

    found: list[Dose] = []
    for dose in doses:
        line.prefix = f"1 in {dose:,}  "
        found.append(suite.with_lies(options, dose, say=line.say, show=line.show))
        line.clear()
        if not as_json:
            _tell(found[-1])
    line.prefix = "generator stopped  "
    stopped = suite.with_a_stopped_generator(options, say=line.say, show=line.show)
    line.clear()
    told = suite.to_json(found, stopped)
    (options.out / "selftest.json").write_text(json.dumps(told, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(told, indent=1))
    else:
        _conclude(found, stopped)
    return bool(told["good"])


def _tell(dose: Dose) -> None:
    """One table per dose."""
    from bench.selftest.lies import NO_ERROR

    click.echo(f"1 in {dose.dose:,} altered ({dose.folder.path})")
    click.echo(f"  {'':<16}{'events':>9}{'planted':>9}{'effective':>11}{'found':>8}{'missed':>8}")
    for row in dose.result.rows:
        found = "-" if row.kind in NO_ERROR else f"{row.found:,}"
        late = ""
        if row.residual_p99_us is not None:
            late = f"   recorded {row.residual_p99_us / 1000:.2f} ms after it was let go (p99)"
        click.echo(
            f"  {row.kind:<16}{row.events:>9,}{row.planted:>9,}{row.effect:>11,}{found:>8}"
            f"{len(row.missed):>8,}{late}"
        )
        for lie in row.missed[:3]:
            click.echo(f"    missed: {vars(lie)}")
    click.echo(f"  {'false':<16}{len(dose.result.false):>45,}")
    for finding in dose.result.false[:3]:
        click.echo(f"    false: {json.dumps(finding)[:300]}")


def _conclude(doses: list[Dose], stopped: Stopped) -> None:
    from bench.selftest.lies import NO_ERROR

    click.echo(
        f"generator stopped for 2 s: {stopped.findings} accused, timing {stopped.timing} "
        f"({'good' if stopped.good else 'it must be neither VALID nor anybody accused'})"
    )
    click.echo("smallest dose found, one planted in so many events:")
    for kind in (row.kind for row in doses[0].result.rows if row.kind not in NO_ERROR):
        rows = [row for dose in doses for row in dose.result.rows if row.kind == kind and row.found]
        smallest = max((row.events / row.planted for row in rows), default=None)
        click.echo(f"  {kind:<16}{'none was found' if smallest is None else f'1 in {smallest:,.0f}':>20}")
    good = stopped.good and all(dose.result.good for dose in doses)
    click.echo("SELFTEST " + ("GOOD" if good else "BAD: the instrument is not to be trusted"))


def _clean_series(options: RunOptions, count: int, line: Line, *, as_json: bool) -> bool:
    """Runs that are not in clean.jsonl yet; each is written down as soon as it has been judged."""
    from bench.selftest import suite

    path = options.out / "clean.jsonl"
    tries: dict[int, list[Clean]] = {number: [] for number in range(count)}
    for run in suite.clean_runs(path):
        tries.setdefault(run.number, []).append(run)
    for number in range(count):
        line.prefix = f"clean {number + 1}/{count}  "
        while not suite.says_enough(tries[number]):
            run = suite.clean(options, number, say=lambda _: None, show=line.show)
            tries[number].append(run)
            with path.open("a") as file:
                file.write(json.dumps(vars(run)) + "\n")
    line.clear()
    runs = [tries[number][-1] for number in range(count)]
    repeated = [run for number in range(count) for run in tries[number][:-1]]
    good = all(run.good for run in runs)
    if as_json:
        told = {"runs": [vars(run) for run in runs], "repeated": [vars(run) for run in repeated]}
        click.echo(json.dumps({"good": good, **told}, indent=1))
    else:
        _tell_clean(runs, repeated)
    return good


def _tell_clean(runs: list[Clean], repeated: list[Clean]) -> None:
    from bench.selftest.suite import TRIES

    disturbed = [run for run in runs if run.disturbed]
    click.echo(
        f"{len(runs)} honest runs, {sum(run.operations for run in runs):,} operations; {len(disturbed)} runs "
        f"with {sum(run.disturbances for run in disturbed):,} cut connections and swallowed answers"
    )
    for run in repeated:
        click.echo(
            f"  run {run.number} ({run.arm}) was repeated: no finding, but unknown: {', '.join(run.unknown)}"
        )
    for run in runs:
        if run.good:
            continue
        unknown = f", unknown: {', '.join(run.unknown)}" if run.unknown else ""
        click.echo(f"  run {run.number} ({run.arm}): {run.findings} accused{unknown}")
    accused = sum(run.findings > 0 for run in runs)
    mute = sum(run.findings == 0 and bool(run.unknown) for run in runs)
    click.echo(
        f"CLEAN {accused} of {len(runs)} accused"
        + ("" if accused else f" (fewer than {3 / len(runs):.1%} of such runs would be, at 95 %)")
        + (f"; {mute} could not be judged whole, {TRIES} times each" if mute else "")
    )
