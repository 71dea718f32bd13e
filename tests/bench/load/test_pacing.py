"""Things happen at their time, in their order, and an error stops only itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import gevent
import pytest
from gevent import get_hub

from bench.load.pacing import QUANTUM_NS, Pacer, Step, now_ns


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def pacer(errors: list[Exception]) -> Iterator[Pacer]:
    pacer = Pacer(get_hub().loop, errors.append)
    yield pacer
    pacer.close()


def test_calls_come_in_order_of_time_and_not_before(pacer: Pacer) -> None:
    called: list[tuple[int, int]] = []
    start = now_ns()
    for due in (30, 5, 20, 5):
        pacer.at(start + due * 1_000_000, lambda due: called.append((due, now_ns())))
    gevent.sleep(0.06)
    assert [due - start for due, _ in called] == [5_000_000, 5_000_000, 20_000_000, 30_000_000]
    assert all(at >= due for due, at in called)


def test_an_earlier_call_overtakes_the_armed_one(pacer: Pacer) -> None:
    called: list[str] = []
    pacer.at(now_ns() + 1_000_000_000, lambda _due: called.append("late"))
    pacer.at(now_ns() + 2_000_000, lambda _due: called.append("early"))
    gevent.sleep(0.03)
    assert called == ["early"]


def test_what_is_overdue_is_done_at_once_and_all_of_it(pacer: Pacer) -> None:
    called: list[int] = []
    past = now_ns() - 1_000_000_000
    for number in range(1000):
        pacer.at(past + number, lambda _due, number: called.append(number), number)
    gevent.sleep(0.1)
    assert called == list(range(1000))


def test_wakeups_are_a_quantum_apart(pacer: Pacer) -> None:
    """Sixty calls within 6 ms need no more wake-ups than 6 ms have quanta."""
    moments: list[int] = []
    start = now_ns() + 2_000_000
    for number in range(60):
        pacer.at(start + number * 100_000, lambda _due: moments.append(now_ns()))
    gevent.sleep(0.05)
    gaps = [after - before for before, after in pairwise(moments)]
    assert len(moments) == 60
    assert sum(gap > QUANTUM_NS // 3 for gap in gaps) <= 6_000_000 // QUANTUM_NS + 4


def test_an_error_is_told_and_the_rest_goes_on(pacer: Pacer, errors: list[Exception]) -> None:
    called: list[int] = []
    start = now_ns()
    pacer.at(start, lambda _due: 1 // 0)
    pacer.at(start + 1, called.append)
    gevent.sleep(0.02)
    assert called == [start + 1]
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_a_stream_is_followed_one_step_at_a_time(pacer: Pacer) -> None:
    called: list[int] = []
    pulled: list[int] = []
    start = now_ns()

    def steps() -> Iterator[Step]:
        for number in range(5):
            pulled.append(number)
            yield start + number * 4_000_000, lambda _due, number: called.append(number), (number,)

    pacer.follow(steps())
    assert pulled == [0]
    gevent.sleep(0.04)
    assert called == [0, 1, 2, 3, 4]
