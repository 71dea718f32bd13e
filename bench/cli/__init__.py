"""The command line: `bench COMMAND`.  One module per command, imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import NoReturn

import click

from schemes import __version__

COMMANDS = (
    "run",
    "capacity",
    "claims",
    "compare",
    "noise",
    "check",
    "baseline",
    "history",
    "report",
    "list",
    "show",
    "explain",
    "logs",
    "clean",
    "services",
    "statements",
    "doctor",
    "calibrate",
    "conformance",
    "selftest",
)
"""Each is `bench.cli.<name>`, which exports `command`."""


class _Commands(click.Group):
    """Imports a command when it is used, so that `bench --help` is quick; suggests the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"bench.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            no_such("command", name, COMMANDS)
        return super().resolve_command(ctx, args)


def no_such(what: str, name: str, known: tuple[str, ...]) -> NoReturn:
    """A usage error that names the nearest of what there is."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise click.UsageError(f"There is no {what} {name!r}.{hint} There are: {', '.join(known)}.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Which way of keeping read/unread state is fast, fresh and right enough?

    \b
    bench run --scheme redis --users 10000      one scheme
    bench run --scheme all --users 2000         all of them, compared
    bench run --url ws://host:port/ws           a server of your own, as it runs
    bench doctor                                is this machine fit for a run
    bench calibrate                             what generator and stores can carry here
    bench capacity --scheme redis               how much it carries inside an objective
    bench claims                                the article's figures, put to the test
    bench conformance --url ws://host:port/ws   does it keep to the protocol
    bench compare RUN RUN                       runs that are there already
    bench noise --scheme redis                  the smallest effect that this machine can see
    bench baseline save main RUN...             keep good runs, to hold others against them
    bench check --baseline main                 is the newest worse than those: the gate of a CI
    bench history READ.p99                      a figure over the stored runs, and when it changed
    bench show latest                           the last summary again
    bench explain latest                        what went wrong in it

    Exit codes: 0 good, 1 internal error, 2 usage, 3 nothing could be started, 4 INVALID (the instrument is
    not to be trusted), 5 INCONCLUSIVE, 10 a --fail-if held, 11 regression, 12 a promise was broken,
    130 interrupted.
    """
