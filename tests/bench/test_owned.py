"""Folders of processes: never somebody else's, and gone once their process is."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

from bench import owned

KILLED = """
import os, signal, sys
from pathlib import Path
from bench import owned
kept = owned.make("a", Path(sys.argv[1]))
(kept.path / "operations-0.rows").touch()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_of_one_name_are_two_folders(tmp_path: Path) -> None:
    """The sides of every gate are called a and b."""
    one, other = owned.make("a", tmp_path), owned.make("a", tmp_path)
    assert one.path != other.path
    assert one.path.is_dir()
    one.remove()
    assert list(tmp_path.iterdir()) == [other.path]
    other.remove()


def test_what_a_killed_process_left_is_in_nobodys_way_and_goes(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    made = owned.make("a", tmp_path)
    assert not left.exists()
    assert list(tmp_path.iterdir()) == [made.path]
    made.remove()


def test_sweeping_takes_dead_runs_only(tmp_path: Path) -> None:
    for name in ("readstate-dead", "readstate-alive", "readstate-kept", "other"):
        (tmp_path / name).mkdir()
        if name != "readstate-kept":
            (tmp_path / name / "owner.lock").touch()
    with (tmp_path / "readstate-alive" / "owner.lock").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        owned.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"readstate-alive", "readstate-kept", "other"}
