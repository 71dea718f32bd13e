"""What a running stack of services is. How one comes to be: local.py, compose.py, external.py, warm.py."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

NAMES = ("mysql", "redis", "kafka")
DATABASE = "readstate"


class ServicesError(Exception):
    """Services could not be started, reached or kept. The message is a paragraph for the user (exit 3)."""


def hidden(url: str) -> str:
    """The URL without its password, for messages and results."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


@dataclass(frozen=True)
class Service:
    """One running service, described truthfully enough to stand in a result."""

    name: str  # mysql, redis or kafka: the role
    engine: str  # what plays it: "MariaDB", "MySQL", "Redis", "Valkey", "Apache Kafka"
    version: str
    how: str  # local, compose or external
    url: str  # mysql+aiomysql://root@127.0.0.1:23306/readstate, redis://…, or host:port for Kafka
    settings: Mapping[str, str] = field(default_factory=dict)  # as the running service says
    pids: tuple[int, ...] = ()  # on this machine; empty where they cannot be known
    log: Path | None = None

    def line(self) -> str:
        """For people: one line with everything that explains a latency."""
        settings = " ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}: {self.engine} {self.version} ({self.how}) at {hidden(self.url)}  {settings}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; without the password."""
        return {
            **asdict(self),
            "url": hidden(self.url),
            "settings": dict(self.settings),
            "log": str(self.log) if self.log else None,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Service:
        log = Path(row["log"]) if row["log"] else None
        return cls(**{**row, "pids": tuple(row["pids"]), "log": log})


class Stack:
    """Services that are up. A context manager: leaving it stops what this stack started, and nothing else."""

    how = "external"
    can_snapshot = False  # whether snapshot_* and restart work: only private processes of this run
    restored: frozenset[str] = frozenset()  # services that started from a template, so need no seeding

    def __init__(self, services: dict[str, Service], folder: Path) -> None:
        self.services = services
        self.folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def alive(self) -> list[str]:
        """One text per service that has died, each beginning with its name; empty when all are well."""
        return []

    def stop(self) -> None:
        """Stops what this stack started and removes its data. Calling it again does nothing."""

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to one service, for faults."""
        raise self._not_ours(name, f"send {number.name}")

    def restart(self, name: str) -> Service:
        """Starts a service that has ended again, on the same port and data, and waits until it answers."""
        raise self._not_ours(name, "restart it")

    def mysql_data_bytes(self) -> int | None:
        """Of the tables of a run; None where their files are not ours to look at."""
        return None

    def snapshot_mysql(self, to: Path) -> None:
        """Writes the data folder of MySQL to `to`: clean shutdown, copy, restart."""
        raise self._not_ours("mysql", f"copy its data folder to {to}")

    def snapshot_redis(self, to: Path) -> None:
        """Writes the dump of Redis to `to`."""
        raise self._not_ours("redis", f"copy its dump to {to}")

    def _not_ours(self, name: str, wish: str) -> ServicesError:
        return ServicesError(
            f"Asked to {wish}, but {name} is {self.how}: this run did not start it and keeps its hands off. "
            f"Use --services local, where every service is a private process of the run."
        )

    def write_settings(self) -> None:
        """Leaves services.json in the stack's folder, for whoever looks there."""
        rows = {name: service.to_dict() for name, service in self.services.items()}
        (self.folder / "services.json").write_text(json.dumps(rows, indent=2) + "\n")
