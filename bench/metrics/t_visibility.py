"""F(t), t-visibility: how likely a read of age t shows the write.

P. Bailis et al., "Probabilistically bounded staleness for practical partial quorums", PVLDB 5 (2012),
776-787, model this curve; here it is measured.

A read of age t is one that was sent t after the ACK of the write, on another connection of the same person.
Only reads count that were made whatever earlier ones had shown: those that look once at a planned age
(PROBE_ONCE), and the first of those that ask until it shows, which is sent at the ACK.  Later ones of these
exist only while it does not show yet, and would make every age look worse than it is.

Per bin of ages the share that shows it, with Wilson's 95 % interval (E. B. Wilson, "Probable inference, the
law of succession, and statistical inference", JASA 22 (1927), 209-212).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, items_of
from bench.metrics.ragged import distinct
from bench.metrics.visible import NO_PROBE, answered_probes, probe_asked_for
from bench.plan import LAST_OFFSET_US, OFFSETS_US
from bench.record import Op, Outcome
from bench.results import Json

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
_Z95: Final = 1.959963984540054


@dataclass(frozen=True)
class Looks:
    """One entry per read: its age in µs, and whether it shows the write.  `unanswered`: reads that nobody
    answered, which say nothing."""

    age_us: Floats
    shows: Bools
    unanswered: int


@dataclass(frozen=True)
class Bin:
    """Reads of ages from `from_us` up to `to_us`: `shown` of `n`, with Wilson's interval of the share."""

    from_us: int
    to_us: int
    n: int
    shown: int

    @property
    def share(self) -> float | None:
        return self.shown / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.shown, self.n)


def looks(history: History) -> Looks:
    """Of the measured probes."""
    operations, items = history.operations, history.items
    probes = answered_probes(history)
    rows = np.concatenate([history.rows(Op.PROBE_ONCE), _first_polls(history)])
    probe = probe_asked_for(history, probes, rows)
    rows, probe = rows[(probe >= 0)], probe[probe >= 0]
    sent = operations["sent"][rows] > 0
    answered = history.outcome(rows, Outcome.OK)
    unanswered = int(np.count_nonzero(sent & ~answered))
    rows, probe = rows[answered], probe[answered]
    shown = np.full(operations.rows, -1, np.int64)
    index, owner = items_of(history, rows)
    same = items["conversation"][index] == operations["conversation"][owner]
    shown[owner[same]] = items["value"][index[same]]
    age = operations["sent"][rows] - probes.acknowledged[probe]
    return Looks(age / 1e3, shown[rows] >= probes.up_to[probe], unanswered)


def _first_polls(history: History) -> Ints:
    """The first PROBE_STATE for each seq of each conversation."""
    operations, rows = history.operations, history.rows(Op.PROBE_STATE)
    rows = rows[operations["sent"][rows] > 0]
    key = (operations["conversation"][rows].astype(np.int64) << 32) | operations["argument"][rows]
    order = np.lexsort((operations["sent"][rows], key))
    first = np.searchsorted(key[order], distinct(key))
    return rows[order[first]]


def bins(found: Looks) -> list[Bin]:
    """By OFFSETS_US; the last is open to LAST_OFFSET_US, and what was sent later is in it."""
    edges = [*OFFSETS_US, LAST_OFFSET_US]
    place = np.clip(np.searchsorted(edges, found.age_us, side="right") - 1, 0, len(OFFSETS_US) - 1)
    n = np.bincount(place, minlength=len(OFFSETS_US))
    shown = np.bincount(place[found.shows], minlength=len(OFFSETS_US))
    return [Bin(edges[i], edges[i + 1], int(n[i]), int(shown[i])) for i in range(len(OFFSETS_US))]


def wilson(shown: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) of nothing."""
    if not n:
        return 0.0, 1.0
    share, square = shown / n, _Z95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def summarise(found: Looks) -> Json:
    """`t_visibility` of `summary.json`."""
    known = len(found.age_us) > 0
    return {
        "count": len(found.age_us),
        "unanswered": found.unanswered,
        "bins": [_entry(one) for one in bins(found)] if known else [],
        "available": known,
        "why_not": None if known else NO_PROBE,
    }


def _entry(one: Bin) -> Json:
    low, high = one.interval
    return {
        "from_us": one.from_us,
        "to_us": one.to_us,
        "n": one.n,
        "shown": one.shown,
        "share": None if one.share is None else round(one.share, 6),
        "low": round(low, 6),
        "high": round(high, 6),
    }
