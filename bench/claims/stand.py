"""Where blocks are measured: one population's data, and an arm's own private services and server beside each
other arm's, all up at the same time, so that arms can take turns every few seconds.

Only one of them is asked anything at a time; the others wait."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench.control import Control
from bench.options import Arm
from bench.population import Population
from bench.services import Stack, local, mariadb
from bench.services.cache import template_path
from bench.services.server import SchemeProcesses
from bench.services.terms import Terms
from bench.setting_up import SCHEMA_SQL, WARM_UP_RECORDS
from schemes import SCHEMES

CACHED_ALONE: Final = ("queue",)
"""Schemes whose cache is seeded with the data, so that no copy of MySQL's data is enough."""
Say = Callable[[str], None]


@dataclass
class Place:
    """One arm, up."""

    arm: Arm
    stack: Stack
    server: SchemeProcesses
    control: Control
    secret: str

    def facts(self) -> dict[str, Any]:
        """For the record: versions and settings that matter, and how much data there is."""
        services = {name: service.to_dict() for name, service in self.stack.services.items()}
        data = self.stack.mysql_data_bytes() if "mysql" in services else None
        told = {
            name: {key: of[key] for key in ("engine", "version", "settings")} for name, of in services.items()
        }
        return {"options": dict(self.arm.options), "services": told, "mysql_data_bytes": data}


class Stand:
    """A context manager; `places` by name of the arm.  Raises ServicesError."""

    def __init__(
        self, arms: Mapping[str, Arm], population: Population, pool_ratio: float | None, logs: Path, say: Say
    ) -> None:
        self._arms, self._population, self._pool_ratio = arms, population, pool_ratio
        self._logs, self._say = logs, say
        self._exit = contextlib.ExitStack()
        self.places: dict[str, Place] = {}

    def __enter__(self) -> Self:
        try:
            for name, arm in self._arms.items():
                self.places[name] = self._set_up(name, arm)
        except BaseException:  # Ctrl-C too: what was started is stopped
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def alive(self) -> Sequence[str]:
        """What has ended, though nobody asked it to."""
        return [text for one in self.places.values() for text in (*one.server.alive(), *one.stack.alive())]

    def _set_up(self, name: str, arm: Arm) -> Place:
        logs = self._logs / name.replace("/", "-")
        logs.mkdir(parents=True, exist_ok=True)
        scheme = SCHEMES[arm.scheme]
        terms = Terms(rests_on=scheme.rests_on, pool_ratio=self._pool_ratio)
        copied = "mysql" in scheme.needs and arm.scheme not in CACHED_ALONE
        templates = self._templates(arm) if copied else {}
        stack = self._exit.enter_context(
            local.start(
                scheme.needs,
                folder=None,
                mysql_template=templates.get("mysql"),
                redis_template=templates.get("redis"),
                terms=terms,
                say=self._say,
            )
        )
        secret = secrets.token_urlsafe(24)
        if not templates.keys() <= stack.restored:
            self._say(f"seeding {self._population.conversations:,} conversations")
            with _server(arm, stack, secret, logs) as seeder:
                seeder.wait_ready()
                self._seed(seeder, secret)
            if "redis" in templates:
                stack.snapshot_redis(templates["redis"])
            stack.snapshot_mysql(templates["mysql"])
        server = self._exit.enter_context(_server(arm, stack, secret, logs))
        server.wait_ready()
        if not copied:
            self._seed(server, secret)
        control = Control(server.control_url, secret)
        self._exit.callback(control.close)
        control.ask("FREEZE_GC", timeout_s=30)
        return Place(arm, stack, server, control, secret)

    def _seed(self, server: SchemeProcesses, secret: str) -> None:
        control = Control(server.control_url, secret)
        control.ask("RESET", timeout_s=120)
        control.seed(self._population.seed_frames(None), warm=True)
        control.close()

    def _templates(self, arm: Arm) -> dict[str, Path]:
        """Of the stores that start with the data, the cache filled with all of it."""
        key = {
            "seed": self._population.seed_sha256(None),
            "schema": hashlib.sha256(SCHEMA_SQL.read_bytes()).hexdigest(),
            "model": arm.options.get("model", ""),
        }
        version = mariadb.version() if mariadb.binary() else ""
        found = {"mysql": template_path("mysql", version, key)}
        if "redis" in SCHEMES[arm.scheme].needs:
            found["redis"] = template_path("redis", version, key | {"scheme": arm.scheme})
        return found


def _server(arm: Arm, stack: Stack, secret: str, logs: Path) -> SchemeProcesses:
    found = dict(arm.options)
    services = stack.services
    if "mysql" in services:
        found["mysql-url"] = services["mysql"].url
    if "redis" in services:
        found["redis-url"] = services["redis"].url
    if "kafka" in services:
        found["kafka-bootstrap"] = services["kafka"].url
    settings = {"warm-up": WARM_UP_RECORDS} if arm.scheme == "queue" else {}
    return SchemeProcesses(arm.scheme, found, settings=settings, secret=secret, logs=logs)
