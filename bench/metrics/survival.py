"""Distributions of times that were not all seen to the end.

`kaplan_meier` for right-censored times (a push that had not come when the run ended).  E. L. Kaplan and
P. Meier, "Nonparametric estimation from incomplete observations", JASA 53 (1958), 457-481; the band is
Greenwood's variance on the log(-log) scale (Kalbfleisch and Prentice, "The Statistical Analysis of Failure
Time Data", 1980), 95 %.

`turnbull` for interval-censored times (a value polled for: absent at the last poll, present at the next).
B. W. Turnbull, "The empirical distribution function with arbitrarily grouped, censored and truncated data",
JRSS B 38 (1976), 290-295: the self-consistent estimate by EM, on the innermost intervals, outside of which
the likelihood has no mass.  Within one of them the data say nothing; a quantile is given with both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.quantiles import LEVELS, beyond, low_n
from bench.results import Json

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Curve:
    """Share not yet there, at and after each time: `survival[i]` holds from `time[i]` to `time[i + 1]`.

    `at_risk` counts those still waiting just before; `low` and `high` are the 95 % band."""

    n: int
    time: Floats
    survival: Floats
    low: Floats
    high: Floats
    at_risk: Ints
    events: Ints
    censored: Floats
    """Times at which observation ended, ascending."""

    def quantile(self, p: float) -> float | None:
        """Smallest time by which a share p is there; None if that was not seen."""
        return self._reaches(self.survival, p)

    def bounds(self, p: float) -> tuple[float, float] | None:
        """95 % interval of the quantile at p: where the band reaches it (R. Brookmeyer and J. Crowley, "A
        confidence interval for the median survival time", Biometrics 38, 1982, 29-41); None where it does
        not."""
        low, high = self._reaches(self.low, p), self._reaches(self.high, p)
        return None if low is None or high is None else (low, high)

    def _reaches(self, survival: Floats, p: float) -> float | None:
        reached = np.flatnonzero(survival <= 1 - p + 1e-12)
        return float(self.time[reached[0]]) if len(reached) else None

    def mean(self) -> float | None:
        """Up to the last time seen: a lower bound where some were censored after the last event."""
        if self.n == 0:
            return None
        last = max(
            float(self.time[-1]) if len(self.time) else -np.inf, self.censored[-1:].max(initial=-np.inf)
        )
        mass = -np.diff(self.survival, prepend=1.0)
        return float(mass @ self.time + (1 - mass.sum()) * last)

    def summarise(self) -> Json:
        """Q: percentiles that n supports and that were reached.  `at_least`: figures that censoring bounds
        from below."""
        shown = {name: self.quantile(p) if beyond(self.n, p) >= 1 else None for name, p in LEVELS.items()}
        complete = bool(len(self.survival)) and float(self.survival[-1]) < 1e-12
        mean = self.mean()
        figures: Json = {"n": self.n, "mean": None if mean is None else round(mean)}
        figures |= {name: None if value is None else round(value) for name, value in shown.items()}
        figures["max"] = round(float(self.time[-1])) if len(self.time) else None
        figures["low_n"] = low_n(self.n)
        figures["at_least"] = [] if complete or self.n == 0 else ["mean", "max"]
        ends = {name: self.bounds(LEVELS[name]) for name, value in shown.items() if value is not None}
        figures["bounds"] = {name: [round(end) for end in both] for name, both in ends.items() if both}
        return figures


def kaplan_meier(time: NDArray[Any], observed: NDArray[np.bool_]) -> Curve:
    """From times and whether each is an event or the end of observation.  Times may be negative.

    A time censored at the moment of an event counts as still waiting then."""
    n = len(time)
    at, events = np.unique(time[observed], return_counts=True)
    censored = np.sort(time[~observed]).astype(np.float64)
    gone_before = np.concatenate([[0], np.cumsum(events)[:-1]]) if len(at) else np.empty(0, np.int64)
    at_risk = n - gone_before - np.searchsorted(censored, at, side="left")
    survival = np.cumprod(1 - events / at_risk)
    low, high = _band(survival, events, at_risk)
    return Curve(
        n,
        at.astype(np.float64),
        survival,
        low,
        high,
        at_risk.astype(np.int64),
        events.astype(np.int64),
        censored,
    )


def _band(survival: Floats, events: Ints, at_risk: Ints) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(events / (at_risk * (at_risk - events).astype(np.float64)))
        log_survival = np.log(survival)
        spread = np.exp(_Z95 * np.sqrt(variance) / np.abs(log_survival))
        low, high = survival**spread, survival ** (1 / spread)
    known = (survival > 0) & (survival < 1)
    return np.where(known, low, 0.0), np.where(known, high, 1.0)


@dataclass(frozen=True)
class Intervals:
    """Mass by innermost interval (left, right]; the last right is infinite where some never appeared."""

    n: int
    left: Floats
    right: Floats
    mass: Floats

    def quantile(self, p: float) -> tuple[float, float | None, float | None]:
        """(lower end, estimate, upper end) of the quantile at p.  The estimate spreads an interval's mass
        evenly; without an upper end there is none."""
        total = np.cumsum(self.mass)
        j = min(int(np.searchsorted(total, p - 1e-12)), len(total) - 1)
        left, right = float(self.left[j]), float(self.right[j])
        if not np.isfinite(right):
            return left, None, None
        before = float(total[j] - self.mass[j])
        inside = (p - before) / float(self.mass[j]) if self.mass[j] > 0 else 1.0
        return left, left + (right - left) * min(1.0, max(0.0, inside)), right

    def mean(self) -> float | None:
        """Of interval midpoints; None where some never appeared."""
        if not len(self.mass) or not np.isfinite(self.right[-1]):
            return None
        return float(self.mass @ ((self.left + self.right) / 2))

    def summarise(self) -> tuple[Json, Json, Json]:
        """Q of the estimates, and their lower and upper ends by percentile."""
        shown = [name for name, p in LEVELS.items() if beyond(self.n, p) >= 1]
        ends = {name: self.quantile(LEVELS[name]) for name in shown}
        whole = [{name: _whole(ends[name][i]) if name in ends else None for name in LEVELS} for i in range(3)]
        finite = self.right[np.isfinite(self.right)]
        figures: Json = {"n": self.n, "mean": _whole(self.mean()), **whole[1]}
        figures["max"] = _whole(float(finite.max())) if len(finite) else None
        figures["low_n"] = low_n(self.n)
        figures["at_least"] = ["max"] if len(finite) < len(self.right) else []
        return figures, whole[0], whole[2]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def turnbull(left: NDArray[Any], right: NDArray[Any], *, iterations: int = 5_000) -> Intervals:
    """From intervals (left, right]; right may be infinite; left == right is an exact time."""
    n = len(left)
    if n == 0:
        empty = np.empty(0)
        return Intervals(0, empty, empty, empty)
    right = right.astype(np.float64)
    left = np.where(left == right, np.nextafter(right, -np.inf), left.astype(np.float64))
    inner_left, inner_right = _innermost(left, right)
    first = np.searchsorted(inner_left, left, side="left")
    last = np.searchsorted(inner_right, right, side="right")
    mass = np.full(len(inner_left), 1 / len(inner_left))
    for _ in range(iterations):
        new = _step(mass, first, last, n)
        moved = float(np.abs(new - mass).max())
        mass = new
        if moved < 1e-9:
            break
    return Intervals(n, inner_left, inner_right, mass / mass.sum())


def _innermost(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """A left end directly followed by a right end.  (a, b] and (b, c] do not meet: right ends come first."""
    at = np.concatenate([left, right])
    is_left = np.concatenate([np.ones(len(left), np.int8), np.zeros(len(right), np.int8)])
    order = np.lexsort((is_left, at))
    at, is_left = at[order], is_left[order]
    j = np.flatnonzero((is_left[:-1] == 1) & (is_left[1:] == 0))
    return at[j], at[j + 1]


def _step(mass: Floats, first: Ints, last: Ints, n: int) -> Floats:
    """One EM step: each sample shares itself out over the innermost intervals [first, last) inside it."""
    total = np.concatenate([[0.0], np.cumsum(mass)])
    weight = 1 / np.maximum(total[last] - total[first], 1e-300)
    size = len(mass) + 1
    gain = np.bincount(first, weight, size) - np.bincount(last, weight, size)
    return mass * np.cumsum(gain)[:-1] / n
