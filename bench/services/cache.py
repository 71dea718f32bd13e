"""What outlasts a run: Kafka's jars, empty and seeded data folders, the run lock, the warm stack.

Everything here may be deleted at any time; it is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

TEMPLATES_KEPT = 6  # a seeded data folder is 150 MB to 1 GB


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "readstate-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def scratch_dir() -> Path:
    """Where running services keep their data: $TMPDIR, or /var/tmp, a disk even where /tmp is memory."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")


def template_path(service: str, version: str, key: Mapping[str, str | int]) -> Path:
    """Where a seeded data folder (or dump) of `service` belongs; the same content has the same name."""
    text = json.dumps({"version": version, **key}, sort_keys=True)
    name = f"{service}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return cache_dir() / "seeds" / name


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder; on a file system that can, without copying a byte."""
    subprocess.run(["cp", "-r", "--reflink=auto", "--", str(source), str(target)], check=True)


def publish(target: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file or folder beside `target`, then renames it: all of it or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        write(staging / "new")
        if target.is_dir():
            target.rename(staging / "old")
        (staging / "new").rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def prune_templates(keep: int = TEMPLATES_KEPT) -> None:
    """Removes all but the most recently used seeds of each service."""
    seeds = cache_dir() / "seeds"
    found = [path for path in seeds.iterdir() if not path.name.startswith(".")] if seeds.is_dir() else []
    by_service: dict[str, list[Path]] = {}
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        by_service.setdefault(path.name.split("-")[0], []).append(path)
    for path in (path for paths in by_service.values() for path in paths[keep:]):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
