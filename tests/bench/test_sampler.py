"""What a component used is what the kernel says of its processes and all their threads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

from bench import sampler


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /proc with process 7, of two threads."""
    monkeypatch.setattr(sampler, "_PROC", tmp_path)
    for task, waited in (("7", 2_000_000_000), ("8", 500_000_000)):
        (tmp_path / "7/task" / task).mkdir(parents=True)
        (tmp_path / "7/task" / task / "schedstat").write_text(f"9 {waited} 4\n")
    fields = ["S", *map(str, range(4, 60))]
    fields[11:15] = ["100", "50", "20", "10"]
    fields[21] = "1000"
    (tmp_path / "7/stat").write_text(f"7 (a) b) {' '.join(fields)}\n")
    (tmp_path / "7/schedstat").write_text("9 2000000000 4\n")
    return tmp_path


def test_threads_and_ended_children_are_added_up(proc: Path) -> None:
    told = sampler.usage([7])
    assert told["cpu_s"] == pytest.approx(180 / os.sysconf("SC_CLK_TCK"))
    assert told["rss_bytes"] == 1000 * os.sysconf("SC_PAGE_SIZE")
    assert told["runqueue_s"] == pytest.approx(2.5)
    assert sampler.waited_s(7) == pytest.approx(2.0)


def test_who_has_ended_counts_nothing(proc: Path) -> None:
    assert sampler.usage([7, 4321]) == sampler.usage([7])
    (proc / "7/task/8/schedstat").unlink()
    assert sampler.usage([7])["runqueue_s"] == pytest.approx(2.0), "a thread that ends meanwhile"


def test_this_process_is_told_as_psutil_tells_it() -> None:
    held = threading.Event()
    other = threading.Thread(target=held.wait)
    other.start()
    told, process = sampler.usage([os.getpid()]), psutil.Process()
    held.set()
    other.join()
    times = process.cpu_times()
    whole = times.user + times.system + times.children_user + times.children_system
    assert told["cpu_s"] == pytest.approx(whole, abs=0.1)
    assert told["rss_bytes"] == pytest.approx(process.memory_info().rss, rel=0.1)
