"""What the machine tells, from files as the kernel writes them; what it does not tell is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import machine_state, sampler
from bench.machine_state import MachineState


def told(state: MachineState) -> dict[str, float]:
    found = {}
    for component, metric, value in state.sample():
        assert component == "machine"
        found[metric] = value
    return found


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /proc and /sys."""
    monkeypatch.setattr(machine_state, "_VMSTAT", tmp_path / "vmstat")
    monkeypatch.setattr(machine_state, "_SOCKSTAT", tmp_path / "sockstat")
    monkeypatch.setattr(machine_state, "_CGROUP", (tmp_path / "v2", tmp_path / "v1"))
    monkeypatch.setattr(machine_state, "_CPUS", tmp_path / "cpu")
    return tmp_path


def test_swapped_pages_are_bytes(kernel: Path) -> None:
    (kernel / "vmstat").write_text("pgpgin 5\npswpin 3\npswpout 4\npswpout_extra 9\n")
    assert told(MachineState({}))["swapped_bytes"] == 7 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("file", "text"),
    [("v2", "usage_usec 9\nthrottled_usec 2500000\n"), ("v1", "nr_periods 1\nthrottled_time 2500000000\n")],
)
def test_the_quota_of_either_kind_of_control_group(kernel: Path, file: str, text: str) -> None:
    (kernel / file).write_text(text)
    assert told(MachineState({}))["throttled_s"] == 2.5


def test_heat_and_frequency_are_told_where_the_machine_tells_them(kernel: Path) -> None:
    for core, khz, hot in ((0, 3_000, 2), (1, 1_800, 5)):
        (kernel / f"cpu/cpu{core}/cpufreq").mkdir(parents=True)
        (kernel / f"cpu/cpu{core}/cpufreq/scaling_cur_freq").write_text(f"{khz}\n")
        (kernel / f"cpu/cpu{core}/thermal_throttle").mkdir()
        (kernel / f"cpu/cpu{core}/thermal_throttle/core_throttle_count").write_text(f"{hot}\n")
    found = told(MachineState({}))
    assert (found["slowest_core_khz"], found["too_hot"]) == (1_800, 7)


def test_sockets_that_wait_for_their_time_are_counted(kernel: Path) -> None:
    (kernel / "sockstat").write_text(
        "sockets: used 13\nTCP: inuse 41 orphan 0 tw 17 alloc 3 mem 351\nUDP: inuse 2\n"
    )
    found = told(MachineState({}))
    assert (found["tcp_inuse"], found["tcp_tw"]) == (41, 17)


def test_what_is_not_told_is_left_out(kernel: Path, tmp_path: Path) -> None:
    found = told(MachineState({"results": tmp_path, "data": tmp_path / "not there"}))
    assert set(found) == {"free_bytes_results", "clock_steps_s"}
    free = os.statvfs(tmp_path)
    assert found["free_bytes_results"] == pytest.approx(free.f_bavail * free.f_frsize, rel=0.2)
    assert found["clock_steps_s"] == 0


def test_this_machine_says_how_many_ports_there_are() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert machine_state.ports() == high - low + 1 > 0


def test_open_files_are_those_of_the_process_that_has_most() -> None:
    before = sampler.descriptors([os.getpid()])
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]
    after = sampler.descriptors([os.getpid(), 2**22 + 1])
    for number in opened:
        os.close(number)
    assert after["files_open"] - before["files_open"] == 10
    assert after["files_limit"] == before["files_limit"] > after["files_open"]
    assert sampler.descriptors([]) == {}
