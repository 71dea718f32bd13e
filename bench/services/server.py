"""The scheme's own processes: its server, and its consumer where it has one, each in a process of its own.

They are started from their command line and spoken to on the wire, so one in another language could stand in.
"""

from __future__ import annotations

import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.services.daemon import Daemon, until
from bench.services.ports import free_ports, is_free
from bench.services.stack import ServicesError
from schemes import SCHEMES, Scheme
from schemes.protocol import CONTROL_PATH, PATH

MODULE = "schemes"
"""What is run as the server: `python -m MODULE SCHEME …`."""
READY_TIMEOUT_S = 90.0
STOP_GRACE_S = 8.0


@dataclass(frozen=True)
class Source:
    """What is run instead of the schemes that are here: `python` in a `folder` that has others, or a
    `command` that starts a server and reads READSTATE_PORT, READSTATE_SECRET and where its stores are
    (`READSTATE_MYSQL_URL`, …) from its environment."""

    folder: Path
    python: str = sys.executable
    command: tuple[str, ...] = ()


class SchemeProcesses:
    """A running scheme.  A context manager: leaving it stops the processes."""

    def __init__(
        self,
        scheme: str,
        options: Mapping[str, str],
        *,
        settings: Mapping[str, str],
        shared: Mapping[str, str] | None = None,
        secret: str,
        logs: Path,
        port: int | None = None,
        auth: str = "hmac",
        source: Source | None = None,
    ) -> None:
        """`settings` are the server's own; `shared` ones are given to each process.  Another `source` has its
        own defaults: it is given only what differs from ours."""
        self.scheme = scheme
        self._source = source
        self.port = port or free_ports(1)[0]
        self.status_url: str | None = None
        """Where the consumer, if there is one, tells of itself."""
        self.commands: dict[str, list[str]] = {}
        self._daemons: dict[str, Daemon] = {}
        if port is not None and not is_free(port):
            raise ServicesError(
                f"Port {port} was asked for with --port and is taken. Stop what listens there "
                f"(`ss -ltnp 'sport = :{port}'` names it), or leave --port out and a free one is chosen."
            )
        self._commands(options, settings, shared or {}, auth)
        environment = {"READSTATE_SECRET": secret, "PYTHONUNBUFFERED": "1"}
        if source is not None and source.command:
            environment |= {
                "READSTATE_AUTH": auth,
                "READSTATE_CONTROL": "1",
                **_as_environment({**options, "port": str(self.port)}),
            }
        for name, argv in self.commands.items():
            log = logs / f"{name}.log"
            folder = None if source is None else source.folder
            self._daemons[name] = Daemon(argv, log=log, env=environment, cwd=folder)

    def _commands(
        self, options: Mapping[str, str], settings: Mapping[str, str], shared: Mapping[str, str], auth: str
    ) -> None:
        known, source, python = SCHEMES[self.scheme], self._source, sys.executable
        if source is not None and source.command:
            self.commands["server"] = [*source.command]
            return
        if source is not None:
            python = source.python
            options = {name: value for name, value in options.items() if not _is_default(known, name, value)}
        named = [f"--{name}={value}" for name, value in options.items()]
        if known.consumer is not None:
            module = known.consumer.partition(":")[0]
            health = free_ports(1)[0]
            self.status_url = f"http://127.0.0.1:{health}/status"
            taken = [f"--{name}={value}" for name, value in options.items() if name in known.consumer_options]
            taken += [f"--{name}={value}" for name, value in shared.items()]
            self.commands["consumer"] = [python, "-m", module, *taken, f"--health-port={health}"]
        server = [python, "-m", MODULE, self.scheme, f"--port={self.port}", f"--auth={auth}"]
        set_ = [f"--set={name}={value}" for name, value in {**settings, **shared}.items()]
        self.commands["server"] = [*server, "--control", *named, *set_]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{PATH}"

    @property
    def control_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{CONTROL_PATH}"

    def pids(self) -> dict[str, list[int]]:
        return {name: [daemon.pid] for name, daemon in self._daemons.items()}

    def alive(self) -> list[str]:
        """One text per process that has ended, each beginning with its name; empty when all are well."""
        ended = {name: daemon.poll() for name, daemon in self._daemons.items()}
        return [f"{name} (pid {self._daemons[name].pid}) {how}" for name, how in ended.items() if how]

    def wait_ready(self) -> None:
        """Until `/readyz` answers 200.  Raises ServicesError with the end of the log."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while until(deadline, 0.05):
            if dead := self.alive():
                raise ServicesError(
                    f"The {self.scheme} scheme did not start: {dead[0]}. Its log ends with:\n{self._tails()}"
                )
            if self._ready():
                return
        raise ServicesError(
            f"The {self.scheme} server on port {self.port} was not ready after {READY_TIMEOUT_S:.0f} s. "
            f"Its log ends with:\n{self._tails()}"
        )

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def _tails(self) -> str:
        return "\n".join(f"  {name}:\n{daemon.tail()}" for name, daemon in self._daemons.items())

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to one of the processes, if there is such a one."""
        if name in self._daemons:
            self._daemons[name].send(number)

    def stop(self) -> None:
        """Server first, so that the consumer can finish what is queued.  Calling it again does nothing."""
        for name in ("server", "consumer"):
            if name in self._daemons:
                self._daemons[name].stop(STOP_GRACE_S)

    def __enter__(self) -> SchemeProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _is_default(scheme: Scheme, name: str, value: str) -> bool:
    return name in scheme.options and scheme.options[name].default == value


def _as_environment(options: Mapping[str, str]) -> dict[str, str]:
    """READSTATE_MYSQL_URL for mysql-url."""
    return {f"READSTATE_{name.upper().replace('-', '_')}": value for name, value in options.items()}
