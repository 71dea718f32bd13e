"""Ctrl-C in every phase, and a second run at the same time: through the command itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.small import OURS, left_behind, remember

pytestmark = pytest.mark.services  # whole runs: they take the machine's run lock and its time

BENCH = [sys.executable, "-m", "bench"]


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    remember()
    command = [
        *BENCH,
        "run",
        "--users=40",
        "--rate=10",
        "--duration=30s",
        "--warmup=3s",
        f"--out={out}",
        *more,
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(process: subprocess.Popen[str], text: str) -> list[str]:
    """Reads stderr until a line has it."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came: {''.join(seen)}")


@pytest.mark.parametrize(
    ("scheme", "phase"),
    [
        ("memory", "seeding"),
        ("memory", "connect "),
        ("memory", "warmup "),
        ("memory", "measure "),
        ("redis", "starting mysql"),
        ("redis", "measure "),
    ],
)
def test_ctrl_c_keeps_what_there_is_and_leaves_nothing(tmp_path: Path, scheme: str, phase: str) -> None:
    process = start(tmp_path, f"--scheme={scheme}", "--services=local")
    wait_for(process, phase)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out.splitlines()[-1].startswith("VERDICT INVALID")
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert json.loads((folder / "manifest.json").read_text())["ended"]["how"] == "interrupted"
    if phase == "measure ":
        assert (folder / "operations-0.parquet").is_file()
    alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert [
        child.cmdline() for child in alive if any(name in " ".join(child.cmdline()) for name in OURS)
    ] == []
    assert left_behind() == []


def test_a_selftest_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    remember()
    command = [*BENCH, "selftest", "--clean=1", f"--out={tmp_path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(process, "measure ")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert left_behind() == []


def test_a_second_run_is_told_who_has_the_machine(tmp_path: Path) -> None:
    first = start(tmp_path / "first", "--scheme=memory")
    try:
        wait_for(first, "warmup ")
        command = [*BENCH, "run", "--scheme=memory", "--users=10", f"--out={tmp_path / 'second'}"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 3
        assert str(first.pid) in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert first.returncode == 130
