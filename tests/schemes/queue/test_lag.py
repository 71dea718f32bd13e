"""Lag: what was produced against what was applied, and since when."""

from __future__ import annotations

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
