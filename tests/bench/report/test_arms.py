from __future__ import annotations

from typing import Any

from bench.report.arms import LOOKS, arms, rank


def run(scheme: str, model: str | None = "flags", **options: str) -> dict[str, Any]:
    return {"scheme": scheme, "model": model, "options": options}


def test_an_arm_is_named_by_scheme_and_model_and_the_control_by_its_part() -> None:
    named = arms([run("memory", None), run("db"), run("db", "cursor"), run("redis")])
    assert [arm.label for arm in named] == ["control", "db/flags", "db/cursor", "redis/flags"]
    assert [arm.control for arm in named] == [True, False, False, False]


def test_an_arm_looks_alike_in_every_report() -> None:
    alone = arms([run("redis")])[0]
    among = arms([run("memory"), run("db"), run("redis"), run("queue")])[2]
    assert alone.look == among.look == LOOKS["redis", "flags"]


def test_only_options_that_differ_are_in_the_name() -> None:
    named = arms([run("redis", guard="none", ttl="60"), run("redis", guard="lease", ttl="60"), run("db")])
    assert [arm.label for arm in named] == ["redis/flags guard=none", "redis/flags guard=lease", "db/flags"]


def test_runs_that_differ_in_nothing_are_numbered() -> None:
    assert [arm.label for arm in arms([run("db"), run("db")])] == ["db/flags #1", "db/flags #2"]


def test_no_two_arms_share_colour_and_marker() -> None:
    runs = [
        run(scheme, model) for scheme in ("db", "redis", "queue", "mine") for model in ("flags", "cursor")
    ]
    looks = [arm.look for arm in arms([run("memory"), *runs, run("db"), run("redis")])]
    assert len(set(looks)) == len(looks)


def test_the_control_comes_first_and_flags_before_cursor() -> None:
    runs = [run("queue"), run("db", "cursor"), run("mine"), run("db"), run("memory", None)]
    order = [(r["scheme"], r["model"]) for r in sorted(runs, key=rank)]
    expected = [("memory", None), ("db", "flags"), ("db", "cursor"), ("queue", "flags"), ("mine", "flags")]
    assert order == expected
