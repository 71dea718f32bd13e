from __future__ import annotations

import pytest

from bench.services.exercise import exercised, steady


def test_each_slice_is_held_against_the_cpu_that_the_store_used_in_it() -> None:
    """1,000 operations a second for 0.5 s of CPU; in the third second a neighbour doubles the cost."""
    moments = [(0.0, 0, 0.0), (1.0, 1_000, 0.5), (2.0, 2_000, 1.0), (3.0, 3_000, 2.0)]
    done = exercised(moments)
    assert done.per_cpu_s == pytest.approx((2_000, 2_000, 1_000))
    assert (done.seconds, done.operations) == (3.0, 3_000)


def test_a_jvm_is_warm_when_its_records_stop_getting_cheaper() -> None:
    moments, warm = [(0.0, 0, 0.0)], []
    for second, per_s in enumerate((20_000, 60_000, 140_000, 190_000, 196_000, 193_000), start=1):
        moments.append((float(second), 100_000 * second, moments[-1][2] + 100_000 / per_s))
        warm.append(steady(moments))
    assert warm == [False, False, False, False, False, True]
