"""Small whole runs, and what must be as it was before when they are over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from bench import report, runner, summary
from bench.options import Arm, Places, RunOptions, arms
from bench.results import RunFolder
from bench.runner import Load, Progress
from bench.services.cache import scratch_dir

USERS = 60
OURS = ("mariadbd", "mysqld", "redis-server", "kafka.Kafka", "-m schemes", "bench.load")


_before: set[int] = set()
_folders_before: set[str] = set()


def remember() -> None:
    """Notes what runs already: services that other tests share are not this run's."""
    _before.clear()
    _before.update(processes())
    _folders_before.clear()
    _folders_before.update(_folders())


def options(out: Path, scheme: str, **changes: Any) -> RunOptions:
    """Sixty users for three seconds, on private services."""
    fixed = {"users": USERS, "rate_per_s": 20.0, "duration_s": 3.0, "warmup_s": 2.0, "pin": "none"}
    return RunOptions(scheme, out=out, places=Places("local"), command="bench run (test)", **fixed | changes)


def arm_of(chosen: RunOptions) -> Arm:
    (arm,) = arms(chosen)
    return arm


def carry_out(
    chosen: RunOptions, show: Callable[[Progress], None] = lambda _: None
) -> tuple[RunFolder, dict[str, Any]]:
    """One run with its report, and its summary."""
    folder = _run(chosen, show)
    report.make(folder)
    return folder, folder.summary()


def judged(
    chosen: RunOptions, show: Callable[[Progress], None] = lambda _: None
) -> tuple[RunFolder, dict[str, Any]]:
    """One run and its summary, without the report, which takes longer than the run."""
    folder = _run(chosen, show)
    return folder, summary.write(folder)


def _run(chosen: RunOptions, show: Callable[[Progress], None]) -> RunFolder:
    remember()
    return runner.run(arm_of(chosen), Load.of(chosen), chosen, say=lambda _: None, show=show)


def _folders() -> set[str]:
    found = (*Path("/dev/shm").glob("readstate-*"), *scratch_dir().glob("readstate-*"))
    return set(map(str, found))


def processes() -> dict[int, str]:
    """What runs below this test: pid -> command line."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        if child.pid in _before:
            continue
        try:
            command = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        if any(name in command for name in OURS):
            found[child.pid] = command
    return found


def pid_of(victim: str) -> int:
    """The process that plays a part in the run that is going on."""
    marks = {
        "server": "-m schemes ",
        "consumer": "schemes.queue.consumer",
        "mysql": "mariadbd",
        "worker": "bench.load.worker",
    }
    (pid,) = [
        pid for pid, command in processes().items() if marks[victim] in command and "setpriv" not in command
    ]
    return pid


def left_behind() -> list[str]:
    """Processes, rows in memory and data folders of runs that began and ended since `remember`."""
    return [*processes().values(), *sorted(_folders() - _folders_before)]
