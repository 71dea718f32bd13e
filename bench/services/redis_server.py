"""A private Redis (or Valkey) on a loopback port, without persistence where it is a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.services import probe
from bench.services.cache import publish
from bench.services.terms import AS_SHIPPED, Terms, redis_settings


def binary() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def version() -> str:
    """As the binary says it: `Redis server v=7.0.15 …`."""
    done = subprocess.run(
        [binary() or "redis-server", "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


class RedisServer:
    name = "redis"
    ports = 1
    grace_s = 5.0

    def __init__(self, folder: Path, template: Path | None, terms: Terms = AS_SHIPPED) -> None:
        self.folder = folder
        self._durable = redis_settings(terms.durability, terms.rests_on)
        kept = self._durable["appendonly"] == "yes"  # then no dump is looked at
        self.restored = template is not None and template.is_file() and not kept
        self._source = template if self.restored else None

    def prepare(self) -> None:
        if self._source:  # loaded at the start, although nothing is ever saved
            shutil.copyfile(self._source, self.folder / "dump.rdb")
            os.utime(self._source)

    def argv(self, ports: list[int]) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(ports[0]),
            "dir": str(self.folder),
            "save": "",
            **self._durable,
            "daemonize": "no",
            "logfile": "",
        }
        words = [word for key, value in settings.items() for word in (f"--{key}", value)]
        return [binary() or "redis-server", *words]

    def url(self, ports: list[int]) -> str:
        return f"redis://127.0.0.1:{ports[0]}/0"

    def probe(self, url: str) -> probe.Facts:
        facts = probe.redis_server(url)
        (self.folder / "dump.rdb").unlink(
            missing_ok=True
        )  # loaded; a crash must lose it, as it does a cache's
        return facts

    def snapshot(self, url: str, to: Path) -> None:
        with probe.redis_client(url) as client:
            client.save()
        dump = self.folder / "dump.rdb"
        publish(to, lambda new: shutil.move(dump, new))  # moved, for the same reason
