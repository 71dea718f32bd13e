"""What the checks cost: seconds and peak memory of each, at 1, 3 and 10 million operations.

`python -m tests.proofs.check_speed RUN` (`make proof-check-speed RUN=results/latest`) grows a recorded run
(tests/speed/grow.py) until it has so many operations, and judges it in processes of their own.  Prints
Markdown; the exponent is the slope of log time over log size."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import machine
from bench.checks import all_checks, catch_up, convergence, cursors, evidence, final_read, pushes, unread
from bench.checks.story import Story
from bench.metrics.history import History
from bench.results import RunFolder
from tests.speed.grow import grow

MILLIONS: Final = (1, 3, 10)
MIB: Final = 1024


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
    began = time.process_time(), time.perf_counter()
    CHECKS[name](history)
    return {
        "cpu_s": time.process_time() - began[0],
        "wall_s": time.perf_counter() - began[1],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB,
    }


def _apart(name: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.proofs.check_speed", "--one", name, str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(told)
    return result


def _page(run: RunFolder, rows: list[tuple[str, int, int, dict[str, Any]]]) -> list[str]:
    here = machine.describe()
    lines = [
        "# What the checks cost",
        "",
        f"`make proof-check-speed`, {datetime.now(UTC):%Y-%m-%d}, {here['cores']} cores ({here['cpu']}),",
        f"machine class {here['class']}, Python {here['python']}. {run.run_id}, copied side by side,",
        "each copy with keys of its own. Reading the Parquet files is part of it.",
        "",
        "| check | operations | all rows | wall, s | CPU, s | operations/s | peak, MiB | exponent |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    first: dict[str, tuple[int, float]] = {}
    for name, operations, everything, cost in rows:
        seconds = cost["wall_s"]
        size, before = first.setdefault(name, (operations, seconds))
        slope = f"{math.log(seconds / before) / math.log(operations / size):.2f}" if size < operations else ""
        lines.append(
            f"| {name} | {operations:,} | {everything:,} | {seconds:.1f} | {cost['cpu_s']:.1f} "
            f"| {operations / seconds:,.0f} | {cost['peak_mib']:,.0f} | {slope} |"
        )
    return lines


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--one"]:
        print(json.dumps(measure(arguments[1], Path(arguments[2]))))
        return
    run = RunFolder.open(Path(arguments[0]))
    millions = [float(text) for text in arguments[1:]] or MILLIONS
    rows = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        for size in millions:
            copies = math.ceil(size * 1e6 / run.table("operations").rows)
            grown = grow(run, copies, Path(scratch))
            operations = grown.table("operations").rows
            everything = sum(grown.table(name).rows for name in ("operations", "items", "pushes"))
            rows += [(name, operations, everything, _apart(name, grown.path)) for name in CHECKS]
    order = list(CHECKS)
    rows.sort(key=lambda row: (order.index(row[0]), row[1]))
    print("\n".join(_page(run, rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
