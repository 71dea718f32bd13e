"""`bench calibrate`: what generator and stores can carry on this machine."""

from __future__ import annotations

import json
import sys
from typing import Any, Final, NoReturn

import click

EXIT_CANNOT_START: Final = 3


@click.command(name="calibrate")
@click.option("--json", "as_json", is_flag=True, help="What was measured as JSON.")
@click.option("--show", is_flag=True, help="Only show what was measured last.")
def command(as_json: bool, show: bool) -> None:
    """Measure what the generator alone (against an echo), the generator with the control, and MySQL, Redis
    and Kafka alone can carry; two minutes at most.  Every later run says how near it came.

    Exit code 3 if something does not start, or nothing was measured yet (--show).
    """
    from bench import machine
    from bench.calibrate import stored
    from bench.calibrate.measure import USERS, calibrate
    from bench.cli.signals import end_as_by_ctrl_c
    from bench.load.fleet import WorkerLost
    from bench.services import ServicesError
    from bench.services.lock import run_lock

    before = stored.find()
    if show:
        if before is None:
            _fail("Nothing was measured yet for this machine and these versions: type `bench calibrate`.")
        _tell(before, None, as_json=as_json)
        return
    machine.make_room(USERS)
    end_as_by_ctrl_c()
    try:
        with run_lock("bench calibrate"):
            found = calibrate(lambda text: click.echo(f"calibrating: {text}", err=True))
    except (ServicesError, WorkerLost, TimeoutError) as why:
        _fail(str(why))
    click.echo(f"kept in {stored.keep(found)}", err=True)
    _tell(found, before, as_json=as_json)


def _tell(found: dict[str, Any], before: dict[str, Any] | None, *, as_json: bool) -> None:
    from bench.report.ceilings import lines

    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for line in lines(found, before):
        click.echo(line)


def _fail(text: str) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(EXIT_CANNOT_START)
