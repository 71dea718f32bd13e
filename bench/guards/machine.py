"""Was the machine quiet, roomy and the same from beginning to end?  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.guards.guard import INCONCLUSIVE, INVALID, OK, WARN, Guard, unknown
from bench.results import Json

STEAL: Final = 0.05
STEAL_VOID: Final = 0.25
FOREIGN: Final = 0.25
"""Cores used by others; the kernel's own work and a shell are far below."""
FOREIGN_WARN: Final = 0.10
RUN_QUEUE: Final = 0.10
RUN_QUEUE_WARN: Final = 0.05
THROTTLED: Final = 0.01
SLOWEST: Final = 0.90
SWAPPED_BYTES: Final = 1 << 20
FREE_BYTES: Final = 256 << 20
FULL_BYTES: Final = 16 << 20
USED: Final = 0.80


def _told(summary: Json) -> Json:
    found: Json = summary.get("disturbances") or {}
    return found


def _steal(summary: Json) -> Guard:
    machine = summary["resources"].get("machine") or {}
    stolen = (machine.get("counters") or {}).get("steal_s")
    if stolen is None or not summary["duration_s"]:
        return unknown("cpu_steal", STEAL, "CPU time taken by other machines on this host")
    share = stolen / summary["duration_s"]
    return _graded(
        "cpu_steal",
        share,
        STEAL,
        STEAL_VOID,
        f"CPU time taken by other machines on this host: {share:.1%} of a core",
        "Compare only runs that were made side by side, and repeat them.",
    )


def _foreign(summary: Json) -> Guard:
    cores = _told(summary).get("foreign_cores")
    if cores is None:
        return unknown("foreign_load", FOREIGN_WARN, "CPU used by others on this machine")
    return _graded(
        "foreign_load",
        cores,
        FOREIGN_WARN,
        FOREIGN,
        f"others on this machine used {cores:.2f} cores in the window",
        "Find them (`top -o %CPU`) and end them, or repeat the run when they are done.",
    )


def _run_queue(summary: Json) -> Guard:
    share = _told(summary).get("runqueue_share")
    if share is None:
        return unknown("run_queue", RUN_QUEUE_WARN, "how long the generator waited for a core")
    return _graded(
        "run_queue",
        share,
        RUN_QUEUE_WARN,
        RUN_QUEUE,
        f"a load process was ready and had no core for {share:.1%} of the window",
        "Leave it a core: fewer --workers, --pin auto as root, or nothing else on this machine.",
    )


def _graded(guard: str, value: float, warn: float, void: float, message: str, advice: str) -> Guard:
    """Told above `warn`, too noisy to say above `void`."""
    verdict = INCONCLUSIVE if value > void else WARN if value > warn else OK
    return Guard(guard, verdict, value, void if value > void else warn, message, advice)


def _throttled(summary: Json) -> Guard:
    told = _told(summary)
    share, hot, slowest = (told.get(name) for name in ("throttled_share", "too_hot", "slowest_khz_share"))
    if share is None and hot is None and slowest is None:
        return unknown("cpu_throttled", THROTTLED, "throttling and frequency of the CPU")
    slow = slowest is not None and slowest < SLOWEST
    bad = (share or 0) > THROTTLED or bool(hot)
    return Guard(
        "cpu_throttled",
        INCONCLUSIVE if bad else WARN if slow else OK,
        share,
        THROTTLED,
        f"held back by the control group's quota for {_percent(share)} of the window; too hot "
        f"{'unknown' if hot is None else f'{hot:g} times'}; lowest frequency {_percent(slowest)} of the "
        "highest",
        "Raise the quota (cpu.max), let the machine cool, or set the governor: cpupower frequency-set -g "
        "performance.",
    )


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{share:.1%}"


def _swap(summary: Json) -> Guard:
    swapped = _told(summary).get("swapped_bytes")
    if swapped is None:
        return unknown("no_swapping", SWAPPED_BYTES, "swapping")
    return Guard(
        "no_swapping",
        INCONCLUSIVE if swapped > SWAPPED_BYTES else OK,
        swapped,
        SWAPPED_BYTES,
        f"{swapped / 2**20:.1f} MiB were swapped in or out in the window",
        "Memory is short: fewer --users, or end what else holds it (swapoff -a keeps the kernel from it).",
    )


def _room(summary: Json) -> Guard:
    free = {place: n for place, n in (_told(summary).get("free_bytes") or {}).items() if n is not None}
    if not free:
        return unknown("disk_room", FREE_BYTES, "room for results, records and data")
    place, least = min(free.items(), key=lambda pair: pair[1])
    return Guard(
        "disk_room",
        INVALID if least < FULL_BYTES else WARN if least < FREE_BYTES else OK,
        least,
        FULL_BYTES if least < FULL_BYTES else FREE_BYTES,
        f"the least room was {least / 2**20:,.0f} MiB, where the {WHERE[place]} are",
        "Make room: `bench clean` removes old results; /dev/shm needs some hundred bytes for each operation.",
    )


WHERE: Final = {"results": "results", "memory": "records (/dev/shm)", "data": "services' data folders"}


def _files(summary: Json) -> Guard:
    files = _told(summary).get("files") or {}
    used = {name: of["open"] / of["limit"] for name, of in files.items() if of["limit"]}
    if not used:
        return unknown("open_files", USED, "open files and their limit")
    name, share = max(used.items(), key=lambda pair: pair[1])
    return Guard(
        "open_files",
        WARN if share > USED else OK,
        round(share, 4),
        USED,
        f"{name} had {files[name]['open']} of {files[name]['limit']} files open ({share:.0%})",
        "Raise the limit: `ulimit -n 65536`, and nofile in /etc/security/limits.conf for good.",
    )


def _ports(summary: Json) -> Guard:
    ports = _told(summary).get("ports") or {}
    used, of = ports.get("used"), ports.get("of")
    if used is None or not of:
        return unknown("ports", USED, "local ports in use")
    share = used / of
    return Guard(
        "ports",
        WARN if share > USED else OK,
        round(share, 4),
        USED,
        f"connections used {used} of {of} local ports ({share:.0%})",
        "Widen the range: `sysctl -w net.ipv4.ip_local_port_range='15000 65535'`; or wait a minute for old "
        "connections to go.",
    )


def _services(summary: Json) -> Guard:
    services: dict[str, Any] = _told(summary).get("services") or {}
    silent = [name for name, of in services.items() if of["same"] is None]
    told = [f"{name}: {what}" for name, of in services.items() for what in of["differs"]]
    if silent and not told:
        return unknown("services_same", 0, f"whether {', '.join(silent)} was restarted or set otherwise")
    return Guard(
        "services_same",
        INVALID if told else OK,
        len(told),
        0,
        "; ".join(told)
        or ("no service was restarted or set otherwise" if services else "there are no services"),
        "Part of the run was made against something else: keep others from the services, and repeat it.",
    )


GUARDS: Final[tuple[Callable[[Json], Guard], ...]] = (
    _steal,
    _foreign,
    _run_queue,
    _throttled,
    _swap,
    _room,
    _files,
    _ports,
    _services,
)
