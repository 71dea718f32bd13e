"""Folders that last no longer than the process that made them.

Each has a lock that its owner holds while it lives; what a killed one has left, the next one removes."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

PREFIX: Final = "readstate-"
LOCK: Final = "owner.lock"


@dataclass(frozen=True)
class Owned:
    """A folder of this process."""

    path: Path
    lock: IO[str]

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.lock.close()


def make(name: str, parent: Path) -> Owned:
    """A new folder in `parent`, never one that is there already; what dead processes left there goes."""
    sweep(parent)
    path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-", dir=parent))
    return Owned(path, own(path))


def own(folder: Path) -> IO[str]:
    """Marks a folder as this process's for as long as it lives, or the file that is returned is open."""
    new = folder / f".{LOCK}"
    lock = new.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(folder / LOCK)  # nobody sees one that is not held yet
    return lock


def sweep(parent: Path) -> None:
    """Removes what runs that were killed have left in `parent`; their processes died with them."""
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with lock.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            continue  # locked: its run is alive; or gone: somebody else swept
