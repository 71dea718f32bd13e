"""Reproduced, not reproduced, not comparable: what an interval allows to say of a claimed figure.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.metrics.intervals import ENOUGH, Ratio

REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE = "reproduced", "not reproduced", "not comparable"
NARROW: Final = 1.5
"""An interval around a claimed figure says that it was reproduced only if its ends are not further apart."""


@dataclass(frozen=True)
class Judged:
    verdict: str
    why: str


def ratio(measured: Ratio | None, claimed: float) -> Judged:
    """Of a claimed factor: reproduced where the interval lies at or above it, or narrowly around it."""
    missing = _missing(measured)
    if missing is not None or measured is None or measured.interval is None:
        return missing or Judged(NOT_COMPARABLE, "nothing was measured")
    low, high = measured.interval
    if high < claimed:
        return Judged(NOT_REPRODUCED, f"the whole interval lies below {claimed:g}")
    if low >= claimed:
        return Judged(REPRODUCED, f"the whole interval lies at or above {claimed:g}")
    if high <= NARROW * low:
        return Judged(REPRODUCED, f"the interval holds {claimed:g}")
    return Judged(NOT_COMPARABLE, f"the interval holds {claimed:g}, and is too wide to say so")


def better(measured: Ratio | None) -> Judged:
    """Of a claim without a figure: reproduced where the ratio is above 1, not reproduced where it is below
    or narrowly around 1."""
    missing = _missing(measured)
    if missing is not None or measured is None or measured.interval is None:
        return missing or Judged(NOT_COMPARABLE, "nothing was measured")
    low, high = measured.interval
    if low > 1:
        return Judged(REPRODUCED, "the whole interval lies above 1")
    if high < 1:
        return Judged(NOT_REPRODUCED, "the whole interval lies below 1")
    if high <= NARROW * low:
        return Judged(NOT_REPRODUCED, "the interval holds 1, and is narrow")
    return Judged(NOT_COMPARABLE, "the interval holds 1, and is too wide to say more")


def absolute(measured: float | None, claimed: float, ceiling: float | None) -> Judged:
    """Of a claimed throughput: only if what there is without any store could carry it at all."""
    if measured is None:
        return Judged(NOT_COMPARABLE, "nothing was measured")
    if measured >= claimed:
        return Judged(REPRODUCED, f"{measured:,.0f} is at or above {claimed:,.0f}")
    if ceiling is not None and ceiling < claimed:
        return Judged(
            NOT_COMPARABLE,
            f"client and server carry {ceiling:,.0f} here without any store, less than {claimed:,.0f}",
        )
    if ceiling is None:
        return Judged(NOT_COMPARABLE, "nobody knows what this machine carries without a store")
    return Judged(NOT_REPRODUCED, f"{measured:,.0f} is below {claimed:,.0f}")


def _missing(measured: Ratio | None) -> Judged | None:
    if measured is None:
        return Judged(NOT_COMPARABLE, "nothing was measured")
    if measured.interval is None:
        return Judged(NOT_COMPARABLE, f"{measured.blocks} blocks make no interval: {ENOUGH} do")
    return None
