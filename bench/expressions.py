"""Conditions on a run's figures, as `--fail-if` takes them: `READ.p99 > 50ms`, `errors >= 0.1%`.  Pure.

    condition = figure  operator  number unit
    figure    = OPERATION[.service|.wait].STATISTIC   response time (from when it was wanted), or of it the
                                                   service time (from when it was sent) or the wait until then
              | OPERATION.errors | OPERATION.count
              | lag.NAME.STATISTIC | lag.NAME.undelivered
              | send_lag.STATISTIC
              | errors | violations | achieved | messages_per_s | pushes_per_s | cpu.COMPONENT
    operator  = < | <= | > | >= | = | !=
    unit      = us, ms, s for times; % or nothing for shares; nothing for the rest

A percentile that has too few samples decides nothing, and neither does a lower bound that could still cross.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bench.metrics.operations import MEASURED
from bench.metrics.quantiles import LEVELS
from bench.results import Json

OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
UNITS: Final = {
    "time": {"us": 1.0, "ms": 1e3, "s": 1e6},
    "share": {"%": 0.01, "": 1.0},
    "number": {"": 1.0},
}
STATISTICS: Final = ("mean", *LEVELS, "max")
LAGS: Final = ("ack", "own_device", "receipt", "message", "visible", "durable", "cache", "queue")
COMPONENTS: Final = ("generator", "server", "consumer", "mysql", "redis", "kafka", "machine")
_CONDITION: Final = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z%µ]*)\s*")


class ExpressionError(Exception):
    """A condition that cannot be read: what came and what is possible."""


class UndecidedError(Exception):
    """The run has no answer: the figure is missing, or has too few samples."""


@dataclass(frozen=True)
class Figure:
    """Where a figure stands in the summary, and in what it is measured."""

    kind: str
    find: Callable[[Json], float]


@dataclass(frozen=True)
class Condition:
    """One condition, ready to be asked of a summary."""

    text: str
    name: str
    compare: str
    threshold: float
    """µs, a share, or a plain number."""
    kind: str

    def value(self, summary: Json) -> float:
        """In µs, as a share, or as a plain number.  Raises UndecidedError."""
        return FIGURES[self.name].find(summary)

    def value_or_bound(self, summary: Json) -> float:
        """The same, where a lower bound will do."""
        try:
            return self.value(summary)
        except _AtLeastError as bound:
            return bound.value

    def holds(self, summary: Json) -> bool:
        """Raises UndecidedError if the run cannot tell."""
        try:
            return OPERATORS[self.compare](self.value(summary), self.threshold)
        except _AtLeastError as bound:
            if self.compare in (">", ">=") and OPERATORS[self.compare](bound.value, self.threshold):
                return True
            if self.compare in ("<", "<=", "=") and bound.value > self.threshold:
                return False
            raise UndecidedError(
                f"{self.name} is at least {bound.value:g} us: some operations were never answered"
            ) from None


def parse_all(text: str) -> list[Condition]:
    """Conditions with commas between them.  The message of the ExpressionError has the text on a line of its
    own, and below it a mark under the character where it stops making sense."""
    found, start = [], 0
    for part in text.split(","):
        try:
            found.append(parse(part))
        except ExpressionError as why:
            at = start + _makes_sense_until(part)
            raise ExpressionError(f"{why}\n  {text}\n  {' ' * at}^") from None
        start += len(part) + 1
    return found


_PIECES: Final = (r"\s*[\w.]+", r"\s*(?:<=|>=|!=|<|>|=)", r"\s*[0-9]*\.?[0-9]+", r"\s*[a-zA-Z%µ]*\s*")


def _makes_sense_until(text: str) -> int:
    """Where in a condition that cannot be read the first piece begins that is wrong."""
    at = 0
    for number, piece in enumerate(_PIECES):
        match = re.compile(piece).match(text, at)
        wrong = match is None or (number == 0 and match[0].strip() not in FIGURES)
        if wrong or (number == len(_PIECES) - 1 and match is not None and match.end() == len(text)):
            break
        assert match is not None
        at = match.end()
    return at + len(text[at:]) - len(text[at:].lstrip())


def parse(text: str) -> Condition:
    """Raises ExpressionError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ExpressionError(
            f"{text!r} is no condition. Expected a figure, one of {' '.join(OPERATORS)}, and a number with "
            "its unit, for example 'READ.p99 > 50ms' or 'errors > 0.1%'."
        )
    name, compare, number, unit = match.groups()
    if name not in FIGURES:
        raise ExpressionError(f"{text!r}: there is no figure {name!r}. {_possible(name)}")
    kind = FIGURES[name].kind
    units = UNITS[kind]
    if unit.replace("µ", "u") not in units:
        wanted = " or ".join(known or "no unit" for known in units)
        came = repr(unit) if unit else "no unit"
        raise ExpressionError(f"{text!r}: {name} takes {wanted}, not {came}.")
    return Condition(text, name, compare, float(number) * units[unit.replace("µ", "u")], kind)


def _possible(name: str) -> str:
    by_lower = {known.lower(): known for known in FIGURES}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(by_lower[known] for known in near)}?"
    return (
        f"Possible are {', '.join(op.name for op in MEASURED)} with .{', .'.join(STATISTICS)} or .errors, "
        f"lag.NAME with the same ({', '.join(LAGS)}), send_lag, errors, violations, achieved, "
        "messages_per_s, pushes_per_s and cpu.COMPONENT."
    )


# --- where figures are ------------------------------------------------------------------------------------


class _AtLeastError(Exception):
    """The figure is a lower bound."""

    def __init__(self, value: float) -> None:
        super().__init__(value)
        self.value = value


def _at(summary: Json, *path: str) -> Any:
    found: Any = summary
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    if found is None:
        raise UndecidedError(f"this run has no {'.'.join(path)}")
    return found


def _statistic(name: str, *path: str) -> Callable[[Json], float]:
    def find(summary: Json) -> float:
        figures = _at(summary, *path)
        value = figures.get(name)
        if value is None or name in figures.get("low_n", ()):
            raise UndecidedError(f"not enough samples for {'.'.join(path)}.{name}: {figures['n']}")
        if name in figures.get("at_least", ()):
            raise _AtLeastError(float(value))
        return float(value)

    return find


def _lag_statistic(name: str, lag: str) -> Callable[[Json], float]:
    found = _statistic(name, "lag", lag, "quantiles")

    def find(summary: Json) -> float:
        entry = _at(summary, "lag", lag)
        if not entry["available"]:
            raise UndecidedError(f"lag.{lag} is not available: {entry['why_not']}")
        return found(summary)

    return find


def _plain(*path: str) -> Callable[[Json], float]:
    return lambda summary: float(_at(summary, *path))


def _operation_errors(op: str) -> Callable[[Json], float]:
    def find(summary: Json) -> float:
        figures = _at(summary, "operations", op)
        return float((figures["fail"] + figures["info"]) / max(1, figures["count"]))

    return find


def errors(summary: Json) -> float:
    """Share of the sent operations that were refused, or that nobody answered."""
    operations = _at(summary, "operations").values()
    bad = sum(figures["fail"] + figures["info"] for figures in operations)
    return float(bad / max(1, sum(figures["count"] for figures in operations)))


def violations(summary: Json) -> float:
    """Of promises that the scheme makes."""
    return float(
        sum(check["violations"] for check in _at(summary, "consistency", "checks") if check["promised"])
    )


def _achieved(summary: Json) -> float:
    return float(_at(summary, "load", "achieved_per_s") / _at(summary, "load", "offered_per_s"))


def _figures() -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for op in (measured.name for measured in MEASURED):
        for statistic in STATISTICS:
            found[f"{op}.{statistic}"] = Figure("time", _statistic(statistic, "operations", op, "latency_us"))
            for part in ("service", "wait"):
                found[f"{op}.{part}.{statistic}"] = Figure(
                    "time", _statistic(statistic, "operations", op, f"{part}_us")
                )
        found[f"{op}.errors"] = Figure("share", _operation_errors(op))
        found[f"{op}.count"] = Figure("number", _plain("operations", op, "count"))
    for lag in LAGS:
        for statistic in STATISTICS:
            found[f"lag.{lag}.{statistic}"] = Figure("time", _lag_statistic(statistic, lag))
        found[f"lag.{lag}.undelivered"] = Figure("share", _plain("lag", lag, "undelivered_share"))
    for statistic in STATISTICS:
        found[f"send_lag.{statistic}"] = Figure("time", _statistic(statistic, "generator", "send_lag_us"))
    for component in COMPONENTS:
        found[f"cpu.{component}"] = Figure("number", _plain("resources", component, "cpu_cores_mean"))
    return found | {
        "errors": Figure("share", errors),
        "violations": Figure("number", violations),
        "achieved": Figure("share", _achieved),
        "messages_per_s": Figure("number", _plain("load", "messages_per_s")),
        "pushes_per_s": Figure("number", _plain("load", "pushes_per_s")),
    }


FIGURES: Final = _figures()
"""Every figure that a condition may name."""
