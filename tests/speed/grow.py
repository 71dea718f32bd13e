"""A recorded run, grown: so many copies of it side by side, each with conversations, people, devices and
sessions of its own, in a result folder of the usual kind.  For measuring checks at sizes that nobody records.

A check sees as many keys and as many operations on each as a larger run would have, at the same times."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.population import NOBODY
from bench.record import TABLES
from bench.results import ONCE, RunFolder

Rows = NDArray[Any]

_NUMBER: Final = (1 << 40) - 1
_SESSION: Final = (1 << 24) - 1


def grow(run: RunFolder, copies: int, out: Path) -> RunFolder:
    """A new folder below `out`."""
    grown = RunFolder(out / f"{run.run_id}-x{copies}")
    shutil.rmtree(grown.path, ignore_errors=True)
    grown.logs.mkdir(parents=True)
    grown.charts.mkdir()
    sizes = _Sizes(run)
    for name in TABLES:
        for file, first, after in run.table(name).shards():
            worker = int(file.removesuffix(".parquet").rpartition("-")[2])
            rows = _rows(run, name, TABLES[name], first, after)
            grown.write_rows(
                name, worker, np.concatenate([sizes.moved(rows, copy) for copy in range(copies)])
            )
    for name, dtype in ONCE.items():
        if run.has(name):
            rows = _rows(run, name, dtype, 0, run.table(name).rows)
            grown.write_once(name, np.concatenate([sizes.moved(rows, copy) for copy in range(copies)]))
    manifest = run.manifest()
    for name in ("rows", "plan_sha256"):
        manifest.pop(name, None)
    final = {key: value * copies for key, value in (manifest.get("final") or {}).items() if key in _COUNTED}
    grown.write_manifest(manifest | {"run_id": grown.run_id, "final": (manifest.get("final") or {}) | final})
    return grown


_COUNTED: Final = ("asked", "answered")


class _Sizes:
    """By how much a copy's numbers are moved."""

    def __init__(self, run: RunFolder) -> None:
        operations, connections = run.table("operations"), run.table("connections")
        self.conversations = run.table("conversations").rows
        self.people = int(max(run.table("members")["user"].max(), operations["user"].max())) + 1
        devices = run.table("devices")["device"]
        self.devices = int(devices.max(initial=0)) + 1
        self.operations = int((operations["op_id"] & _NUMBER).max(initial=0)) + 1
        self.sessions = int((connections["session"] & _SESSION).max(initial=0)) + 1

    def moved(self, rows: Rows, copy: int) -> Rows:
        moved = rows.copy()
        by = {
            "conversation": self.conversations,
            "user": self.people,
            "actor": self.people,
            "device": self.devices,
            "op_id": self.operations,
            "session": self.sessions,
        }
        for name in moved.dtype.names or ():
            if name in by:
                known = moved[name] != NOBODY if moved[name].dtype == np.uint32 else np.ones(len(moved), bool)
                moved[name][known] += np.array(copy * by[name], moved[name].dtype)
        return moved


def _rows(run: RunFolder, name: str, dtype: np.dtype[Any], first: int, after: int) -> Rows:
    table = run.table(name)
    rows = np.zeros(after - first, dtype)
    for column in table:
        rows[column] = table[column][first:after]
    return rows
