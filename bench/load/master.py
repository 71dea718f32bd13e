"""Locust's master process: `python -m bench.load.master FD`.  It hands out users, and shows the web page.

Started by `fleet.py` only.  Orders: spawn, stop; events: ready, workers (all have joined), spawned.
"""

from __future__ import annotations

import locust  # isort: skip  # first: it patches the process

import logging

import gevent
import msgspec
from gevent import get_hub
from locust.env import Environment

from bench.load.channel import Channel, inherited, leave
from bench.load.config import LoadConfig
from bench.load.worker import scenario_users

log = logging.getLogger(__name__)
WORKERS_POLL_S = 0.05


class Master:
    """Glue between the channel and Locust's master."""

    def __init__(self, channel: Channel, config: LoadConfig) -> None:
        self._channel = channel
        self._environment = Environment(user_classes=[*scenario_users(config.scenario)], host=config.host)
        self._runner = self._environment.create_master_runner("127.0.0.1", 0)
        if config.web_port is not None:
            self._environment.create_web_ui("127.0.0.1", config.web_port)
        self._watcher = get_hub().loop.io(channel.fileno(), 1)
        self._watcher.start(self._orders)
        channel.send({"event": "ready", "port": self._runner.server.port})
        gevent.spawn(self._await_workers, config.workers)

    def _await_workers(self, workers: int) -> None:
        while len(self._runner.clients.ready) < workers:
            gevent.sleep(WORKERS_POLL_S)
        self._channel.send({"event": "workers"})

    def _orders(self) -> None:
        try:
            for order in self._channel.receive():
                if order["do"] == "spawn":
                    gevent.spawn(self._spawn, order["users"])
                else:
                    leave()
        except EOFError:
            leave(1)  # the runner is gone

    def _spawn(self, users: int) -> None:
        self._runner.start(users, spawn_rate=users)  # all at once: the engine paces its handshakes itself
        self._channel.send({"event": "spawned"})


def main() -> None:
    """Says fatal and leaves if it cannot start."""
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    channel = inherited()
    first = channel.receive_one()
    try:
        Master(channel, msgspec.convert(first["config"], LoadConfig))
    except Exception as error:  # rim of the process: the runner must hear why
        log.critical("cannot start", exc_info=error)
        channel.send({"event": "fatal", "reason": repr(error)})
        leave(1)
    gevent.wait()


if __name__ == "__main__":
    assert locust.__version__
    main()
