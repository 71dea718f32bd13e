"""A scenario on its own: `locust -f scenarios/steady_chat.py --headless -u 100 --host ws://127.0.0.1:8080`.

Everything that `bench run` does around the load is missing here but what it cannot do without: the population
is seeded through the server's `/control` door.  In a worker of the harness (`worker.py`) none of this runs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

import gevent
from locust import events
from locust.runners import LocalRunner
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from bench.load.config import LoadConfig
from bench.load.pacing import now_ns
from bench.load.process import LoadProcess
from bench.load.replies import decode
from bench.load.statistics import Statistics
from bench.plan import Plan, PlanOptions, intensity_of_rate, make
from bench.population import Population, PopulationOptions, Unread, build
from schemes.protocol import (
    CONTROL_PATH,
    SUBPROTOCOL,
    ControlReply,
    ControlRequest,
    decode_control_reply,
    encode,
)

SECRET_VARIABLE: Final = "READSTATE_SECRET"
DEVELOPMENT_SECRET: Final = "development"
DEFAULT_DURATION_S: Final = 60.0
LEAD_NS: Final = 200_000_000
CONTROL_TIMEOUT_S: Final = 120.0
_CONTROL_CONNECTION: Final[dict[str, Any]] = {
    "subprotocols": [SUBPROTOCOL],
    "compression": None,
    "max_size": None,
    "open_timeout": 5,
}


def install(*, point_reads: bool = False) -> None:
    """Makes the scenario file that calls this a complete Locust file."""
    hooks: Any = events  # untyped in Locust
    hooks.init_command_line_parser.add_listener(_options)
    hooks.init.add_listener(_connect_at_once)
    hooks.test_start.add_listener(partial(_start, point_reads=point_reads))
    hooks.test_stop.add_listener(_stop)


def _options(parser: Any) -> None:
    parser.add_argument("--people", type=int, default=None, help="also offline ones; default: the connected")
    parser.add_argument("--rate", type=float, default=100.0, help="SEND/s of everybody together")
    parser.add_argument(
        "--warmup", type=float, default=2.0, help="seconds at the start of -t that do not count"
    )
    parser.add_argument("--seed", type=int, default=1, help="of people, conversations and the plan")


def _connect_at_once(environment: Any, **_: Any) -> None:
    """Locust's default is one user a second; the engine paces its handshakes itself."""
    options = environment.parsed_options
    if options.spawn_rate is None:
        options.spawn_rate = options.num_users or 1


def _start(environment: Any, *, point_reads: bool = False, **_: Any) -> None:
    if not isinstance(environment.runner, LocalRunner) or hasattr(environment, "load"):
        return
    options = environment.parsed_options
    duration_s = options.run_time or DEFAULT_DURATION_S
    people = PopulationOptions(options.num_users or 1, options.people, options.seed)
    plan_options = PlanOptions(
        rate_per_s=options.rate,
        warmup_s=min(options.warmup, duration_s / 2),
        measure_s=duration_s - min(options.warmup, duration_s / 2),
        point_reads=point_reads,
    )
    try:
        population = build(people)
        plan = make(population, plan_options)
        host, secret = environment.host or "", os.environ.get(SECRET_VARIABLE, DEVELOPMENT_SECRET)
        seed(host, secret, population, plan.unread_at_start)
    except (ValueError, ControlClosed) as error:
        environment.process_exit_code = 2
        raise SystemExit(f"this scenario: {error}") from None
    tmpfs = "/dev/shm" if Path("/dev/shm").is_dir() else None
    memory = tempfile.mkdtemp(prefix="readstate-locust-", dir=tmpfs)
    config = LoadConfig(
        host=host, scenario="", memory=memory, plan_file="", population=people, plan=plan_options,
        nonce=secrets.token_hex(4), secret=secret,
    )  # fmt: skip
    _run(environment, config, population, plan)


def _run(environment: Any, config: LoadConfig, population: Population, plan: Plan) -> None:
    load = LoadProcess(config, population, plan, 0, lambda _reason: environment.runner.quit())
    environment.load = load
    intensity = intensity_of_rate(plan.options.rate_per_s, population.connected)
    print(
        f"{population.devices} devices of {population.connected} people, {plan.options.rate_per_s:g} SEND/s: "
        f"{intensity:.1f} times their natural traffic"
    )
    gevent.spawn(_conduct, environment, load)
    gevent.spawn(_report, environment, Statistics(load, environment))


def _conduct(environment: Any, load: LoadProcess) -> None:
    while load.crowd.ready < load.wanted:
        gevent.sleep(0.01)
    load.freeze_gc()
    t0_ns = now_ns() + LEAD_NS
    load.begin(t0_ns, lambda: None)
    for user_class in environment.user_classes:
        load.engine.pacer.follow(user_class.timeline(load.timeline))
    for user_greenlet in environment.runner.user_greenlets:
        user_greenlet.args[0].begin(t0_ns)


def _report(environment: Any, statistics: Statistics) -> None:
    while hasattr(environment, "load"):
        gevent.sleep(1.0)
        statistics.report()


def _stop(environment: Any, **_: Any) -> None:
    load = getattr(environment, "load", None)
    if isinstance(environment.runner, LocalRunner) and load is not None:
        del environment.load
        load.stop()
        shutil.rmtree(load.config.memory_folder)


class ControlClosed(Exception):
    """The server's own door does not open; the message says what to do."""


def seed(host: str, secret: str, population: Population, unread: Unread) -> None:
    """Wipes the server and loads the population.  Raises ControlClosed."""
    url = host.rstrip("/").removesuffix("/ws") + CONTROL_PATH
    try:
        with connect(url, **_CONTROL_CONNECTION) as socket:
            _sign_in(socket, secret)
            _ask(socket, ControlRequest("RESET"))
            for batch in population.seed_frames(unread):
                _ask(socket, ControlRequest("SEED", conversations=batch))
            _ask(socket, ControlRequest("SEED", done=True))
    except (OSError, WebSocketException) as error:
        raise ControlClosed(
            f"{url} does not open ({error}). The population is seeded through it: start the server with its "
            f"door and this secret, e.g. `{SECRET_VARIABLE}={DEVELOPMENT_SECRET} python -m schemes memory "
            f"--port 8080 --control`; here it is {SECRET_VARIABLE} too (default: {DEVELOPMENT_SECRET})"
        ) from error


def _sign_in(socket: Any, secret: str) -> None:
    socket.send(encode(ControlRequest("AUTH", secret=secret)).decode())
    if decode(socket.recv(timeout=CONTROL_TIMEOUT_S).encode()).type != "OK":
        raise ControlClosed(
            f"the server does not accept the secret: give the one it was started with in {SECRET_VARIABLE}"
        )


def _ask(socket: Any, request: ControlRequest) -> ControlReply:
    socket.send(encode(request).decode())
    reply = decode_control_reply(socket.recv(timeout=CONTROL_TIMEOUT_S))
    if reply.code:
        raise ControlClosed(f"{request.type} was refused: {reply.code} {reply.message}")
    return reply
