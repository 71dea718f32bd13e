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
    monkeypatch.setattr(machine_state, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(machine_state, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine_state, "_CPUS", tmp_path / "cpu")
    return tmp_path


def test_swapped_pages_are_bytes(kernel: Path) -> None:
    (kernel / "vmstat").write_text("pgpgin 5\npswpin 3\npswpout 4\npswpout_extra 9\n")
    assert told(MachineState({}))["swapped_bytes"] == 7 * os.sysconf("SC_PAGE_SIZE")


V2, V1 = "usage_usec 9\nthrottled_usec 2500000\n", "nr_periods 1\nthrottled_time 2500000000\n"


@pytest.mark.parametrize(
    ("membership", "file", "text"),
    [
        pytest.param("0::/user/a", "user/a", V2, id="v2"),
        pytest.param("0::/user/a", "user", V2, id="a group above it"),
        pytest.param("0::/host/path/of/a/container", ".", V2, id="a container that sees itself as the root"),
        pytest.param("5:memory:/a\n1:cpu,cpuacct:/a\n0::/", "cpu,cpuacct/a", V1, id="v1"),
        pytest.param("1:cpu:/docker/x\n0::/", "cpu", V1, id="v1, a container"),
    ],
)
def test_the_quota_of_either_kind_of_control_group(
    kernel: Path, membership: str, file: str, text: str
) -> None:
    (kernel / "membership").write_text(f"{membership}\n")
    (kernel / "cgroup" / file).mkdir(parents=True, exist_ok=True)
    (kernel / "cgroup" / file / "cpu.stat").write_text(text)
    assert told(MachineState({}))["throttled_s"] == 2.5


def test_another_group_s_quota_is_not_ours(kernel: Path) -> None:
    (kernel / "membership").write_text("0::/user/a\n")
    for name, throttled in (("user/a", 100_000), ("user", 0), ("user/b", 2_500_000)):
        (kernel / "cgroup" / name).mkdir(parents=True, exist_ok=True)
        (kernel / "cgroup" / name / "cpu.stat").write_text(f"throttled_usec {throttled}\n")
    assert told(MachineState({}))["throttled_s"] == 0.1


def test_what_a_group_lost_long_ago_hides_nothing(kernel: Path) -> None:
    (kernel / "membership").write_text("0::/user/a\n")
    (kernel / "cgroup/user/a").mkdir(parents=True)
    (kernel / "cgroup/user/cpu.stat").write_text("throttled_usec 90000000\n")
    own, seen = kernel / "cgroup/user/a/cpu.stat", []
    for throttled in (0, 1_500_000):
        own.write_text(f"throttled_usec {throttled}\n")
        seen.append(told(MachineState({}))["throttled_s"])
    assert seen[1] - seen[0] == 1.5


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
