"""`bench conformance`: which rows of the protocol hold on a server that runs already."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bench.options import BadOptions, Target, target_url

if TYPE_CHECKING:
    from bench.conformance.contract import Result
    from bench.conformance.rooms import Rooms

EXIT_CANNOT_START: Final = 3
EXIT_VIOLATION: Final = 12
SEED_TIMEOUT_S: Final = 60.0


@click.command(name="conformance")
@click.option("--url", required=True, help="ws://host:port/ws: a server that runs already, in any language.")
@click.option("--token-secret", help="Signs its tokens; absent: it looks at none.  [env BENCH_TOKEN_SECRET]")
@click.option(
    "--control-secret",
    help="Opens its /control, to SEED conversations to try things in (nothing is wiped).  "
    "[env BENCH_CONTROL_SECRET]",
)
@click.option(
    "--population",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the server was loaded with, as `bench run --url … --write-population` wrote it.",
)
@click.option("--only", multiple=True, metavar="NAME", help="A section, or a row by its name in --json.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    url: str,
    token_secret: str | None,
    control_secret: str | None,
    population: Path | None,
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Try the protocol readstate.v1 on a server, row by row, and say which rows hold.

    \b
    bench conformance --url ws://127.0.0.1:8080/ws --token-secret development --control-secret development
    bench conformance --url ws://127.0.0.1:9000/ws --population population.jsonl

    It sends messages and marks them as read. Exit codes: 0 every row that could be tried holds, 2 usage,
    3 the server cannot be spoken to, 12 a row does not hold.
    """
    try:
        target = Target(
            target_url(url),
            token_secret or os.environ.get("BENCH_TOKEN_SECRET"),
            control_secret or os.environ.get("BENCH_CONTROL_SECRET"),
        )
        if population is None and target.control_secret is None:
            raise BadOptions(
                "Rows need conversations. Name the file that the server was loaded with as --population, or "
                "give --control-secret if it has a /control that can SEED."
            )
        results = _try(target, population, only)
    except BadOptions as why:
        raise click.UsageError(str(why)) from None
    if as_json:
        click.echo(json.dumps(to_json(target.url, results), indent=1))
    else:
        for line in lines(target.url, results):
            click.echo(line)
    from bench.conformance.contract import Verdict

    sys.exit(EXIT_VIOLATION if any(r.verdict is Verdict.DOES_NOT_HOLD for r in results) else 0)


def _try(target: Target, population: Path | None, only: tuple[str, ...]) -> list[Result]:
    from bench.conformance.case import Server
    from bench.conformance.client import Unmet, Unsupported
    from bench.conformance.contract import SECTIONS, conform, rows

    known = rows()
    if unknown := [name for name in only if name not in SECTIONS and name not in {r.name for r in known}]:
        raise BadOptions(f"--only {unknown[0]}: no such section or row; sections: {', '.join(SECTIONS)}.")
    chosen = [row for row in known if not only or row.section in only or row.name in only]
    server = Server(
        target.url, target.control_url, target.token_secret, target.control_secret, _rooms(target, population)
    )
    try:
        return asyncio.run(conform(server, chosen))
    except (Unmet, Unsupported) as why:
        click.echo(f"error: {target.url} cannot be greeted: {why}", err=True)
        sys.exit(EXIT_CANNOT_START)


def _rooms(target: Target, population: Path | None) -> Rooms:
    """The server's own conversations, or new ones through SEED."""
    from bench.conformance.rooms import BadRooms, Rooms, made
    from bench.control import Control, ControlError

    if population is not None:
        try:
            return Rooms.read(population)
        except BadRooms as why:
            raise BadOptions(f"--population: {why}.") from None
    conversations = made()
    try:
        control = Control(target.control_url, target.control_secret or "")
        control.seed([conversations], warm=True)
        control.close()
    except ControlError as why:
        click.echo(
            f"error: the server cannot be seeded through {target.control_url}: {why}. If it was loaded from "
            "a file, name that as --population.",
            err=True,
        )
        sys.exit(EXIT_CANNOT_START)
    return Rooms(conversations)


def lines(url: str, results: list[Result]) -> list[str]:
    """The table, section by section, and what it comes to."""
    told: list[str] = []
    section = ""
    for result in results:
        if result.row.section != section:
            section = result.row.section
            told.append(section)
        told.append(f"  {result.verdict.value:<14} {result.row.says}")
        if result.expected:
            told += [f"{'':<17}expected {result.expected}", f"{'':<17}came     {result.came}"]
        if result.why_not:
            told.append(f"{'':<17}{result.why_not}")
    return [*told, f"{url}: {_sum(results)}"]


def _sum(results: list[Result]) -> str:
    from bench.conformance.contract import Verdict

    counts = [(verdict, sum(r.verdict is verdict for r in results)) for verdict in Verdict]
    return f"of {len(results)} rows " + ", ".join(f"{n} {_verb(v.value, n)}" for v, n in counts)


def _verb(words: str, count: int) -> str:
    return {"holds": "hold", "does not hold": "do not hold"}.get(words, words) if count != 1 else words


def to_json(url: str, results: list[Result]) -> dict[str, Any]:
    return {
        "url": url,
        "rows": [
            {
                "name": r.row.name,
                "section": r.row.section,
                "says": r.row.says,
                "optional": r.row.optional or bool(r.row.needs),
                "verdict": r.verdict.value,
                "expected": r.expected or None,
                "came": r.came or None,
                "why_not": r.why_not or None,
            }
            for r in results
        ],
    }
