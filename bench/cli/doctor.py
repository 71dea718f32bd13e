"""`bench doctor`: is this machine fit for a run, and if not, what to type."""

from __future__ import annotations

import json
import sys
from typing import Final

import click

from bench.options import USERS_MAX

EXIT_PREVENTED: Final = 3
EXIT_DOUBTFUL: Final = 5
MARKS: Final = {"ok": "ok  ", "note": "note", "warn": "WARN", "bad": "BAD "}


@click.command(name="doctor")
@click.option(
    "--users",
    type=click.IntRange(1, USERS_MAX),
    default=2000,
    show_default=True,
    help="For a run of so many.",
)
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
def command(users: int, as_json: bool) -> None:
    """Look at the machine before a run: limits, ports, cores, clock, memory, disk, services.

    Exit code 0: fit; 5: a run is possible, but its figures would be doubtful (WARN); 3: something prevents a
    run (BAD).
    """
    from dataclasses import asdict

    from bench import doctor

    findings = doctor.judge(doctor.look(users))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{MARKS[finding.verdict]} {finding.check}: {finding.message}")
            if finding.advice:
                click.echo(f"     → {finding.advice}")
    said = {finding.verdict for finding in findings}
    sys.exit(EXIT_PREVENTED if doctor.BAD in said else EXIT_DOUBTFUL if doctor.WARN in said else 0)
