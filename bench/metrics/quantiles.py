"""Quantiles from raw samples: exact, never averaged, never smoothed.

The quantile at p is the nearest rank (inverse of the empirical distribution, type 1 of Hyndman and Fan,
"Sample quantiles in statistical packages", The American Statistician 50, 1996): the smallest sample that at
least a share p of the samples does not exceed.  It is a sample that happened.

A percentile p is shown when n (1 - p) >= 1 and marked `low_n` below 10: gates and comparisons need 10.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.results import Json

LEVELS: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
ENOUGH: Final = 10
"""Samples beyond a percentile from which on gates and comparisons may use it."""


def beyond(n: int, p: float) -> float:
    """How many of n samples lie beyond the quantile at p.  (Rounded: 1 - 0.9 is not 0.1 in binary.)"""
    return round(n * (1 - p), 6)


def rank(n: int, p: float) -> int:
    """Index of the quantile at p in n sorted samples."""
    return max(0, math.ceil(round(n * p, 6)) - 1)


def quantile(values: NDArray[Any], p: float) -> float:
    """The nearest-rank quantile of at least one sample."""
    place = rank(len(values), p)
    return float(np.partition(values, place)[place])


def bounds(values: NDArray[Any], p: float) -> tuple[float, float]:
    """95 % interval of the quantile at p of at least one sample, by order statistics: the ranks around n p
    between which it lies (normal approximation of the binomial; H. A. David and H. N. Nagaraja, "Order
    Statistics", 3rd ed., 7.1)."""
    low, high = bound_ranks(len(values), p)
    ordered = np.partition(values, sorted({low, high}))
    return float(ordered[low]), float(ordered[high])


def bound_ranks(n: int, p: float) -> tuple[int, int]:
    """Indexes of both `bounds` in n sorted samples."""
    spread = 1.96 * math.sqrt(n * p * (1 - p))
    return max(0, math.floor(n * p - spread) - 1), min(n - 1, math.ceil(n * p + spread) - 1)


def summarise(values_us: NDArray[Any], *, at_least_us: float | None = None) -> Json:
    """Q of `summary.json`: {n, mean, p50, p90, p99, p999, max} in whole µs, and what to make of them.

    low_n: shown percentiles with fewer than ten samples beyond them.  bounds: what the number of samples
    leaves open of each percentile, and not what varies from run to run.  With `at_least_us`, samples from
    there on are lower bounds (operations that nobody answered): `at_least` names the figures that are, too.
    """
    n = len(values_us)
    if n == 0:
        return {
            "n": 0,
            "mean": None,
            **dict.fromkeys(LEVELS),
            "max": None,
            "low_n": [],
            "at_least": [],
            "bounds": {},
        }
    shown = {name: p for name, p in LEVELS.items() if beyond(n, p) >= 1}
    ends = {name: bound_ranks(n, p) for name, p in shown.items()}
    places = sorted(
        {rank(n, p) for p in shown.values()} | {n - 1, *(i for pair in ends.values() for i in pair)}
    )
    ordered = np.partition(values_us, places)
    figures: Json = {"n": n, "mean": round(float(np.mean(values_us)))}
    figures |= {
        name: round(float(ordered[rank(n, p)])) if name in shown else None for name, p in LEVELS.items()
    }
    figures["max"] = round(float(ordered[n - 1]))
    figures["low_n"] = low_n(n)
    figures["at_least"] = _lower_bounds(figures, at_least_us)
    figures["bounds"] = {name: [round(float(ordered[i])) for i in pair] for name, pair in ends.items()}
    return figures


def low_n(n: int) -> list[str]:
    """Names of the percentiles that n samples can show but not carry."""
    return [name for name, p in LEVELS.items() if 1 <= beyond(n, p) < ENOUGH]


def _lower_bounds(figures: Json, at_least_us: float | None) -> list[str]:
    if at_least_us is None or figures["max"] < at_least_us:
        return []
    reached = [name for name in LEVELS if figures[name] is not None and figures[name] >= at_least_us]
    return ["mean", *reached, "max"]
