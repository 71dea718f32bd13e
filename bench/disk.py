"""What the disk under the services costs: 200 fdatasyncs of a small write, and direct reads of 16 KiB,
InnoDB's page.  Measured once per host, day and disk, since it takes seconds where disks are slow.

How long a flush takes says nothing about whether it was one: a host may answer from a cache of its own."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from bench.services.cache import cache_dir, publish

SYNCS: Final = 200
WRITE_BYTES: Final = 512
READS: Final = 200
READ_BYTES: Final = 16_384
FILE_BYTES: Final = 8 << 20
LONGEST_S: Final = 4.0
"""Of each of the two, on a very slow disk: fewer say enough then."""
UNKNOWN: Final = "unknown"


def cost(folder: Path) -> dict[str, Any]:
    """What `measure` found today, or finds now."""
    stored = cache_dir() / f"disk-{folder.stat().st_dev}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        found: dict[str, Any] = json.loads(stored.read_text())
        if found["measured_at"][:10] == _today().isoformat() and found["folder"] == str(folder):
            return found
    measured = measure(folder)
    publish(stored, lambda new: new.write_text(json.dumps(measured, indent=1) + "\n"))
    return measured


def measure(folder: Path, *, sync: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Times in µs.  `sync` flushes a file descriptor; by default fdatasync.  Raises OSError where the folder
    takes no files."""
    with tempfile.TemporaryDirectory(prefix="readstate-disk-", dir=folder) as scratch:
        path = Path(scratch) / "probe"
        syncs = _syncs(path, sync or os.fdatasync)
        reads, why_not = _direct_reads(path)
    return {
        "folder": str(folder),
        "filesystem": filesystem(folder),
        "fdatasync_us": _figures(syncs),
        "direct_read_us": _figures(reads),
        "no_direct_read": why_not,
        "honoured_by_host": UNKNOWN,
        "measured_at": datetime.now(UTC).isoformat(" ", "seconds"),
    }


def filesystem(folder: Path) -> str:
    """Of the mount that the folder is on: overlay, ext4, tmpfs."""
    real = folder.resolve()
    mounts = [mount for mount in psutil.disk_partitions(all=True) if real.is_relative_to(mount.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else UNKNOWN


def _syncs(path: Path, sync: Callable[[int], None]) -> list[float]:
    """Each is a small write behind the last one, and its flush."""
    text = os.urandom(WRITE_BYTES)
    with path.open("wb", buffering=0) as file:
        file.write(os.urandom(FILE_BYTES))
        os.fsync(file.fileno())

        def one() -> None:
            file.write(text)
            sync(file.fileno())

        return _timed(one, SYNCS)


def _direct_reads(path: Path) -> tuple[list[float], str | None]:
    """Past the kernel's cache, at random places."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as why:
        return [], f"no direct reads there: {why.strerror}"
    page = mmap.mmap(-1, READ_BYTES)  # aligned, as direct reads want it
    try:
        return _timed(lambda: os.preadv(handle, [page], _somewhere()), READS), None
    except OSError as why:
        return [], f"no direct reads there: {why.strerror}"
    finally:
        os.close(handle)
        page.close()


def _somewhere() -> int:
    return random.randrange(FILE_BYTES // READ_BYTES) * READ_BYTES


def _timed(once: Callable[[], object], times: int) -> list[float]:
    """µs of each, until LONGEST_S are over."""
    took: list[float] = []
    end = time.monotonic() + LONGEST_S
    while len(took) < times and time.monotonic() < end:
        began = time.perf_counter_ns()
        once()
        took.append((time.perf_counter_ns() - began) / 1000)
    return took


def _figures(took: list[float]) -> dict[str, float] | None:
    if not took:
        return None
    ordered = sorted(took)
    return {
        "n": len(ordered),
        "p50": round(ordered[len(ordered) // 2], 1),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "max": round(ordered[-1], 1),
    }


def _today() -> date:
    return datetime.now(UTC).date()
