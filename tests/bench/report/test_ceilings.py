from __future__ import annotations

from typing import Any

from bench.report.ceilings import lines


def found(per_s: float, **more: Any) -> dict[str, Any]:
    return {
        "ceilings": {"redis": {"unit": "commands", "per_s": per_s}},
        "measured_at": "2026-11-26 17:00:00+00:00",
        "seconds": 80,
        **more,
    }


def test_the_first_time_there_is_nothing_to_compare_with() -> None:
    assert lines(found(300_000, reference_per_cpu_s=1e7), None) == [
        "Redis: 300,000 commands/s",
        "measured 2026-11-26 17:00:00+00:00 in 80 s",
    ]


def test_what_the_core_did_stands_beside_what_the_ceilings_did() -> None:
    before, now = (found(of, reference_per_cpu_s=core) for of, core in ((300_000, 1e7), (390_000, 1.25e7)))
    ceiling, core = lines(now, before)
    assert ceiling == "Redis: 390,000 commands/s (+30.0% against the last time)"
    assert "; a loop that only computes: +25.0% against the last time, so this is not" in core
    alike = lines(found(300_000, reference_per_cpu_s=1.09e7), found(300_000, reference_per_cpu_s=1e7))
    assert alike[-1].endswith("+9.0% against the last time")


def test_how_sure_it_is_stands_beside_it() -> None:
    of = found(300_000)
    of["ceilings"]["redis"]["interval"] = [281_000.4, 322_000]
    assert lines(of, None)[0] == "Redis: 300,000 [281,000, 322,000] commands/s"


def test_one_that_was_kept_without_its_core_is_compared_without() -> None:
    ceiling, core = lines(found(390_000, reference_per_cpu_s=1e7), found(300_000))
    assert ceiling.endswith("(+30.0% against the last time)")
    assert core.endswith("in 80 s")
