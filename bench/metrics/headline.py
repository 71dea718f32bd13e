"""Whose samples give a figure: the probe users', who are timed best, or everybody's, who are more.

Probe users do at most a tenth of the load (`bench/load/shares.py`), so that a short run has few samples of
theirs.  Where there are ENOUGH they give the headline and the load users its cross-check; where there are
not, all users give it and the probe users are the cross-check, with their n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.quantiles import ENOUGH as ENOUGH_BEYOND
from bench.metrics.quantiles import LEVELS, beyond, bounds
from bench.results import Json

Bools = NDArray[np.bool_]

ENOUGH: Final = 1_000
"""Samples from which on a p99 may be compared: ten lie beyond it."""
PROBES, LOAD, ALL = "probes", "load", "all"
GAP_US: Final = 1_000
GAP_SHARE: Final = 0.1
"""A cross-check whose p99 is further from the headline's than this much, or this share of it, is stated."""


@dataclass(frozen=True)
class Choice:
    """`source` (PROBES or ALL) and `rows` of the headline, `other` (LOAD or PROBES) and its rows."""

    source: str
    rows: Bools
    other: str
    other_rows: Bools


def choose(of_probes: Bools) -> Choice:
    """From which samples are the probe users'."""
    if np.count_nonzero(of_probes) >= ENOUGH:
        return Choice(PROBES, of_probes, LOAD, ~of_probes)
    return Choice(ALL, np.ones(len(of_probes), np.bool_), PROBES, of_probes)


def cross_check(
    choice: Choice,
    samples_us: NDArray[Any],
    headline: Json,
    summarise: Callable[[Bools], dict[str, Json]],
    name: str,
) -> Json | None:
    """The other users' figures, and how far their p99 is from the headline's; None without other users.

    `samples_us`: all samples, infinite where nobody saw the end.  `summarise(rows)` gives figures by name,
    `name` those that are compared with `headline`.  `p99_gap_us` is the headline's p99 less the other one;
    whether they are apart (`p99_apart`) is not said (None) of fewer than ENOUGH samples, nor of lower bounds.
    `maybe_chance`: the 95 % intervals of both p99 overlap."""
    if not choice.other_rows.any():
        return None
    figures = summarise(choice.other_rows)
    one, other = headline, figures[name]
    said: Json = {
        "from": choice.other,
        **figures,
        "p99_gap_us": None,
        "p99_apart": None,
        "maybe_chance": None,
    }
    if any(q["p99"] is None or "p99" in q["at_least"] for q in (one, other)):
        return said
    said["p99_gap_us"] = gap = one["p99"] - other["p99"]
    if min(beyond(q["n"], LEVELS["p99"]) for q in (one, other)) >= ENOUGH_BEYOND:
        said["p99_apart"] = abs(gap) > max(GAP_US, GAP_SHARE * one["p99"])
        (low, high), (other_low, other_high) = (
            bounds(samples_us[rows], LEVELS["p99"]) for rows in (choice.rows, choice.other_rows)
        )
        said["maybe_chance"] = low <= other_high and other_low <= high
    return said
