"""An order depends on the client library if two arms that are told apart change places with it."""

from __future__ import annotations

import pytest

from bench import drivers
from bench.results import Json


def arm(scheme: str, driver: str | None, **more: object) -> Json:
    return {"scheme": scheme, "model": "flags", "options": {}, "mysql_driver": driver, **more}


RUNS = {
    "control": arm("memory", None),
    "db a": arm("db", "aiomysql"),
    "db b": arm("db", "asyncmy"),
    "redis a": arm("redis", "aiomysql"),
    "redis b": arm("redis", "asyncmy"),
}


def found(together: float = 0.0, runs: Json = RUNS, **values: float) -> list[object]:
    told = {name.replace("_", " "): value for name, value in values.items()}

    def below(one: str, other: str) -> bool:
        return one in told and other in told and told[one] < told[other] - together

    return list(drivers.flips(runs, below))


def test_arms_that_change_places_flip() -> None:
    assert found(control=1, db_a=30, redis_a=20, db_b=10, redis_b=15) == [
        (("redis a", "db a"), ("db b", "redis b"))
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"db_a": 30, "redis_a": 20, "db_b": 15, "redis_b": 10},
        {"db_a": 30, "redis_a": 20, "db_b": 10},
        {"db_a": 30, "redis_a": 20, "db_b": 10, "redis_b": 11, "together": 2},
        {"db_a": 21, "redis_a": 20, "db_b": 10, "redis_b": 15, "together": 2},
    ],
)
def test_the_same_order_or_none_is_no_flip(values: Json) -> None:
    assert found(**values) == []


def test_an_arm_without_mysql_stands_on_both_sides() -> None:
    assert len(found(control=20, db_a=30, db_b=10)) == 1


def test_arms_that_differ_in_more_are_other_families() -> None:
    runs = RUNS | {"db b": arm("db", "asyncmy", options={"isolation": "other"})}
    assert found(runs=runs, db_a=30, redis_a=20, db_b=10, redis_b=15) == []


def test_one_driver_is_not_both() -> None:
    one = {label: run for label, run in RUNS.items() if run["mysql_driver"] != "asyncmy"}
    assert drivers.both(one) == []
    assert drivers.both(RUNS) == ["aiomysql", "asyncmy"]
    assert drivers.among(RUNS, "asyncmy") == ["control", "db b", "redis b"]
