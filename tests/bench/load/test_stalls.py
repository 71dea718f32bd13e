"""A load process notices when its own loop stood still, and the runner whether its clock is the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest

from bench.load.config import Report
from bench.load.stalls import GAP_NS, TICK_S, Stalls
from bench.load.watched import LATE_NS, Watched
from bench.record import Stall

MS = 1_000_000


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    found = Stalls(gevent.get_hub().loop)
    found.start()
    yield found
    found.stop()


def test_a_loop_that_is_held_up_had_a_gap(stalls: Stalls) -> None:
    gevent.sleep(3 * TICK_S)
    stalls.take()
    begun = time.monotonic_ns()
    time.sleep(0.06)
    held = time.monotonic_ns()
    gevent.sleep(3 * TICK_S)
    ((kind, at, us),) = [one for one in stalls.take() if one[2] > 40_000]
    assert kind == Stall.LOOP
    assert at >= held
    assert 60_000 - TICK_S * 1e6 <= us <= (at - begun) / 1000 + TICK_S * 1e6
    assert stalls.take() == [] or all(us < 40_000 for _, _, us in stalls.take())


def test_pauses_are_told_from_a_millisecond_on() -> None:
    clock = [10_000 * MS]
    stalls = Stalls(gevent.get_hub().loop, lambda: clock[0])
    for length in (MS - 1, MS):
        stalls.collected("start", {})
        clock[0] += length
        stalls.collected("stop", {})
    assert stalls.take() == [(Stall.GC, clock[0], 1_000)]


def test_a_gap_is_more_than_its_threshold() -> None:
    clock = [10_000 * MS]
    stalls = Stalls(gevent.get_hub().loop, lambda: clock[0])
    stalls.tick()
    clock[0] += round(TICK_S * 1e9) + GAP_NS
    stalls.tick()
    assert [kind for kind, *_ in stalls.take() if kind == Stall.LOOP] == []
    clock[0] += round(TICK_S * 1e9) + GAP_NS + 1
    stalls.tick()
    assert [one for one in stalls.take() if one[0] == Stall.LOOP] == [(Stall.LOOP, clock[0], 5_000)]


def test_a_gap_says_how_much_of_it_was_waited_for_a_core() -> None:
    clock, waited = [10_000 * MS], [MS]
    stalls = Stalls(gevent.get_hub().loop, lambda: clock[0], lambda: waited[0])
    stalls.tick()
    for ms in (0, 3, 50):
        clock[0] += round(TICK_S * 1e9) + 2 * GAP_NS
        waited[0] += ms * MS
        stalls.tick()
    told = [(kind, us) for kind, _, us in stalls.take() if kind != Stall.CLOCK]
    gap = (Stall.LOOP, 10_000)
    assert told == [gap, gap, (Stall.CORE, 3_000), gap, (Stall.CORE, 10_000)]


# --- as the runner hears it -------------------------------------------------------------------------------


def heard(*pairs: tuple[int, int]) -> Watched:
    """(said at, by its own clock; heard at, by ours)"""
    watched = Watched()
    for at_ns, heard_ns in pairs:
        watched.told(Report(at_ns=at_ns, since_ns=5, stalls=[(0, at_ns, 6_000)]), heard_ns)
    return watched


def test_one_clock_for_both(stalls: Stalls) -> None:
    watched = heard((1_000 * MS, 1_250 * MS), (2_000 * MS, 2_010 * MS))
    assert watched.clock_apart_us == 0
    assert (watched.since_ns, watched.until_ns) == (5, 2_000 * MS)
    assert [at for _, at, _ in watched.found] == [1_000 * MS, 2_000 * MS]


def test_a_report_from_the_future_is_from_another_clock() -> None:
    assert heard((1_000 * MS, 1_250 * MS), (2_007 * MS, 2_000 * MS)).clock_apart_us == 7_000


def test_reports_that_are_all_old_are_from_another_clock() -> None:
    late = heard((1_000 * MS, 2_000 * MS), (2_000 * MS, 3_000 * MS + LATE_NS))
    assert late.clock_apart_us == (1_000 * MS - LATE_NS) // 1000
    assert heard((1_000 * MS, 2_000 * MS), (3_000 * MS, 3_000 * MS + LATE_NS)).clock_apart_us == 0


def test_who_said_nothing_is_not_known() -> None:
    assert Watched().clock_apart_us is None
