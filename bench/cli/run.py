"""`bench run`: one scheme, or all, under one plan; ends with the summary and a VERDICT line."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from click.core import ParameterSource

from bench.cli import no_such
from bench.cli.signals import end_as_by_ctrl_c
from bench.options import (
    ALL,
    ARRIVALS,
    ARTICLE,
    BOTH,
    DRIVERS,
    DURABILITIES,
    FOREIGN,
    LEAVE_OUT,
    PRESETS,
    PROMISES,
    STORE_RTTS_MS,
    Arm,
    BadOptions,
    Places,
    RunOptions,
    Target,
)
from bench.results import ResultsError, RunFolder
from schemes import SCHEMES, Option

if TYPE_CHECKING:
    from bench.cli.progress import Line
    from bench.turns import Turn

EXIT_CANNOT_START: Final = 3
EXIT_INVALID: Final = 4
EXIT_INTERRUPTED: Final = 130
PRECEDENCE: Final = (130, 3, 1, 12, 4, 5, 11, 10, 0)
"""Of several runs' exit codes the first of these is the command's."""
UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "ms": 0.001}


class Seconds(click.ParamType[float]):
    """`30s`, `10m`, `1.5h`, or a number of seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a time; one looks like 30s, 10m or 1.5h.", param, ctx)
        return float(found[1]) * UNITS_S[found[2] or ""]


class Name(click.ParamType[str]):
    """One of the things that there are; suggests the nearest."""

    def __init__(self, what: str, known: Callable[[], tuple[str, ...]]) -> None:
        self.name = what
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self._known():
            no_such(self.name, str(value), self._known())
        return str(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self.name.upper()


def scenarios() -> tuple[str, ...]:
    """The Locust files that there are; nothing is imported."""
    import importlib.util

    spec = importlib.util.find_spec("scenarios")
    folders = spec.submodule_search_locations if spec is not None else None
    return tuple(sorted(path.stem for folder in folders or () for path in Path(folder).glob("[a-z]*.py")))


def history_of(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= 10_000 or not 1 <= int(found[2]) <= 10_000:
        raise click.BadParameter(
            f"expected messages per direct chat and per group, like 5/20, got {text!r}",
            param_hint="--history",
        )
    return int(found[1]), int(found[2])


def scheme_options() -> dict[str, tuple[Option, list[str]]]:
    """Every option of any scheme, and which schemes have it."""
    found: dict[str, tuple[Option, list[str]]] = {}
    for scheme, about in SCHEMES.items():
        for name, option in about.options.items():
            found.setdefault(name, (option, []))[1].append(scheme)
    return found


def with_scheme_options(command: click.Command) -> click.Command:
    for name, (option, schemes) in scheme_options().items():
        promises = "".join(f"  [{value}: {text}]" for value, text in option.promises.items())
        kind = click.Choice(option.values) if option.values else click.STRING
        text = f"({', '.join(schemes)}) {option.help}{promises}  [default: {option.default}]"
        command.params.append(click.Option([f"--{name}"], type=kind, default=None, help=text))
    return command


class _Configured(click.Command):
    """Takes its defaults from bench.toml where there is one."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        from bench.config import ConfigError, defaults_of

        known = [option[2:] for param in self.params for option in param.opts if option.startswith("--")]
        try:
            extra.setdefault("default_map", defaults_of("run", known, Path.cwd()))
        except ConfigError as why:
            raise click.UsageError(str(why)) from None
        return super().make_context(info_name, args, parent, **extra)


@with_scheme_options
@click.command(cls=_Configured, name="run")
@click.option(
    "--scheme",
    type=Name("scheme", lambda: (*SCHEMES, ALL)),
    help=f"One of {', '.join(SCHEMES)}; or `all`: every one, and db on the other model, on the same plan.",
)
@click.option(
    "--url",
    help="ws://host:port/ws: a server that runs already and speaks readstate.v1, instead of --scheme.",
)
@click.option(
    "--token-secret", help="(--url) Signs its tokens; absent: it looks at none.  [env BENCH_TOKEN_SECRET]"
)
@click.option(
    "--control-secret",
    help="(--url) Opens its /control, to seed it if it is empty, drain it and read its store.  "
    "[env BENCH_CONTROL_SECRET]",
)
@click.option(
    "--server-pid", type=int, multiple=True, help="(--url) A process of it on this machine: CPU and memory."
)
@click.option(
    "--promise",
    multiple=True,
    type=click.Choice([*PROMISES, "none"]),
    help="(--url) What it promises; breaking it is exit code 12.  [default: convergence]",
)
@click.option(
    "--write-population",
    type=click.Path(dir_okay=False, path_type=Path),
    help="(--url) Write what it must hold before this run, one SEED conversation a line, and stop.",
)
@click.option("--scenario", default="steady_chat", show_default=True, type=Name("scenario", scenarios))
@click.option("--users", type=int, help="Connected devices, one WebSocket each.  [default: 2000]")
@click.option(
    "--people", type=int, help="People who own the devices, offline ones included.  [default: 2 per 3]"
)
@click.option("--rate", type=float, help="SEND per second of all users together.  [default: 115]")
@click.option("--intensity", type=float, help="The same as a multiple of these people's natural traffic.")
@click.option("--duration", type=Seconds(), help="Measured time.  [default: 60s]")
@click.option(
    "--warmup", type=Seconds(), default="15s", show_default=True, help="Load before that; kept, not counted."
)
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), help="; ".join(f"{n}: {p.help}" for n, p in PRESETS.items())
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed is the same plan.")
@click.option("--workers", type=int, default=1, show_default=True, help="Load processes.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Blocks: runs per arm, in a random order that --seed decides; from 6 up figures have intervals.",
)
@click.option(
    "--history", default="5/20", show_default=True, help="Seeded messages per direct chat / per group."
)
@click.option(
    "--reads-per-mark", type=float, help="STATE reads per READ.  [default: natural, 23 openings per 42 sends]"
)
@click.option(
    "--delivered-window",
    type=Seconds(),
    default="1s",
    show_default=True,
    help="DELIVERED is batched for this long.",
)
@click.option(
    "--arrivals",
    type=click.Choice(ARRIVALS),
    default="open",
    show_default=True,
    help="open: what is due is sent; closed: a device waits for its last answer, and hides what it waited.",
)
@click.option(
    "--cache",
    type=click.Choice(["cold", "warm"]),
    default="cold",
    show_default=True,
    help="Redis before the run (redis).",
)
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
    help="What every store has done before an ACK: process, its process may die (kill -9); power, it has "
    "asked the disk to flush; article, each as it is shipped.",
)
@click.option(
    "--store-rtt",
    type=click.Choice(list(STORE_RTTS_MS)),
    default="0",
    show_default=True,
    help="Every round trip to MySQL, Redis and Kafka takes so much longer.",
)
@click.option(
    "--pool-ratio",
    type=float,
    help="MySQL's buffer pool as a share of the seeded data, like 0.25, so that it must read from the disk.",
)
@click.option(
    "--pin",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="auto: generator on core 0, what is tested on the others.",
)
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
@click.option("--port", type=click.IntRange(1, 32767), help="The server's port.  [default: a free one]")
@click.option("--auth", type=click.Choice(["hmac", "off"]), default="hmac", show_default=True)
@click.option("--web", is_flag=True, help="Locust's own page while it runs, on http://127.0.0.1:8089.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option(
    "--fail-if", multiple=True, metavar="EXPRESSION", help='Exit 10 if it holds, like "READ.p99 > 50ms".'
)
@click.option("--fail-fast", is_flag=True, help="End as soon as a promise is seen broken, with exit code 12.")
@click.option("--leave-out", multiple=True, type=click.Choice(LEAVE_OUT), hidden=True)
@click.option("--label", default="", help="A note for the manifest; with --url the name in the results.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("results"), show_default=True
)
@click.option("--quiet", is_flag=True, help="No progress, only the verdict line.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="summary.json (or comparison.json) on stdout instead of the tables.",
)
def command(**given: Any) -> None:
    """Start what a scheme needs, load it, and say how fast, how many, how far behind, how busy.

    \b
    bench run --scheme redis --users 10000
    bench run --scheme all --users 2000 --duration 30s --seed 7
    bench run --scheme queue --queue-order queue_first --fail-if "READ.p99 > 50ms"
    bench run --url ws://127.0.0.1:9000/ws --users 200 --rate 20
    """
    try:
        options = _options(given)
        if given["write_population"] is not None:
            _write_population(options, given["write_population"])
            return
        if given["dry_run"]:
            _describe(options)
            return
        code = _run(options, quiet=given["quiet"], as_json=given["as_json"])
    except BadOptions as why:
        raise click.UsageError(str(why)) from None
    sys.exit(code)


def _options(given: dict[str, Any]) -> RunOptions:
    from bench.expressions import ExpressionError, parse
    from bench.options import check

    preset = PRESETS.get(given["preset"] or "")
    target = _target(given)
    for expression in given["fail_if"]:
        try:
            parse(expression)
        except ExpressionError as why:
            raise BadOptions(f"--fail-if: {why}") from None
    chosen = {name: given[name.replace("-", "_")] for name in scheme_options()}
    options = RunOptions(
        scheme=given["scheme"] if target is None else given["label"] or FOREIGN,
        scheme_options={} if target else {name: value for name, value in chosen.items() if value is not None},
        scenario=given["scenario"],
        users=given["users"] if given["users"] is not None else (preset.users if preset else 2000),
        people=given["people"],
        rate_per_s=given["rate"],
        intensity=given["intensity"],
        duration_s=given["duration"]
        if given["duration"] is not None
        else (preset.duration_s if preset else 60.0),
        warmup_s=given["warmup"],
        seed=given["seed"],
        workers=given["workers"],
        repeat=given["repeat"],
        history=history_of(given["history"]),
        reads_per_mark=given["reads_per_mark"],
        delivered_window_s=given["delivered_window"],
        arrivals=given["arrivals"],
        cache=given["cache"],
        mysql_driver=given["mysql_driver"],
        durability=given["durability"],
        store_rtt_ms=STORE_RTTS_MS[given["store_rtt"]],
        pool_ratio=given["pool_ratio"],
        pin=given["pin"],
        port=given["port"],
        auth=given["auth"],
        web=given["web"],
        fail_if=given["fail_if"],
        fail_fast=given["fail_fast"],
        leave_out=tuple(sorted(set(given["leave_out"]))),
        label=given["label"],
        out=given["out"],
        places=Places(
            given["services"],
            given["mysql_url"],
            given["redis_url"],
            given["kafka_bootstrap"],
            given["allow_wipe"],
        ),
        target=target,
        command=" ".join(["bench", *without_secrets(sys.argv[1:])]),
    )
    check(options)
    return options


def _target(given: dict[str, Any]) -> Target | None:
    """The server of --url; None where a scheme is to be started.  Raises BadOptions for contradictions."""
    from bench.options import check_target, target_url

    context = click.get_current_context()
    unsaid = (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    said = {name for name in given if context.get_parameter_source(name) not in unsaid}
    if not said & {"scheme", "url"}:  # then bench.toml may choose
        said |= {name for name in ("scheme", "url") if given[name] is not None}
    check_target(said, given["label"])
    if "url" not in said:
        return None
    promised = given["promise"] or ("convergence",)
    if "none" in promised and len(promised) > 1:
        raise BadOptions("--promise none takes all promises back: give it alone, or leave it out.")
    return Target(
        url=target_url(given["url"]),
        token_secret=given["token_secret"] or os.environ.get("BENCH_TOKEN_SECRET"),
        control_secret=given["control_secret"] or os.environ.get("BENCH_CONTROL_SECRET"),
        pids=given["server_pid"],
        promises=() if promised == ("none",) else promised,
    )


def without_secrets(words: Sequence[str]) -> list[str]:
    """A command line as it may stand in results: secrets are not part of it."""
    text = re.sub(r"(://[^:/@\0]*:)[^@/\0]+@", r"\1***@", "\0".join(words))  # passwords in URLs
    return re.sub(r"(--(?:token|control)-secret)([=\0])[^\0]*", r"\1\2***", text).split("\0")


def _write_population(options: RunOptions, path: Path) -> None:
    """One conversation a line, as SEED has it in its `conversations`."""
    from bench.runner import Load
    from schemes.protocol import encode

    load = Load.of(options)
    try:
        with path.open("wb") as file:
            for conversation in load.population.seed_conversations(load.plan.unread_at_start):
                file.write(encode(conversation) + b"\n")
    except OSError as why:
        raise BadOptions(f"--write-population {path}: {why.strerror}.") from None
    click.echo(f"{load.population.conversations:,} conversations written to {path}", err=True)


def _describe(options: RunOptions) -> None:
    """What `--dry-run` prints: the arms, the plan, and nothing started."""
    from bench.options import arms
    from bench.plan import causes
    from bench.runner import Load
    from bench.turns import orders

    names = [arm.name for arm in arms(options)]
    load = Load.of(options)
    caused = causes(load.population, load.plan, options.delivered_window_s)
    click.echo(f"runs       {options.repeat} x {', '.join(names)}")
    if len(names) > 1:
        told = orders(len(names), options.repeat, options.seed)
        click.echo("order      " + "; ".join(", ".join(names[arm] for arm in block) for block in told))
    click.echo(
        f"people     {load.population.people:,} with {options.users:,} devices, "
        f"{load.population.conversations:,} conversations"
    )
    click.echo(f"plan       {load.plan.count:,} operations, sha256 {load.plan.sha256}")
    click.echo(f"time       {options.warmup_s:g} s warm-up, {options.duration_s:g} s measured")
    click.echo(
        "one message causes  " + ", ".join(f"{name} {value:.2f}" for name, value in vars(caused).items())
    )
    for line in _terms(options):
        click.echo(line)


def _terms(options: RunOptions) -> list[str]:
    """Fair terms, as the stores will be set."""
    from bench.options import arms
    from bench.services.terms import Terms, planned

    if options.target is not None:
        return ["terms      as the server that runs already has them"]
    pool = "of this machine's size" if options.pool_ratio is None else f"{options.pool_ratio:g} x the data"
    places = options.places
    found = places.services == "external" or any((places.mysql_url, places.redis_url, places.kafka_bootstrap))
    lines = [
        f"terms      --durability {options.durability}, --store-rtt {options.store_rtt_ms:g} ms, "
        f"--pool-ratio: buffer pool {pool}"
        + ("; services that you name are left as they are" if found else "")
    ]
    for arm in arms(options):
        about = SCHEMES[arm.scheme]
        class_, stores = planned(Terms(options.durability, about.rests_on), about.needs)
        each = ", ".join(f"{name} {own}" for name, own in sorted(stores.items()))
        rests = " and ".join(sorted(about.rests_on)) or "no store"
        lines.append(
            f"           {arm.name}: {class_}, an ACK rests on {rests}{f' ({each})' if each else ''}"
        )
    return lines


def _run(options: RunOptions, *, quiet: bool, as_json: bool) -> int:
    from bench.cli.progress import Line
    from bench.options import arms

    line = Line(quiet=quiet)
    folders = in_turns(options, arms(options), line, finish=lambda folder: _report(folder, line))
    summaries = [(folder, folder.summary()) for folder in folders]
    return _conclude(summaries, options, quiet=quiet, as_json=as_json)


def in_turns(
    options: RunOptions,
    chosen: Sequence[Arm],
    line: Line,
    *,
    finish: Callable[[RunFolder], object],
    sides: Sequence[str] | None = None,
) -> list[RunFolder]:
    """Carries out `options.repeat` runs of each arm in the order of their turns; `finish` makes the figures
    of each.  `sides` tells arms apart that are alike.

    Ends the command where nothing can be started or stored, or on Ctrl-C between the runs."""
    from bench import machine, runner
    from bench.services import ServicesError
    from bench.services.lock import run_lock
    from bench.turns import turns

    machine.make_room(options.users)
    end_as_by_ctrl_c()
    folders: list[RunFolder] = []
    names = sides or [arm.name for arm in chosen]
    order = turns(names, options.repeat, options.seed, secrets.token_hex(4), sides=sides is not None)
    try:
        with run_lock(options.command):
            line.say("making the plan")
            load = runner.Load.of(options)
            for index, turn in order:
                line.prefix = _prefix(turn)
                folder = runner.run(chosen[index], load, options, say=line.say, show=line.show, turn=turn)
                line.clear()
                finish(folder)
                folders.append(folder)
                if folder.manifest()["ended"]["how"] == "interrupted":
                    break
    except (ServicesError, ResultsError) as why:
        _fail(str(why), EXIT_CANNOT_START)
    except runner.NotStored as why:
        _fail(str(why), EXIT_INVALID)
    except KeyboardInterrupt:
        line.clear()
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    return folders


def _prefix(turn: Turn) -> str:
    """Which run of several this is, before each line of progress."""
    name = f"{turn.order[turn.place]}  " if len(turn.order) > 1 else ""
    return f"{name}block {turn.block + 1}/{turn.blocks}  " if turn.blocks > 1 else name


def _report(folder: RunFolder, line: Line) -> None:
    """Figures, charts and page of one run; `latest` points at it."""
    from bench import report
    from bench.results import LATEST, point
    from bench.runner import NotStored

    line.say(f"writing the report of {folder.path}")
    try:
        report.make(folder)
    except OSError as why:
        raise NotStored(
            f"The report of {folder.path} could not be written: {why}. What was recorded is there: make "
            f"room, then type `bench report {folder.path}`."
        ) from why
    point(folder.path.parent, LATEST, folder.path)


def _conclude(
    summaries: list[tuple[RunFolder, dict[str, Any]]], options: RunOptions, *, quiet: bool, as_json: bool
) -> int:
    """Shows the run, or the comparison of several; the exit code is that of the worst."""
    from datetime import UTC, datetime

    from bench import report
    from bench.report import terminal
    from bench.results import LATEST_COMPARISON, create_comparison, point

    codes = {int(summary["verdict"]["exit_code"]) for _, summary in summaries}
    compared = [folder for folder, summary in summaries if summary["operations"]]
    if len(summaries) == 1 or len(compared) < 2:
        for folder, summary in summaries:
            _show(summary, folder, quiet=quiet, as_json=as_json)
    else:
        out = create_comparison(options.out, now=datetime.now(UTC))
        comparison = report.compare_runs(compared, out, allow_unlike=True)
        codes.add(int(comparison["verdict"]["exit_code"]))
        point(options.out, LATEST_COMPARISON, out)
        if as_json:
            click.echo(json.dumps(comparison, indent=1, default=str))
        else:
            _say_where(out, quiet=quiet)
            terminal.show_comparison(comparison, quiet=quiet)
    return next(code for code in PRECEDENCE if code in codes)


def _show(summary: dict[str, Any], folder: RunFolder, *, quiet: bool, as_json: bool) -> None:
    from bench.report import terminal

    manifest = folder.manifest()
    ended = manifest["ended"]
    if ended["how"] != "finished":
        click.echo(f"error: {ended['message']}", err=True)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    measured = ended["how"] not in ("not_started", "internal_error")
    if measured:
        _say_where(folder.path, quiet=quiet)
    terminal.show(summary, manifest, quiet=quiet or not measured)


def _say_where(path: Path, *, quiet: bool) -> None:
    if not quiet:
        click.echo(f"report: {path / 'report.html'}", err=True)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(code)
