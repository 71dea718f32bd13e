"""The capacity that a search's answers tell of, with its interval.  Pure.

An answer is "holds" or "fails" at a load.  How likely it is to fail rises with the load, at the capacity it
is one half, and how fast it rises says how noisy the p99 of a step is beside how steeply it grows.  That is
what psychophysics calls a psychometric function:

    P(fails at x in block b) = LAPSE + (1 - 2 LAPSE) / (1 + exp(-1.702 (ln x - ln capacity - d_b) / width))

with d_b, the block's own, normal around 0, and x the load as heavy as it was: the machine's speed moves, and
with it what a message costs in CPU time, c.  x is load * (c / usual c)^f, f looked up as well: 1 where the
capacity is one of CPU, 0 where it is one of something else (docs/decisions/capacity.md).  Capacity, width, f
and spread of the d_b are looked up on a grid, where all of them are equally likely before anything was asked,
and the d_b summed over (Gauss and Hermite).
That the next question depends on the answers before it is no matter to a likelihood; it is to an estimate
that takes blocks for independent ones (docs/decisions/capacity.md).

Lapses: F. A. Wichmann and N. J. Hill, "The psychometric function: I", Perception & Psychophysics 63 (2001).
The grid: M. Kuss, F. Jäkel and F. A. Wichmann, "Bayesian inference for psychometric functions", J. Vision 5
(2005).  An observer who is not the same all day, as a machine is not: I. Fründ, N. V. Haenel and
F. A. Wichmann, "Inference for psychometric functions in the presence of nonstationary behavior", J. Vision 11
(2011)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

CONFIDENCE: Final = 0.95
LAPSE: Final = 0.02
"""A step in fifty answers for a reason that has nothing to do with its load."""
WIDTHS: Final = np.geomspace(0.01, 1.0, 8)
"""Standard deviation, in logs of the load, of the load at which a step begins to fail."""
SPREADS: Final = np.array([0.0, 0.02, 0.04, 0.08])
"""Of the capacity from block to block, in its logs."""
LOGISTIC: Final = 1.702
"""Makes the logistic curve that of a normal distribution, within 0.0095 (D. C. Haley, 1952)."""
FOLLOWS: Final = (0.0, 0.5, 1.0)
"""How much of a change of the CPU time that a message costs is one of the capacity."""
AROUND: Final = 0.5
"""The capacity is looked for within a factor of exp(AROUND) of the blocks' loads, or a little more,"""
APART: Final = 0.008
"""at loads so far apart, in logs."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Answer:
    """`block` -1: before there were any.  `cost`: CPU time by unit of load, in any unit; None: not known."""

    load: float
    failed: bool
    block: int
    cost: float | None = None


@dataclass(frozen=True)
class Estimate:
    """In the unit of the loads, at the usual cost (None: not known).  `low` to `high` has the capacity in it
    with CONFIDENCE.  `follows`: the mean of what is likely of f, 0 to 1."""

    capacity: float
    low: float
    high: float
    usual_cost: float | None = None
    follows: float = 0.0

    @property
    def half_width(self) -> float:
        """Relative to the capacity: the longer side."""
        return max(1 - self.low / self.capacity, self.high / self.capacity - 1)


def estimate(answers: Sequence[Answer]) -> Estimate:
    """Needs answers of at least one block."""
    usual = usual_cost(answers)
    at, alike, follows = [], [], []
    for share in FOLLOWS if usual else FOLLOWS[:1]:
        x, likely = _of_all(answers, share)
        at.append(x - share * math.log(usual or 1.0))
        alike.append(likely)
        follows.append(np.full(len(x), share))
    order = np.argsort(np.concatenate(at))
    points, logs, shares = (np.concatenate(one)[order] for one in (at, alike, follows))
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    outside = (1 - CONFIDENCE) / 2
    low, capacity, high = np.exp(np.interp([outside, 0.5, 1 - outside], np.cumsum(weights), points))
    return Estimate(float(capacity), float(low), float(high), usual, float((weights * shares).sum()))


def usual_cost(answers: Sequence[Answer]) -> float | None:
    """The median of the blocks' steps; None if it is not known of all answers."""
    if any(answer.cost is None for answer in answers):
        return None
    return float(np.median([answer.cost or 0.0 for answer in answers if answer.block >= 0]))


def _of_all(answers: Sequence[Answer], follows: float) -> tuple[Floats, Floats]:
    """(logs of load * cost^follows, log likelihood of a capacity there), width and spread summed over."""
    blocks: dict[int, list[tuple[float, bool]]] = {}
    for answer in answers:
        x = math.log(answer.load) + (follows * math.log(answer.cost) if answer.cost and follows else 0.0)
        blocks.setdefault(answer.block, []).append((x, answer.failed))
    near = [x for block, said in blocks.items() if block >= 0 for x, _ in said]
    first = math.floor((min(near) - AROUND) / AROUND) * AROUND
    count = math.ceil((max(near) + AROUND - first) / APART)
    alike = sum(_of_block(tuple(said), first, count) for said in blocks.values())
    most = np.max(alike)
    found: Floats = np.log(np.exp(alike - most).sum((0, 1))) + most
    x_of: Floats = first + APART * np.arange(count, dtype=np.float64)
    return x_of, found


@lru_cache(maxsize=512)
def _of_block(said: tuple[tuple[float, bool], ...], first: float, count: int) -> Floats:
    """Log likelihood of one block's answers, (log load, failed), by (width, spread, capacity), its own shift
    summed over.  Kept, since the blocks before do not change with each new one."""
    load = np.array([x for x, _ in said])
    failed = np.array([failed for _, failed in said])
    steps = np.rint(SPREADS[:, None] * NODES / APART).astype(int)
    beyond = int(np.abs(steps).max())
    grid = first + APART * np.arange(-beyond, count + beyond)
    over = LOGISTIC * (load[:, None, None] - grid) / WIDTHS[:, None]
    fails = LAPSE + (1 - 2 * LAPSE) / (1 + np.exp(-np.clip(over, -50, 50)))
    alike = np.log(np.where(failed[:, None, None], fails, 1 - fails)).sum(axis=0)
    own = alike[:, beyond + np.arange(count) + steps[:, :, None]]
    most = own.max(axis=2)
    shares = (WEIGHTS / WEIGHTS.sum())[:, None]
    found: Floats = np.log((np.exp(own - most[:, :, None]) * shares).sum(axis=2)) + most
    return found
