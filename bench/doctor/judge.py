"""What is wrong with a machine, and what to type.  Pure, from a `Look`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.doctor.look import Look

OK, NOTE, WARN, BAD = "ok", "note", "warn", "bad"
FILES_BESIDE_SOCKETS: Final = 300
BURNS_CORES: Final = 0.5
BUSY_SHARE: Final = 0.25
"""Of all cores, used by others: what they use is not there for a run, and comes and goes."""
CORES: Final = 2
GOOD_CLOCKS: Final = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen")
MEMORY: Final = 3 << 30
"""MySQL's pool of 1 GB, Kafka's heap of half a one, and the rest of a run of 2,000 users."""
MEMORY_MIN: Final = 1 << 30
SHM: Final = 512 << 20
SHM_MIN: Final = 64 << 20
DISK_FREE: Final = 4 << 30
DISK_FREE_MIN: Final = 1 << 30
SYNC_US: Final = 10_000
READ_US: Final = 10_000
PORTS_FREE: Final = 0.05


@dataclass(frozen=True)
class Finding:
    """`advice`: what to type; empty where nothing need be done."""

    check: str
    verdict: str
    message: str
    advice: str = ""


def judge(look: Look) -> list[Finding]:
    """Every check's finding, in the order in which they are told."""
    return [check(look) for check in CHECKS]


def _files(look: Look) -> Finding:
    soft, hard = look.files
    needed = look.users + FILES_BESIDE_SOCKETS
    said = f"{_limit(soft)} open files per process, {_limit(hard)} at most; {look.users} users need {needed}"
    if 0 <= hard < needed:
        advice = (
            f"Type `ulimit -n {needed}` as root, or set `* - nofile {max(needed, 65536)}` in "
            "/etc/security/limits.conf and log in again."
        )
        if hard > FILES_BESIDE_SOCKETS:
            advice += f" Or ask for --users {hard - FILES_BESIDE_SOCKETS}."
        return Finding("open files", BAD, said, advice)
    return Finding("open files", OK, said + (" (bench raises it)" if 0 <= soft < needed else ""))


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else str(value)


def _ports(look: Look) -> Finding:
    low, high = look.client_ports
    said = f"clients get {low}-{high}; of the ports for services {look.server_ports_free:.0%} are free"
    if look.users > high - low:
        return Finding("ports", BAD, said, "sysctl -w net.ipv4.ip_local_port_range='32768 65535'")
    if low < 32768:
        advice = "sysctl -w net.ipv4.ip_local_port_range='32768 60999'"
        return Finding("ports", WARN, f"{said}: clients may take what a service wants", advice)
    if look.server_ports_free < PORTS_FREE:
        return Finding("ports", WARN, said, "`ss -ltnp` names who listens there.")
    return Finding("ports", OK, said)


def _cores(look: Look) -> Finding:
    allowed = look.cpus_allowed if look.cpu_quota is None else min(look.cpus_allowed, look.cpu_quota)
    said = f"{look.cores} cores, {allowed:g} of them for us"
    if allowed < CORES:
        advice = "Give the machine two or more (docker run --cpus 2; taskset -p -c 0-1 $$)."
        return Finding("cores", WARN, f"{said}: the generator's own work would be in every figure", advice)
    return Finding("cores", OK, said)


def _busy(look: Look) -> Finding:
    said = f"{look.busy_cores:.2f} of {look.cores} cores are busy, load average {look.load_1m:.2f}"
    burning = [burner for burner in look.burners if burner.wanted >= BURNS_CORES]
    if burning:
        who = ", ".join(f"{b.name!r} (pid {b.pid}) {b.cores:.0%} of a core" for b in burning)
        pids = " ".join(str(burner.pid) for burner in burning)
        advice = f"Wait for it, or end it: `kill {pids}`; `renice 19 {pids}` helps little."
        return Finding("busy cores", WARN, f"{said}: {who}", advice)
    if look.busy_cores > BUSY_SHARE * look.cores:
        return Finding("busy cores", WARN, said, "`top -o %CPU` names who is busy; wait until it is done.")
    return Finding("busy cores", OK, said)


def _clock(look: Look) -> Finding:
    if look.clock_source is None:
        return Finding("clock source", NOTE, "not known")
    if look.clock_source in GOOD_CLOCKS:
        return Finding("clock source", OK, look.clock_source)
    better = next((name for name in GOOD_CLOCKS if name in (look.clock_sources or "").split()), None)
    advice = (
        f"echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource"
        if better
        else "The kernel offers no better one: compare only runs of this machine."
    )
    said = f"{look.clock_source}: asking for the time is a system call, or slower"
    return Finding("clock source", WARN, said, advice)


def _governor(look: Look) -> Finding:
    if look.governor is None:
        return Finding("governor", NOTE, "not known: the machine does not show its CPU frequencies")
    if look.governor == "performance":
        return Finding("governor", OK, look.governor)
    said = f"{look.governor}: cores that wait slow down, and are measured while they speed up"
    return Finding("governor", WARN, said, "cpupower frequency-set -g performance")


def _memory(look: Look) -> Finding:
    said = (
        f"{_gb(look.memory_available)} of {_gb(look.memory_total)} available, {_gb(look.swap_used)} swapped"
    )
    advice = "`ps aux --sort=-rss | head` names who has it."
    if look.memory_available < MEMORY_MIN:
        return Finding("memory", BAD, said, advice)
    if look.memory_available < MEMORY:
        return Finding("memory", WARN, f"{said}; MySQL, Kafka and 2,000 users want {_gb(MEMORY)}", advice)
    return Finding("memory", OK, said)


def _shm(look: Look) -> Finding:
    advice = "mount -o remount,size=1g /dev/shm   (in Docker: docker run --shm-size 1g)"
    if look.shm_free is None:
        return Finding("/dev/shm", BAD, "not there, or not ours to write: runs are recorded there", advice)
    said = f"{_gb(look.shm_free)} free for the record of a run"
    verdict = BAD if look.shm_free < SHM_MIN else WARN if look.shm_free < SHM else OK
    return Finding("/dev/shm", verdict, said, advice if verdict != OK else "")


def _space(look: Look) -> Finding:
    said = f"{_gb(look.scratch_free)} free in {look.scratch}, where services keep their data"
    verdict = BAD if look.scratch_free < DISK_FREE_MIN else WARN if look.scratch_free < DISK_FREE else OK
    advice = "`bench clean` removes old runs; TMPDIR=/another/disk puts the data elsewhere."
    return Finding("disk space", verdict, said, advice if verdict != OK else "")


def _disk(look: Look) -> Finding:
    if look.disk_error:
        return Finding(
            "disk speed", BAD, f"{look.scratch} takes no files: {look.disk_error}", "TMPDIR=/a/disk"
        )
    sync, read = look.disk["fdatasync_us"], look.disk["direct_read_us"]
    reading = f"{read['p50'] / 1000:.2f} ms" if read else f"not known ({look.disk['no_direct_read']})"
    said = (
        f"{look.disk['filesystem']}, {sync['n']} fdatasyncs: p50 {sync['p50'] / 1000:.2f} ms, p99 "
        f"{sync['p99'] / 1000:.2f} ms; a 16 KiB direct read: {reading}; honoured by the host: "
        f"{look.disk['honoured_by_host']}"
    )
    if sync["p50"] > SYNC_US or (read and read["p50"] > READ_US):
        advice = (
            "Every COMMIT waits for it: TMPDIR=/a/faster/disk bench run …; or --durability process, which "
            "does not flush."
        )
        return Finding("disk speed", WARN, f"slow: {said}", advice)
    return Finding("disk speed", OK, said)


def _services(look: Look) -> Finding:
    said = "; ".join(f"{found.name}: {found.what or 'not found'}" for found in look.services)
    if look.no_services:
        return Finding("services", BAD, said, look.no_services)
    how = f"a run would take {look.chosen} ({look.why})"
    if look.chosen == "external" and any(found.what is None for found in look.services):
        return Finding("services", BAD, f"{how}; {said}", "Check the BENCH_…_URL that does not answer.")
    return Finding("services", OK, f"{how}; {said}")


def _alone(look: Look) -> Finding:
    if look.held_by:
        return Finding("another run", BAD, f"{look.held_by} has this machine", "Wait for it, or stop it.")
    return Finding("another run", OK, "none")


def _gb(value: int) -> str:
    return f"{value / 2**30:.2f} GiB"


CHECKS: Final[tuple[Callable[[Look], Finding], ...]] = (
    _files,
    _ports,
    _cores,
    _busy,
    _clock,
    _governor,
    _memory,
    _shm,
    _space,
    _disk,
    _services,
    _alone,
)
