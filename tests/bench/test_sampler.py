"""What a component used is what the kernel says of its processes and all their threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from subprocess import PIPE

import psutil
import pytest

from bench import sampler


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /proc with process 7, of two threads."""
    monkeypatch.setattr(sampler, "_PROC", tmp_path)
    monkeypatch.setattr(sampler, "_cpu_s", {7: 1.5}.__getitem__)
    for task, waited in (("7", 2_000_000_000), ("8", 500_000_000)):
        (tmp_path / "7/task" / task).mkdir(parents=True)
        (tmp_path / "7/task" / task / "schedstat").write_text(f"9 {waited} 4\n")
    fields = ["S", *map(str, range(4, 60))]
    fields[13:15] = ["20", "10"]
    fields[21] = "1000"
    (tmp_path / "7/stat").write_text(f"7 (a) b) {' '.join(fields)}\n")
    (tmp_path / "7/schedstat").write_text("9 2000000000 4\n")
    return tmp_path


def test_threads_and_ended_children_are_added_up(proc: Path) -> None:
    told = sampler.usage([7])
    assert told["cpu_s"] == pytest.approx(1.5 + 30 / os.sysconf("SC_CLK_TCK"))
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


def test_cpu_is_told_more_finely_than_in_ticks() -> None:
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        told = []
        for _ in range(2):
            own = float(other.stdout.readline())
            told.append((own, sampler.usage([other.pid])["cpu_s"]))
            other.stdin.write("\n")
            other.stdin.flush()
    (own, seen), (own_later, seen_later) = told
    assert own_later - own > 0.003
    assert seen_later - seen == pytest.approx(own_later - own, abs=0.001)


BURN = """
import time
for _ in range(2):
    print(time.process_time(), flush=True)
    input()
    until = time.process_time() + 0.003
    while time.process_time() < until: pass
"""


def test_paused_it_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.01)
    looked = threading.Semaphore(0)
    of = sampler.Sampler(dict, lambda: looked.release() or [])  # type: ignore[func-returns-value]
    of.start()
    assert looked.acquire(timeout=5)
    of.pause()
    while looked.acquire(timeout=0.2):
        pass
    of.go_on()
    assert looked.acquire(timeout=5)
    of.pause()
    assert of.stop(), "and ends where it is paused"
