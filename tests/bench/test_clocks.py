"""The wall clock from the monotonic one: to a fraction of a microsecond, and void around a step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.clocks import CLOCK_ERROR_NS, QUIET_NS, Clocks

MS = 1_000_000


class Ticking:
    """Clocks that a test sets: each reading takes 50 ns."""

    def __init__(self) -> None:
        self.now = 10_000_000_000
        self.ahead = 1_700_000_000_000_000_000

    def monotonic(self) -> int:
        self.now += 50
        return self.now

    def realtime(self) -> int:
        return self.monotonic() + self.ahead


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


def test_a_stamp_is_converted_to_a_fraction_of_a_microsecond(ticking: Ticking) -> None:
    clocks = Clocks(ticking.monotonic, ticking.realtime)
    arrived = ticking.now + MS
    ticking.now += 60 * MS
    now = clocks.look()
    assert clocks.monotonic(arrived + ticking.ahead, now) == pytest.approx(arrived, abs=100)


@pytest.mark.parametrize("step", [-3_600_000 * MS, -2 * MS, 3 * MS, 3_600_000 * MS])
def test_stamps_are_void_around_a_step(ticking: Ticking, step: int) -> None:
    clocks = Clocks(ticking.monotonic, ticking.realtime)
    before = ticking.now + ticking.ahead
    ticking.now += MS
    ticking.ahead += step
    now = clocks.look()
    assert clocks.monotonic(before, now) == 0, "stamped before the step, read after it"
    assert clocks.monotonic(now + ticking.ahead, now) == 0
    assert clocks.steps == 1
    assert clocks.stepped_ns == pytest.approx(abs(step), abs=200)
    ticking.now += QUIET_NS
    now = clocks.look()
    assert clocks.monotonic(now - MS + ticking.ahead, now) == pytest.approx(now - MS, abs=100)


def test_slewing_and_slow_readings_are_no_steps(ticking: Ticking) -> None:
    def slowly(read: Callable[[], int]) -> int:
        ticking.now += 2 * MS  # preempted between the readings
        return read()

    clocks = Clocks(ticking.monotonic, ticking.realtime)
    slow = Clocks(lambda: slowly(ticking.monotonic), lambda: slowly(ticking.realtime))
    for _ in range(100):
        ticking.now += MS
        clocks.look()
        slow.look()
    assert clocks.steps == slow.steps == 0
    assert clocks.stepped_ns == slow.stepped_ns == 0
    assert slow.monotonic(ticking.now + ticking.ahead, ticking.now) == 0, "not known well enough"
    assert clocks.monotonic(ticking.now + ticking.ahead - MS, ticking.now) != 0


def test_a_stamp_from_the_future_is_none(ticking: Ticking) -> None:
    clocks = Clocks(ticking.monotonic, ticking.realtime)
    now = clocks.look()
    assert clocks.monotonic(now + ticking.ahead + MS, now) == 0
    assert clocks.monotonic(now + ticking.ahead + CLOCK_ERROR_NS // 2, now) == now
