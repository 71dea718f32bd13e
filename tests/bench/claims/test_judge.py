"""What an interval allows to say of a claimed figure; each verdict has its control."""

from __future__ import annotations

import pytest

from bench.claims.judge import NOT_COMPARABLE, NOT_REPRODUCED, REPRODUCED, absolute, better, ratio
from bench.metrics.intervals import Ratio


def measured(value: float, low: float, high: float) -> Ratio:
    return Ratio(value, (low, high), paired=True, blocks=6)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (15.0, 40.0, REPRODUCED),
        (14.0, 16.0, REPRODUCED),
        (12.0, 17.9, REPRODUCED),
        (10.0, 16.0, NOT_COMPARABLE),  # holds 15, and might as well be 10
        (14.0, 14.9, NOT_REPRODUCED),
        (0.5, 1.5, NOT_REPRODUCED),
    ],
)
def test_a_claimed_factor(low: float, high: float, verdict: str) -> None:
    assert ratio(measured((low * high) ** 0.5, low, high), 15.0).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.01, 3.0, REPRODUCED),
        (0.99, 3.0, NOT_COMPARABLE),  # too wide to tell
        (0.9, 1.2, NOT_REPRODUCED),  # no difference to speak of
        (0.5, 0.9, NOT_REPRODUCED),
    ],
)
def test_a_claim_without_a_figure(low: float, high: float, verdict: str) -> None:
    assert better(measured((low * high) ** 0.5, low, high)).verdict == verdict


def test_too_few_blocks_and_none_say_nothing() -> None:
    few = Ratio(20.0, None, paired=True, blocks=5)
    for judge in (better, lambda one: ratio(one, 15.0)):
        assert judge(few).verdict == judge(None).verdict == NOT_COMPARABLE
        assert "5 blocks" in judge(few).why


@pytest.mark.parametrize(
    ("carried", "ceiling", "verdict"),
    [
        (10_000.0, 12_000.0, REPRODUCED),
        (9_000.0, 12_000.0, NOT_REPRODUCED),
        (9_000.0, 9_500.0, NOT_COMPARABLE),  # nothing could reach it here
        (9_000.0, None, NOT_COMPARABLE),
        (None, 12_000.0, NOT_COMPARABLE),
    ],
)
def test_a_throughput_as_such(carried: float | None, ceiling: float | None, verdict: str) -> None:
    assert absolute(carried, 10_000.0, ceiling).verdict == verdict
