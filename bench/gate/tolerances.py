"""What a gate is asked: tolerances (`READ.p99 > +10%`) and objectives (`READ.p99 < 50ms` must hold).  Pure.

The grammar is that of `bench/expressions.py`; a threshold with a sign and a % is a change from the other
side, one without is the candidate's own.  In `bench.toml`

    [check]
    fail-if = ["READ.p99 > +10%", "errors > 0.1%"]      # as --fail-if: fails where it holds
    slo = ["READ.p99 < 50ms"]                           # fails where it does not hold

    [check.tolerance]
    "cpu_s_per_1000_messages" = "10%"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.expressions import Condition, ExpressionError, parse
from bench.gate.metrics import METRICS, MOST, TOLERANCES, known, possible

_RELATIVE: Final = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*([+-])\s*([0-9]*\.?[0-9]+)\s*%\s*")
_SIGNED: Final = re.compile(r"[^<>=!]*(?:<=|>=|!=|<|>|=)\s*[+-].*")
_SHARE: Final = re.compile(r"\s*[+±]?\s*([0-9]*\.?[0-9]+)\s*%\s*")
LARGEST: Final = 10.0


@dataclass(frozen=True)
class Objective:
    """A condition on the candidate alone; it fails where `condition` holds, or where it does not (`slo`)."""

    condition: Condition
    slo: bool

    @property
    def text(self) -> str:
        return f"must hold: {self.condition.text}" if self.slo else self.condition.text


@dataclass(frozen=True)
class Asked:
    """`tolerances`: figure -> the share by which it may be worse; these figures decide."""

    tolerances: Mapping[str, float]
    objectives: tuple[Objective, ...] = ()


def asked(
    fail_if: Sequence[str] = (),
    slo: Sequence[str] = (),
    tolerance: Mapping[str, Any] | None = None,
    default: Mapping[str, float] = TOLERANCES,
) -> Asked:
    """Of the command line and the table [check].  Without any relative one those of `default` decide.

    Raises ExpressionError."""
    tolerances = {name: _share(name, value) for name, value in (tolerance or {}).items()}
    objectives = [Objective(parse(text), slo=True) for text in slo]
    for text in fail_if:
        if relative(text):
            name, share = parse_relative(text)
            tolerances[name] = share
        else:
            objectives.append(Objective(parse(text), slo=False))
    if len(tolerances) > MOST:
        raise ExpressionError(
            f"{len(tolerances)} figures are to decide ({', '.join(tolerances)}); {MOST} is the most: "
            "with each more, all of them see less. Leave some out, or make them conditions without a sign."
        )
    return Asked(tolerances or dict(default), tuple(objectives))


def relative(text: str) -> bool:
    """Whether the threshold is a change."""
    return _SIGNED.fullmatch(text) is not None


def parse_relative(text: str) -> tuple[str, float]:
    """(figure, the share by which it may be worse) of `READ.p99 > +10%`.  Raises ExpressionError."""
    match = _RELATIVE.fullmatch(text)
    if match is None:
        raise ExpressionError(
            f"{text!r} is no change from the other side. Expected a figure, > or <, and a signed share, "
            "for example 'READ.p99 > +10%' or 'messages_per_s < -5%'."
        )
    name, compare, sign, number = match.groups()
    if not known(name):
        raise ExpressionError(f"{text!r}: there is no figure {name!r}. {possible(name)}")
    worse = ">" if METRICS[name].sign > 0 else "<"
    if compare.rstrip("=") != worse or (sign == "+") != (worse == ">"):
        wanted = f"{name} {worse} {'+' if worse == '>' else '-'}{number}%"
        raise ExpressionError(f"{text!r}: {name} gets worse the other way. Did you mean {wanted!r}?")
    return name, _reasonable(text, float(number) / 100)


def _share(name: str, value: Any) -> float:
    """Of `"10%"` in [check.tolerance]."""
    if not known(name):
        raise ExpressionError(f"[check.tolerance]: there is no figure {name!r}. {possible(name)}")
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ExpressionError(f'[check.tolerance]: {name} = {value!r} is no share. Expected text like "10%".')
    return _reasonable(f"{name} = {value!r}", float(match[1]) / 100)


def _reasonable(text: str, share: float) -> float:
    if not 0 < share <= LARGEST:
        raise ExpressionError(f"{text}: a tolerance lies above 0 % and is at most {LARGEST:.0%}.")
    return share
