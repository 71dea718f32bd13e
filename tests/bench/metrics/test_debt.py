from __future__ import annotations

import numpy as np

from bench.metrics import debt
from bench.metrics.history import Window

S = 1_000_000_000
WINDOW = Window(0, 10 * S, 20 * S, 25 * S)
SECONDS = np.arange(0.0, 30.0)


def test_a_backlog_is_told_before_at_the_end_and_after_the_drain() -> None:
    value = np.where(SECONDS <= 20, np.maximum(0, SECONDS - 10) * 100, 0.0)
    told = debt._backlog(SECONDS, value, WINDOW, "events")
    assert (told["before"], told["at_end"], told["after_drain"]) == (0, 1000, 0)
    assert told["max"] == 1000
    assert told["per_s"] == 100.0


def test_the_drain_ends_between_two_samples() -> None:
    told = debt._backlog(np.array([24.5, 25.5]), np.array([6.0, 0.0]), WINDOW, "events")
    assert told["after_drain"] == 0


def test_one_peak_is_no_growth() -> None:
    value = np.where(SECONDS == 15, 5_000.0, 7.0)
    told = debt._backlog(SECONDS, value, WINDOW, "events")
    assert told["max"] == 5_000
    assert told["per_s"] == 0.0


def test_what_was_not_sampled_is_not_known() -> None:
    late = np.array([22.0, 23.0])
    told = debt._backlog(late, np.array([1.0, 2.0]), WINDOW, "rows")
    assert told["before"] is told["at_end"] is told["max"] is told["per_s"] is None
    assert told["after_drain"] == 2


def test_the_pool_says_how_often_it_lacked_a_page() -> None:
    run = {"pool": {"ratio_asked": 0.5, "pool_bytes": 50, "data_bytes": 100, "ratio": 0.5}}
    counters = {"Innodb_buffer_pool_read_requests": 1000.0, "Innodb_buffer_pool_reads": 50.0}
    told = debt.pool(run, {"mysql": {"counters": counters}})
    assert told is not None
    assert (told["misses"], told["miss_share"], told["ratio"]) == (50.0, 0.05, 0.5)
    assert debt.pool({}, {}) is None
