"""`bench check --against`: the two sides that it starts, and how they are told while they run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bench.cli import run as running
from bench.cli.noise import LEFT_OUT
from bench.cli.run import EXIT_CANNOT_START, EXIT_INTERRUPTED, EXIT_INVALID, without_secrets
from bench.cli.signals import end_as_by_ctrl_c
from bench.options import ALL, BOTH, BadOptions, RunOptions

if TYPE_CHECKING:
    from bench.gate.sequential import Seen
    from bench.gate.tolerances import Asked
    from bench.interleaved.sides import Side
    from bench.results import Json

USERS: Final = 200
RATE_PER_S: Final = 60.0
OWN: Final = frozenset({"fail_if", "root", "out", "quiet", "as_json", "duration", "warmup", "preset", "port"})
"""Options of `bench run` that this command has itself, or decides itself."""
PARAMS: Final = [
    param for param in running.command.params if param.name not in LEFT_OUT and param.name not in OWN
]


def sides_of(given: dict[str, Any], say: Any) -> tuple[Side, Side]:
    """Raises click.UsageError for what is not there, SystemExit for what cannot be made ready."""
    from bench.interleaved.sides import NoSuchSide, find
    from bench.interleaved.trees import TreeError

    try:
        return find(given["side_a"] or given["against"], say), find(given["side_b"], say)
    except NoSuchSide as why:
        raise click.UsageError(str(why)) from None
    except TreeError as why:
        click.echo(f"error: {why}", err=True)
        sys.exit(EXIT_CANNOT_START)


def options_of(given: dict[str, Any], out: Path) -> RunOptions:
    """Of the blocks.  Raises click.UsageError."""
    from dataclasses import replace

    from bench.options import check

    named = LEFT_OUT | dict.fromkeys(OWN) | {name: given[name] for name in (p.name for p in PARAMS) if name}
    named |= {"fail_if": (), "out": out, "duration": given["block"] - given["lead"], "warmup": given["lead"]}
    try:
        if given["scheme"] in (ALL, None) or given["mysql_driver"] == BOTH:
            raise BadOptions("one scheme with one MySQL driver is compared at a time: name it with --scheme.")
        options = running._options(named)
        if given["users"] is None:
            options = replace(options, users=USERS)
        if options.rate_per_s is None and options.intensity is None:
            options = replace(options, rate_per_s=RATE_PER_S)
        check(options)
    except BadOptions as why:
        raise click.UsageError(str(why)) from None
    return options


def decided(given: dict[str, Any], asked: Asked, out: Path) -> Json:
    """check.json of both sides.  Ends the process with the right code where nothing can be compared."""
    from bench.capacity.climb import STEPS
    from bench.cli.progress import Line
    from bench.interleaved.conduct import SideFailed
    from bench.results import ResultsError
    from bench.runner import NotStored
    from bench.services import ServicesError
    from bench.services.lock import run_lock

    line = Line(quiet=given["quiet"])
    sides = sides_of(given, line.say)
    options = options_of(given, out)
    command = " ".join(["bench", *without_secrets(sys.argv[1:])])
    end_as_by_ctrl_c()
    try:
        with run_lock(command):
            return _carried_out(sides, options, given, asked, line, command)
    except (ServicesError, ResultsError) as why:
        _end(line, f"error: {why}", EXIT_CANNOT_START)
    except SideFailed as why:
        _end(line, f"error: {why}", EXIT_INVALID if why.started else EXIT_CANNOT_START)
    except NotStored as why:
        _end(line, f"error: {why}", EXIT_INVALID)
    except KeyboardInterrupt:
        _end(line, f"interrupted; what was recorded is in {out}/a/{STEPS} and {out}/b", EXIT_INTERRUPTED)
    raise AssertionError("unreachable")


def _end(line: Any, message: str, code: int) -> None:
    line.clear()
    click.echo(message, err=True)
    sys.exit(code)


def _carried_out(
    sides: tuple[Side, Side],
    options: RunOptions,
    given: dict[str, Any],
    asked: Asked,
    line: Any,
    command: str,
) -> Json:
    from bench import noise, summary
    from bench.compare import Run
    from bench.gate import decide, power, sequential
    from bench.interleaved.conduct import Interleaved, Pace
    from bench.machine import describe
    from bench.options import arms
    from bench.services import bring_up
    from bench.services.cache import cache_dir, scratch_dir
    from bench.services.terms import Terms
    from schemes import SCHEMES

    (arm,) = arms(options)
    scheme, places = SCHEMES[arm.scheme], options.places
    ledger = list(
        noise.entries(cache_dir() / noise.LEDGER, machine_class=describe()["class"], scheme=arm.scheme)
    )
    pace = Pace(given["lead"], options.duration_s, given["budget"])
    line.say(f"A: {sides[0].label}")
    line.say(f"B: {sides[1].label}")
    services = bring_up(
        scheme.needs,
        how=places.services,
        folder=scratch_dir() / f"readstate-{options.out.name}",
        mysql_url=places.mysql_url,
        redis_url=places.redis_url,
        kafka_bootstrap=places.kafka_bootstrap,
        terms=Terms(options.durability, scheme.rests_on, options.pool_ratio),
        allow_wipe=places.allow_wipe,
        say=line.say,
    )
    with services as stack:
        with Interleaved(sides, arm, options, pace, stack, options.out, say=line.say, show=line.show) as both:
            both.warm_up()
            planned = sequential.plan(both.blocks, len(asked.tolerances))
            smallest = {
                name: power.detectable(power.pairs_of(ledger, name), planned, tolerance)
                for name, tolerance in asked.tolerances.items()
            }
            line.say(_promise(both.blocks, pace, smallest))
            names = list(asked.tolerances)
            outcome = sequential.decide(
                lambda _: both.block(names),
                planned,
                asked.tolerances,
                lambda number, seen: line.say(_told(number, seen)),
            )
            spent_s = both.spent_s
        whole = [summary.write(side.folder) for side in both.sides]
    about = [
        Run("ab"[number], figures, side.folder.manifest())
        for number, (figures, side) in enumerate(zip(whole, both.sides, strict=True))
    ]
    return decide.against(
        outcome, (sides[0].label, sides[1].label), asked, both.runs, (about[0], about[1]),
        command=command, spent_s=spent_s, smallest=smallest, ledger=ledger,
    )  # fmt: skip


def _promise(blocks: int, pace: Any, smallest: dict[str, float | None]) -> str:
    """What it may see, before it begins."""
    from bench.gate.metrics import METRICS

    known = [
        f"{METRICS[name].title} {effect:+.0%}" for name, effect in smallest.items() if effect is not None
    ]
    seen = f"it would find {', '.join(known)} in 80 % of the cases" if known else (
        "what it can see is not known: run `bench noise` here once"
    )  # fmt: skip
    return f"at most {blocks} blocks A B B A in {pace.budget_s / 60:.3g} min; {seen}"


def _told(number: int, seen: Sequence[Seen]) -> str:
    from bench.gate.metrics import METRICS

    parts = []
    for each in seen:
        if each.harm is None:
            parts.append(f"{METRICS[each.figure].title} ?")
            continue
        within = "" if each.interval is None else f" [{each.interval[0]:+.0%}, {each.interval[1]:+.0%}]"
        said = " worse" if each.accused else " fine" if each.acquitted else ""
        parts.append(f"{METRICS[each.figure].title} {each.harm:+.1%}{within}{said}")
    return f"{datetime.now(UTC):%H:%M:%S} block {number}: {'; '.join(parts)}"
