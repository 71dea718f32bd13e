from __future__ import annotations

import time

from bench.calibrate.reference import AT_ONCE, ENTRIES, steps_per_cpu_s


def test_it_counts_by_its_own_cpu_time_and_ends_in_time() -> None:
    began, cpu = time.monotonic(), time.thread_time()
    per_s = steps_per_cpu_s(0.2)
    used = time.thread_time() - cpu
    assert used <= time.monotonic() - began
    assert per_s * used >= AT_ONCE
    assert per_s > 100_000, "a step is a lookup, not a system call"


def test_whole_rounds_are_of_whole_pieces() -> None:
    assert ENTRIES % AT_ONCE == 0
