"""What `bench doctor` sees of the machine.  It takes a few seconds: CPU is watched, the disk is tried."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from bench import disk, environment, machine, sampler
from bench.services import ServicesError, broker, external, lock, mariadb, redis_server
from bench.services.cache import cache_dir, scratch_dir
from bench.services.choose import choose, given_urls
from bench.services.local import INSTALLED
from bench.services.ports import HIGHEST, LOWEST, is_free
from bench.services.stack import NAMES, hidden

WATCH_S: Final = 1.5
PORTS_TRIED: Final = 200
SHM: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Burner:
    """Another process, the cores that it used while it was watched, and those that it waited for."""

    pid: int
    name: str
    cores: float
    waited: float

    @property
    def wanted(self) -> float:
        return self.cores + self.waited


@dataclass(frozen=True)
class Found:
    """A service: what would play it, None where nothing could."""

    name: str
    what: str | None


@dataclass(frozen=True)
class Look:
    """`files`: soft and hard limit, -1 for none.  Bytes; cores of the whole machine; µs."""

    users: int
    files: tuple[int, int]
    client_ports: tuple[int, int]
    server_ports_free: float
    cores: int
    cpus_allowed: int
    cpu_quota: float | None
    busy_cores: float
    burners: tuple[Burner, ...]
    load_1m: float
    clock_source: str | None
    clock_sources: str | None
    governor: str | None
    memory_total: int
    memory_available: int
    swap_used: int
    shm_free: int | None
    scratch: str
    scratch_free: int
    disk: Mapping[str, Any] = field(default_factory=dict)
    disk_error: str = ""
    services: tuple[Found, ...] = ()
    chosen: str = ""
    why: str = ""
    no_services: str = ""
    held_by: str = ""


def look(users: int) -> Look:
    """Of this machine, now."""
    busy, burners = _watch()
    memory, scratch = psutil.virtual_memory(), scratch_dir()
    cost, disk_error = _disk(scratch)
    chosen, why, no_services = _choice()
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return Look(
        users=users,
        files=resource.getrlimit(resource.RLIMIT_NOFILE),
        client_ports=(low, high),
        server_ports_free=_server_ports_free(),
        cores=machine.cores(),
        cpus_allowed=len(os.sched_getaffinity(0)),
        cpu_quota=environment.cpu_quota(),
        busy_cores=busy,
        burners=burners,
        load_1m=os.getloadavg()[0],
        clock_source=environment.first_line(environment.CLOCK_SOURCE),
        clock_sources=environment.first_line(environment.CLOCK_SOURCE.with_name("available_clocksource")),
        governor=environment.first_line(environment.GOVERNOR),
        memory_total=memory.total,
        memory_available=memory.available,
        swap_used=psutil.swap_memory().used,
        shm_free=shutil.disk_usage(SHM).free if os.access(SHM, os.W_OK) else None,
        scratch=str(scratch),
        scratch_free=shutil.disk_usage(scratch).free,
        disk=cost,
        disk_error=disk_error,
        services=tuple(Found(name, what) for name, what in _services(chosen).items()),
        chosen=chosen,
        why=why,
        no_services=no_services,
        held_by=lock.holder(cache_dir() / "run.lock"),
    )


def _watch() -> tuple[float, tuple[Burner, ...]]:
    """Cores busy without us, and who has them busy, the busiest first."""
    own = os.getpid()
    before, began = _used(), time.monotonic()
    machine_before = psutil.cpu_times()
    time.sleep(WATCH_S)
    machine_after, after = psutil.cpu_times(), _used()
    seconds = time.monotonic() - began
    burners = [
        Burner(
            pid,
            name,
            round((used - before[pid][1]) / seconds, 3),
            round((waited - before[pid][2]) / seconds, 3),
        )
        for pid, (name, used, waited) in after.items()
        if pid in before and pid != own and used > before[pid][1]
    ]
    idle = (machine_after.idle + machine_after.iowait) - (machine_before.idle + machine_before.iowait)
    busy = max(0.0, machine.cores() - idle / seconds)
    return round(busy, 3), tuple(sorted(burners, key=lambda burner: -burner.wanted)[:5])


def _used() -> dict[int, tuple[str, float, float]]:
    """pid -> its command, its CPU seconds, and how long its first thread waited for a core."""
    found = {}
    for process in psutil.process_iter(["pid", "cmdline", "name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:
            name = " ".join(process.info["cmdline"] or ()) or process.info["name"]
            pid = process.info["pid"]
            found[pid] = (name[:60], times.user + times.system, sampler.waited_s(pid))
    return found


def _server_ports_free() -> float:
    """Share of the ports that services get, of those tried."""
    tried = range(LOWEST, HIGHEST, (HIGHEST - LOWEST) // PORTS_TRIED)
    return sum(map(is_free, tried)) / len(tried)


def _disk(folder: Path) -> tuple[dict[str, Any], str]:
    try:
        return disk.measure(folder), ""
    except OSError as why:
        return {}, str(why)


def _choice() -> tuple[str, str, str]:
    """(how a run gets its services, why) and why it would get none."""
    try:
        return (*choose(frozenset(NAMES), "auto", given_urls({}, os.environ)), "")
    except ServicesError as why:
        return "", "", str(why)


def _services(chosen: str) -> dict[str, str | None]:
    if chosen == "external":
        return {name: _asked(name, url) for name, url in given_urls({}, os.environ).items()}
    return {name: _installed(name) for name in NAMES}


def _asked(name: str, url: str) -> str | None:
    try:
        service = external.describe(name, url, how="external")
    except ServicesError:
        return None
    return f"{service.engine} {service.version} at {hidden(url)}"


def _installed(name: str) -> str | None:
    """The version of what is installed, as it says itself."""
    if not INSTALLED[name]():
        return None
    if name == "mysql":
        return mariadb.version()
    if name == "redis":
        return redis_server.version()
    libraries = broker.libraries()
    return f"Apache Kafka {broker.installed_version(libraries)} in {libraries}" if libraries else None
