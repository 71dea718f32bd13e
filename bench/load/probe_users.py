"""The probe users' process: `python -m bench.load.probe_users FD`.

A load process like the others, with the same users of the same plan, but few: what it times is not waiting
behind a full event loop, and the kernel says when it came (`stamps.py`).  Started by `fleet.py` only.  It is
no worker of Locust's master, whose page shows the load users; the order `spawn` replaces `join`.
"""

from __future__ import annotations

import locust  # isort: skip  # first: it patches the process

import logging

from bench.load.worker import Worker, main


class ProbeUsers(Worker):
    """Spawns its users with a runner of its own."""

    def _do_spawn(self, users: int) -> None:
        logging.getLogger("locust.runners").setLevel(logging.ERROR)  # it would warn of what the next lines do
        self._runner = self._environment.create_local_runner()
        self._runner.start(users, spawn_rate=users)  # all at once: the engine paces its handshakes itself


if __name__ == "__main__":
    assert locust.__version__
    main(ProbeUsers)
