"""Which effect a gate can see before it begins, and how many blocks it takes: drawn from what was seen of two
alike sides.  Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.gate import ranks
from bench.gate.sequential import Plan
from bench.gate.verdicts import LEVEL
from bench.metrics import intervals, noise
from bench.metrics.intervals import Block
from bench.metrics.noise import POWER, Pair
from bench.results import Json

Floats = NDArray[np.float64]
EXPERIMENTS: Final = 300
SEED: Final = 6


def pairs_of(entries: Sequence[Json], figure: str) -> list[Pair]:
    """The pairs of a figure in the lines of a ledger (`bench/noise.py`), oldest first."""
    found = [pair for entry in entries for pair in (entry["metrics"].get(figure) or {}).get("pairs", ())]
    return [(Block(*one), Block(*other)) for one, other in found]


def detectable(pairs: Sequence[Pair], planned: Plan, tolerance: float) -> float | None:
    """The share by which a figure must get worse for 80 % of the gates to accuse it.

    None below `intervals.ENOUGH` pairs of alike sides, or if no number of blocks that is planned would do."""
    least = _least(pairs, planned, tolerance)
    if least is None:
        return None
    effect = float(np.quantile(least.min(axis=1), POWER, method="inverted_cdf"))
    return math.expm1(effect) if math.isfinite(effect) else None


def pairs_for(pairs: Sequence[Pair], planned: Plan, tolerance: float, effect: float) -> int | None:
    """How many pairs it takes until 80 % of the gates have accused a change by `effect`."""
    least = _least(pairs, planned, tolerance)
    if least is None:
        return None
    accused = (np.minimum.accumulate(least, axis=1) <= math.log1p(effect)).mean(axis=0)
    enough = np.flatnonzero(accused >= POWER)
    return planned.looks[int(enough[0])] if len(enough) else None


def _least(pairs: Sequence[Pair], planned: Plan, tolerance: float) -> Floats | None:
    """The smallest effect, as a logarithm, that would be accused: experiment, look."""
    known = [pair for pair in pairs if min(one.value for one in pair) > 0]
    if len(known) < intervals.ENOUGH:
        return None
    rng = np.random.default_rng((SEED, len(known), planned.looks[-1]))
    harms, _ = noise.experiments(known, planned.looks[-1], EXPERIMENTS, rng)
    least = np.full((EXPERIMENTS, len(planned.looks)), math.inf)
    for number, (n, level) in enumerate(zip(planned.looks, planned.accuse, strict=True)):
        if level <= 0:
            continue
        i, j = np.triu_indices(n)
        means = np.sort((harms[:, i] + harms[:, j]) / 2, axis=1)
        cut = int(np.searchsorted(ranks.signed_ranks(n), level * (1 + 1e-12), side="right")) - 1
        beyond = math.log1p(tolerance) - np.median(means, axis=1)
        least[:, number] = np.maximum(-means[:, cut] + 1e-12, beyond)
    return least


def detectable_of_two(values: Sequence[float], blocks: int, deciding: int) -> float | None:
    """The share by which `blocks` new runs must differ from these runs of the same for 80 % of the
    comparisons to see it (unpaired, with the correction for so many figures that decide).

    None below `intervals.ENOUGH` runs on a side, or if so few can never be sure."""
    n, level = len(values), LEVEL / deciding
    if min(n, blocks) < intervals.ENOUGH or min(values) <= 0 or ranks.smallest_p_of_two(n, blocks) > level:
        return None
    logs = np.log(np.asarray(values))
    apart = (logs - np.median(logs)) * math.sqrt(n / (n - 1))
    rng = np.random.default_rng((SEED, n, blocks))
    bandwidth = 1.06 * n**-0.2 * float(apart.std())
    reach = []
    for _ in range(EXPERIMENTS):
        ones, others = (
            list(rng.choice(apart, count) + bandwidth * rng.standard_normal(count)) for count in (n, blocks)
        )
        shift = ranks.of_two(ones, others, level)
        reach.append(max(-shift.low, 0.0))
    return math.expm1(float(np.quantile(reach, POWER, method="inverted_cdf")))


def false_alarms(entries: Sequence[Json], figures: Mapping[str, float]) -> tuple[int, int]:
    """(lines of a ledger in which two alike sides looked different in any of these figures after Holm, lines
    that could tell)."""
    wrong = able = 0
    for entry in entries:
        found = [_p(pairs_of([entry], name)) for name in figures]
        known = [p for p in found if p is not None]
        if known:
            able += 1
            wrong += min(known) * len(figures) <= LEVEL
    return wrong, able


def _p(pairs: Sequence[Pair]) -> float | None:
    if len(pairs) < intervals.ENOUGH or min(one.value for pair in pairs for one in pair) <= 0:
        return None
    return ranks.of_pairs([math.log(other.value / one.value) for one, other in pairs], LEVEL).p
