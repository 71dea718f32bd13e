"""Two looks at a service agree until it is restarted or set otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bench.metrics.disturbances import services as compared
from bench.results import Json
from bench.services import Stack, bring_up, identity
from bench.services.stack import Service


def looked(before: object, after: object) -> Json:
    told: Json = compared({"services_seen": {"before": before, "after": after}})
    return told


def test_a_process_is_known_by_when_it_began() -> None:
    mine = Service("kafka", "Apache Kafka", "4", "local", "127.0.0.1:1", pids=(os.getpid(),))
    (told,) = identity.of_all({"kafka": mine}).values()
    assert str(told["process"]).startswith(f"{os.getpid()} since tick ")
    gone = Service("kafka", "Apache Kafka", "4", "local", "127.0.0.1:1", pids=(2**22 + 1,))
    assert identity.of_all({"kafka": gone}) == {"kafka": {"process": f"{2**22 + 1} is gone"}}


def test_of_a_broker_elsewhere_nothing_is_known() -> None:
    elsewhere = Service("kafka", "Apache Kafka", "4", "external", "broker:9092")
    assert identity.of_all({"kafka": elsewhere}) == {"kafka": {}}
    assert looked({"kafka": {}}, {"kafka": {}})["kafka"]["same"] is None


def test_who_does_not_answer_says_that() -> None:
    away = Service("redis", "Redis", "7", "external", "redis://127.0.0.1:9/0")
    assert list(identity.of_all({"redis": away})["redis"]) == ["does not answer"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that may be restarted."""
    folder: Path = tmp_path_factory.mktemp("own")
    with bring_up(frozenset({"mysql", "redis"}), how="local", folder=folder, say=lambda _: None) as up:
        yield up


@pytest.mark.services
def test_a_restart_is_seen_in_each_service(own: Stack) -> None:
    before = identity.of_all(own.services)
    assert all(told["same"] for told in looked(before, identity.of_all(own.services)).values())
    own.restart("redis")
    told = looked(before, identity.of_all(own.services))
    assert told["mysql"]["same"] is True
    assert {line.partition(":")[0] for line in told["redis"]["differs"]} == {"process", "run_id"}


@pytest.mark.services
def test_another_setting_is_seen(own: Stack) -> None:
    before = identity.of_all(own.services)
    with redis.Redis.from_url(own.services["redis"].url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    told = looked(before, identity.of_all(own.services))
    assert [line.partition(":")[0] for line in told["redis"]["differs"]] == ["maxmemory-policy"]
