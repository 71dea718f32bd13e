"""Once a second during a run: CPU, memory and run-queue wait of every component, and the stores' counters.

A thread of the runner's process.  It reads /proc and asks the stores for their counters; what that costs is
in the component `harness`."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psutil

Sample = tuple[int, str, str, float]
INTERVAL_S: Final = 1.0
HARNESS: Final = "harness"
_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Sampler:
    """`components`: name -> process ids, asked anew each time; `counters`: (component, metric, value).
    `seldom`: not once a second, but when `look` is called, which does nothing otherwise."""

    def __init__(
        self,
        components: Callable[[], Mapping[str, list[int]]],
        counters: Callable[[], list[tuple[str, str, float]]],
        *,
        seldom: bool = False,
    ) -> None:
        self._seldom = seldom
        self._components = components
        self._counters = counters
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        if self._seldom:
            self._sample()
        else:
            self._thread.start()

    def look(self) -> None:
        if self._seldom:
            self._sample()

    def pause(self) -> None:
        """Nothing is looked at until `go_on`."""
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    def so_far(self) -> list[Sample]:
        return self._samples[:]

    def stop(self) -> list[Sample]:
        """Takes a last sample and returns them all."""
        if self._thread.is_alive():
            self._stop.set()
            self._going.set()
            self._thread.join(10 * INTERVAL_S)
        self.look()
        return self._samples

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            self._sample()
            if self._stop.is_set():
                return
            due = max(due + INTERVAL_S, time.monotonic())
            self._stop.wait(due - time.monotonic())
            self._going.wait()

    def _sample(self) -> None:
        now = time.monotonic_ns()
        for component, pids in ({HARNESS: [os.getpid()]} | dict(self._components())).items():
            for metric, value in usage(pids).items():
                self._samples.append((now, component, metric, value))
            for metric, value in descriptors(pids).items():
                self._samples.append((now, component, metric, value))
        times = psutil.cpu_times()
        busy = times.user + times.nice + times.system + times.irq + times.softirq
        for metric, value in (("cpu_s", busy), ("steal_s", times.steal), ("load_1m", os.getloadavg()[0])):
            self._samples.append((now, "machine", metric, value))
        self._samples += [(now, component, metric, value) for component, metric, value in self._counters()]


def usage(pids: list[int]) -> dict[str, float]:
    """CPU seconds (all threads, and children that have ended), resident bytes and seconds of waiting for a
    core of some processes together.  Those that have ended count nothing."""
    total = {"cpu_s": 0.0, "rss_bytes": 0.0, "runqueue_s": 0.0}
    for pid in pids:
        tasks = f"{_PROC}/{pid}/task"
        try:
            fields = _read(f"{_PROC}/{pid}/stat").rpartition(b")")[2].split()
            waited = sum(_waited_ns(f"{tasks}/{task}") for task in os.listdir(tasks))  # noqa: PTH208  a hundred Paths a second
            total["cpu_s"] += _cpu_s(pid) + sum(int(ticks) for ticks in fields[13:15]) / _TICKS
        except (FileNotFoundError, ProcessLookupError):
            continue
        total["rss_bytes"] += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        total["runqueue_s"] += waited / 1e9
    return total


def _cpu_s(pid: int) -> float:
    """Of all threads, ended ones too, to the nanosecond; `stat` counts in ticks of 10 ms, for the time in the
    kernel and out of it each.  The clock's number is what `clock_getcpuclockid` gives (MAKE_PROCESS_CPUCLOCK
    in the kernel's posix-timers.h).  Raises ProcessLookupError."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        raise ProcessLookupError(pid) from None


def descriptors(pids: list[int]) -> dict[str, float]:
    """Open files of the process that has the most, and how many it may have; nothing where the kernel does
    not tell (since Linux 6.2 the size of `/proc/PID/fd` is their number)."""
    told: dict[str, float] = {}
    for pid in pids:
        try:
            used = (_PROC / str(pid) / "fd").stat().st_size
            limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if used > told.get("files_open", 0):
            told = {"files_open": float(used), "files_limit": float(limit)}
    return told


def waited_s(pid: int) -> float:
    """Seconds that a process's first thread was ready to run and waited for a core."""
    return _waited_ns(f"{_PROC}/{pid}") / 1e9


def _waited_ns(task: str) -> int:
    """Nanoseconds runnable and not running: second field of schedstat (kernel docs, sched-stats)."""
    try:
        return int(_read(f"{task}/schedstat").split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def _read(path: str) -> bytes:
    """A small file of /proc, without what `open` does for others: a JVM has a hundred threads."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)
