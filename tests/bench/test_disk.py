from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench import disk


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_flush_that_takes_longer_is_seen(tmp_path: Path) -> None:
    slept: list[int] = []

    def slow(handle: int) -> None:
        slept.append(handle)
        time.sleep(0.03)

    found = disk.measure(tmp_path, sync=slow)
    assert found["fdatasync_us"]["p50"] >= 30_000
    assert found["fdatasync_us"]["n"] == len(slept) < disk.SYNCS  # and a slow disk does not take for ever
    assert found["honoured_by_host"] == "unknown"
    assert list(tmp_path.iterdir()) == []


def test_it_is_measured_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = disk.cost(tmp_path)
    monkeypatch.setattr(disk, "measure", lambda folder: pytest.fail("measured again"))
    assert disk.cost(tmp_path) == first
    monkeypatch.setattr(disk, "measure", lambda folder: {"measured_at": "later", "folder": str(folder)})
    tomorrow = disk._today().replace(year=2199)
    monkeypatch.setattr(disk, "_today", lambda: tomorrow)
    assert disk.cost(tmp_path)["measured_at"] == "later"


def test_a_folder_of_another_name_on_the_same_disk_is_measured_itself(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    disk.cost(tmp_path)
    assert disk.cost(other)["folder"] == str(other)
