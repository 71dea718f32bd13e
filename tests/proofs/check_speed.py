"""What the checks cost: seconds and peak memory of each, at 1, 3 and 10 million operations on cursors.

`python -m tests.proofs.check_speed RUN` (`make proof-check-speed RUN=results/latest`) grows a recorded run
(tests/speed/grow.py) until it has so many, and judges it in processes of their own.  Prints Markdown.

An operation on a cursor is what `linearizable` judges: a write, or what one STATE or acknowledgement shows of
one cursor.  A recorded STATE is one operation and shows dozens."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bench import machine
from bench.checks import (
    all_checks,
    catch_up,
    convergence,
    cursors,
    evidence,
    final_read,
    observed,
    pushes,
    unread,
)
from bench.checks.story import Story
from bench.metrics.history import History
from bench.results import RunFolder
from tests.speed.grow import grow

MILLIONS: Final = (1, 3, 10)
MIB: Final = 1 << 20
TRIES: Final = 3
"""Each is measured so often, in turn; the one with the median CPU time is told, and the most memory."""
LOOK_S: Final = 0.2
"""How often memory is looked at."""


def _final_read(history: History) -> object:
    return final_read.judge(evidence.collect(history, ""), evidence.promises(history), Story(history))


def _convergence(history: History) -> object:
    found, promises = evidence.collect(history, ""), evidence.promises(history)
    return convergence.judge(found, evidence.cached(history), promises, Story(history))


CHECKS: Final[dict[str, Callable[[History], object]]] = {
    "final read": _final_read,
    "store, cache, API": _convergence,
    "cursors": lambda history: cursors.judge(history, ""),
    "SYNC, versions, devices": lambda history: catch_up.judge(history, ""),
    "pushes": lambda history: pushes.judge(history, ""),
    "unread numbers": lambda history: unread.judge(history, ""),
    "all": lambda history: all_checks.judge(history, ""),
}


def measure(name: str, path: Path) -> dict[str, Any]:
    """In this process: judge once, reading what is needed from the files."""
    history = History(RunFolder.open(path))
    began = _cpu_s(), time.perf_counter()
    CHECKS[name](history)
    return {
        "cpu_s": _cpu_s() - began[0],
        "wall_s": time.perf_counter() - began[1],
    }


def _cpu_s() -> float:
    """Of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def _apart(name: str, path: Path) -> dict[str, Any]:
    """In a process of its own.  `peak_mib`: of it and its children, what they share counted once."""
    command = [sys.executable, "-m", "tests.proofs.check_speed", "--one", name, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        judging, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            peak = max(peak, _held(judging))
            time.sleep(LOOK_S)
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    result: dict[str, Any] = json.loads(told)
    return result | {"peak_mib": peak / MIB}


def _middle(tries: list[dict[str, Any]]) -> dict[str, Any]:
    middle = sorted(tries, key=lambda cost: cost["cpu_s"])[len(tries) // 2]
    return middle | {"peak_mib": max(cost["peak_mib"] for cost in tries)}


def _held(root: psutil.Process) -> int:
    """Bytes of a process and its children, what they share counted once."""
    held = 0
    with suppress(psutil.Error):
        for process in (root, *root.children(recursive=True)):
            held += process.memory_full_info().pss
    return held


def on_cursors(run: RunFolder) -> int:
    """How many operations on cursors were recorded; not counting where cursors started."""
    return int(np.count_nonzero(observed.collect(History(run)).row != observed.SEED))


Row = tuple[str, int, int, int, dict[str, Any]]
"""(check, operations on cursors, recorded operations, rows of all tables, cost)."""


def _page(run: RunFolder, copies: list[int], rows: list[Row]) -> list[str]:
    here = machine.describe()
    lines = [
        "# What the checks cost",
        "",
        f"`make proof-check-speed`, {datetime.now(UTC):%Y-%m-%d}, {here['cores']} cores ({here['cpu']}),",
        f"machine class {here['class']}, Python {here['python']}; load average {os.getloadavg()[0]:.1f} in",
        f"the last minute. {run.run_id}, {', '.join(map(str, copies))} times side by",
        "side, each copy with keys of its own. Reading the Parquet files is part of it. An operation on a",
        "cursor is a write or a read that `linearizable` judges: a STATE of 30 conversations is one recorded",
        "operation and 30 of these. All rows: operations, items and pushes. Memory is that of all processes,",
        f"what they share counted once. Each {TRIES} times, in turn: the try with the median CPU time is",
        "told, and the most memory. The exponent is the slope of log CPU time over log size, by least",
        "squares.",
        "",
        "| check | on cursors | recorded | all rows | wall, s | CPU, s | on cursors/s | peak, MiB |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name, judged, operations, everything, cost in rows:
        lines.append(
            f"| {name} | {judged:,} | {operations:,} | {everything:,} | {cost['wall_s']:.1f} "
            f"| {cost['cpu_s']:.1f} | {judged / cost['wall_s']:,.0f} | {cost['peak_mib']:,.0f} |"
        )
    return [*lines, "", "| check | exponent |", "| --- | --: |", *_exponents(rows)]


def _exponents(rows: list[Row]) -> list[str]:
    lines = []
    for name in CHECKS:
        size, cpu = (
            np.log(column)
            for column in zip(*[(row[1], row[4]["cpu_s"]) for row in rows if row[0] == name], strict=True)
        )
        if len(size) > 1:
            lines.append(f"| {name} | {np.polyfit(size, cpu, 1)[0]:.2f} |")
    return lines


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--one"]:
        print(json.dumps(measure(arguments[1], Path(arguments[2]))))
        return
    run = RunFolder.open(Path(arguments[0]))
    millions = [float(text) for text in arguments[1:]] or MILLIONS
    judged = on_cursors(run)
    copies = [math.ceil(size * 1e6 / judged) for size in millions]
    rows: list[Row] = []
    for times in copies:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
            grown = grow(run, times, Path(scratch))
            operations = grown.table("operations").rows
            everything = sum(grown.table(name).rows for name in ("operations", "items", "pushes"))
            size = (times * judged, operations, everything)
            tries = [{name: _apart(name, grown.path) for name in CHECKS} for _ in range(TRIES)]
            rows += [(name, *size, _middle([turn[name] for turn in tries])) for name in CHECKS]
    order = list(CHECKS)
    rows.sort(key=lambda row: (order.index(row[0]), row[1]))
    print("\n".join(_page(run, copies, rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
