from __future__ import annotations

from typing import Any

from bench.report.ceilings import lines


def found(per_s: float, **more: Any) -> dict[str, Any]:
    return {
        "ceilings": {"redis": {"unit": "commands", "per_s": per_s, **more}},
        "measured_at": "2026-11-26 17:00:00+00:00",
        "seconds": 80,
    }


def test_the_first_time_there_is_nothing_to_compare_with() -> None:
    assert lines(found(300_000), None)[0] == "Redis: 300,000 commands/s"


def test_what_the_core_did_stands_beside_what_the_ceiling_did() -> None:
    before, now = (found(of, reference_per_cpu_s=core) for of, core in ((300_000, 1e7), (390_000, 1.25e7)))
    told = lines(now, before)[0]
    assert told == "Redis: 390,000 commands/s (+30.0% against the last time; the core itself +25.0%)"


def test_one_that_was_kept_without_its_core_is_compared_without() -> None:
    now = found(390_000, reference_per_cpu_s=1e7)
    assert lines(now, found(300_000))[0].endswith("(+30.0% against the last time)")
