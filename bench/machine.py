"""What the machine is: everything about it that explains a figure, and what it must allow."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
from pathlib import Path
from typing import Any

import psutil

from bench import environment
from bench.options import BadOptions

FILES_BESIDE_SOCKETS = 300


def cores() -> int:
    return os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """For the manifest.  `class`: runs of the same class may be compared."""
    return environment.describe() | {
        "cpu": _cpu_model(),
        "cores": cores(),
        "files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "class": machine_class(),
    }


def machine_class() -> str:
    """Machines of one class have the same CPU, as many cores and as much memory."""
    lasting = (_cpu_model(), cores(), round(psutil.virtual_memory().total / 2**30))
    return hashlib.sha256(repr(lasting).encode()).hexdigest()[:12]


def make_room(users: int) -> None:
    """Raises the soft limit of open files for this process and its children.  Raises BadOptions where the
    hard limit or the ports do not allow that many sockets."""
    needed = users + FILES_BESIDE_SOCKETS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise BadOptions(
            f"{users} users are {users} sockets in the server, and this shell allows {hard} open files per "
            f"process (hard limit). Type `ulimit -Hn {needed}` as root, or set `* hard nofile {needed}` "
            f"in /etc/security/limits.conf and log in again; or ask for at most "
            f"{hard - FILES_BESIDE_SOCKETS} users."
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (min(hard, max(needed, 65536)) if hard > 0 else needed, hard)
        )
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if users > high - low:
        raise BadOptions(
            f"{users} users need {users} client ports, and the kernel gives {high - low} to one address "
            f"(net.ipv4.ip_local_port_range = {low} {high}). Widen it with `sysctl -w "
            f"net.ipv4.ip_local_port_range='32768 65535'`, or ask for fewer users."
        )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
