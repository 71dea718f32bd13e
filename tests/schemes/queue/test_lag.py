"""Lag: what was produced against what was applied, and since when."""

from __future__ import annotations

import itertools

from schemes.queue.ages import BOUNDS_MS, LONGEST_MS, Counted, noted, together
from schemes.queue.lag import Lag
from schemes.stores.redis import RedisStore


def test_events_and_the_age_of_the_oldest() -> None:
    ends = {0: 5, 1: 3}
    lag = Lag(RedisStore("redis://nowhere"), "t", lambda: dict(ends))
    lag.note({0: 5, 1: 3}, 10.0)
    assert (lag.events, lag.ms) == (0, 0)
    ends[0] = 9
    lag.note({0: 5, 1: 3}, 10.2)
    assert (lag.events, lag.ms) == (4, 0)
    ends[1] = 4
    lag.note({0: 6, 1: 3}, 10.4)
    assert (lag.events, lag.ms) == (4, 200)
    lag.note({0: 9, 1: 3}, 10.6)  # what was there at 10.2 is applied; what came by 10.4 is not
    assert (lag.events, lag.ms) == (1, 200)
    lag.note({0: 9, 1: 4}, 10.8)
    assert (lag.events, lag.ms) == (0, 0)


def test_a_consumer_that_is_ahead_of_this_server_is_not_behind() -> None:
    lag = Lag(RedisStore("redis://nowhere"), "t", lambda: {0: 5})
    lag.note({0: 50, 7: 3}, 1.0)
    assert lag.events == 0


def test_a_partition_that_redis_does_not_know_is_behind_from_its_start() -> None:
    lag = Lag(RedisStore("redis://nowhere"), "t", lambda: {0: 5})
    lag.note({}, 1.0)
    assert lag.events == 5


def test_ages_are_counted_in_classes_that_hold_them() -> None:
    counted = Counted()
    counted.note([1_000, 1_000, 990, 400], 1_000.7)
    counted.note([0], 100_000_000.0)
    told = together([counted.json(), counted.json()])
    assert [events for _, _, events in told] == [4, 2, 2, 2]
    bounds = [(above, within) for above, within, _ in told]
    assert bounds[:2] == [(0, 1_000), (9_000, 11_000)]
    above, within = bounds[2]
    assert above < 600_000 < within < 1.06 * above  # the stamp may be 1 ms older than it says
    assert bounds[3][1] == LONGEST_MS * 1000


def test_notes_of_all_consumers_are_added_up_and_are_no_ages() -> None:
    one, other = Counted(), Counted()
    one.notes.update({"batches": 2, "beats": 1})
    other.notes["batches"] += 5
    assert noted([one.json(), other.json()]) == {"batches": 7, "beats": 1}
    assert together([one.json(), other.json()]) == []


def test_classes_are_a_millisecond_or_a_twentieth_wide() -> None:
    widths = [high - low for low, high in itertools.pairwise(BOUNDS_MS)]
    assert min(widths) == 1
    assert all(width <= 1 + 0.045 * low for width, low in zip(widths, BOUNDS_MS[:-1], strict=True))
    assert together([]) == []
