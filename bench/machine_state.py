"""What disturbs a run from outside, once a second: swapping, throttling, full disks, used-up ports, and a
wall clock that is moved.  What a machine does not tell gives no sample."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.clocks import Clocks

Told = tuple[str, str, float]
"""(component, metric, value)"""
MACHINE: Final = "machine"
_VMSTAT: Final = Path("/proc/vmstat")
_SOCKSTAT: Final = Path("/proc/net/sockstat")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_CPUS: Final = Path("/sys/devices/system/cpu")
_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ports() -> int:
    """How many local ports one address can have."""
    low, high = map(int, _PORTS.read_text().split())
    return high - low + 1


class MachineState:
    """`places`: name -> a folder that must not fill up."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = places
        self._clocks = Clocks()
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._quotas = quotas()
        self._hot = list(_CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
        self._frequencies = list(_CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))

    def sample(self) -> list[Told]:
        """Counters are cumulative."""
        self._clocks.look()
        told = [
            *self._swapped(),
            *_throttled(self._quotas),
            *_too_hot(self._hot),
            *_frequency(self._frequencies),
            *_sockets(),
            *self._free(),
            ("clock_steps_s", self._clocks.stepped_ns / 1e9),
        ]
        return [(MACHINE, metric, value) for metric, value in told]

    def _swapped(self) -> Iterator[tuple[str, float]]:
        with contextlib.suppress(OSError):
            pages = sum(
                int(line.split()[1])
                for line in _VMSTAT.read_text().splitlines()
                if line.startswith(("pswpin ", "pswpout "))
            )
            yield "swapped_bytes", float(pages * self._page_bytes)

    def _free(self) -> Iterator[tuple[str, float]]:
        for name, folder in self._places.items():
            with contextlib.suppress(OSError):
                found = os.statvfs(folder)
                yield f"free_bytes_{name}", float(found.f_bavail * found.f_frsize)


def quotas() -> list[Path]:
    """`cpu.stat` of the control group that this process is in and of those above it: each may have a quota.

    Of either kind (man 7 cgroups).  A container may see its own group as the root and yet be told the host's
    path of it; then the root is what there is."""
    found = []
    with contextlib.suppress(OSError):
        for line in _MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root = _CGROUPS / controllers
            group = root / path.lstrip("/")
            found += [at / "cpu.stat" for at in (group, *group.parents) if at.is_relative_to(root)]
    return [file for file in found if file.is_file()]


def _throttled(files: Sequence[Path]) -> Iterator[tuple[str, float]]:
    """Seconds that quotas took away, of all these groups together: none may hide what another's took."""
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            fields = dict(line.split() for line in file.read_text().splitlines())
            if "throttled_usec" in fields:
                found.append(int(fields["throttled_usec"]) / 1e6)
            elif "throttled_time" in fields:
                found.append(int(fields["throttled_time"]) / 1e9)
    if found:
        yield "throttled_s", sum(found)


def _too_hot(files: Sequence[Path]) -> Iterator[tuple[str, float]]:
    """Times that a core was."""
    if files:
        yield "too_hot", float(sum(int(file.read_text()) for file in files))


def _frequency(files: Sequence[Path]) -> Iterator[tuple[str, float]]:
    """Of the slowest core, kHz; a virtual machine's is not told."""
    found = []
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(file.read_text()))
    if found:
        yield "slowest_core_khz", float(min(found))


def _sockets() -> Iterator[tuple[str, float]]:
    """TCP sockets that are in use, and that wait for their time to pass."""
    with contextlib.suppress(OSError):
        for line in _SOCKSTAT.read_text().splitlines():
            if line.startswith("TCP:"):
                words = line.split()
                fields = dict(zip(words[1::2], words[2::2], strict=True))
                yield "tcp_inuse", float(fields["inuse"])
                yield "tcp_tw", float(fields["tw"])
