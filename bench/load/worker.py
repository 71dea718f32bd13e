"""A Locust worker process: `python -m bench.load.worker FD`.  It does what it is told over the channel.

Started by `fleet.py` only.  Orders: join (Locust's master), freeze, begin, follow (another plan), final,
stop; events: ready, live (once a second), frozen, finished, following, final, stopped, fatal.
"""

from __future__ import annotations

import locust  # isort: skip  # first: it patches the process

import logging
from pathlib import Path
from typing import Any
from uuid import UUID

import gevent
import msgspec
from gevent import get_hub
from locust import runners
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from bench.load.channel import Channel, inherited, leave
from bench.load.config import LoadConfig
from bench.load.process import LoadProcess
from bench.load.statistics import Statistics
from bench.load.user import ChatUser
from bench.plan import Plan
from bench.population import build

log = logging.getLogger(__name__)


class Worker:
    """Glue between the channel, Locust and the load."""

    def __init__(self, channel: Channel, config: LoadConfig, number: int) -> None:
        self._channel = channel
        self._number = number
        self._report_s = config.report_s
        self._users = scenario_users(config.scenario)
        self._environment = Environment(user_classes=[*self._users], host=config.host)
        population = build(config.population)
        plan = Plan.load(Path(config.plan_file))
        self._load = LoadProcess(config, population, plan, number, self._fatal)
        self._environment.load = self._load  # type: ignore[attr-defined]
        self._statistics = Statistics(self._load, self._environment)
        self._load.engine.live.on_first = lambda: gevent.spawn(self._report)
        self._runner: Any = None
        self._watcher = get_hub().loop.io(channel.fileno(), 1)
        self._watcher.start(self._orders)
        gevent.spawn(self._report_for_ever)
        channel.send({"event": "ready"})

    def _orders(self) -> None:
        try:
            for order in self._channel.receive():
                gevent.spawn(self._carry_out, order)
        except EOFError:
            leave(1)  # the runner is gone

    def _carry_out(self, order: dict[str, Any]) -> None:
        try:
            getattr(self, f"_do_{order.pop('do')}")(**order)
        except Exception as error:  # rim of the process: the runner must hear why
            log.critical("order failed", exc_info=error)
            self._fatal(repr(error))

    def _do_join(self, port: int) -> None:
        # Locust hands out users in the order of its workers' ids: with ours in order too, worker i of W gets
        # as many users as it owns devices.
        locust_runners: Any = runners
        locust_runners.uuid4 = lambda: UUID(int=self._number)
        self._runner = self._environment.create_worker_runner("127.0.0.1", port)

    def _do_freeze(self) -> None:
        self._load.freeze_gc()
        self._channel.send({"event": "frozen"})

    def _do_begin(self, t0_ns: int) -> None:
        self._load.begin(t0_ns, self._finished)
        start_users(self._load, self._users, self._runner, t0_ns)

    def _do_follow(self, plan_file: str, nonce: str) -> None:
        self._load.follow(Plan.load(Path(plan_file)), nonce)
        self._statistics.follow()
        self._channel.send({"event": "following"})

    def _do_final(self) -> None:
        self._load.final_read(
            lambda read, failed: self._channel.send({"event": "final", "read": read, "failed": failed})
        )

    def _do_stop(self) -> None:
        self._load.stop()
        self._report()  # the last: it has all that was recorded
        self._channel.send({"event": "stopped"})
        leave()

    def _finished(self) -> None:
        self._report()
        self._channel.send({"event": "finished"})

    def _report_for_ever(self) -> None:
        while True:
            gevent.sleep(self._report_s)
            self._report()

    def _report(self) -> None:
        self._channel.send({"event": "live", "report": msgspec.to_builtins(self._statistics.report())})

    def _fatal(self, reason: str) -> None:
        self._channel.send({"event": "fatal", "reason": reason})


def scenario_users(path: str) -> list[type[ChatUser]]:
    """The users of a scenario file.  Raises ValueError if there are none."""
    users = [user for user in load_locustfile(path)[0].values() if issubclass(user, ChatUser)]
    if not users:
        raise ValueError(f"{path}: expected a subclass of bench.load.user.ChatUser")
    return users


def start_users(load: LoadProcess, users: list[type[ChatUser]], runner: Any, t0_ns: int) -> None:
    """Starts what is planned, and the tasks of every user."""
    for user_class in users:
        load.engine.pacer.follow(user_class.timeline(load.timeline))
    for user_greenlet in runner.user_greenlets:
        user_greenlet.args[0].begin(t0_ns)


def main(kind: type[Worker] = Worker) -> None:
    """A load process's life.  Says fatal and leaves if it cannot start."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    channel = inherited()
    first = channel.receive_one()
    try:
        config = msgspec.convert(first["config"], LoadConfig)
        kind(channel, config, first["worker"])
    except Exception as error:  # rim of the process: the runner must hear why
        log.critical("cannot start", exc_info=error)
        channel.send({"event": "fatal", "reason": repr(error)})
        leave(1)
    gevent.wait()


if __name__ == "__main__":
    assert locust.__version__
    main()
