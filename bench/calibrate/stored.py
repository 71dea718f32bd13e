"""Where ceilings are kept: one file per machine class and versions, in the cache folder."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

from bench import environment, machine
from bench.services import broker, mariadb, redis_server
from bench.services.cache import cache_dir, publish

Json = dict[str, Any]


def key() -> Json:
    """What makes one machine's ceilings another's: its class, and the versions of all that was measured."""
    kafka = broker.libraries()
    return {
        "machine": machine.machine_class(),
        "versions": {
            "python": platform.python_version(),
            **environment.packages(),
            "mysql": mariadb.version() if mariadb.binary() else None,
            "redis": redis_server.version() if redis_server.binary() else None,
            "kafka": broker.installed_version(kafka) if kafka else None,
        },
    }


def path() -> Path:
    text = json.dumps(key(), sort_keys=True)
    return cache_dir() / f"ceilings-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def keep(ceilings: Json) -> Path:
    where = path()
    publish(where, lambda new: new.write_text(json.dumps(ceilings, indent=1) + "\n"))
    return where


def find() -> Json | None:
    """What was measured last on a machine like this one with these versions; None if nothing was."""
    where = path()
    if not where.is_file():
        return None
    found: Json = json.loads(where.read_text())
    return found
