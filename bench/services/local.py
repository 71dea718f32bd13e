"""Private services for one run: processes of our own, in a data folder of their own, on free loopback ports.

They start in parallel, are proven to work before anybody is told that they do, die with this process, and
leave nothing behind. How each one is run: mariadb.py, redis_server.py, broker.py.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench import owned
from bench.services import broker, mariadb, redis_server
from bench.services.cache import prune_templates, scratch_dir
from bench.services.daemon import Daemon, until
from bench.services.ports import free_ports, is_free
from bench.services.probe import Facts, NotReady, Refused
from bench.services.stack import NAMES, Service, ServicesError, Stack
from bench.services.terms import AS_SHIPPED, Terms

Recipe = mariadb.MariaDb | redis_server.RedisServer | broker.KafkaBroker

READY_S = 60.0
DISCARD_S = 2.0  # time for a clean end when the data is thrown away anyway
_ATTEMPTS = 5

INSTALLED: dict[str, Callable[[], bool]] = {
    "mysql": lambda: bool(mariadb.binary()),
    "redis": lambda: bool(redis_server.binary()),
    "kafka": broker.installed,
}


def missing(needs: frozenset[str]) -> list[str]:
    """Which of the services have no binaries on this machine."""
    return [name for name in NAMES if name in needs and not INSTALLED[name]()]


@dataclass
class Running:
    recipe: Recipe
    daemon: Daemon
    ports: list[int]
    service: Service


class LocalStack(Stack):
    how = "local"
    can_snapshot = True

    def __init__(
        self, running: dict[str, Running], folder: Path, owner: IO[str] | None, *, keep: bool
    ) -> None:
        super().__init__({name: one.service for name, one in running.items()}, folder)
        self.restored = frozenset(name for name, one in running.items() if one.recipe.restored)
        self.keep = keep
        self._running = running
        self._owner = owner
        self._stopped = False
        self.write_settings()

    def alive(self) -> list[str]:
        ended = {name: one.daemon.poll() for name, one in self._running.items()}
        return [
            f"{name} ({self.services[name].engine}, pid {self._running[name].daemon.pid}) {how}"
            for name, how in ended.items()
            if how
        ]

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        _stop_all(
            [(one.daemon, one.recipe.grace_s if self.keep else DISCARD_S) for one in self._running.values()]
        )
        _leave_folder(self.folder, self._owner, keep=self.keep)

    def signal(self, name: str, number: signal.Signals) -> None:
        self._running[name].daemon.send(number)

    def restart(self, name: str) -> Service:
        one = self._running[name]
        one.daemon.stop(one.recipe.grace_s)
        one.daemon = Daemon(one.recipe.argv(one.ports), log=one.daemon.log)
        facts = _until_ready(one.recipe, one.daemon, one.ports, threading.Event())
        one.service = _describe(one.recipe, one.daemon, one.ports, facts)
        self.services[name] = one.service
        return one.service

    def snapshot_mysql(self, to: Path) -> None:
        one = self._running["mysql"]
        recipe = one.recipe
        if not isinstance(recipe, mariadb.MariaDb):
            raise self._not_ours("mysql", "copy its data folder")
        one.daemon.stop(recipe.grace_s)
        try:
            recipe.snapshot(to)
        finally:
            self.restart("mysql")
        prune_templates()

    def mysql_data_bytes(self) -> int:
        recipe = self._running["mysql"].recipe
        assert isinstance(recipe, mariadb.MariaDb)
        return recipe.data_bytes()

    def snapshot_redis(self, to: Path) -> None:
        recipe = self._running["redis"].recipe
        if not isinstance(recipe, redis_server.RedisServer):
            raise self._not_ours("redis", "copy its dump")
        recipe.snapshot(self.services["redis"].url, to)
        prune_templates()


def start(
    needs: frozenset[str],
    *,
    folder: Path | None,
    mysql_template: Path | None = None,
    redis_template: Path | None = None,
    terms: Terms = AS_SHIPPED,
    detached: bool = False,
    keep: bool = False,
    say: Callable[[str], None],
) -> LocalStack:
    """Starts what is needed in `folder` (made here; a fresh one where None) and returns when all of it works.

    A template that does not exist is ignored: see `Stack.restored`. After a ServicesError nothing is left.
    """
    owned.sweep(scratch_dir())
    folder = _make_folder(folder)
    owner, starter = None, Starter(detached=detached)
    try:
        owner = None if detached else owned.own(folder)
        if needs:
            say(f"starting {', '.join(name for name in NAMES if name in needs)} in {folder}")
        templates = {"mysql": mysql_template, "redis": redis_template}
        recipes = [_recipe(name, folder, templates.get(name), terms) for name in NAMES if name in needs]
        return LocalStack(starter.start(recipes), folder, owner, keep=keep)
    except BaseException:  # Ctrl-C too: whatever ends the start ends what it began, and goes on
        starter.abandon()
        _leave_folder(folder, owner, keep=False)
        raise


class Starter:
    """Starts several services at once; the first failure ends the others."""

    def __init__(self, *, detached: bool = False) -> None:
        self._detached = detached
        self._cancelled = threading.Event()
        self._daemons: list[Daemon] = []

    def start(self, recipes: list[Recipe]) -> dict[str, Running]:
        with ThreadPoolExecutor(max_workers=len(NAMES)) as pool:
            try:
                return {one.recipe.name: one for one in pool.map(self._start, recipes)}
            finally:
                self._cancelled.set()

    def abandon(self) -> None:
        _stop_all([(daemon, 0.0) for daemon in self._daemons])

    def _start(self, recipe: Recipe) -> Running:
        try:
            recipe.prepare()
            return self._launch(recipe)
        except BaseException:  # told to the other threads, then raised again
            self._cancelled.set()
            raise

    def _launch(self, recipe: Recipe) -> Running:
        for _ in range(_ATTEMPTS):
            ports = free_ports(recipe.ports)
            log = recipe.folder / f"{recipe.name}.log"
            daemon = Daemon(recipe.argv(ports), log=log, detached=self._detached)
            self._daemons.append(daemon)
            try:
                facts = _until_ready(recipe, daemon, ports, self._cancelled)
            except _PortTaken:
                continue
            return Running(recipe, daemon, ports, _describe(recipe, daemon, ports, facts))
        raise ServicesError(
            f"{recipe.name} was started {_ATTEMPTS} times, and each time another program had taken its port "
            f"in the meantime. Something here opens ports below 32768 at a great rate; stop it and retry."
        )


class _PortTaken(Exception):
    """Somebody else bound the port between our look and the service's start."""


def _until_ready(recipe: Recipe, daemon: Daemon, ports: list[int], cancelled: threading.Event) -> Facts:
    deadline = time.monotonic() + READY_S
    said = "nothing listens yet"
    while not cancelled.is_set():
        ended = daemon.poll()
        if ended:
            if not all(is_free(port) for port in ports):
                raise _PortTaken
            raise ServicesError(f"{recipe.name} was started and {ended}. Its log ends:\n{daemon.tail()}")
        if daemon.listens_on(ports[0]):  # it, and not another program that got there first
            try:
                return recipe.probe(recipe.url(ports))
            except NotReady as why:
                said = str(why)
            except Refused as why:
                raise ServicesError(f"{recipe.name}, our own, refused us: {why}\n{daemon.tail()}") from why
        if not until(deadline):
            raise ServicesError(
                f"{recipe.name} was started and did not answer within {READY_S:.0f} s (last: {said}). "
                f"Its log ends:\n{daemon.tail()}"
            )
    raise ServicesError(f"{recipe.name} was not waited for, since another service failed.")


def _recipe(name: str, parent: Path, template: Path | None, terms: Terms) -> Recipe:
    folder = parent / name
    folder.mkdir()
    if name == "mysql":
        return mariadb.MariaDb(folder, template, terms)
    if name == "redis":
        return redis_server.RedisServer(folder, template, terms)
    return broker.KafkaBroker(folder)


def _describe(recipe: Recipe, daemon: Daemon, ports: list[int], facts: Facts) -> Service:
    return Service(
        name=recipe.name,
        engine=facts.engine,
        version=facts.version,
        how="local",
        url=recipe.url(ports),
        settings=facts.settings,
        pids=(daemon.pid,),
        log=daemon.log,
    )


def _stop_all(daemons: list[tuple[Daemon, float]]) -> None:
    with ThreadPoolExecutor(max_workers=max(1, len(daemons))) as pool:
        list(pool.map(lambda pair: pair[0].stop(pair[1]), daemons))


def _make_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix=owned.PREFIX, dir=scratch_dir()))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ServicesError(
            f"The services' data folder {folder} is not empty, and it is removed at the end. "
            f"Give an empty one, or one that does not exist yet."
        )
    return folder.resolve()


def _leave_folder(folder: Path, owner: IO[str] | None, *, keep: bool) -> None:
    if keep:
        (folder / owned.LOCK).unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if owner:
        owner.close()
