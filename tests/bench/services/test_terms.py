from __future__ import annotations

from pathlib import Path

import pytest

from bench.services.mariadb import MariaDb
from bench.services.redis_server import RedisServer
from bench.services.terms import Terms, class_of_store, classed, planned, redis_settings, topic_settings
from schemes import SCHEMES

FLUSH = "innodb_flush_log_at_trx_commit"


@pytest.mark.parametrize(
    ("settings", "class_"),
    [
        ({FLUSH: "1", "log_bin": "OFF"}, "power"),
        ({FLUSH: "1", "log_bin": "ON", "sync_binlog": "1"}, "power"),
        ({FLUSH: "3", "log_bin": "OFF"}, "power"),
        # a commit that the binary log lost is taken back at the next start
        ({FLUSH: "1", "log_bin": "ON", "sync_binlog": "0"}, "process"),
        ({FLUSH: "2", "log_bin": "OFF"}, "process"),
        ({FLUSH: "0", "log_bin": "OFF"}, "none"),
        ({}, None),
    ],
)
def test_mysql_is_classed_by_what_it_says(settings: dict[str, str], class_: str | None) -> None:
    assert class_of_store("mysql", settings) == class_


@pytest.mark.parametrize(
    ("settings", "class_"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, "power"),
        ({"appendonly": "yes", "appendfsync": "no"}, "process"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "none"),
        ({"appendonly": "no", "appendfsync": "always"}, "none"),
        ({}, None),
    ],
)
def test_redis_is_classed_by_what_it_says(settings: dict[str, str], class_: str | None) -> None:
    assert class_of_store("redis", settings) == class_


def test_kafka_is_classed_by_the_topic_before_the_broker() -> None:
    never = str(2**63 - 1)
    assert class_of_store("kafka", {"log.flush.interval.messages": never}) == "process"
    assert class_of_store("kafka", {"log.flush.interval.messages": "1"}) == "power"
    assert class_of_store("kafka", {"log.flush.interval.messages": never, "flush.messages": "1"}) == "power"
    assert class_of_store("kafka", {}) is None


def test_an_ack_is_worth_the_weakest_store_that_it_rests_on() -> None:
    said = {
        "mysql": {FLUSH: "1", "log_bin": "OFF"},
        "redis": {"appendonly": "no"},
        "kafka": {"log.flush.interval.messages": "100"},
    }
    assert classed(said, {"mysql"}) == ("power", {"mysql": "power", "redis": "none", "kafka": "process"})
    assert classed(said, {"mysql", "kafka"})[0] == "process"
    assert classed({}, set())[0] == "none"
    assert classed({**said, "kafka": {}}, {"mysql", "kafka"})[0] is None


def test_a_scheme_rests_on_stores_that_it_needs_and_a_cache_is_none_of_them() -> None:
    rests = {name: scheme.rests_on for name, scheme in SCHEMES.items()}
    assert rests == {"memory": set(), "db": {"mysql"}, "redis": {"mysql"}, "queue": {"mysql", "kafka"}}
    for scheme in SCHEMES.values():
        assert scheme.rests_on <= scheme.needs


def test_kafka_and_redis_flush_only_where_an_ack_rests_on_them() -> None:
    assert topic_settings("power", {"mysql", "kafka"}) == {"flush-messages": "1"}
    assert topic_settings("power", {"mysql"}) == topic_settings("process", {"kafka"}) == {}
    assert redis_settings("power", {"redis"}) == {"appendonly": "yes", "appendfsync": "always"}
    assert redis_settings("process", {"redis"}) == {"appendonly": "yes", "appendfsync": "no"}
    assert redis_settings("power", {"mysql"}) == redis_settings("article", {"redis"}) == {"appendonly": "no"}


def test_mysql_is_started_as_the_class_wants_it(tmp_path: Path) -> None:
    def argv(durability: str) -> list[str]:
        return MariaDb(tmp_path, None, Terms(durability)).argv([23306])

    flush = "--innodb-flush-log-at-trx-commit"
    assert f"{flush}=2" in argv("process")
    assert "--skip-log-bin" in argv("process")
    assert {f"{flush}=1", "--sync-binlog=1", "--log-bin=binlog"} <= set(argv("power"))
    assert f"{flush}=1" in argv("article")
    assert not any(
        "bin" in word for word in argv("article") if word.startswith(("--log", "--sync", "--skip-log"))
    )


def test_redis_that_keeps_a_file_takes_no_dump(tmp_path: Path) -> None:
    dump = tmp_path / "dump.rdb"
    dump.touch()
    kept = RedisServer(tmp_path, dump, Terms("power", frozenset({"redis"})))
    assert not kept.restored
    assert "always" in kept.argv([26379])
    assert RedisServer(tmp_path, dump, Terms("power", frozenset({"mysql"}))).restored


def test_the_pool_is_short_of_the_data_once_there_is_some(tmp_path: Path) -> None:
    server = MariaDb(tmp_path, None, Terms(pool_ratio=0.25))

    def pool() -> str:
        return next(word for word in server.argv([23306]) if "buffer-pool-size" in word)

    assert pool().endswith("M")  # nothing is seeded yet
    tables = server.data / "readstate"
    tables.mkdir(parents=True)
    with (tables / "messages.ibd").open("wb") as file:
        file.truncate(100 << 20)
    assert server.data_bytes() == 100 << 20
    assert pool() == f"--innodb-buffer-pool-size={25 << 20}"
    with (tables / "messages.ibd").open("wb") as file:
        file.truncate(1 << 20)
    assert pool() == f"--innodb-buffer-pool-size={8 << 20}"  # what InnoDB starts with at least


@pytest.mark.parametrize(
    ("durability", "scheme", "class_", "stores"),
    [
        ("article", "memory", "none", {}),
        ("article", "redis", "power", {"mysql": "power", "redis": "none"}),
        ("article", "queue", "process", {"mysql": "power", "redis": "none", "kafka": "process"}),
        ("power", "queue", "power", {"mysql": "power", "redis": "none", "kafka": "power"}),
        ("process", "db", "process", {"mysql": "process"}),
    ],
)
def test_what_will_be_set_has_a_class_before_anything_runs(
    durability: str, scheme: str, class_: str, stores: dict[str, str]
) -> None:
    about = SCHEMES[scheme]
    assert planned(Terms(durability, about.rests_on), about.needs) == (class_, stores)
