"""`python -m schemes SCHEME`: starts one reference server by hand, in the foreground.

The composition root: it is the only place that knows both the server and the schemes."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
import uvloop

from schemes import SCHEMES, Scheme, failpoints, protocol
from schemes.ports import Build, Refused
from schemes.server.listener import Server
from schemes.server.session import ServerConfig
from schemes.stores import distance

CANNOT_START = 3
STORE_URLS = {"mysql": "mysql-url", "redis": "redis-url", "kafka": "kafka-bootstrap"}
DEFAULTS = {
    "mysql-url": "mysql+aiomysql://root@127.0.0.1:3306/readstate",
    "redis-url": "redis://127.0.0.1:6379/0",
    "kafka-bootstrap": "127.0.0.1:9092",
}


class CannotStart(Exception):
    """The server cannot run; the message says why and what to do."""


def ack_meaning(scheme: str, options: dict[str, str]) -> protocol.AckMeaning:
    """What this server's acknowledgements promise."""
    if scheme == "memory":
        return protocol.AckMeaning("volatile", "volatile")
    queued = options.get("queue-order") == "queue_first"
    return protocol.AckMeaning("durable", "queued" if queued else "durable")


def _load(target: str) -> Build:
    module, _, name = target.partition(":")
    build: Build = getattr(importlib.import_module(module), name)
    return build


async def _serve(name: str, options: dict[str, str], config: ServerConfig, host: str, port: int) -> None:
    server = Server(config)
    try:
        distance.set_rtt(float(options.get("store-rtt", "0")))
        server.scheme = _load(SCHEMES[name].build)(options, server.publisher)
    except ValueError as why:  # an option that cannot mean anything
        raise CannotStart(f"the {name} scheme cannot start: {why}") from None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        bound = await server.listen(host, port)
    except OSError as why:
        raise CannotStart(
            f"cannot listen on {host}:{port}: {why.strerror or why}. Choose another with --port."
        ) from None
    except Refused as why:
        raise CannotStart(f"the {name} scheme cannot start: {why}") from None
    print(f"serving {name} on ws://{host}:{bound}{protocol.PATH}", file=sys.stderr, flush=True)
    try:
        await stop.wait()
    finally:
        await server.stop()


def _command(name: str, scheme: Scheme) -> click.Command:
    """The command line of one scheme, made from its descriptor."""
    params: list[click.Parameter] = [
        click.Option(["--host"], default="127.0.0.1", show_default=True, help="address to listen on"),
        click.Option(
            ["--port"],
            envvar="READSTATE_PORT",
            default=protocol.DEFAULT_PORT,
            show_default=True,
            type=click.IntRange(0, 65535),
        ),
        click.Option(["--node"], default="0", show_default=True, help="number of this server, 0 to 1023"),
        click.Option(
            ["--auth"],
            envvar="READSTATE_AUTH",
            type=click.Choice(["hmac", "off"]),
            default="hmac",
            show_default=True,
            help="check tokens or not",
        ),
        click.Option(
            ["--control"],
            envvar="READSTATE_CONTROL",
            is_flag=True,
            help=f"open {protocol.CONTROL_PATH}, which can wipe the stores",
        ),
        click.Option(
            ["--failpoints"],
            is_flag=True,
            help=f"for tests: {protocol.CONTROL_PATH} can stop, delay, break and kill it at named places",
        ),
        click.Option(
            ["--secret"],
            envvar="READSTATE_SECRET",
            help="signs tokens, opens the control door; better given as READSTATE_SECRET; made up if absent",
        ),
        click.Option(
            ["--set"],
            multiple=True,
            metavar="NAME=VALUE",
            help="an option of the scheme's own parts; store-rtt=MS makes every round trip to a store longer",
        ),
    ]
    params += [
        click.Option([f"--{option}"], envvar=_variable(option), default=DEFAULTS[option], show_default=True)
        for need, option in STORE_URLS.items()
        if need in scheme.needs
    ]
    params += [
        click.Option(
            [f"--{option}"],
            envvar=_variable(option),
            type=click.Choice(about.values) if about.values else str,
            default=about.default,
            show_default=True,
            help=about.help,
        )
        for option, about in scheme.options.items()
    ]
    return click.Command(name, params=params, callback=_callback(name), help=scheme.title)


def _variable(option: str) -> str:
    """Of the environment, for whoever starts a server by a command that it does not know."""
    return f"READSTATE_{option.upper().replace('-', '_')}"


def _callback(name: str) -> Callable[..., None]:
    def run(**values: Any) -> None:
        host, port, auth, control = (values.pop(key) for key in ("host", "port", "auth", "control"))
        if values.pop("failpoints"):
            if not control:
                raise click.UsageError("--failpoints needs --control, the door through which they are set")
            failpoints.switch_on()
        secret: str | None = values.pop("secret")
        if secret is None:
            secret = secrets.token_urlsafe(16)
            print(f"secret {secret}", file=sys.stderr, flush=True)
        extra: tuple[str, ...] = values.pop("set")
        options = {key.replace("_", "-"): str(value) for key, value in values.items()}
        options |= dict(_pair(text) for text in extra)
        limits = protocol.Limits()
        options.setdefault("receipt-members", str(limits.receipt_members))
        config = ServerConfig(
            scheme=name,
            model=options.get("model", "none"),
            ack=ack_meaning(name, options),
            node=int(options["node"]),
            secret=secret.encode(),
            auth=auth == "hmac",
            control=control,
            limits=limits,
        )
        run_or_explain(_serve(name, options, config, host, port))

    return run


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"expected NAME=VALUE, got {text!r}", param_hint="--set")
    return key, value


def run_or_explain(main: Coroutine[Any, Any, None]) -> None:
    """Runs to the end; what cannot start is one paragraph and exit code 3."""
    logging.basicConfig(
        level=os.environ.get("READSTATE_LOG", "WARNING"), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        uvloop.run(main)
    except CannotStart as why:
        print(f"error: {why}", file=sys.stderr)
        sys.exit(CANNOT_START)


@click.group(help=__doc__)
def main() -> None:
    """Filled from SCHEMES."""


for _name, _scheme in SCHEMES.items():
    main.add_command(_command(_name, _scheme))

if __name__ == "__main__":
    main(prog_name="python -m schemes")
