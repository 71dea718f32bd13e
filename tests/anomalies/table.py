"""The table of anomalies: one row each, a recipe that brings it about, what shows it and what does not.

A recipe is an async function of a `Case`, registered by `@row(...)`; it is run once on the broken variant
and once on the fixed one.  `judging.py` says what red and green mean; rows of a scheme are in
`rows_<scheme>.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.anomalies.driver import Case

Recipe = Callable[["Case"], Awaitable[None]]
Plant = Callable[[pytest.MonkeyPatch, Mapping[str, str]], None]
"""Puts a test-only bug into this process; given the server's options."""
Judge = Callable[["Case"], set[int]]
"""Operation ids that show the anomaly, where no check of `bench/checks/` looks for it."""


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
    """`check`: whose finding makes it red, a name of `consistency.checks`; or `judge` does.  `beside`: others
    talk meanwhile, who must not be accused; not where the bug hits everybody."""

    name: str
    anomaly: str
    scheme: str
    broken: Variant
    fixed: Variant
    recipe: Recipe
    check: str
    judge: Judge | None
    beside: bool


@dataclass(frozen=True)
class NotYet:
    """A row of a scheme, or of a part, that does not exist yet."""

    name: str
    anomaly: str
    wants: str


ROWS: Final[list[Row]] = []
NOT_YET: Final = (
    NotYet("A1r", "replica fill: what a lagging replica said stays in the cache", "reads from a replica"),
    NotYet("A4", "write-through: two writers set the cache in the other order", "a write-through scheme"),
    NotYet("A5c", "SYNC by the primary's clock on a replica that is behind", "reads from a replica"),
    NotYet("A6", "a replica shows what the primary no longer says", "reads from a replica"),
    NotYet("A6b", "semi-synchronous replication is taken for read-your-writes", "reads from a replica"),
    NotYet("A6c", "semi-synchronous replication degrades and nobody notices", "reads from a replica"),
    NotYet("A7", "write-behind: acknowledged, and lost before the flush", "a write-behind scheme"),
    NotYet("A7b", "write-behind: one row never flushes, and vanishes when evicted", "a write-behind scheme"),
    NotYet("A8", "versions from INCR start again after a crash of Redis", "versions that Redis gives out"),
)


def row(
    name: str,
    anomaly: str,
    *,
    scheme: str,
    broken: Variant,
    fixed: Variant,
    check: str = "",
    judge: Judge | None = None,
    beside: bool = True,
) -> Callable[[Recipe], Recipe]:
    """Adds a row with this recipe to the table; exactly one of `check` and `judge`."""
    if bool(check) == (judge is not None):
        raise ValueError(f"row {name}: expected a check or a judge, one of them")

    def register(recipe: Recipe) -> Recipe:
        ROWS.append(Row(name, anomaly, scheme, broken, fixed, recipe, check, judge, beside))
        return recipe

    return register


@dataclass
class Outcome:
    """What a test run saw of one row."""

    red: str = "not run"
    green: str = "not run"


def lines(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The table with what was seen, for the terminal."""
    head = ("row", "anomaly", "broken", "fixed", "red?", "green?")
    cells: list[Sequence[str]] = [head]
    for one in sorted(ROWS, key=lambda row: row.name):
        seen = outcomes.get(one.name, Outcome())
        cells.append((one.name, one.anomaly, one.broken.label, one.fixed.label, seen.red, seen.green))
    cells += [
        (one.name, one.anomaly, f"not applicable yet: wants {one.wants}", "", "", "") for one in NOT_YET
    ]
    widths = [max(len(row[i]) for row in cells if i != 2 or row[3]) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def page() -> str:
    """The static part, Markdown, for `docs/anomalies.md`."""
    table = ["| row | anomaly | scheme | shows it | does not |", "| --- | --- | --- | --- | --- |"]
    for one in sorted(ROWS, key=lambda row: row.name):
        cells = (one.name, one.anomaly, f"`{one.scheme}`", one.broken.label, one.fixed.label)
        table.append(f"| {' | '.join(cells)} |")
    table += [f"| {one.name} | {one.anomaly} | not applicable yet | wants {one.wants} | |" for one in NOT_YET]
    return "\n".join(table) + "\n"
