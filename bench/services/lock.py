"""One run at a time on a machine: two would measure each other."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.services.cache import cache_dir
from bench.services.stack import ServicesError


@contextlib.contextmanager
def run_lock(command: str, *, path: Path | None = None) -> Iterator[None]:
    """Holds the machine-wide lock. The kernel gives it back whatever happens to this process."""
    path = path or cache_dir() / "run.lock"
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServicesError(_held(path)) from error
        now = datetime.now(UTC).isoformat(" ", "seconds")
        _sign(path, {"pid": os.getpid(), "command": command, "since": now})
        try:
            yield
        finally:
            _sign(path, {})


def holder(path: Path) -> str:
    """Who has the machine now; empty where nobody does."""
    if not path.is_file():
        return ""
    with path.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _who(path)
    return ""


def _sign(path: Path, holder: dict[str, object]) -> None:
    path.write_text(json.dumps(holder) + "\n")


def _held(path: Path) -> str:
    return (
        f"Another run has this machine: {_who(path)}. "
        f"Two at once would measure each other, so this one was not "
        f"started. Wait for it, or stop it, and type the command again."
    )


def _who(path: Path) -> str:
    try:
        signed = json.loads(path.read_text())
        return f"`{signed['command']}` (pid {signed['pid']}, since {signed['since']})"
    except (ValueError, KeyError, OSError):
        return "another run, which has just begun or is just ending"
