"""How old events were when they were applied, counted by class: every event is in it and the cost is a count.

A class is 1 ms wide up to 32 ms and about 5 % beyond.  The producer's stamp has whole milliseconds, so what
is measured is up to 1 ms too much: an age in class (a, b] is really in (a - 1 ms, b]."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

Ages = Sequence[tuple[int, int, int]]
"""(above µs, within µs, how many events) by class, ascending; counts since the start."""
FINE_MS: Final = 32
STEPS_PER_OCTAVE: Final = 16
LONGEST_MS: Final = 3_600_000
"""An hour; what is older counts as this old."""


def _bounds() -> list[int]:
    found = list(range(1, FINE_MS + 1))
    step = 1
    while found[-1] < LONGEST_MS:
        found.append(min(LONGEST_MS, max(found[-1] + 1, round(FINE_MS * 2 ** (step / STEPS_PER_OCTAVE)))))
        step += 1
    return found


BOUNDS_MS: Final = _bounds()


class _Told(msgspec.Struct):
    ages: dict[int, int]
    notes: dict[str, int]


class Counted:
    """Counts of one consumer since it started.  `notes`: what else it did, for the work ledger."""

    def __init__(self) -> None:
        self._count: Counter[int] = Counter()
        self.notes: Counter[str] = Counter()

    def note(self, stamps_ms: Iterable[int], now_ms: float) -> None:
        """Events that were produced at these times are applied now."""
        for stamp in stamps_ms:
            self._count[min(bisect_left(BOUNDS_MS, now_ms - stamp), len(BOUNDS_MS) - 1)] += 1

    def json(self) -> bytes:
        """Ages by class number, and the notes."""
        return msgspec.json.encode(_Told(dict(self._count), dict(self.notes)))


_decode: Final = msgspec.json.Decoder(_Told).decode


def noted(counts: Iterable[bytes]) -> dict[str, int]:
    """What all consumers noted."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(_decode(one).notes)
    return dict(total)


def ages_key(prefix: str, topic: str) -> str:
    """A hash: for each life of a consumer its counts."""
    return f"{prefix}counted:{topic}"


def together(counts: Iterable[bytes]) -> Ages:
    """The ages that all consumers counted."""
    total: Counter[int] = Counter()
    for one in counts:
        total.update(_decode(one).ages)
    return [
        (max(0, (BOUNDS_MS[i - 1] if i else 0) - 1) * 1000, BOUNDS_MS[i] * 1000, total[i])
        for i in sorted(total)
    ]
