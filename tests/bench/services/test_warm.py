import json
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from bench.services import Service, ServicesError, warm


def _remember(folder: Path, pid: int, started: float) -> None:
    service = Service("redis", "Redis", "7", "local", "redis://127.0.0.1:1/0", pids=(pid,))
    state = {
        "how": "local",
        "folder": str(folder),
        "services": {"redis": service.to_dict()},
        "started": {pid: started},
    }
    warm.state_file().write_text(json.dumps(state))


def test_without_a_state_file_nothing_is_up() -> None:
    assert warm.read() is None
    assert not warm.has(frozenset())
    assert warm.down() == []
    with pytest.raises(ServicesError, match="bench services up"):
        warm.attach()


def test_a_process_with_our_number_and_another_start_time_is_not_ours(tmp_path: Path) -> None:
    """`down` must never end a stranger that got a reused id: here, this very process."""
    folder = tmp_path / "data"
    folder.mkdir()
    _remember(folder, os.getpid(), started=1.0)
    assert not warm.has(frozenset({"redis"}))
    assert warm.attach().alive() == [f"redis (Redis, pid {os.getpid()}) has ended"]
    assert warm.down() == ["redis"]
    assert not folder.exists()


def test_a_run_is_told_of_what_it_needs_alone(tmp_path: Path) -> None:
    _remember(tmp_path / "data", os.getpid(), started=1.0)
    assert (
        set(warm.attach().services) == set(warm.attach(frozenset({"redis", "mysql"})).services) == {"redis"}
    )
    assert not warm.attach(frozenset({"mysql"})).services


def test_down_ends_what_is_ours(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        _remember(tmp_path / "data", process.pid, psutil.Process(process.pid).create_time())
        assert warm.has(frozenset({"redis"}))
        assert not warm.has(frozenset({"redis", "mysql"}))
        with pytest.raises(ServicesError, match="up already"):
            warm.up(frozenset({"redis"}), how="local", say=lambda text: None)
        assert warm.down() == ["redis"]
        assert process.wait(5) is not None  # psutil may have taken the status before us
    finally:
        process.kill()
    assert warm.read() is None
