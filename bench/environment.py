"""What a run ran on, captured beside its result: what explains a figure and can differ between two runs."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

PACKAGES: Final = (
    "aiokafka", "aiomysql", "asyncmy", "gevent", "hiredis", "locust", "msgspec", "numpy", "pymysql", "redis",
    "uvloop", "websockets",
)  # fmt: skip
"""Versions that a figure depends on."""
LIMITS: Final = {
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "locked_memory_bytes": resource.RLIMIT_MEMLOCK,
    "core_bytes": resource.RLIMIT_CORE,
}
CLOCK_SOURCE: Final = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
CGROUP: Final = Path("/sys/fs/cgroup")
HERE: Final = Path(__file__).parent.parent


def describe() -> dict[str, Any]:
    """For `machine` of the manifest; None where the machine does not say."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "kernel": platform.release(),
        "virtual": virtual(),
        "governor": first_line(GOVERNOR),
        "clock_source": first_line(CLOCK_SOURCE),
        "cpus_allowed": len(os.sched_getaffinity(0)),
        "cpu_quota": cpu_quota(),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "swap_used_bytes": swap.used,
        "load_1m": os.getloadavg()[0],
        "limits": {name: list(resource.getrlimit(number)) for name, number in LIMITS.items()},
        "python": platform.python_version(),
        "optimised": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "packages": packages(),
        "git": git("rev-parse", "--short=12", "HEAD"),
        "git_dirty": dirty(),
    }


def virtual() -> str:
    """`none`, or the kind of virtual machine and container, as far as the kernel shows it."""
    found = [kind for kind in (_vm(), _container()) if kind is not None]
    return " + ".join(found) or "none"


def _vm() -> str | None:
    product = first_line(Path("/sys/class/dmi/id/product_name"))
    with contextlib.suppress(OSError):
        if "hypervisor" in Path("/proc/cpuinfo").read_text():
            return f"VM ({product})" if product else "VM"
    return None


def _container() -> str | None:
    if Path("/.dockerenv").exists():
        return "Docker"
    if Path("/run/.containerenv").exists():
        return "Podman"
    with contextlib.suppress(OSError):
        words = Path("/proc/1/environ").read_bytes().split(b"\0")
        named = [word for word in words if word.startswith(b"container=")]
        return f"container ({named[0].partition(b'=')[2].decode()})" if named else None
    return None


def cpu_quota() -> float | None:
    """Cores that a control group allows; None where it allows all."""
    line = first_line(CGROUP / "cpu.max")
    quota, _, period = (line or "max").partition(" ")
    return None if quota == "max" else round(int(quota) / int(period), 3)


def packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def first_line(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return None


def git(*words: str) -> str | None:
    """What git says of the checkout that this runs from; None where it is installed without one."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(
            ["git", "-C", str(HERE), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()
    return None


def dirty() -> bool | None:
    """Whether tracked files differ from the commit."""
    said = git("status", "--porcelain", "--untracked-files=no")
    return None if said is None else bool(said)
