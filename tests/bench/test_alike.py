from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench import alike

SUMMARY: dict[str, Any] = {
    "duration_s": 60,
    "run": {
        "scheme": "db",
        "scenario": "steady_chat",
        "store_rtt_ms": 0.0,
        "workers": 1,
        "durability": {"asked": "article", "class": "power"},
        "pool": {"ratio_asked": None},
        "services": {
            "mysql": {
                "engine": "MariaDB",
                "version": "10.11",
                "how": "local",
                "settings": {"log_bin": "OFF", "innodb_buffer_pool_size": "1073741824"},
            }
        },
    },
    "resources": {"machine": {"counters": {"steal_s": 0.1}}},
}
MANIFEST: dict[str, Any] = {
    "plan_sha256": "a" * 64,
    "load": {"arrivals": "open"},
    "machine": {
        "class": "box",
        "kernel": "6.1",
        "governor": None,
        "git": "abc",
        "git_dirty": False,
        "load_1m": 0.5,
        "packages": {"aiomysql": "0.3"},
    },
}


@dataclass(frozen=True)
class Made:
    run_id: str
    summary: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SUMMARY))
    manifest: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(MANIFEST))


def put(of: dict[str, Any], path: str, value: Any) -> None:
    *steps, last = path.split("/")
    for step in steps:
        of = of[step]
    of[last] = value


def test_runs_under_the_same_terms_are_alike() -> None:
    assert alike.differences([Made("a"), Made("b")]) == []


@pytest.mark.parametrize(
    ("where", "path", "value", "named"),
    [
        ("manifest", "plan_sha256", "b" * 64, "plan_sha256"),
        ("manifest", "machine/kernel", "6.2", "kernel"),
        ("manifest", "load/arrivals", "closed", "arrivals"),
        ("manifest", "machine/packages", {"aiomysql": "0.2"}, "version of aiomysql"),
        ("summary", "run/store_rtt_ms", 1.0, "store rtt ms"),
        ("summary", "run/durability/asked", "power", "durability asked for"),
        ("summary", "run/pool/ratio_asked", 0.25, "pool ratio asked for"),
        ("summary", "run/services/mysql/version", "11.4", "mysql version"),
        ("summary", "run/services/mysql/how", "external", "mysql how"),
        ("summary", "run/services/mysql/settings/log_bin", "ON", "mysql log_bin"),
        ("summary", "run/services/mysql/settings/innodb_buffer_pool_size", "5", "innodb_buffer_pool_size"),
    ],
)
def test_each_difference_is_named_with_both_values(where: str, path: str, value: Any, named: str) -> None:
    other = Made("b")
    put(getattr(other, where), path, value)
    (said,) = alike.differences([Made("a"), other])
    assert named in said
    assert " in a; " in said
    assert said.endswith(" in b")


def test_what_a_manifest_does_not_say_is_no_difference() -> None:
    old = Made("old", manifest={"plan_sha256": "a" * 64, "machine": {"class": "box"}})
    del old.summary["run"]["durability"], old.summary["run"]["pool"]
    assert alike.differences([Made("a"), old]) == []


def test_a_service_that_one_arm_lacks_and_a_pool_that_follows_the_data_are_no_differences() -> None:
    one, other = Made("a"), Made("b")
    other.summary["run"]["services"]["redis"] = {"engine": "Redis", "version": "7", "settings": {}}
    for run, size in ((one, "1"), (other, "2")):
        run.summary["run"]["pool"]["ratio_asked"] = 0.25
        put(run.summary, "run/services/mysql/settings/innodb_buffer_pool_size", size)
    assert alike.differences([one, other]) == []


def test_load_and_steal_are_told_and_forbid_nothing() -> None:
    busy = Made("b")
    busy.manifest["machine"]["load_1m"] = 1.6
    busy.summary["resources"]["machine"]["counters"]["steal_s"] = 3.0
    assert alike.differences([Made("a"), busy]) == []
    assert len(alike.told([Made("a"), busy])) == 2
    assert alike.told([Made("a"), Made("b")]) == []


def test_of_many_runs_some_are_named_and_the_rest_counted() -> None:
    runs = [Made(name) for name in "abcdef"]
    runs[5].manifest["machine"] |= {"git_dirty": True, "load_1m": 1.6}
    load, dirty = alike.told(runs)
    assert load == "load average at the start differs: from 0.50 in a to 1.60 in f"
    assert dirty == "changes beyond the commit differs: False in a, b, c and 2 more; True in f"


def test_another_commit_is_told_and_may_be_what_is_compared() -> None:
    other = Made("b")
    other.manifest["machine"] |= {"git": "def", "git_dirty": True}
    assert alike.differences([Made("a"), other]) == []
    commit, dirty = alike.told([Made("a"), other])
    assert (commit.split(" differs")[0], dirty.split(" differs")[0]) == (
        "git commit", "changes beyond the commit",
    )  # fmt: skip


def test_arms_are_grouped_by_what_their_acks_outlive() -> None:
    def arm(label: str, class_: str | None) -> dict[str, Any]:
        return {"label": label, "summary": {"run": {"durability": {"class": class_}}}}

    content = {"arms": [arm("db", "power"), arm("queue", "process"), arm("redis", "power")]}
    assert alike.classes(content) == {"power": ["db", "redis"], "process": ["queue"]}


def test_only_terms_that_were_asked_for_tell_arms_apart() -> None:
    assert alike.terms(SUMMARY["run"]) == {"durability": "article"}
    assert alike.terms({"store_rtt_ms": 2.0, "pool": {"ratio_asked": 0.5}}) == {
        "store rtt ms": 2.0,
        "pool ratio": 0.5,
    }
    assert alike.terms({"scheme": "db"}) == {}
