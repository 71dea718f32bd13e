"""A time axis for a few operations that lie far apart: stretches in which something happens, with the long
pauses between them cut out.  Pure; the units of x are the caller's (pixels, characters)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.checks.findings import when
from bench.results import Json

LONG: Final = 2.5
"""A pause is cut out when it is so many times as long as the longest operation."""
SHORTEST_S: Final = 1e-3
MARGIN: Final = 0.06


@dataclass(frozen=True)
class Span:
    """From when to when a record was, s; `open`: nobody saw its end."""

    begin: float
    end: float
    open: bool = False


@dataclass(frozen=True)
class Stretch:
    """`begin` to `end` in s is drawn from `left` to `right`."""

    begin: float
    end: float
    left: float
    right: float

    def x(self, t: float) -> float:
        return self.left + (t - self.begin) / (self.end - self.begin) * (self.right - self.left)

    def ticks(self) -> list[float]:
        """Three to six round moments inside."""
        step = _round_step((self.end - self.begin) / 4)
        first = math.ceil(self.begin / step)
        return [number * step for number in range(first, math.floor(self.end / step) + 1)]


@dataclass(frozen=True)
class Axis:
    stretches: tuple[Stretch, ...]

    def x(self, t: float) -> float:
        """Where t is; t lies in one of the stretches."""
        return next((one for one in self.stretches if t <= one.end), self.stretches[-1]).x(t)

    def pauses(self) -> list[tuple[float, float, float]]:
        """(left, right, seconds) of what was cut out."""
        return [
            (a.right, b.left, b.begin - a.end)
            for a, b in zip(self.stretches, self.stretches[1:], strict=False)
        ]


def span(record: Json) -> Span | None:
    """None for what was there from the beginning."""
    begin = when(record)
    if math.isinf(begin):
        return None
    end = record.get("acknowledged_s")
    unanswered = record.get("sent_s") is not None and end is None
    return Span(begin, begin if end is None else end, unanswered)


def axis(spans: Sequence[Span], left: float, right: float, pause: float) -> Axis:
    """`pause`: the width of a cut.  There is at least one span.  Each stretch is as wide as it has spans."""
    groups = _groups(sorted(spans, key=lambda one: one.begin))
    room = right - left - pause * (len(groups) - 1)
    stretches, at = [], left
    for group in groups:
        width = room * len(group) / len(spans)
        stretches.append(Stretch(*_bounds(group), at, at + width))
        at += width + pause
    return Axis(tuple(stretches))


def _groups(spans: Sequence[Span]) -> list[list[Span]]:
    longest = max(SHORTEST_S, *(one.end - one.begin for one in spans))
    groups: list[list[Span]] = []
    end = -math.inf
    for one in spans:
        if one.begin - end > LONG * longest:
            groups.append([])
        groups[-1].append(one)
        end = max(end, one.end)
    return groups


def _bounds(group: Sequence[Span]) -> tuple[float, float]:
    begin, end = group[0].begin, max(one.end for one in group)
    margin = MARGIN * max(end - begin, SHORTEST_S)
    return begin - margin, max(end, begin + SHORTEST_S) + margin


def _round_step(wanted: float) -> float:
    power = 10.0 ** math.floor(math.log10(wanted))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted))
