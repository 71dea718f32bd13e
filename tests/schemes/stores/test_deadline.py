"""One timer for many: each gets its time, no more, and nobody else's cancellation."""

from __future__ import annotations

import asyncio
import time

import pytest

from schemes.stores.deadline import Deadline


async def test_what_is_done_in_time_gives_its_result() -> None:
    deadline = Deadline(5.0)

    async def answer() -> int:
        await asyncio.sleep(0)
        return 7

    assert await asyncio.gather(*(deadline.bound(answer()) for _ in range(50))) == [7] * 50


async def test_an_error_of_the_work_is_what_comes_out() -> None:
    async def fail() -> None:
        raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        await Deadline(5.0).bound(fail())


async def test_what_takes_too_long_is_cancelled_and_told() -> None:
    ended: list[str] = []

    async def for_ever() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    deadline = Deadline(0.02)
    for _ in range(2):  # the timer is armed again for those that come later
        with pytest.raises(TimeoutError):
            await deadline.bound(for_ever())
    assert ended == ["cancelled"] * 2
    await asyncio.sleep(0.03)  # nothing is left that would be cancelled
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]


async def test_each_has_its_own_time_from_its_own_start() -> None:
    deadline, lasted = Deadline(0.06), []

    async def one(after_s: float) -> None:
        await asyncio.sleep(after_s)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await deadline.bound(asyncio.sleep(60))
        lasted.append(time.monotonic() - began)

    await asyncio.gather(*(one(after_s) for after_s in (0.0, 0.02, 0.04)))
    assert len(lasted) == 3
    assert all(seconds >= 0.055 for seconds in lasted)


async def test_who_is_cancelled_from_outside_does_not_time_out() -> None:
    deadline = Deadline(60.0)
    task = asyncio.create_task(deadline.bound(asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_within_a_timeout_of_others_the_one_that_is_over_speaks() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await Deadline(60.0).bound(asyncio.sleep(60))
    async with asyncio.timeout(60):
        with pytest.raises(TimeoutError):
            await Deadline(0.02).bound(asyncio.sleep(60))
