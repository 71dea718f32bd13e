"""What two sides are compared by: the figures of a comparison, and every figure that a condition may
name.  Pure.

Of the figures at most five *decide*; the others are shown and decide nothing, or of seventy figures three
would look different where nothing is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench import compare, expressions
from bench.compare import Run
from bench.expressions import UndecidedError
from bench.noise import METRICS as NAMED

MOST: Final = 5
"""Figures that may decide at once: with each more, all of them see less."""
HIGHER: Final = frozenset({"messages_per_s", "pushes_per_s", "achieved", "cache_hit_ratio"})
"""Where more is better; of everything else less is."""
NAMES: Final[Mapping[str, str]] = NAMED | {
    "memory_bytes_per_user": "memory per user",
    "lag.receipt.p50": "receipt lag p50",
    "cpu_s_per_1000_messages.python": "CPU, Python",
    "cpu_s_per_1000_messages.stores": "CPU, stores",
    "cpu_s_per_1000_messages.broker": "CPU, broker",
    "badge_error_s_per_user_hour.total": "badge wrong per user-hour",
}
TOLERANCES: Final[Mapping[str, float]] = {
    "cpu_s_per_1000_messages": 0.10,
    "READ.p50": 0.15,
    "messages_per_s": 0.05,
    "READ.p99": 0.25,
    "lag.receipt.p99": 0.25,
}
"""The figures that decide where nobody says otherwise, each with the effect that matters."""


AGAINST: Final[Mapping[str, float]] = {
    "cpu_s_per_1000_messages": 0.10,
    "READ.p50": 0.15,
    "lag.receipt.p50": 0.25,
}
"""The same for blocks of some seconds: too short for a p99, and the offered load is carried or is not."""

TAILS: Final = ("p90", "p99", "p999", "max")
"""How the names of those figures end that the latest of what was sent is in."""


@dataclass(frozen=True)
class Point:
    """A figure of one run.  `at_least`: it is a lower bound.  `low`, `high`: what its number of samples
    leaves open.  `floor`: the resolution of a time, µs."""

    value: float
    at_least: bool = False
    low: float | None = None
    high: float | None = None
    floor: float | None = None


@dataclass(frozen=True)
class Metric:
    """`unit` as in a comparison: us, s, bytes, share, count or number."""

    name: str
    unit: str
    of: Callable[[Run], Point | None]

    @property
    def title(self) -> str:
        return NAMES.get(self.name, self.name.replace(".", " ").replace("_", " "))

    @property
    def sign(self) -> int:
        """1 where more is worse, -1 where more is better."""
        return -1 if self.name in HIGHER else 1


def told_in(name: str, unit: str) -> str:
    """The unit that its values are written in; empty for those without."""
    if name.startswith("cpu_s_per_1000_messages"):
        return "ms"  # a second for a thousand messages
    return {"us": "ms", "bytes": "MiB", "s": "s"}.get(unit, "")


def known(name: str) -> bool:
    return name in METRICS


def possible(name: str) -> str:
    """What was perhaps meant."""
    near = difflib.get_close_matches(name, METRICS, n=3, cutoff=0.5)
    return (
        f"Did you mean {' or '.join(near)}?" if near else f"Possible are {', '.join(TOLERANCES)} and others."
    )


def _compared(figure: compare.Figure) -> Metric:
    def of(run: Run) -> Point | None:
        value = figure.of(run)
        if value is None or _too_few(figure.name, run):
            return None
        low, high = figure.inside(run) or (None, None)
        return Point(float(value), figure.bounded(run), low, high, figure.floor(run))

    return Metric(figure.name, figure.unit, of)


def _too_few(name: str, run: Run) -> bool:
    """Whether fewer than ten samples lie beyond: shown, but compared with nothing."""
    *path, level = name.split(".")
    if len(path) == 1:
        entry = (run.summary["operations"].get(path[0]) or {}).get("latency_us")
    elif path[:1] == ["lag"]:
        entry = (run.summary["lag"].get(path[1]) or {}).get("quantiles")
    else:
        return False
    return level in ((entry or {}).get("low_n") or ())


def _named(name: str, figure: expressions.Figure) -> Metric:
    unit = {"time": "us", "share": "share", "number": "number"}[figure.kind]

    def of(run: Run) -> Point | None:
        try:
            return Point(figure.find(run.summary), floor=_floor(run) if unit == "us" else None)
        except (UndecidedError, expressions._AtLeastError, KeyError):
            return None

    return Metric(name, unit, of)


def _floor(run: Run) -> float | None:
    floor: float | None = run.summary["generator"].get("resolution_floor_us")
    return floor


def _memory_per_user(run: Run) -> Point | None:
    held = next(figure for figure in compare.FIGURES if figure.name == "memory_bytes").of(run)
    users = run.summary["run"].get("users")
    return Point(held / users) if held and users else None


METRICS: Final[Mapping[str, Metric]] = {
    **{name: _named(name, figure) for name, figure in expressions.FIGURES.items()},
    **{figure.name: _compared(figure) for figure in compare.FIGURES},
    "memory_bytes_per_user": Metric("memory_bytes_per_user", "bytes", _memory_per_user),
}
SHOWN: Final = (
    "messages_per_s",
    *(f"{op}.{level}" for op in ("READ", "STATE", "SEND", "SYNC", "DELIVERED") for level in ("p50", "p99")),
    *(f"lag.{lag}.{level}" for lag in expressions.LAGS if lag != "ack" for level in ("p50", "p99")),
    "cpu_s_per_1000_messages",
    "cpu_s_per_1000_messages.python",
    "cpu_s_per_1000_messages.stores",
    "cpu_s_per_1000_messages.broker",
    "memory_bytes_per_user",
    "cache_hit_ratio",
    "round_trips_per_message",
    "rows_written_per_message",
    "badge_error_s_per_user_hour.total",
    "pushes_undelivered",
    "errors",
    "violations",
)
"""What is told of every comparison, whether it decides or not."""
