"""A machine with three things wrong at once, planted for real: the limit of open files is 1,024, a process
burns a core, and every fdatasync takes 25 ms longer (the harness's own, slowed in the process that asks)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SLOW = """
import os, time
flush = os.fdatasync
def fdatasync(fd):
    time.sleep(0.025)
    flush(fd)
os.fdatasync = fdatasync
"""


@pytest.fixture
def burner() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield process.pid
    process.kill()
    process.wait()


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


def doctor(tmp_path: Path, *, planted: bool) -> tuple[int, dict[str, Any]]:
    (tmp_path / "sitecustomize.py").write_text(SLOW if planted else "")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor", "--users", "1000", "--json"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        preexec_fn=few_files if planted else None,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


def test_all_three_are_found_together(tmp_path: Path, burner: int) -> None:
    code, found = doctor(tmp_path, planted=True)
    assert code == 3
    assert found["open files"]["verdict"] == "bad"
    assert "1024" in found["open files"]["message"]
    assert found["busy cores"]["verdict"] == "warn"
    assert f"pid {burner}" in found["busy cores"]["message"]
    assert found["disk speed"]["verdict"] == "warn"
    assert found["disk speed"]["message"].startswith("slow: ")


def test_without_them_none_of_it_is_said(tmp_path: Path) -> None:
    _, found = doctor(tmp_path, planted=False)
    assert found["open files"]["verdict"] == "ok"
    assert "while True" not in found["busy cores"]["message"]
    assert "fdatasyncs" in found["disk speed"]["message"]
