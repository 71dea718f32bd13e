"""Gaps, pauses and steps are noticed with when and how long; what is within reason is not."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest

from schemes.stalls import GAP_NS, KEPT, TICK_S, Stalls

MS = 1_000_000


class Ticking:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.now = 10_000 * MS
        self.ahead = 1_700_000_000_000 * MS
        self.waited = 3 * MS

    def stalls(self) -> Stalls:
        return Stalls(lambda: self.now, lambda: self.now + self.ahead, lambda: self.waited)


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


def found(stalls: Stalls) -> list[Any]:
    told: list[Any] = stalls.to_dict()["found"]
    return told


def test_a_loop_that_is_late_had_a_gap(ticking: Ticking) -> None:
    stalls = ticking.stalls()
    ticking.now += GAP_NS
    assert stalls.tick(ticking.now - GAP_NS) == GAP_NS
    assert found(stalls) == []
    assert stalls.tick(ticking.now - GAP_NS - 1_000) == GAP_NS + 1_000
    assert found(stalls) == [("loop", ticking.now, 5_001)]


def test_a_gap_says_how_much_of_it_was_waited_for_a_core(ticking: Ticking) -> None:
    stalls = ticking.stalls()
    ticking.waited += 4 * MS
    stalls.tick(ticking.now - GAP_NS)
    ticking.waited += 2 * MS
    stalls.tick(ticking.now - 2 * GAP_NS)
    ticking.waited += 70 * MS
    stalls.tick(ticking.now - 2 * GAP_NS)
    assert [(kind, us) for kind, _, us in found(stalls)] == [
        ("loop", 10_000), ("core", 2_000), ("loop", 10_000), ("core", 10_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "told"), [(900_000, []), (-900_000, []), (7 * MS, [7_000]), (-7 * MS, [7_000])]
)
def test_a_wall_clock_that_was_moved_had_a_step(ticking: Ticking, step: int, told: list[int]) -> None:
    stalls = ticking.stalls()
    ticking.ahead += step
    stalls.tick(ticking.now)
    stalls.tick(ticking.now)
    assert [us for kind, _, us in found(stalls) if kind == "clock"] == told


def test_a_collection_of_a_millisecond_is_a_pause(ticking: Ticking) -> None:
    stalls = ticking.stalls()
    for length in (MS - 1, MS):
        stalls.collected("start", {})
        ticking.now += length
        stalls.collected("stop", {})
    assert found(stalls) == [("gc", ticking.now, 1_000)]


def test_what_is_no_longer_kept_is_not_claimed(ticking: Ticking) -> None:
    stalls = ticking.stalls()
    began = ticking.now
    for _ in range(KEPT - 1):
        stalls.tick(ticking.now - 2 * GAP_NS)
    assert stalls.to_dict()["since_ns"] == began
    ticking.now += MS
    stalls.tick(ticking.now - 2 * GAP_NS)
    stalls.tick(ticking.now - 2 * GAP_NS)
    assert len(found(stalls)) == KEPT
    assert stalls.to_dict()["since_ns"] == began, "the oldest that is still there was noticed then"
    for _ in range(KEPT):
        stalls.tick(ticking.now - 2 * GAP_NS)
    assert stalls.to_dict()["since_ns"] == ticking.now


async def test_a_loop_that_is_held_up_is_seen_from_inside() -> None:
    stalls = Stalls()
    stalls.watch_loop(asyncio.get_running_loop())
    await asyncio.sleep(2 * TICK_S)
    time.sleep(0.05)  # noqa: ASYNC251  the fault that is planted
    held = time.monotonic_ns()
    await asyncio.sleep(2 * TICK_S)
    stalls.stop()
    assert any(
        kind == "loop" and at >= held and us >= 50_000 - TICK_S * 1e6 for kind, at, us in found(stalls)
    )


def test_a_real_collection_is_seen() -> None:
    stalls = Stalls()
    stalls.watch_gc()
    kept = [[number] for number in range(300_000)]
    gc.collect()
    stalls.stop()
    assert len(kept) == 300_000
    assert {kind for kind, _, _ in found(stalls)} == {"gc"}
