"""Made-up runs with known answers, reported on once for all tests of this folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import report, results, summary
from bench.report import arms
from bench.report.sources import ChartData, chart_data
from bench.results import Json, RunFolder
from tests.bench.synthetic import Spread, World, build

PLAN = "a" * 64


@dataclass(frozen=True)
class Made:
    """A run and what it was made of."""

    folder: RunFolder
    world: World
    summary: Json
    data: ChartData


@dataclass(frozen=True)
class Compared:
    out: Path
    content: Json


def _made(root: Path, seed: int, **knobs: object) -> Made:
    folder, world = build(root, seed=seed, measure_s=40, send_per_s=60, **knobs)  # type: ignore[arg-type]
    folder.update_manifest(plan_sha256=PLAN, machine={"class": "box"})
    figures = summary.write(folder)
    return Made(folder, world, figures, chart_data(folder, arms.arms([figures["run"]])[0], figures))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="session")
def control(root: Path) -> Made:
    return _made(root, 1, scheme="memory", read_us=Spread(200, 1_200), receipt_us=Spread(300, 2_300))


@pytest.fixture(scope="session")
def redis(root: Path) -> Made:
    """With READs that nobody answered, pushes that never came, sessions that the server closed."""
    return _made(
        root,
        2,
        scheme="redis",
        errors={"DEADLINE": 0.01, "CONFLICT": 0.01},
        lost_pushes=0.01,
        closed_devices=3,
    )


@pytest.fixture(scope="session")
def queue(root: Path) -> Made:
    """With so many probe users that they give the headline of SEND and READ, and not of STATE."""
    return _made(
        root, 3, scheme="queue", read_us=Spread(2_000, 42_000), receipt_us=Spread(8_000, 48_000),
        probe_every=2, unstamped_us=4_000,
    )  # fmt: skip


@pytest.fixture(scope="session")
def reported(redis: Made, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run of `redis`, in a copy of its folder, with everything that a report consists of."""
    copy = tmp_path_factory.mktemp("reported") / redis.folder.path.name
    shutil.copytree(redis.folder.path, copy)
    folder = RunFolder(copy)
    report.make(folder)
    return folder


@pytest.fixture(scope="session")
def compared(root: Path, control: Made, redis: Made, queue: Made) -> Compared:
    out = results.create_comparison(root, now=datetime(2025, 3, 2, tzinfo=UTC), short_id="c0ffee")
    folders = [redis.folder, queue.folder, control.folder]
    return Compared(out, report.compare_runs(folders, out))
