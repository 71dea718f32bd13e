from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.doctor import BAD, NOTE, OK, WARN, judge
from bench.doctor.look import Burner, Found, Look

GIB = 1 << 30


def disk(sync_ms: float = 1.0, read_ms: float = 0.1) -> dict[str, Any]:
    return {
        "folder": "/var/tmp",
        "filesystem": "ext4",
        "fdatasync_us": {"n": 200, "p50": sync_ms * 1000, "p99": 3 * sync_ms * 1000, "max": 9e4},
        "direct_read_us": {"n": 200, "p50": read_ms * 1000, "p99": 3 * read_ms * 1000, "max": 9e4},
        "no_direct_read": None,
        "honoured_by_host": "unknown",
    }


FIT = Look(
    users=2000,
    files=(1024, 20_000),
    client_ports=(32768, 60999),
    server_ports_free=0.99,
    cores=4,
    cpus_allowed=4,
    cpu_quota=None,
    busy_cores=0.3,
    burners=(Burner(7, "browser", 0.3, 0.1),),
    load_1m=0.4,
    clock_source="tsc",
    clock_sources="tsc hpet acpi_pm",
    governor="performance",
    memory_total=16 * GIB,
    memory_available=12 * GIB,
    swap_used=0,
    shm_free=8 * GIB,
    scratch="/var/tmp",
    scratch_free=100 * GIB,
    disk=disk(),
    services=(Found("mysql", "MariaDB 10.11"), Found("redis", "Redis 7"), Found("kafka", "Kafka 4")),
    chosen="local",
    why="private processes of this run",
)


def verdict(look: Look, check: str) -> str:
    return next(finding.verdict for finding in judge(look) if finding.check == check)


def test_a_fit_machine_has_nothing_to_do() -> None:
    findings = judge(FIT)
    assert {finding.verdict for finding in findings} == {OK}
    assert not any(finding.advice for finding in findings)


@pytest.mark.parametrize(
    ("check", "below", "above", "worse"),
    [
        ("open files", {"files": (1024, 2300)}, {"files": (1024, 2299)}, BAD),
        ("ports", {"client_ports": (32768, 60999)}, {"client_ports": (20_000, 60999)}, WARN),
        ("ports", {"client_ports": (32768, 34768)}, {"client_ports": (32768, 34767)}, BAD),
        ("ports", {"server_ports_free": 0.05}, {"server_ports_free": 0.04}, WARN),
        ("cores", {"cpus_allowed": 2}, {"cpus_allowed": 1}, WARN),
        ("cores", {"cpu_quota": 2.0}, {"cpu_quota": 1.5}, WARN),
        ("busy cores", {"busy_cores": 1.0}, {"busy_cores": 1.1}, WARN),
        ("clock source", {"clock_source": "kvm-clock"}, {"clock_source": "acpi_pm"}, WARN),
        ("governor", {"governor": "performance"}, {"governor": "powersave"}, WARN),
        ("governor", {"governor": "performance"}, {"governor": None}, NOTE),
        ("memory", {"memory_available": 3 * GIB}, {"memory_available": 3 * GIB - 1}, WARN),
        ("memory", {"memory_available": 3 * GIB}, {"memory_available": GIB - 1}, BAD),
        ("/dev/shm", {"shm_free": 512 << 20}, {"shm_free": (512 << 20) - 1}, WARN),
        ("/dev/shm", {"shm_free": 512 << 20}, {"shm_free": None}, BAD),
        ("disk space", {"scratch_free": 4 * GIB}, {"scratch_free": 4 * GIB - 1}, WARN),
        ("disk speed", {"disk": disk(9.9)}, {"disk": disk(10.1)}, WARN),
        ("disk speed", {"disk": disk(1, 9.9)}, {"disk": disk(1, 10.1)}, WARN),
        ("services", {}, {"no_services": "mysql is not installed: make setup"}, BAD),
        ("another run", {}, {"held_by": "`bench run` (pid 1)"}, BAD),
    ],
)
def test_each_check_is_silent_below_its_threshold_and_says_what_to_do_above(
    check: str, below: dict[str, Any], above: dict[str, Any], worse: str
) -> None:
    assert verdict(replace(FIT, **below), check) == OK
    assert verdict(replace(FIT, **above), check) == worse
    found = next(finding for finding in judge(replace(FIT, **above)) if finding.check == check)
    assert bool(found.advice) == (worse != NOTE)


def test_a_process_that_burns_a_core_is_named_even_where_it_must_share_it() -> None:
    burning = replace(FIT, burners=(Burner(4711, "python spin.py", 0.2, 0.35),))
    found = next(finding for finding in judge(burning) if finding.check == "busy cores")
    assert found.verdict == WARN
    assert "python spin.py" in found.message
    assert "kill 4711" in found.advice


def test_whether_the_host_honours_a_flush_is_never_claimed() -> None:
    said = next(finding.message for finding in judge(FIT) if finding.check == "disk speed")
    assert "honoured by the host: unknown" in said
