"""The stores' counters are asked for by name, and a store that cannot be asked so is asked for all."""

from __future__ import annotations

from typing import Any

import redis

from bench.services.counters import ASK_MYSQL, MYSQL, REDIS, REDO, SECTIONS, Counters


class OldRedis:
    """Before Redis 7: INFO takes one section at most."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def info(self, *sections: str) -> dict[str, Any]:
        self.asked.append(sections)
        if len(sections) > 1:
            raise redis.ResponseError("syntax error")
        return {"used_memory": 5, "keyspace_hits": 7, "uptime_in_seconds": 9}


def test_an_older_redis_is_asked_for_everything_from_the_second_time_on() -> None:
    counters, old = Counters({}), OldRedis()
    counters._redis = old  # type: ignore[assignment]
    assert counters.sample() == []
    expected = [("redis", "used_memory", 5.0), ("redis", "keyspace_hits", 7.0)]
    assert counters.sample() == counters.sample() == expected
    assert old.asked == [SECTIONS, (), ()]


class Cursor:
    def __init__(self, rows: list[tuple[str, str]]) -> None:
        self.rows, self.asked = rows, ""

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def execute(self, asked: str) -> None:
        self.asked = asked

    def fetchall(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.rows if f"'{name}'" in self.asked]


class MySql:
    def __init__(self, *rows: tuple[str, str]) -> None:
        self._cursor = Cursor(list(rows))

    def cursor(self) -> Cursor:
        return self._cursor


def test_mysql_is_asked_for_what_is_kept_and_no_more() -> None:
    assert all(f"'{name}'" in ASK_MYSQL for name in (*MYSQL, *REDO))
    counters = Counters({})
    counters._mysql = MySql(("Com_select", "41"), ("Aborted_clients", "3"))  # type: ignore[assignment]
    assert counters.sample() == [("mysql", "Com_select", 41.0)]


def test_the_age_of_the_redo_log_is_told_by_its_ends() -> None:
    counters = Counters({})
    ends = ((REDO[0], "9000"), (REDO[1], "2000"))
    counters._mysql = MySql(*ends)  # type: ignore[assignment]
    assert counters.sample() == [("mysql", "Innodb_checkpoint_age", 7000.0)]
    assert {"used_memory", "keyspace_hits"} <= REDIS
