"""`locust -f scenarios/steady_chat.py` by itself, against a hand-started server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.load.servers import ROOT, SECRET, memory_server


def locust(url: str, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
    arguments = ["-f", "scenarios/steady_chat.py", "--headless", "-u", "40", "--host", url, "-t", "4s"]
    return subprocess.run(
        [sys.executable, "-m", "locust", *arguments, "--rate", "20"],
        cwd=ROOT,
        env={**os.environ, "READSTATE_SECRET": secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_it_seeds_runs_and_leaves_nothing() -> None:
    before = set(Path("/dev/shm").glob("readstate-locust-*"))
    with memory_server("--control") as server:
        done = locust(server.url)
    assert done.returncode == 0, done.stderr
    assert "40 devices of 27 people, 20 SEND/s" in done.stdout
    for operation in ("SEND", "READ", "DELIVERED", "STATE", "SYNC"):
        counts = [
            line.split()
            for line in (done.stdout + done.stderr).splitlines()
            if line.startswith(f"ws       {operation} ")
        ]
        assert int(counts[-2][2]) > 10, "requests"
        assert counts[-2][3].startswith("0("), "failures"
    assert set(Path("/dev/shm").glob("readstate-locust-*")) == before


def test_a_closed_door_says_what_to_do() -> None:
    with memory_server() as server:
        done = locust(server.url)
    assert done.returncode != 0
    assert "--control" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_wrong_secret_says_so() -> None:
    with memory_server("--control") as server:
        done = locust(server.url, "wrong")
    assert done.returncode != 0
    assert "READSTATE_SECRET" in done.stderr
    assert "Traceback" not in done.stderr
