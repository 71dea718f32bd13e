"""A stack that stays up between runs: `bench services up` starts it, runs find it, `… down` ends it.

Remembered in the cache folder by process ids and their start times: a reused id is never taken for ours.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.options import ARTICLE
from bench.services import compose, local
from bench.services.cache import cache_dir
from bench.services.external import ExternalStack
from bench.services.stack import Service, ServicesError, Stack
from bench.services.terms import Terms

_GRACE_S = 10.0


@dataclass(frozen=True)
class Remembered:
    """What the state file says."""

    how: str
    folder: Path
    services: Mapping[str, Service]
    started: Mapping[int, float]  # pid -> start time, as psutil tells it
    durability: str = ARTICLE

    def processes(self) -> list[psutil.Process]:
        """Those that still live."""
        return [process for pid in self.started if (process := self.process(pid))]

    def process(self, pid: int) -> psutil.Process | None:
        try:
            found = psutil.Process(pid)
            ours = found.create_time() == self.started.get(pid) and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if ours else None

    def dead(self) -> list[str]:
        return [
            f"{name} ({service.engine}, pid {pid}) has ended"
            for name, service in self.services.items()
            for pid in service.pids
            if not self.process(pid)
        ]


class WarmStack(ExternalStack):
    """Left running at the end of a run."""

    def __init__(self, remembered: Remembered, needs: frozenset[str] | None = None) -> None:
        services = {
            name: service for name, service in remembered.services.items() if needs is None or name in needs
        }
        super().__init__(services, remembered.folder)
        self.how = remembered.how
        self._remembered = remembered

    def alive(self) -> list[str]:
        return self._remembered.dead() or super().alive()

    def stop(self) -> None:
        """Nothing: `bench services down` does that."""


def state_file() -> Path:
    return cache_dir() / "warm.json"


def read() -> Remembered | None:
    if not state_file().is_file():
        return None
    state: dict[str, Any] = json.loads(state_file().read_text())
    return Remembered(
        how=state["how"],
        folder=Path(state["folder"]),
        services={name: Service.from_dict(row) for name, row in state["services"].items()},
        started={int(pid): start for pid, start in state["started"].items()},
        durability=state.get("durability", ARTICLE),
    )


def has(needs: frozenset[str]) -> bool:
    """Whether a stack is up that has all of `needs`."""
    remembered = read()
    return remembered is not None and needs <= set(remembered.services) and not remembered.dead()


def durability() -> str | None:
    """Of the stack that is up."""
    remembered = read()
    return remembered.durability if remembered is not None else None


def attach(needs: frozenset[str] | None = None) -> WarmStack:
    """`needs`: a scheme is told of these alone; None: of all that are up."""
    remembered = read()
    if remembered is None:
        raise ServicesError("No stack is up. Type `bench services up` first.")
    return WarmStack(remembered, needs)


def up(
    needs: frozenset[str],
    *,
    how: str,
    say: Callable[[str], None],
    durability: str = ARTICLE,
) -> Stack:
    """Starts a stack that outlives this process.  What rests on which of its stores is not known yet."""
    terms = Terms(durability)
    if read() is not None:
        raise ServicesError(
            "A stack is up already, or was and has died. `bench services down` clears it away."
        )
    stack: Stack
    if how == "compose":
        stack = compose.start(needs, folder=None, terms=terms, keep=True, say=say)
    else:
        stack = local.start(needs, folder=None, terms=terms, detached=True, say=say)
    pids = [pid for service in stack.services.values() for pid in service.pids]
    state = {
        "how": stack.how,
        "folder": str(stack.folder),
        "durability": durability,
        "services": {name: service.to_dict() for name, service in stack.services.items()},
        "started": {pid: psutil.Process(pid).create_time() for pid in pids},
    }
    state_file().write_text(json.dumps(state, indent=2) + "\n")
    return stack


def down() -> list[str]:
    """Stops the stack, removes its data, and says which services it ended."""
    remembered = read()
    if remembered is None:
        return []
    if remembered.how == "compose":
        compose.down()
    else:
        _end(remembered.processes())
        shutil.rmtree(remembered.folder, ignore_errors=True)
    state_file().unlink()
    return list(remembered.services)


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.terminate()
    _, left = psutil.wait_procs(processes, timeout=_GRACE_S)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=_GRACE_S)
