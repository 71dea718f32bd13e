"""How long the summary of a long run takes: about as much as ten minutes of 10,000 users record."""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import summary
from bench.record import CONNECTIONS, ITEMS, NONE, OPERATIONS, PUSHES, TABLES
from bench.results import CONVERSATIONS, DEVICES, FINAL_STORE, MEMBERS, RunFolder
from tests.bench.synthetic import World, build

SECONDS_MAX = 15.0
MEMORY_MAX_KIB = 3_000_000


@pytest.mark.speed
def test_a_long_run_is_summarised_in_15_seconds(tmp_path: Path) -> None:
    small, world = build(
        tmp_path, people=400, groups=40, send_per_s=250, measure_s=100, probes=0, lost_pushes=1e-3
    )
    large = tiled(small, world, tmp_path, times=24)
    assert large.table("operations").rows > 2_900_000
    began = time.perf_counter()
    figures = summary.summarize(large)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{large.table('operations').rows} operations, {large.table('pushes').rows} pushes: "
        f"{took:.1f} s, peak {peak >> 10} MiB"
    )
    assert figures["lag"]["receipt"]["count"] == 24 * summary.summarize(small)["lag"]["receipt"]["count"]
    assert took < SECONDS_MAX
    assert peak < MEMORY_MAX_KIB


def tiled(small: RunFolder, world: World, root: Path, *, times: int) -> RunFolder:
    """The same run `times` times side by side: other people, other conversations, the same seconds."""
    folder = RunFolder.create(
        root, scheme="db", scenario="steady_chat", now=datetime(2025, 3, 2, tzinfo=UTC), short_id="large"
    )
    people, devices, conversations = world.knobs.people + 2, len(world.device_user), len(world.members)
    step: dict[str, int] = {"user": people, "actor": people, "device": devices, "conversation": conversations}
    for worker in range(world.knobs.workers):
        per = {
            name: _shard(small, name, worker, dtype)
            for name, dtype in {
                "operations": OPERATIONS, "items": ITEMS, "pushes": PUSHES, "connections": CONNECTIONS,
            }.items()
        }  # fmt: skip
        rows = len(per["operations"])
        here = step | {"op_id": rows, "session": 4096, "plan": max(1, rows)}
        for name, part in per.items():
            folder.write_rows(name, worker, np.concatenate([_moved(part, here, k) for k in range(times)]))
    for name, dtype in (
        ("conversations", CONVERSATIONS), ("members", MEMBERS), ("devices", DEVICES), ("final_store",
        FINAL_STORE),
    ):  # fmt: skip
        part = _rows(small.table(name), dtype)
        folder.write_once(name, np.concatenate([_moved(part, step, k) for k in range(times)]))
    samples = small.timeseries()
    columns = (samples[name].tolist() for name in ("t", "component", "metric", "value"))
    folder.write_timeseries(zip(*columns, strict=True))
    folder.write_manifest(small.manifest() | {"run_id": folder.run_id})
    return folder


def _shard(folder: RunFolder, name: str, worker: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    whole = _rows(folder.table(name), dtype)
    of = whole["op_id"] >> 40 if "op_id" in TABLES[name].fields else whole["session"] >> 24  # type: ignore[operator]
    return whole[of == worker]


def _rows(table: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    rows = np.zeros(table.rows, dtype)
    for name in table:
        rows[name] = table[name]
    return rows


def _moved(part: np.ndarray[Any, Any], step: dict[str, int], k: int) -> np.ndarray[Any, Any]:
    moved = part.copy()
    for name, by in step.items():
        if name not in (part.dtype.names or ()):
            continue
        column = part[name].astype(np.int64)
        nothing = column == (NONE if name == "plan" else 0xFFFFFFFF)
        moved[name] = np.where(nothing, column, column + k * by).astype(part.dtype[name])
    return moved
