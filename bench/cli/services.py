"""`bench services`: keep MySQL, Redis and Kafka up between runs, look at them, take them down."""

from __future__ import annotations

import sys

import click

from bench.options import ARTICLE, DURABILITIES

EXIT_SERVICES = 3


@click.group(name="services")
def command() -> None:
    """Keep services up between runs.

    A run starts private services and ends them; while a stack is up, runs use that one instead.
    """


@command.command()
@click.option(
    "--needs", default="mysql,redis,kafka", show_default=True, help="Which, with commas between them."
)
@click.option(
    "--services",
    "how",
    type=click.Choice(["auto", "local", "compose"]),
    default="auto",
    show_default=True,
    help="Processes of this machine, containers, or whichever is installed.",
)
@click.option(
    "--durability",
    type=click.Choice(DURABILITIES),
    default=ARTICLE,
    show_default=True,
    help="As in `bench run`, which uses this stack for that class alone.",
)
def up(needs: str, how: str, durability: str) -> None:
    """Start services that stay until `bench services down`."""
    from bench.services import ServicesError, warm

    try:
        stack = warm.up(_names(needs), how=how, say=_say, durability=durability)
    except ServicesError as error:
        _fail(error)
    for service in stack.services.values():
        click.echo(service.line())


@command.command()
def status() -> None:
    """Say what is up: URLs, process ids, versions. Exit code 3 if nothing is, or if something has died."""
    from bench.services import warm

    remembered = warm.read()
    if remembered is None:
        click.echo("no stack is up")
        sys.exit(EXIT_SERVICES)
    dead = remembered.dead()
    for service in remembered.services.values():
        click.echo(f"{service.line()}  pids={','.join(map(str, service.pids)) or '?'}  log={service.log}")
    for text in dead:
        click.echo(text)
    sys.exit(EXIT_SERVICES if dead else 0)


@command.command()
def down() -> None:
    """Stop the services that `up` started and remove their data."""
    from bench.services import warm

    ended = warm.down()
    click.echo(f"down: {', '.join(ended)}" if ended else "no stack was up")


def _names(needs: str) -> frozenset[str]:
    from bench.services.stack import NAMES

    names = frozenset(name.strip() for name in needs.split(",") if name.strip())
    if not names or names - set(NAMES):
        raise click.BadParameter(
            f"{needs!r} was given; it takes any of {', '.join(NAMES)}", param_hint="--needs"
        )
    return names


def _say(text: str) -> None:
    click.echo(text, err=True)


def _fail(error: Exception) -> None:
    click.echo(f"bench: {error}", err=True)
    sys.exit(EXIT_SERVICES)
