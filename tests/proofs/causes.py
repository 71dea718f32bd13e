"""Causes for which a guard is there: what is planted, in which dose below and above its threshold."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from bench import runner
from bench.guards.guard import INCONCLUSIVE, INVALID, WARN
from bench.load import fleet
from bench.machine_state import quotas
from bench.record import NONE
from bench.services import Stack, bring_up, server

BASE: Final[dict[str, Any]] = {
    "users": 300, "rate_per_s": 115.0, "duration_s": 12.0, "warmup_s": 6.0, "pin": "auto",
}  # fmt: skip
LONGER: Final[dict[str, Any]] = {"duration_s": 20.0, "warmup_s": 10.0}
"""For doses that are a share of the window, or need time to grow."""
PLANT_AT_S: Final = 4.0
MIB: Final = 1 << 20
TMPFS_MIB: Final = 512
GROUPS: Final = Path("/sys/fs/cgroup")
Plant = Callable[[float, contextlib.ExitStack], "Planted"]


@dataclass(frozen=True)
class Planted:
    """What a cause changes: options of the run, what happens once, PLANT_AT_S into the window, and what is
    done to the record before it is looked at."""

    options: dict[str, Any]
    then: Callable[[], None] = lambda: None
    after: Callable[[Path], None] = lambda _: None
    scheme: str = "memory"
    stack: Stack | None = None


@dataclass(frozen=True)
class Cause:
    """`below` and `above` are doses on the two sides of a threshold of `guard` (a|b: either of them); above
    it the verdict is at least `verdict`, below it it is not.  `unit` says of what the doses are.  Causes that
    have nothing to do with each other are planted `together`, in one run.  `first` is the dose of the
    run beside it, where the guard compares two."""

    name: str
    guard: str
    verdict: str
    below: float
    above: float
    unit: str
    plant: Plant
    together: str = ""
    first: float | None = None


def all_of(plants: Sequence[Planted]) -> Planted:
    """What several causes change, in one run.  Only one may ask for another scheme or services."""
    first, *others = sorted(plants, key=lambda one: one.scheme == "memory")
    assert all(one.scheme == "memory" and one.stack is None for one in others)

    def then() -> None:
        for thread in [threading.Thread(target=one.then) for one in plants]:
            thread.start()

    def after(folder: Path) -> None:
        for one in plants:
            one.after(folder)

    options = {name: value for one in plants for name, value in one.options.items()}
    return replace(first, options=options, then=then, after=after)


def _pids(*marks: str) -> list[int]:
    """Processes below this one whose command line has one of these in it."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(child.cmdline())
            if any(mark in line for mark in marks) and "setpriv" not in line:
                found.append(child.pid)
    return found


GENERATOR: Final = ("bench.load.worker", "bench.load.probe_users")
SERVER: Final = ("-m schemes ", "planted_server")


def _stop(*marks: str, times: int = 1, **options: Any) -> Plant:
    """Held by SIGSTOP for so many ms, or so many times, once each half second."""

    def plant(dose: float, _: contextlib.ExitStack) -> Planted:
        def hold() -> None:
            pids = _pids(*marks)
            for _ in range(times):
                for pid in pids:
                    _signal(pid, signal.SIGSTOP)
                time.sleep(dose / 1000)
                for pid in pids:
                    _signal(pid, signal.SIGCONT)
                time.sleep(0.5 if times > 1 else 0.0)

        return Planted(options, hold)

    return plant


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _burn(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Somebody else's process uses so much of a core, also before and after."""
    burn_core(dose, undo)
    return Planted({})


def _burn_first(dose: float, undo: contextlib.ExitStack) -> Planted:
    """It uses so much of the load worker's core, and is always let first."""
    pid = burn_core(dose, undo)

    def move() -> None:
        (worker,) = _pids("bench.load.worker")
        os.sched_setaffinity(pid, os.sched_getaffinity(worker))
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))

    return Planted({}, move)


def burn_core(dose: float, undo: contextlib.ExitStack) -> int:
    """Its process: it uses so much of a core until it is undone."""
    program = (
        "import time,sys\nshare=float(sys.argv[1])\n"
        "while True:\n b=time.process_time(); t=time.monotonic()\n"
        " while time.process_time()-b<share*0.02: pass\n"
        " time.sleep(max(0,0.02-(time.monotonic()-t)))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(dose)], start_new_session=True)
    undo.callback(process.wait)
    undo.callback(process.kill)
    return process.pid


def _other_time(dose: float, undo: contextlib.ExitStack) -> Planted:
    """The load worker's clock is so many ms ahead."""
    _worker_by(undo, lambda argv: ["-m", "tests.proofs.other_time", str(int(dose * 1e6)), *argv])
    return Planted({})


def _busy_worker(dose: float, undo: contextlib.ExitStack) -> Planted:
    """The load worker uses so much of a core for nothing, besides what it needs."""
    _worker_by(undo, lambda argv: ["-m", "tests.proofs.planted_worker", f"{dose:g}", *argv[1:]])
    return Planted({})


def _dropping(dose: float, undo: contextlib.ExitStack) -> Planted:
    """The load worker leaves out so much of what is planned."""
    _worker_by(undo, lambda argv: ["-m", "tests.proofs.dropping_worker", f"{dose:g}", *argv[1:]])
    return Planted({})


def _worker_by(undo: contextlib.ExitStack, way: Callable[[Sequence[str]], list[str]]) -> None:
    """The load worker is started by another program, which is told how."""
    plain = subprocess.Popen

    def other(argv: Sequence[str], **named: Any) -> subprocess.Popen[bytes]:
        if "bench.load.worker" in argv:
            argv = [sys.executable, *way(argv)]
        return plain(argv, **named)

    undo.enter_context(_replaced(fleet.subprocess, "Popen", other))


def _signal_worker(dose: float, _: contextlib.ExitStack) -> Planted:
    """The load worker gets this signal."""

    def send() -> None:
        for pid in _pids("bench.load.worker"):
            os.kill(pid, int(dose))

    return Planted({}, send)


def _tmpfs(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Records go to a tmpfs of 512 MiB that loses all but so many MiB."""
    mount = tempfile.mkdtemp(prefix="readstate-proof-")
    undo.callback(os.rmdir, mount)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "none", mount], check=True)
    undo.callback(subprocess.run, ["umount", "-l", mount], check=True)
    undo.enter_context(_replaced(runner, "MEMORY", Path(mount)))

    def fill() -> None:
        found = os.statvfs(mount)
        surplus = found.f_bavail * found.f_frsize - int(dose * MIB)
        with Path(mount, "ballast").open("wb") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, surplus))

    return Planted({}, fill)


def _redis(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Redis, which somebody else runs, has its connections cut (0), or is restarted (1)."""
    stack = undo.enter_context(
        bring_up(frozenset({"mysql", "redis"}), how="local", folder=None, say=lambda _: None)
    )

    def disturb() -> None:
        if dose:
            stack.restart("redis")
        else:
            with contextlib.closing(redis.Redis.from_url(stack.services["redis"].url)) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    return Planted({}, disturb, scheme="redis", stack=stack)


def _reconfigured(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Redis is set as it was (0), or otherwise (1)."""
    planted = _redis(0, undo)
    assert planted.stack is not None
    url = planted.stack.services["redis"].url

    def change() -> None:
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            client.config_set("maxmemory-policy", "allkeys-lru" if dose else "noeviction")

    return replace(planted, then=change)


def _option(name: str) -> Plant:
    """The run is asked for with this value of an option."""
    return lambda dose, _: Planted({name: dose})


def _planted_server(name: str, **options: Any) -> Plant:
    """A server with a fault of this dose (`planted_server.py`)."""

    def plant(dose: float, undo: contextlib.ExitStack) -> Planted:
        undo.enter_context(_replaced(server, "MODULE", "tests.proofs.planted_server"))
        undo.callback(os.environ.pop, "PLANT", None)
        os.environ["PLANT"] = " ".join([*os.environ.get("PLANT", "").split(), f"{name}:{dose:g}"])
        return Planted(options)

    return plant


def _closing(dose: float, undo: contextlib.ExitStack) -> Planted:
    """The server closes so many connections."""

    def close() -> None:
        for pid in _pids(*SERVER):
            os.kill(pid, signal.SIGUSR1)

    return replace(_planted_server("closing")(dose, undo), then=close)


def _skipping(dose: float, undo: contextlib.ExitStack) -> Planted:
    """`db` leaves out such a share of one kind of UPDATE."""
    return replace(_planted_server("skipping")(dose, undo), scheme="db")


def _lost_rows(dose: float, _: contextlib.ExitStack) -> Planted:
    """So many planned operations of the record are lost before it is looked at."""

    def without(rows: pa.Table) -> pa.Table:
        planned = np.flatnonzero(rows["plan"].to_numpy() != NONE)
        kept = np.ones(rows.num_rows, bool)
        kept[planned[: int(dose)]] = False
        return rows.filter(pa.array(kept))

    return Planted({}, after=lambda folder: _edit(folder, without))


def _rows_twice(dose: float, _: contextlib.ExitStack) -> Planted:
    """So many operations are in the record twice."""
    return Planted(
        {},
        after=lambda folder: _edit(folder, lambda rows: pa.concat_tables([rows, rows.slice(0, int(dose))])),
    )


def _edit(folder: Path, how: Callable[[pa.Table], pa.Table]) -> None:
    shard = folder / "operations-0.parquet"
    pq.write_table(how(pq.read_table(shard)), shard)


def _files(dose: float, _: contextlib.ExitStack) -> Planted:
    """The server may have so many files open that this share of them is.  It was seen to open 63 more."""

    def limit() -> None:
        for pid in _pids(*SERVER):
            used = Path(f"/proc/{pid}/fd").stat().st_size
            hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (round(used / dose), hard))

    return Planted({}, limit)


def _stolen(dose: float, undo: contextlib.ExitStack) -> Planted:
    """The kernel says that other machines take so much of a core, besides what they do take: only a host
    could really do it."""
    plain, began = psutil.cpu_times, time.monotonic()

    def told() -> Any:
        times = plain()
        return times._replace(steal=times.steal + dose * (time.monotonic() - began))

    undo.enter_context(_replaced(psutil, "cpu_times", told))
    return Planted({})


CONNECTIONS: Final = 379
"""At the same time in such a run, as was seen: of devices, probes and the final read."""


def _few_ports(dose: float, undo: contextlib.ExitStack) -> Planted:
    """This machine has so few local ports that this share of them is used, or waits for its time to pass."""
    ports, sockets = Path("/proc/sys/net/ipv4/ip_local_port_range"), Path("/proc/net/sockstat").read_text()
    words = next(line.split() for line in sockets.splitlines() if line.startswith("TCP:"))
    used = CONNECTIONS + int(words[words.index("tw") + 1])
    undo.callback(ports.write_text, ports.read_text())
    ports.write_text(f"32768 {32768 + round(used / dose) - 1}")
    return Planted({})


PAGEOUT: Final = 21
"""MADV_PAGEOUT of <linux/mman.h>, which Python has no name for."""


def _swapping(dose: float, undo: contextlib.ExitStack) -> Planted:
    """Somebody else's process has so many MiB swapped out, to a file."""
    handle, name = tempfile.mkstemp(prefix="readstate-proof-", dir="/var/tmp")
    undo.callback(os.unlink, name)
    os.posix_fallocate(handle, 0, 64 * MIB)
    os.close(handle)
    subprocess.run(["mkswap", name], check=True, capture_output=True)
    subprocess.run(["swapon", name], check=True)
    undo.callback(subprocess.run, ["swapoff", name], check=True)
    program = (
        "import mmap,sys\nn=int(float(sys.argv[1])*2**20)\n"
        "held=mmap.mmap(-1,n,flags=mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS)\nheld.write(b'x'*n)\n"
        f"sys.stdin.readline(); held.madvise({PAGEOUT}); sys.stdin.readline()\n"
    )
    return Planted({}, _bystander(program, [dose], undo))


def _throttled(dose: float, undo: contextlib.ExitStack) -> Planted:
    """The control group of all that is run has a twentieth of a core, for so many ms."""
    own, v1 = quotas()[0].parent, GROUPS / "cpu"
    group = (v1 if v1.is_dir() else GROUPS) / "readstate-proof"
    quota = ("cpu.cfs_quota_us", "5000", "-1") if v1.is_dir() else ("cpu.max", "5000 100000", "max")
    if not v1.is_dir():
        (GROUPS / "cgroup.subtree_control").write_text("+cpu")
    group.mkdir(exist_ok=True)
    undo.callback(_removed, group)
    program = (
        "import sys,time\nfile,low,none,ms=sys.argv[1:]\nsys.stdin.readline()\n"
        "def write(text):\n with open(file,'w') as quota: quota.write(text)\n"
        "write(low); time.sleep(float(ms)/1000); write(none)\n"
    )
    throttle = _bystander(program, [group / quota[0], *quota[1:], dose], undo)
    undo.callback(_join, own)
    _join(group)
    return Planted({}, throttle)


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _removed(group: Path) -> None:
    """Once the last of its processes is gone."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            return group.rmdir()
        time.sleep(0.1)
    raise AssertionError(f"{group} is still in use")


def _bystander(program: str, argv: Sequence[object], undo: contextlib.ExitStack) -> Callable[[], None]:
    """A process of somebody else's, which does its part when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, argv)], stdin=subprocess.PIPE, start_new_session=True
    )
    undo.callback(process.wait)
    undo.callback(process.kill)

    def go() -> None:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()

    return go


@contextlib.contextmanager
def _replaced(where: Any, name: str, by: Any) -> Iterator[None]:
    before = getattr(where, name)
    setattr(where, name, by)
    try:
        yield
    finally:
        setattr(where, name, before)


CONT, KILL = float(signal.SIGCONT), float(signal.SIGKILL)
CAUSES: Final = (
    Cause(
        "stopped generator", "generator_stalls", INVALID, 120, 300, "ms of SIGSTOP",
        _stop(*GENERATOR, **LONGER),
    ),
    Cause(
        "short stop", "generator_stalls", WARN, 35, 80, "ms of SIGSTOP",
        _stop(*GENERATOR), together="stops",
    ),
    Cause(
        "hiccups", "send_lag", INVALID, 3, 30, "ms of SIGSTOP, 12 times",
        _stop(*GENERATOR, times=12), together="hiccups",
    ),
    Cause("busy worker", "generator_cpu", WARN, 0.4, 0.75, "cores for nothing", _busy_worker),
    Cause("starved worker", "run_queue", INCONCLUSIVE, 0.01, 0.5, "of its core taken", _burn_first),
    Cause(
        "stopped server", "server_stalls", WARN, 180, 300, "ms of SIGSTOP",
        _stop(*SERVER), together="stops",
    ),
    Cause("burned core", "foreign_load", INCONCLUSIVE, 0.15, 0.35, "cores", _burn),
    Cause("recorder's clock", "clocks_agree", INVALID, 3, 10, "ms ahead", _other_time, together="apart"),
    Cause(
        "wall clock", "clock_steps", WARN, 0.5, 2, "ms, each second",
        _planted_server("stepping"), together="apart",
    ),
    Cause("killed worker", "everything_alive", INVALID, CONT, KILL, "signal", _signal_worker),
    Cause("dropped operations", "offered_achieved", INVALID, 0.005, 0.02, "of those planned", _dropping),
    Cause("lost rows", "outcomes_complete", INVALID, 3, 60, "operations", _lost_rows, together="stops"),
    Cause("rows twice", "record_complete", INVALID, 0, 1, "operations", _rows_twice, together="hiccups"),
    Cause("closed connections", "connections_held", INVALID, 2, 5, "of 300", _closing, together="apart"),
    Cause(
        "few messages", "enough_samples", INCONCLUSIVE, 14, 6, "SEND/s",
        _option("rate_per_s"), together="few",
    ),
    Cause(
        "refusing server", "load_carried", INCONCLUSIVE, 0.02, 0.1, "of requests",
        _planted_server("refusing"),
    ),
    Cause(
        "server with a bug", "internal_errors", INVALID, 0, 50, "the first READ of it, 0: none",
        _planted_server("failing"), together="few",
    ),
    Cause("skipped UPDATE", "work_ledger", INVALID, 0.002, 0.04, "of one kind", _skipping),
    Cause("small tmpfs", "disk_room", WARN, 290, 220, "MiB left", _tmpfs, together="apart"),
    Cause("full tmpfs", "disk_room", INVALID, 24, 0, "MiB left", _tmpfs),
    Cause(
        "restarted Redis", "services_same|everything_alive", INVALID, 0, 1, "0 cut off, 1 restarted",
        _redis,
    ),
    Cause("changed Redis", "services_same", INVALID, 0, 1, "0 as it was, 1 otherwise", _reconfigured),
    Cause("shortened warm-up", "warm_up", WARN, 5, 4, "s", _option("warmup_s"), together="stops"),
    Cause(
        "cold server", "warm_up", INCONCLUSIVE, 0.5, 7, "s to cool by 63 %",
        _planted_server("warming", **LONGER),
    ),
    Cause(
        "garbage", "gc_pauses", WARN, 1, 10, "ms, each second",
        _planted_server("collecting"), together="apart",
    ),
    Cause(
        "busy loop", "hub_bound", WARN, 20, 2, "s between blocks of 30 ms",
        _planted_server("blocking", **LONGER),
    ),
    Cause(
        "growing backlog", "littles_law", INCONCLUSIVE, 0.2, 2.4, "ms each, one after the other",
        _planted_server("serial", **LONGER),
    ),
    Cause(
        "slower last run", "control_drift", INCONCLUSIVE, 0.2, 6, "turns of work more in each READ",
        _planted_server("stretched", **LONGER), first=0,
    ),
    Cause("open files", "open_files", WARN, 0.66, 0.88, "of the limit", _files, together="apart"),
    Cause("stolen core", "cpu_steal", WARN, 0.01, 0.1, "of a core, as told", _stolen, together="outside"),
    Cause("few local ports", "ports", WARN, 0.7, 0.9, "of them used", _few_ports, together="outside"),
    Cause("swapping", "no_swapping", INCONCLUSIVE, 0.5, 2, "MiB", _swapping, together="outside"),
    Cause("throttling", "cpu_throttled", INCONCLUSIVE, 15, 300, "ms of a twentieth of a core", _throttled),
)  # fmt: skip
