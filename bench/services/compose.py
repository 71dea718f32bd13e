"""Services as containers, from docker-compose.yml at the top of the repository. Needs a Docker daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.services.cache import scratch_dir
from bench.services.external import ExternalStack, describe
from bench.services.stack import DATABASE, NAMES, Service, ServicesError
from bench.services.terms import AS_SHIPPED, Terms, mysql_settings, redis_settings

FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
PROJECT = "readstate-bench"
URLS = {
    "mysql": f"mysql+aiomysql://root@127.0.0.1:23306/{DATABASE}",
    "redis": "redis://127.0.0.1:26379/0",
    "kafka": "127.0.0.1:29092",
}
_UP_S = 600  # images are pulled the first time


class ComposeStack(ExternalStack):
    how = "compose"

    def __init__(self, services: dict[str, Service], folder: Path, *, keep: bool) -> None:
        super().__init__(services, folder)
        self._keep = keep
        self._stopped = False

    def stop(self) -> None:
        if self._stopped or self._keep:
            return
        self._stopped = True
        down()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def available() -> bool:
    """Whether there are `docker compose` and a daemon that answers."""
    if not shutil.which("docker") or not FILE.is_file():
        return False
    return all(_docker(*words, timeout_s=10).returncode == 0 for words in (("compose", "version"), ("info",)))


def start(
    needs: frozenset[str],
    *,
    folder: Path | None,
    terms: Terms = AS_SHIPPED,
    keep: bool,
    say: Callable[[str], None],
) -> ComposeStack:
    if not available():
        raise ServicesError(
            "Containers were asked for, but `docker compose version` and `docker info` do not both succeed "
            "here. Install Docker with its compose plug-in and start its daemon, or use --services local."
        )
    names = [name for name in NAMES if name in needs]
    say(f"docker compose up {' '.join(names)} (the first time pulls the images: minutes)")
    try:
        done = _compose("up", "--detach", "--wait", *names, timeout_s=_UP_S, env=settings_of(terms))
        if done.returncode:
            raise ServicesError(
                f"`docker compose up` ended with status {done.returncode}. It said:\n{done.stderr[-2000:]}"
            )
        services = {name: describe(name, URLS[name], how="compose", pids=_pids(name)) for name in names}
    except BaseException:  # Ctrl-C too: no container stays behind from a start that did not succeed
        down()
        raise
    made = folder or Path(tempfile.mkdtemp(prefix="readstate-", dir=scratch_dir()))
    return ComposeStack(services, made, keep=keep)


def settings_of(terms: Terms) -> dict[str, str]:
    """What docker-compose.yml takes from its environment."""
    mysql, redis = mysql_settings(terms.durability), redis_settings(terms.durability, terms.rests_on)
    log = "--skip-log-bin" if mysql.get("log-bin") == "OFF" else "--log-bin=binlog"
    return {
        "BENCH_MYSQL_FLUSH": mysql["innodb-flush-log-at-trx-commit"],
        "BENCH_MYSQL_LOG": log,
        "BENCH_REDIS_APPENDONLY": redis["appendonly"],
        "BENCH_REDIS_APPENDFSYNC": redis.get("appendfsync", "everysec"),
    }


def down() -> None:
    """Ends the project's containers and removes their data."""
    _compose("down", "--volumes", "--timeout", "5", timeout_s=60)


def _pids(name: str) -> tuple[int, ...]:
    """The container's first process, where it is one of this machine (not with Docker Desktop)."""
    container = _compose("ps", "--quiet", name, timeout_s=30).stdout.strip()
    if not container:
        return ()
    found = _docker("inspect", container, timeout_s=30).stdout
    pid = int(json.loads(found or "[]")[0]["State"]["Pid"]) if found else 0
    return (pid,) if pid and Path(f"/proc/{pid}").exists() else ()


def _compose(
    *words: str, timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    named = ("compose", "--project-name", PROJECT, "--file", str(FILE))
    return _docker(*named, *words, timeout_s=timeout_s, env=env)


def _docker(
    *words: str, timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    argv = ["docker", *words]
    given = {**os.environ, **(env or {})}
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_s, env=given)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(argv, 124, "", str(error))
