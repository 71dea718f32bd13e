"""What the kernel says of waiting for a core is read as it stands, and its absence is no wait."""

from __future__ import annotations

import os
from pathlib import Path

from schemes.run_queue import RunQueue


def test_the_second_figure_is_the_wait_and_it_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "schedstat"
    file.write_text("812 417 9\n")
    queue = RunQueue(str(file))
    assert queue.waited_ns() == 417
    file.write_text("900 4170 10\n")
    assert queue.waited_ns() == 4170


def test_without_the_file_nobody_waited(tmp_path: Path) -> None:
    assert RunQueue(str(tmp_path / "none")).waited_ns() == 0


def test_a_thread_that_shares_a_core_waits_for_it() -> None:
    """Two that burn one core: each waits about as long as the other runs."""
    cores = os.sched_getaffinity(0)
    queue = RunQueue()
    other = os.fork()
    os.sched_setaffinity(other or 0, {min(cores)})
    if not other:
        while True:
            pass
    try:
        os.sched_setaffinity(0, {min(cores)})
        before, ran = queue.waited_ns(), os.times().user
        while os.times().user < ran + 0.05:
            pass
        assert queue.waited_ns() - before > 5_000_000
    finally:
        os.sched_setaffinity(0, cores)
        os.kill(other, 9)
        os.waitpid(other, 0)
