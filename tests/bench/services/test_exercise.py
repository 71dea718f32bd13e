from __future__ import annotations

import pytest

from bench.services.exercise import exercised, steady


def test_a_ceiling_is_of_a_good_second() -> None:
    """1,000 operations a second for 0.5 s of CPU; in two of eight seconds a neighbour doubles the cost."""
    moments, cpu = [(0.0, 0, 0.0)], 0.0
    for second in range(1, 9):
        cpu += 1.0 if second in (3, 6) else 0.5
        moments.append((float(second), 1_000 * second, cpu))
    done = exercised(moments)
    assert done.per_cpu_s == pytest.approx(2_000)
    assert (done.seconds, done.operations) == (8.0, 8_000)


def test_one_lucky_second_is_no_ceiling() -> None:
    moments, cpu = [(0.0, 0, 0.0)], 0.0
    for second in range(1, 9):
        cpu += 0.1 if second == 3 else 0.5
        moments.append((float(second), 1_000 * second, cpu))
    assert exercised(moments).per_cpu_s == pytest.approx(2_000)


def test_a_jvm_is_warm_when_its_records_stop_getting_cheaper() -> None:
    moments, warm = [(0.0, 0, 0.0)], []
    for second, per_s in enumerate((20_000, 60_000, 140_000, 190_000, 196_000, 193_000), start=1):
        moments.append((float(second), 100_000 * second, moments[-1][2] + 100_000 / per_s))
        warm.append(steady(moments))
    assert warm == [False, False, False, False, False, True]
