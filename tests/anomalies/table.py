"""The table of anomalies: one row each, a recipe that brings it about, what shows it and what does not.

A recipe is an async function of a `Case`, registered by `@row(...)`; it is run once on the broken variant
and once on the fixed one.  `judging.py` says what red and green mean; rows of a scheme are in
`rows_<scheme>.py`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.anomalies.driver import Case

Recipe = Callable[["Case"], Awaitable[None]]
Plant = Callable[[pytest.MonkeyPatch, Mapping[str, str]], None]
"""Puts a test-only bug into this process; given the server's options."""


@dataclass(frozen=True)
class Variant:
    """One way to run the scheme.  `plant`: test-only.  `client`: a habit of the client's that makes the
    difference (see the recipe)."""

    label: str
    options: Mapping[str, str] = field(default_factory=dict)
    plant: Plant | None = None
    client: str = ""


@dataclass(frozen=True)
class Row:
    """`check`: whose finding makes it red, a name of `consistency.checks`.  `beside`: others talk meanwhile,
    who must not be accused; not where the bug hits everybody."""

    name: str
    anomaly: str
    scheme: str
    broken: Variant
    fixed: Variant
    recipe: Recipe
    check: str
    beside: bool


@dataclass(frozen=True)
class NotYet:
    """A row of a scheme, or of a part, that does not exist yet."""

    name: str
    anomaly: str
    wants: str


ROWS: Final[list[Row]] = []
NOT_YET: Final = (
    NotYet("A1r", "stale fill from a replica that lags", "reads from a replica"),
    NotYet("A4", "write-through: two writers, cache in the other order", "a write-through scheme"),
    NotYet("A5c", "SYNC by time on a replica that lags", "reads from a replica"),
    NotYet("A6", "stale read from a replica", "reads from a replica"),
    NotYet("A6b", "semi-sync is not read-your-writes", "reads from a replica"),
    NotYet("A6c", "semi-sync degrades unnoticed", "reads from a replica"),
    NotYet("A7", "write-behind: acknowledged, lost before the flush", "a write-behind scheme"),
    NotYet("A7b", "write-behind: a row that never flushes is evicted", "a write-behind scheme"),
    NotYet("A8", "versions start again after a crash of Redis", "versions that Redis gives out"),
)


def row(
    name: str,
    anomaly: str,
    *,
    scheme: str,
    broken: Variant,
    fixed: Variant,
    check: str,
    beside: bool = True,
) -> Callable[[Recipe], Recipe]:
    """Adds a row with this recipe to the table."""

    def register(recipe: Recipe) -> Recipe:
        ROWS.append(Row(name, anomaly, scheme, broken, fixed, recipe, check, beside))
        return recipe

    return register


def in_order(rows: Iterable[Row]) -> list[Row]:
    """A2 before A10."""
    return sorted(rows, key=lambda row: (row.name[0], int(re.findall(r"\d+", row.name)[0]), row.name))


@dataclass
class Outcome:
    """What a test run saw of one row."""

    red: str = "not run"
    green: str = "not run"


def lines(rows: Iterable[Row], outcomes: Mapping[str, Outcome]) -> list[str]:
    """The table with what was seen, for the terminal."""
    cells: list[Sequence[str]] = [("row", "anomaly", "broken", "fixed", "red?", "green?")]
    for one in rows:
        seen = outcomes.get(one.name, Outcome())
        words = (one.name, one.anomaly, one.broken.label, one.fixed.label, seen.red, seen.green)
        cells.append([word.replace("`", "") for word in words])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in cells]
    name, anomaly, *_ = widths
    text += [
        f"{one.name.ljust(name)}  {one.anomaly.ljust(anomaly)}  not applicable yet: wants {one.wants}"
        for one in NOT_YET
    ]
    return text


def page(rows: Iterable[Row]) -> str:
    """The static part, Markdown, for `docs/anomalies.md`."""
    table = ["| row | anomaly | scheme | shows it | does not |", "| --- | --- | --- | --- | --- |"]
    for one in rows:
        cells = (one.name, one.anomaly, f"`{one.scheme}`", one.broken.label, one.fixed.label)
        table.append(f"| {' | '.join(cells)} |")
    table += [f"| {one.name} | {one.anomaly} | not applicable yet | wants {one.wants} | |" for one in NOT_YET]
    return "\n".join(table) + "\n"
