"""What a consistency check says: how many could have gone wrong, how many did, and the worst of them.

A check that could not see everything says `unknown`, never `pass`.  No violation among n is not "never": the
upper bound says what n can exclude.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.results import Json

PASS, FAIL, UNKNOWN = "pass", "fail", "unknown"
EVERY_FINDING: Final = 1 << 62
_findings_max: Final = ContextVar("findings_max", default=1_000)
_EXACT_MAX: Final = 10_000


@dataclass(frozen=True)
class Check:
    """One entry of `consistency.checks`.

    `promise` is the scheme's word for what is checked, `promised` whether this run's scheme gave it: a
    failure of what nobody promised is a measurement.  `unknown`: why the check could not see everything.
    `episodes`: how many causes the violations have (bench/checks/episodes.py); None: each has its own.
    `figures`: what else was measured on the way, by name."""

    name: str
    promise: str
    promised: bool
    eligible: int
    violations: int
    worst: Json | None = None
    unknown: str = ""
    episodes: int | None = None
    figures: Json = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.violations:
            return FAIL
        return UNKNOWN if self.unknown else PASS

    def to_dict(self) -> Json:
        return {
            "name": self.name,
            "promise": self.promise,
            "promised": self.promised,
            "eligible": self.eligible,
            "violations": self.violations,
            "episodes": self.violations if self.episodes is None else self.episodes,
            "upper_bound_95": upper_bound_95(self.violations, self.eligible),
            "verdict": self.verdict,
            "worst": self.worst,
            "unknown_because": self.unknown or None,
            "figures": self.figures,
        }


@dataclass(frozen=True)
class Judgement:
    """What some checks say of one run, and what they found, each check its worst first.

    A finding has `check`, `kind`, `conversation`, `user`, the `records` that prove it (see story.py), what it
    `says` in a sentence, figures of its own, and where it is one of several of one cause the `episode` (any
    number of its check's own) and how many are `in_episode`.  findings.py adds the rest."""

    checks: list[Check]
    findings: list[Json]

    def __add__(self, other: Judgement) -> Judgement:
        return Judgement(self.checks + other.checks, self.findings + other.findings)


def findings_max() -> int:
    """Findings kept per check; the number of violations is always whole."""
    return _findings_max.get()


@contextmanager
def keep_findings(number: int) -> Iterator[None]:
    """Within it, checks keep so many: whoever holds each finding against a truth needs EVERY_FINDING."""
    before = _findings_max.set(number)
    try:
        yield
    finally:
        _findings_max.reset(before)


def upper_bound_95(violations: int, eligible: int) -> float | None:
    """One-sided 95 % upper bound of the rate: Poisson, exact (Garwood, Biometrika 28, 1936); 3/n for none.

    None where nothing was eligible: nothing is known then."""
    if eligible == 0:
        return None
    return float(f"{min(1.0, _poisson_upper(violations) / eligible):.6g}")


def _poisson_upper(k: int) -> float:
    """The mean with which k or fewer happen in 5 % of cases: half the 95 % quantile of chi-squared (2k +
    2)."""
    if k > _EXACT_MAX:  # Wilson and Hilferty, Proc. N. A. S. 17 (1931), 684: exact to 1e-6 here
        n = k + 1
        return n * (1 - 1 / (9 * n) + 1.6448536269514722 / (3 * math.sqrt(n))) ** 3
    i = np.arange(k + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, k + 1)))])
    low, high = float(k), k + 10 + 5 * math.sqrt(k + 1)
    for _ in range(60):
        middle = (low + high) / 2
        share = float(np.exp(i * math.log(middle) - middle - log_factorial).sum()) if middle else 1.0
        low, high = (middle, high) if share > 0.05 else (low, middle)
    return high
