"""Everybody is connected, or the run ends with what kept the others away."""

from __future__ import annotations

from dataclasses import fields

import pytest

from bench.connecting import PATIENCE_S, Connecting
from bench.load.config import Live


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def live(connected: int, **lost: int) -> Live:
    empty = dict.fromkeys((field.name for field in fields(Live)), 0)
    counters = {f"lost: {name}": n for name, n in lost.items()} | {"gaps": 1_000}
    return Live(**empty | {"connected": connected, "wanted": 300, "counters": counters})


def test_it_is_over_when_all_are() -> None:
    connecting = Connecting(28_232, Clock())
    assert [connecting.all_are(live(n)) for n in (0, 299, 300)] == [False, False, True]


def test_whoever_is_slow_but_comes_is_waited_for() -> None:
    clock = Clock()
    connecting = Connecting(28_232, clock)
    for connected in range(299):
        clock.now += PATIENCE_S
        assert not connecting.all_are(live(connected))


def test_nobody_more_for_too_long_is_an_error_that_says_what_they_met() -> None:
    clock = Clock()
    connecting = Connecting(336, clock)
    assert not connecting.all_are(live(285))
    clock.now = PATIENCE_S
    assert not connecting.all_are(live(285))
    clock.now += 0.1
    with pytest.raises(TimeoutError) as told:
        connecting.all_are(live(285, refused=2, cannot_assign=17))
    assert str(told.value).startswith(
        "285 of 300 devices were connected, and for 60 s nobody more (most met: "
    )
    assert "cannot_assign, 17 times" in str(told.value)
    assert "336 local ports" in str(told.value)


def test_silence_is_told_too() -> None:
    clock = Clock()
    connecting = Connecting(336, clock)
    connecting.all_are(live(0))
    clock.now = PATIENCE_S + 1
    with pytest.raises(TimeoutError, match="no connection was refused or lost"):
        connecting.all_are(live(0))
