"""`bench statements SCHEME`: what one operation of each kind really sends to the stores."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from schemes import SCHEMES

if TYPE_CHECKING:
    from bench.statements import Step

EXIT_CANNOT_START: Final = 3
EXIT_INVALID: Final = 4
WIDTH: Final = 150


def _with_scheme_options(command: click.Command) -> click.Command:
    named: dict[str, click.Option] = {}
    for about in SCHEMES.values():
        for name, option in about.options.items():
            kind = click.Choice(option.values) if option.values else click.STRING
            named.setdefault(name, click.Option([f"--{name}"], type=kind, default=None, help=option.help))
    command.params += named.values()
    return command


@_with_scheme_options
@click.command(name="statements")
@click.argument("scheme", type=click.Choice(tuple(SCHEMES)))
@click.option("--full", is_flag=True, help="Whole statements and values, however long.")
def command(scheme: str, full: bool, **given: str | None) -> None:
    """Print what one SEND, DELIVERED, READ, STATE and SYNC of SCHEME really send: statements as MySQL's
    general log has them, commands as Redis' MONITOR tells them (those of scripts set in), records as they are
    in the topic; and whether that is what the scheme's work ledger declares.

    Starts private services and a server for it. What comes by the clock (heartbeats, polls) is left out.
    Exit code 4 if an operation sends something else than is declared, 3 if nothing can be started.
    """
    from bench.conformance.client import Unmet
    from bench.control import ControlError
    from bench.services import ServicesError
    from bench.statements import watch

    options = _chosen(scheme, given)
    logs = Path(tempfile.mkdtemp(prefix="readstate-statements-"))
    try:
        steps = watch(scheme, options, logs, lambda text: click.echo(text, err=True))
    except (ServicesError, ControlError, Unmet) as why:
        click.echo(f"bench: {why}", err=True)
        sys.exit(EXIT_CANNOT_START)
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    for step in steps:
        click.echo("\n".join(lines(step, None if full else WIDTH)))
    if any(step.wrong for step in steps):
        sys.exit(EXIT_INVALID)


def _chosen(scheme: str, given: dict[str, Any]) -> dict[str, str]:
    options = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
    offered = SCHEMES[scheme].options
    if unknown := [name for name in options if name not in offered]:
        raise click.UsageError(f"--{unknown[0]} is no option of the {scheme} scheme.")
    if conflict := SCHEMES[scheme].conflict(options):
        raise click.UsageError(conflict)
    return options


def lines(step: Step, width: int | None) -> list[str]:
    """A heading, a line for each statement, and what is not as declared."""
    said = ", ".join(f"{n} {name.partition('.')[2]}" for name, n in sorted(step.counted.items()))
    found = [f"{step.name}: {said or 'nothing'}"]
    for one in step.heard:
        store = one.counter.partition(".")[0]
        text = " ".join(one.text.split())
        text = f"{store:<5} {'  ' if one.scripted else ''}{text}"
        found.append(f"  {text if width is None or len(text) <= width else text[: width - 1] + '…'}")
    for name in step.wrong:
        low, high = step.declared.get(name, (0, 0))
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        found.append(f"  NOT AS DECLARED {name}: declared {span}, counted {step.counted.get(name, 0)}")
    return found
