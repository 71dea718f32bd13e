"""`bench claims`: the article's figures, put to the test on this machine."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bench.claims.grid import Grid
from bench.cli.run import EXIT_CANNOT_START, EXIT_INVALID, Seconds, history_of, without_secrets
from bench.cli.signals import end_as_by_ctrl_c

if TYPE_CHECKING:
    from bench.claims.study import Study
    from bench.results import Json

FULL: Final = "full"
"""Of `--pool-ratio`: a pool that holds all the data."""
CONTENT: Final = "claims.json"


class Ratio(click.ParamType[float]):
    """`full`, or bytes of buffer pool per byte of data."""

    name = "ratio"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value in (FULL, 0.0):
            return 0.0
        try:
            ratio = float(value)
        except ValueError:
            ratio = -1.0
        if not 0 < ratio <= 100:
            self.fail(
                f"{value!r} is neither `{FULL}` nor a number above 0 and at most 100: bytes of MySQL's "
                "buffer pool per byte of data.",
                param,
                ctx,
            )
        return ratio


@click.command(name="claims")
@click.option(
    "--history",
    "histories",
    multiple=True,
    default=("5/20", "40/40"),
    show_default=True,
    help="Seeded messages per direct chat / per group; once for each row of the grid.",
)
@click.option(
    "--pool-ratio",
    "pools",
    multiple=True,
    type=Ratio(),
    default=(FULL, "0.1"),
    show_default=True,
    help="MySQL's buffer pool by its data; below 1 reads go to the disk; once for each.",
)
@click.option(
    "--reads-per-mark",
    "mixes",
    multiple=True,
    type=click.FloatRange(0.1, 1000),
    default=(1.0, 4.0, 19.0),
    show_default=True,
    help="STATE per READ: 19 is 95:5, 1 is 50:50; once for each.",
)
@click.option(
    "--blocks",
    type=click.IntRange(1, 60),
    default=6,
    show_default=True,
    help="Of each cell; below 6: no interval.",
)
@click.option(
    "--open", "open_s", type=Seconds(), default="1.2s", show_default=True, help="Of a block, for latency."
)
@click.option(
    "--closed",
    "closed_s",
    type=Seconds(),
    default="1s",
    show_default=True,
    help="Of a block, for throughput.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=16,
    show_default=True,
    help="Operations under way, closed.",
)
@click.option(
    "--users",
    type=click.IntRange(30, 3000),
    default=300,
    show_default=True,
    help="Devices; two thirds as many people.",
)
@click.option("--people", type=int, help="Offline ones included: more people, more data.  [default: --users]")
@click.option("--burst/--no-burst", default=True, show_default=True, help="With queue, which needs Kafka.")
@click.option(
    "--budget",
    type=Seconds(),
    default="13m",
    show_default=True,
    help="What does not fit is left out, and named.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of people, operations and the order of arms."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="claims.json on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="The VERDICT line alone.")
def command(**given: Any) -> None:
    """Put the article's figures to the test: 15 ms → 1 ms, 1,000 → 10,000+ QPS, and what is said beside them.

    \b
    bench claims                                       the whole grid, at most 15 minutes
    bench claims --history 5/20 --pool-ratio full --no-burst        one row of it, a few minutes
    bench claims --reads-per-mark 1 --reads-per-mark 99             other mixes

    Each cell of the grid (history x buffer pool x reads per mark) has db and redis up side by side, on the
    same data, the cache filled. In each block both take a turn, in rotated order: some seconds of reads and
    marks at a rate that is the same for both (latency), then as fast as it goes (throughput). The first
    cells have the control beside them, which has no store: more than its ratio no cache could give here. The
    burst is for db and queue (--queue-order queue_first).

    Of each claim it says: reproduced (in some cell), not reproduced (the nearest cell, and what would have to
    be true) or not comparable (why). A block in which the client was late or anything failed is void and
    repeated. Ctrl-C keeps what was measured.

    Exit code 5 if something was not measured or has no interval, 130 if interrupted.
    """
    from bench import machine

    study = _study(given)
    machine.make_room(2 * given["users"] + 2000)
    sys.exit(_conduct(study, given))


def _study(given: dict[str, Any]) -> Study:
    from bench.claims.study import Pace, Study
    from bench.cli.progress import Line
    from bench.runner import Progress

    for name in ("open_s", "closed_s"):
        if not 0.2 <= given[name] <= 60:
            raise click.BadParameter(
                f"a block takes 200 ms to 60 s, got {given[name]:g} s", param_hint=f"--{name[:-2]}"
            )
    people = given["people"] if given["people"] is not None else given["users"]
    if not given["users"] * 2 / 3 <= people <= 20_000:
        raise click.BadParameter(
            f"{given['users']} devices belong to {round(given['users'] * 2 / 3)} people; ask for at least as "
            f"many and at most 20,000, got {people}",
            param_hint="--people",
        )
    line = Line(quiet=given["quiet"])
    grid = Grid(
        tuple(map(history_of, dict.fromkeys(given["histories"]))),
        tuple(ratio or None for ratio in dict.fromkeys(given["pools"])),
        tuple(sorted(set(given["mixes"]))),
    )
    pace = Pace(
        blocks=given["blocks"],
        open_s=given["open_s"],
        closed_s=given["closed_s"],
        at_once=given["at_once"],
        burst=given["burst"],
        budget_s=given["budget"],
    )
    return Study(
        grid,
        pace,
        given["users"],
        people,
        given["seed"],
        Path(tempfile.mkdtemp(prefix="readstate-claims-")),
        line.say,
        lambda what, spent, total: line.show(Progress("claims", spent, total, what)),
    )


def _conduct(study: Study, given: dict[str, Any]) -> int:
    """Carries it out and shows it; returns the exit code."""
    import shutil

    from bench.results import ResultsError
    from bench.services import ServicesError
    from bench.services.lock import run_lock

    end_as_by_ctrl_c()
    try:
        with run_lock(" ".join(["bench", *without_secrets(sys.argv[1:])])):
            study.conduct()
    except ServicesError as why:
        click.echo(f"error: {why}", err=True)
        if not study.cells:
            return EXIT_CANNOT_START
        study.left_out.append(f"the rest, since: {str(why).splitlines()[0]}")
    except KeyboardInterrupt:
        study.interrupted = True
    try:
        return _tell(study, given)
    except ResultsError as why:
        click.echo(f"error: {why}", err=True)
        return EXIT_INVALID
    finally:
        shutil.rmtree(study.logs, ignore_errors=True)


def _tell(study: Study, given: dict[str, Any]) -> int:
    from bench.claims.claims import judge
    from bench.report import terminal
    from bench.report.claims import claims_document

    content = judge(study.content())
    content["command"] = " ".join(["bench", *without_secrets(sys.argv[1:])])
    out = _store(content, study, given["out"])
    if given["as_json"]:
        click.echo(json.dumps(content, indent=1, default=str))
    else:
        if not given["quiet"]:
            click.echo(f"report: {out / 'report.html'}", err=True)
        terminal.render(claims_document(content), quiet=given["quiet"])
    return int(content["verdict"]["exit_code"])


def _store(content: Json, study: Study, root: Path) -> Path:
    """claims.json, what people read, and the servers' logs, in a folder of its own."""
    import shutil
    from datetime import UTC, datetime

    from bench import report
    from bench.results import LATEST_COMPARISON, create_comparison, point, write_text

    out = create_comparison(root, now=datetime.now(UTC))
    write_text(out / CONTENT, json.dumps(content, indent=1, default=str) + "\n")
    report.claims_study(content, out)
    shutil.copytree(study.logs, out / "logs", dirs_exist_ok=True)
    point(root, LATEST_COMPARISON, out)
    return out
