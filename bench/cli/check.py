"""`bench check`: may this change be merged?  Stored runs against a stored baseline, or two sides at once."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.cli import against
from bench.cli.choosing import BadRun, open_run, out_option
from bench.cli.run import Seconds, without_secrets

if TYPE_CHECKING:
    from bench.gate.baseline import Baseline
    from bench.gate.tolerances import Asked
    from bench.results import Json, RunFolder

KEYS = ("fail-if", "slo", "tolerance", "baseline")
"""Of the table [check]."""


F = TypeVar("F", bound=Callable[..., Any])


def _file(name: str, text: str) -> Callable[[F], F]:
    return click.option(name, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=text)


@click.command(name="check")
@click.argument("run", nargs=-1)
@click.option("--baseline", "kept", metavar="NAME|FILE", help="What to compare with: bench baseline list.")
@click.option(
    "--against",
    metavar="REF|FOLDER|COMMAND",
    help="Instead: run both sides now, in turn. A git ref, a checkout, or a command that starts a server.",
)
@click.option("--a", "side_a", metavar="REF|FOLDER|COMMAND", help="The same as --against.")
@click.option("--b", "side_b", metavar="REF|FOLDER|COMMAND", help="The candidate.  [default: these files]")
@click.option(
    "--budget", type=Seconds(), default="10m", show_default=True, help="(--against) At most so long."
)
@click.option(
    "--block", type=Seconds(), default="6s", show_default=True, help="(--against) Of load at a time."
)
@click.option(
    "--lead", type=Seconds(), default="1s", show_default=True, help="(--against) Of it, not counted."
)
@click.option(
    "--fail-if",
    multiple=True,
    metavar="EXPRESSION",
    help='"READ.p99 > +10%" against the baseline (exit 11), "READ.p99 > 50ms" by itself (exit 10).',
)
@click.option("--slo", multiple=True, metavar="EXPRESSION", help='Must hold, like "errors < 0.1%" (exit 10).')
@_file("--markdown", "The comment for a pull request.")
@_file("--junit", "JUnit XML.")
@_file("--github-action-benchmark", "customSmallerIsBetter; FILE-bigger has what is better bigger.")
@_file("--bencher", "Bencher Metric Format.")
@out_option
@click.option("--quiet", is_flag=True, help="Say only the VERDICT line.")
@click.option("--json", "as_json", is_flag=True, help="Print check.json instead of the tables.")
def command(
    run: tuple[str, ...], kept: str | None, root: Path, quiet: bool, as_json: bool, **given: Any
) -> None:
    """Compare RUNs with a stored baseline, and say with the exit code whether they are good enough.

    \b
    bench baseline save main RUN…                        once, of good runs
    bench check --baseline main                          the newest series of runs
    bench check --baseline main --fail-if "READ.p99 > +10%" RUN…
    bench check --against origin/main --scheme redis     both sides now, on this machine
    bench check --a "python -m schemes redis" --b ./my-server --scheme redis

    With --against both servers run at once on the same services, everybody stays connected, and the load goes
    to one side at a time, A B B A, until it is clear or the --budget is spent; the options of bench run say
    with which load. That removes what a machine is in a bad minute, which a stored baseline cannot.

    0 no worse than the tolerances, 4 no valid run, 5 can't tell or no comparable baseline, 10 an objective
    was missed, 11 a figure is worse, 12 a promise was broken. Tolerances and objectives may stand in [check]
    of bench.toml. In GitHub Actions it also writes the job summary and annotations.
    """
    table = _table()
    live = bool(given["against"] or given["side_a"])
    asked = _asked(table, given["fail_if"], given["slo"], live=live)
    kept = kept or table.get("baseline")
    if live and (run or kept):
        raise click.UsageError("--against runs both sides itself: leave out --baseline and RUN.")
    if not live and kept is None:
        raise click.UsageError(
            "Say what to compare with: --baseline NAME (bench baseline list names them), or --against REF."
        )
    if live:
        out = _folder(root)
        content = against.decided(given | {"quiet": quiet}, asked, out)
        _report(content, out)
    else:
        content = _check(run, str(kept), root, asked)
        out = _written(content, root)
    _outputs(content, given)
    if as_json:
        click.echo(json.dumps(content, indent=1))
    else:
        _show(content, out, quiet=quiet)
    sys.exit(content["verdict"]["exit_code"])


# --- what is asked ----------------------------------------------------------------------------------------


def _table() -> dict[str, Any]:
    """[check] of bench.toml."""
    from bench.config import ConfigError, defaults_of

    try:
        return {key.replace("_", "-"): value for key, value in defaults_of("check", KEYS, Path.cwd()).items()}
    except ConfigError as why:
        raise click.UsageError(str(why)) from None


def _asked(table: dict[str, Any], fail_if: Sequence[str], slo: Sequence[str], *, live: bool) -> Asked:
    """The command line's conditions after those of the file; it may tighten what the file says."""
    from bench.expressions import ExpressionError
    from bench.gate.metrics import AGAINST, TOLERANCES
    from bench.gate.tolerances import asked

    lists = {key: table.get(key, []) for key in ("fail-if", "slo")}
    for key, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise click.UsageError(f'[check] {key}: expected a list of texts, like ["READ.p99 > +10%"].')
    tolerance = table.get("tolerance", {})
    if not isinstance(tolerance, dict):
        raise click.UsageError('[check.tolerance] is a table, like "READ.p99" = "10%".')
    try:
        conditions, objectives = (*lists["fail-if"], *fail_if), (*lists["slo"], *slo)
        return asked(conditions, objectives, tolerance, AGAINST if live else TOLERANCES)
    except ExpressionError as why:
        raise click.UsageError(str(why)) from None


# --- the check --------------------------------------------------------------------------------------------


def _check(texts: Sequence[str], kept: str, root: Path, asked: Asked) -> Json:
    from bench.gate import baseline, decide

    said = " ".join(["bench", *without_secrets(sys.argv[1:])])
    try:
        base = baseline.load(where(kept, root))
    except baseline.BaselineError as why:
        return decide.refused(f"no comparable baseline: {why}", command=said)
    runs = opened(chosen(texts, root))
    return decide.check(base, runs, asked, command=said, ledger=_ledger(base))


def _ledger(base: Baseline) -> list[Json]:
    """What `bench noise` found on such machines with this scheme."""
    from bench import noise
    from bench.services.cache import cache_dir

    scheme, machine = str(base.run["scheme"]), base.machine_class or ""
    return list(noise.entries(cache_dir() / noise.LEDGER, machine_class=machine, scheme=scheme))


def where(kept: str, root: Path) -> Path:
    """NAME is in results/baselines; anything that looks like a path is one."""
    from bench.gate.baseline import FOLDER

    looks_like_a_path = kept.endswith(".json") or os.sep in kept
    return Path(kept) if looks_like_a_path else root / FOLDER / f"{kept}.json"


def chosen(texts: Sequence[str], root: Path) -> list[RunFolder]:
    """The runs that were named, each once; without any the newest one and what ran in its series."""
    if texts:
        return list({folder.path: folder for folder in (open_run(text, root) for text in texts)}.values())
    newest = open_run("latest", root)
    series = (newest.manifest().get("repeat") or {}).get("series")
    return _newest_series(root, series) if series else [newest]


def _newest_series(root: Path, series: str) -> list[RunFolder]:
    from bench.results import ResultsError, runs

    found = []
    for folder in runs(root):
        try:
            if (folder.manifest().get("repeat") or {}).get("series") == series:
                found.append(folder)
        except ResultsError:
            continue
    return found[::-1]


def opened(folders: Sequence[RunFolder]) -> list[Any]:
    """`bench.compare.Run`s.  Raises BadRun for one without a summary."""
    from bench.compare import Run
    from bench.results import ResultsError

    try:
        return [Run(folder.run_id, folder.summary(), folder.manifest()) for folder in folders]
    except ResultsError as why:
        raise BadRun(str(why)) from why


# --- what comes out ---------------------------------------------------------------------------------------


def _folder(root: Path) -> Path:
    from bench import results
    from bench.results import ResultsError

    try:
        return results.create_check(root, now=datetime.now(UTC))
    except ResultsError as why:
        raise BadRun(str(why)) from why


def _written(content: Json, root: Path) -> Path:
    out = _folder(root)
    try:
        _report(content, out)
    except BaseException:  # Ctrl-C too: half a check is none
        shutil.rmtree(out)
        raise
    return out


def _report(content: Json, out: Path) -> None:
    from bench import report
    from bench.results import ResultsError

    try:
        report.check(content, out)
    except ResultsError as why:
        raise BadRun(str(why)) from why


def _outputs(content: Json, given: dict[str, Any]) -> None:
    from bench.report import ci, gate

    texts: dict[Path | None, Callable[[], str]] = {
        given["markdown"]: lambda: gate.comment(content),
        given["junit"]: lambda: ci.junit(content, datetime.now(UTC), platform.node()),
        given["bencher"]: lambda: _json(ci.bencher(content)),
    }
    if (smaller := given["github_action_benchmark"]) is not None:
        texts[smaller] = lambda: _json(ci.action_benchmark(content, bigger=False))
        bigger = smaller.with_name(f"{smaller.stem}-bigger{smaller.suffix}")
        texts[bigger] = lambda: _json(ci.action_benchmark(content, bigger=True))
    for path, text in texts.items():
        if path is not None:
            _write(path, text())
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a") as file:
            file.write(gate.comment(content))
        for line in ci.workflow_commands(content):
            click.echo(line, err=True)


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    from bench.results import ResultsError, write_text

    try:
        write_text(path, text)
    except ResultsError as why:
        raise BadRun(str(why)) from why


def _show(content: Json, out: Path, *, quiet: bool) -> None:
    from bench.report import gate, terminal

    click.echo(f"{out / 'report.html'}", err=True)
    terminal.render(gate.check_document(content), quiet=quiet)


command.params.extend(against.PARAMS)
