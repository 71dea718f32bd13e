from __future__ import annotations

from typing import Any

from bench.metrics.ceilings import near

CALIBRATED: dict[str, Any] = {
    "measured_at": "2026-01-01 00:00:00+00:00",
    "ceilings": {
        "generator": {"unit": "requests", "per_s": 10_000.0},
        "generator_mixed": {"unit": "operations", "per_s": 2_000.0},
        "memory": {"unit": "operations", "per_s": 1_500.0},
        "mysql": {"unit": "commits", "per_s": 9_000.0, "cores": 2},
        "redis": {"unit": "commands", "per_s": 50_000.0, "cores": 1},
    },
}
DONE = {"SEND": {"count": 20_000}, "READ": {"count": 40_000}}
USED = {"mysql": {"cpu_cores_mean": 0.5}, "redis": {"cpu_cores_mean": 0.25}, "kafka": {"cpu_cores_mean": 1.0}}


def test_the_generator_is_held_to_its_rate_and_a_store_to_its_cpu() -> None:
    found = near(CALIBRATED, DONE, USED, {"scheme": "redis", "workers": 1}, 60.0)
    assert found is not None
    shares = {name: one["share"] for name, one in found["near"].items()}
    # Kafka was not calibrated, and the control's ceiling is the control's
    assert shares == {"generator": 0.1, "generator_mixed": 0.5, "mysql": 0.25, "redis": 0.25}
    assert found["near"]["generator_mixed"]["used_per_s"] == 1_000.0


def test_two_workers_carry_twice_as_much() -> None:
    found = near(CALIBRATED, DONE, {}, {"scheme": "db", "workers": 2}, 60.0)
    assert found is not None
    assert found["near"]["generator_mixed"] == {
        "unit": "operations",
        "ceiling_per_s": 4_000.0,
        "used_per_s": 1_000.0,
        "share": 0.25,
    }


def test_the_control_is_held_to_its_own() -> None:
    found = near(CALIBRATED, DONE, {}, {"scheme": "memory"}, 60.0)
    assert found is not None
    assert found["near"]["memory"]["share"] == 0.6667


def test_without_a_calibration_nothing_is_claimed() -> None:
    assert near(None, DONE, USED, {}, 60.0) is None
    assert near(CALIBRATED, DONE, USED, {}, 0.0) is None
