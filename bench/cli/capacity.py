"""`bench capacity`: the highest load that a scheme, or each of all, carries inside an objective."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bench.capacity.objective import DEFAULT
from bench.cli.run import (
    EXIT_CANNOT_START,
    EXIT_INVALID,
    Name,
    Seconds,
    history_of,
    scenarios,
    scheme_options,
    with_scheme_options,
    without_secrets,
)
from bench.cli.signals import end_as_by_ctrl_c
from bench.options import (
    ALL,
    ARTICLE,
    BOTH,
    DRIVERS,
    DURABILITIES,
    STORE_RTTS_MS,
    BadOptions,
    Places,
    RunOptions,
)
from schemes import SCHEMES

if TYPE_CHECKING:
    from bench.capacity.study import Study
    from bench.results import Json

START: Final = {"one": 20.0, ALL: 25.0, "users": 500.0}
"""SEND/s, or users, of the first step."""
MOST_USERS: Final = 18_000
"""Sockets that one load process can have."""
FACTOR_OF_ALL: Final = 1.6
"""Between the rungs of the ladder that all arms climb."""
ROUNDS_OF_ALL: Final = 3
"""Visits to each arm, so that the order of arms can be rotated; the last for confirming."""
BUDGET_S: Final = {"rate": 600.0, "users": 1800.0}
"""Of one scheme; each step of `users` is a run of its own."""
LOW: Final = 5.0


@with_scheme_options
@click.command(name="capacity")
@click.option(
    "--scheme",
    required=True,
    type=Name("scheme", lambda: (*SCHEMES, ALL)),
    help=f"One of {', '.join(SCHEMES)}; or `all`: every one, and db on the other model, on one ladder.",
)
@click.option(
    "--slo",
    default=DEFAULT,
    show_default=True,
    metavar="CONDITIONS",
    help="What must hold together, with commas between; and no backlog may grow.",
)
@click.option(
    "--find",
    type=click.Choice(["rate", "users"]),
    default="rate",
    show_default=True,
    help="SEND/s of --users devices; or devices at --intensity, each step a run of its own.",
)
@click.option(
    "--intensity",
    type=click.FloatRange(0, 10_000, min_open=True),
    help="(--find users) Times their natural traffic.  [default: 1]",
)
@click.option("--scenario", default="steady_chat", show_default=True, type=Name("scenario", scenarios))
@click.option("--users", type=int, default=1000, show_default=True, help="Connected devices.")
@click.option(
    "--people", type=int, help="People who own the devices, offline ones included.  [default: 2 per 3]"
)
@click.option(
    "--start", type=float, help="SEND/s of the first step, and of the table.  [default: 20; all: 25]"
)
@click.option(
    "--low", type=float, default=LOW, show_default=True, help="SEND/s below which nothing is tried."
)
@click.option(
    "--high", type=float, default=5000.0, show_default=True, help="SEND/s above which nothing is tried."
)
@click.option("--step", type=Seconds(), default="8s", show_default=True, help="Measured time of a step.")
@click.option(
    "--warmup", type=Seconds(), default="2s", show_default=True, help="Load before it, not counted."
)
@click.option(
    "--blocks", type=click.IntRange(1, 30), default=6, show_default=True, help="Below 6: no interval."
)
@click.option(
    "--budget",
    type=Seconds(),
    help="Ends after this, with what is known.  [default: 10m; all: none; --find users: 30m]",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of people, conversations and plans.")
@click.option("--workers", type=int, default=1, show_default=True, help="Load processes.")
@click.option(
    "--history", default="5/20", show_default=True, help="Seeded messages per direct chat / per group."
)
@click.option("--reads-per-mark", type=float, help="STATE reads per READ.  [default: natural]")
@click.option("--cache", type=click.Choice(["cold", "warm"]), default="cold", show_default=True)
@click.option(
    "--mysql-driver",
    type=click.Choice([*DRIVERS, BOTH]),
    default=DRIVERS[0],
    show_default=True,
    help="Client library of MySQL; both: each arm with either, to see whether an order depends on it.",
)
@click.option(
    "--durability",
    type=click.Choice(DURABILITIES),
    default=ARTICLE,
    show_default=True,
    help="As of bench run: what every store has done before an ACK.",
)
@click.option("--store-rtt", type=click.Choice(list(STORE_RTTS_MS)), default="0", show_default=True)
@click.option("--pool-ratio", type=float, help="MySQL's buffer pool as a share of the seeded data.")
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="STUDY",
    help="A study's folder: its settings are more columns and rows in the maps of this one's report.",
)
@click.option("--pin", type=click.Choice(["auto", "none"]), default="auto", show_default=True)
@click.option(
    "--services",
    type=click.Choice(["auto", "local", "compose", "external"]),
    default="auto",
    show_default=True,
)
@click.option("--mysql-url", help="mysql://user:password@host:3306/database  [env BENCH_MYSQL_URL]")
@click.option("--redis-url", help="redis://host:6379/0  [env BENCH_REDIS_URL]")
@click.option("--kafka-bootstrap", help="host:9092  [env BENCH_KAFKA_BOOTSTRAP]")
@click.option("--allow-wipe", is_flag=True, help="Wipe a database that bench did not create.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("results"), show_default=True
)
@click.option("--quiet", is_flag=True, help="No progress, only the verdict line.")
@click.option("--json", "as_json", is_flag=True, help="comparison.json on stdout instead of the table.")
def command(**given: Any) -> None:
    """Find the highest load that holds an objective, with an interval and what binds.

    \b
    bench capacity --scheme redis
    bench capacity --scheme db --slo "READ.p99<20ms, errors<0.1%" --budget 5m
    bench capacity --scheme all

    The search steps up until the objective fails, narrows that down, and then measures around it in at least
    six blocks; all steps of a visit use the same connections, services and data.

    Exit codes: 0 found, 2 usage, 3 the machine is too small or nothing could be started, 4 the generator
    binds first, 5 not finished, too noisy, or every load meets the objective, 10 no load meets it, 12 a
    promise was broken, 130 interrupted.
    """
    try:
        study, line = _study(given)
    except BadOptions as why:
        raise click.UsageError(str(why)) from None
    sys.exit(_conduct(study, line, given))


def _study(given: dict[str, Any]) -> tuple[Study, Any]:
    """What is asked for, as far as possible before anything is started.  Raises BadOptions."""
    from dataclasses import replace

    from bench.capacity import objective
    from bench.capacity.by_users import ByUsers
    from bench.capacity.search import Limits
    from bench.capacity.study import Pace, Study
    from bench.cli.progress import Line
    from bench.expressions import ExpressionError
    from bench.options import check

    try:
        wanted = objective.parse(given["slo"])
    except ExpressionError as why:
        raise BadOptions(f"--slo: {why}") from None
    of_all, users = given["scheme"] == ALL, given["find"] == "users"
    if users and (of_all or given["mysql_driver"] == BOTH):
        raise BadOptions("--find users is for one arm: arms are compared at equal loads of equal users.")
    if given["intensity"] and not users:
        raise BadOptions("--intensity belongs to --find users; otherwise it is what is searched.")
    start = given["start"] or START["users" if users else ALL if of_all else "one"]
    if not 0 < given["low"] <= start <= given["high"]:
        raise BadOptions(
            f"expected 0 < --low <= --start <= --high, got {given['low']:g}, {start:g} and {given['high']:g}."
        )
    options = _options(given, start)
    check(options)
    limits = Limits(start=start, low=given["low"], high=given["high"], blocks=given["blocks"])
    budget = None if of_all else BUDGET_S[given["find"]]
    pace = Pace(given["warmup"], given["step"], budget_s=given["budget"] or budget)
    if of_all:
        limits = replace(limits, factor=FACTOR_OF_ALL, down=True)
        pace = replace(pace, rounds=ROUNDS_OF_ALL)
    line = Line(quiet=given["quiet"])

    def name(arm: str) -> None:
        line.prefix = f"{arm}  "

    told: dict[str, Any] = {
        "say": line.say,
        "show": line.show,
        "name": name,
        "beside": _beside(given["beside"]),
    }
    if users:
        most = min(int(limits.high), MOST_USERS * options.workers)
        limits = replace(limits, low=max(limits.low, 10.0), high=_room(most, least=start), checks=())
        return ByUsers(options, wanted, limits, pace, **told), line
    return Study(options, wanted, limits, pace, **told), line


def _beside(folders: Sequence[Path]) -> list[Json]:
    """What is kept of other studies.  Raises BadOptions."""
    from bench.capacity import beside
    from bench.capacity.content import KIND

    found = []
    for folder in folders:
        try:
            content = json.loads((folder / "comparison.json").read_text())
        except (OSError, ValueError) as why:
            raise BadOptions(
                f"--beside {folder}: it has no comparison.json that can be read ({why})."
            ) from None
        if not isinstance(content, dict) or content.get("kind") != KIND or "settings" not in content:
            raise BadOptions(f"--beside {folder}: that is no study of this version of bench capacity.")
        found.append(beside.kept(content, folder.name))
    return found


def _room(users: int, *, least: float) -> int:
    """As many of these users as this machine has files and ports for; ends with exit code 3 below `least`."""
    from bench import machine

    while True:
        try:
            machine.make_room(users)
        except BadOptions as why:
            if users * 0.9 < least:
                click.echo(f"error: This machine is too small to search: {why}", err=True)
                sys.exit(EXIT_CANNOT_START)
            users = max(int(users * 0.9), int(least))
        else:
            return users


def _options(given: dict[str, Any], start: float) -> RunOptions:
    chosen = {name: given[name.replace("-", "_")] for name in scheme_options()}
    return RunOptions(
        scheme=given["scheme"],
        scheme_options={name: value for name, value in chosen.items() if value is not None},
        scenario=given["scenario"],
        users=given["users"],
        people=given["people"],
        rate_per_s=None if given["find"] == "users" else start,
        intensity=given["intensity"],
        duration_s=given["step"],
        warmup_s=given["warmup"],
        seed=given["seed"],
        workers=given["workers"],
        history=history_of(given["history"]),
        reads_per_mark=given["reads_per_mark"],
        cache=given["cache"],
        mysql_driver=given["mysql_driver"],
        durability=given["durability"],
        store_rtt_ms=STORE_RTTS_MS[given["store_rtt"]],
        pool_ratio=given["pool_ratio"],
        pin=given["pin"],
        out=given["out"],
        places=Places(
            given["services"],
            given["mysql_url"],
            given["redis_url"],
            given["kafka_bootstrap"],
            given["allow_wipe"],
        ),
        command=" ".join(["bench", *without_secrets(sys.argv[1:])]),
    )


def _conduct(study: Study, line: Any, given: dict[str, Any]) -> int:
    """Carries it out and shows it; returns the exit code."""
    from bench.results import ResultsError
    from bench.runner import NotStored
    from bench.services import ServicesError
    from bench.services.lock import run_lock

    if given["find"] == "rate":
        _room(given["users"], least=given["users"])
    end_as_by_ctrl_c()
    try:
        with run_lock(" ".join(["bench", *without_secrets(sys.argv[1:])])):
            study.conduct()
    except (ServicesError, ResultsError) as why:
        click.echo(f"error: {why}", err=True)
        return EXIT_CANNOT_START
    except NotStored as why:
        click.echo(f"error: {why}", err=True)
        return EXIT_INVALID
    except KeyboardInterrupt:
        study.interrupted = True
    line.clear()
    content = study.content()
    out = _store(content, given["out"])
    _show(content, out, given)
    return int(content["verdict"]["exit_code"])


def _store(content: Json, root: Path) -> Path:
    """comparison.json, and what people read, in a folder of its own."""
    from datetime import UTC, datetime

    from bench import report
    from bench.results import LATEST_COMPARISON, create_comparison, point, write_text

    out = create_comparison(root, now=datetime.now(UTC))
    write_text(out / "comparison.json", json.dumps(content, indent=1, default=str) + "\n")
    report.capacity_study(content, out)
    point(root, LATEST_COMPARISON, out)
    return out


def _show(content: Json, out: Path, given: dict[str, Any]) -> None:
    from bench.report import terminal
    from bench.report.capacity import capacity_document

    if given["as_json"]:
        click.echo(json.dumps(content, indent=1, default=str))
        return
    if not given["quiet"]:
        click.echo(f"report: {out / 'report.html'}", err=True)
    terminal.render(capacity_document(content), quiet=given["quiet"])
