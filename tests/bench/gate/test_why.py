from __future__ import annotations

from typing import Any

import pytest

from bench.compare import Run
from bench.gate import why
from bench.gate.metrics import TOLERANCES
from bench.gate.verdicts import judge, side
from bench.results import Json
from tests.bench.gate.made import runs


def explained(b: list[Run], metric: str = "READ.p99", a: list[Run] | None = None) -> Json:
    sides = side("A", a or runs("a", 10, 1)), side("B", b)
    found = why.explain(judge(*sides, TOLERANCES), *sides)
    return next(each for each in found if each["metric"] == metric)


def share(entry: Json, name: str) -> float:
    return float(next(part["share"] for part in entry["parts"] if name in part["name"]))


def test_a_slower_store_is_found_in_the_store_stage() -> None:
    entry = explained(runs("b", 10, 2, worse=0.5, store_ms=20.0))
    assert share(entry, "store stage") == pytest.approx(1.0)
    assert entry["text"].startswith("READ p99 +")
    assert " ms [" in entry["text"]
    assert "100% of it in the store stage (MySQL)" in entry["text"]


def test_shares_of_several_stages() -> None:
    b = runs("b", 10, 2, worse=0.5, store_ms=5.0)
    for run in b:
        run.summary["operations"]["READ"]["mean_ms_slow"] |= {"wait": 1.4}
    entry = explained(b)
    assert share(entry, "store") == pytest.approx(0.75)
    assert share(entry, "waiting") == pytest.approx(0.25)


def test_counters_that_grew_are_named_and_others_are_not() -> None:
    entry = explained(runs("b", 10, 2, worse=0.5, waits=300.0))
    assert entry["counters"] == [{"name": "MySQL row-lock waits", "ratio": pytest.approx(3.0)}]
    assert "MySQL row-lock waits 3x" in entry["text"]
    assert explained(runs("b", 10, 2, worse=0.5))["counters"] == []


def test_cpu_is_by_component() -> None:
    b = runs("b", 10, 2)
    for run in b:
        run.summary["resources"]["mysql"]["cpu_s_per_1000_messages"] *= 2
    entry = explained(b, "cpu_s_per_1000_messages")
    assert share(entry, "mysql") > 0.95


def test_a_lag_sits_in_the_read_or_after_it() -> None:
    assert (
        share(explained(runs("b", 10, 2, worse=0.6, only="lag.receipt.p99"), "lag.receipt.p99"), "after it")
        > 0.9
    )


def test_what_did_not_change_is_not_explained() -> None:
    sides = side("A", runs("a", 10, 1)), side("B", runs("b", 10, 2))
    assert why.explain(judge(*sides, TOLERANCES), *sides) == []


def test_stages_that_one_side_does_not_know_are_left_out() -> None:
    def without(of: list[Run]) -> list[Run]:
        for run in of:
            run.summary["operations"]["READ"]["mean_ms_slow"] = None
        return of

    entry: Any = explained(without(runs("b", 10, 2, worse=0.5)))
    assert entry["parts"] == []
    assert "of it in" not in entry["text"]
