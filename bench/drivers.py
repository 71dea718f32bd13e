"""Both client libraries of MySQL beside each other: does an order of arms depend on which one it is?  Pure.

Arms that are alike but for the driver are one family.  An order flips if two families stand one way with one
driver and the other way with another, both times told apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import combinations, permutations
from typing import Any, Final

from bench import alike

FAMILY: Final = ("scheme", "model", "options", "cache", "pinned")


def of(run: Mapping[str, Any]) -> str | None:
    """The driver of this `summary.run`; None where there is no MySQL, or a server of somebody else's."""
    driver: str | None = run.get("mysql_driver")
    return driver


def both(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The drivers of these arms (label -> `summary.run`), if there are several."""
    found = sorted({driver for run in runs.values() if (driver := of(run)) is not None})
    return found if len(found) > 1 else []


def among(runs: Mapping[str, Mapping[str, Any]], driver: str) -> list[str]:
    """Labels of the arms that have this driver, and of those that have none."""
    return [label for label, run in runs.items() if of(run) in (driver, None)]


def flips(
    runs: Mapping[str, Mapping[str, Any]], below: Callable[[str, str], bool]
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of labels ((lower, higher) with one driver, the same two families (lower, higher) with another).

    `below(a, b)`: a is told apart from b, and lower."""
    families: dict[str, dict[str | None, str]] = {}
    for label, run in runs.items():
        families.setdefault(_family(run), {})[of(run)] = label
    found = []
    for (one, other), (first, second) in (
        (pair, drivers)
        for pair in permutations(families.values(), 2)
        for drivers in combinations(both(runs), 2)
    ):
        labels = [(_with(one, driver), _with(other, driver)) for driver in (first, second)]
        (a, b), (c, d) = labels
        if a and b and c and d and below(a, b) and below(d, c):
            found.append(((a, b), (d, c)))
    return found


def _with(family: Mapping[str | None, str], driver: str) -> str | None:
    return family.get(driver, family.get(None))


def _family(run: Mapping[str, Any]) -> str:
    return json.dumps([{name: run.get(name) for name in FAMILY}, alike.terms(run)], sort_keys=True)
