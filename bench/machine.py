"""What the machine is: everything about it that explains a figure, and what it must allow."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import resource
import subprocess
from pathlib import Path
from typing import Any

import psutil

from bench.options import BadOptions

FILES_BESIDE_SOCKETS = 300


def cores() -> int:
    return os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """For the manifest.  `class`: runs of the same class may be compared."""
    facts = {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_1m": os.getloadavg()[0],
        "files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "git": _git_commit(),
    }
    lasting = (facts["cpu"], facts["cores"], round(psutil.virtual_memory().total / 2**30))
    return facts | {"class": hashlib.sha256(repr(lasting).encode()).hexdigest()[:12]}


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


def _first_line(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return None


def _git_commit() -> str | None:
    """The commit of the checkout that this runs from; None where it is installed without one."""
    here = Path(__file__).parent.parent
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        git = ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return None
