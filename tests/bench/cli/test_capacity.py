"""What the words of `bench capacity` come to, and what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench import machine
from bench.capacity.by_users import ByUsers
from bench.capacity.study import Study
from bench.cli import capacity, main
from bench.options import BadOptions


def ran(*words: str) -> Result:
    return CliRunner().invoke(main, ["capacity", *words])


def study(*words: str) -> Study:
    with capacity.command.make_context("capacity", [*words, "--out", "results"]) as context:
        made, _ = capacity._study(context.params)
        return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slo", "READ.p99<50ms, lag.reciept.p99<1s"], "Did you mean lag.receipt.p99"),
        (["--slo", "READ.p99>50ms"], "write it with <"),
        (["--slo", "READ.p99<50"], "READ.p99 takes us or ms or s, not no unit"),
        (["--low", "30", "--start", "20"], "expected 0 < --low <= --start <= --high"),
        (["--intensity", "2"], "--intensity belongs to --find users"),
        (["--users", "0"], "--users is 1 to"),
        (["--find", "users", "--mysql-driver", "both"], "--find users is for one arm"),
        (["--pool-ratio", "-1"], "--pool-ratio is"),
        (["--beside", "tests"], "it has no comparison.json that can be read"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(words: list[str], said: str) -> None:
    result = ran("--scheme", "redis", *words)
    assert result.exit_code == 2
    assert said in result.output


def test_a_wrong_objective_is_pointed_at() -> None:
    lines = ran("--scheme", "redis", "--slo", "READ.p99<50ms, errors<0.1ms").output.splitlines()
    at = lines.index("  READ.p99<50ms, errors<0.1ms")
    assert lines[at + 1].index("^") == lines[at].index("0.1ms") + 3


def test_all_arms_have_no_users_of_their_own() -> None:
    assert "is for one arm" in ran("--scheme", "all", "--find", "users").output


def test_a_machine_too_small_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(users: int) -> None:
        raise BadOptions(f"{users} users are more than it has files for.")

    monkeypatch.setattr(machine, "make_room", no_room)
    for words in (["--users", "5000"], ["--find", "users"]):
        result = ran("--scheme", "memory", *words)
        assert result.exit_code == 3
        assert "This machine is too small to search" in result.output


def test_one_scheme_has_a_budget_and_all_have_three_rounds_and_a_ladder() -> None:
    one, every = study("--scheme", "redis"), study("--scheme", "all")
    assert (one.pace.budget_s, one.pace.rounds, one.limits.factor, one.limits.down) == (600, 1, 2.0, False)
    assert (every.pace.budget_s, every.pace.rounds, every.limits.down) == (None, 3, True)
    assert [climber.arm.name for climber in every.climbers][-1] == "db/cursor"
    assert len({climber.search.ask for climber in every.climbers}) == 1, "the first rung is the same for all"
    assert one.objective.text == "READ.p99<50ms, lag.receipt.p99<500ms, errors<0.1%, violations=0"


def test_a_step_is_longer_where_there_would_be_too_few_samples() -> None:
    made = study("--scheme", "memory", "--step", "8s")
    assert [made.measure_s(load) for load in (1000, 15, 5)] == [8, 10, 30]


def test_users_are_searched_at_their_natural_rate() -> None:
    made = study("--scheme", "memory", "--find", "users", "--intensity", "20", "--start", "300")
    assert isinstance(made, ByUsers)
    options = made._at(made._options, 900.0)
    assert (options.users, options.rate_per_s, options.intensity) == (900, None, 20.0)
    assert made.rate(900.0) == pytest.approx(20 * 600 * 42 / (12.1 * 3600))
    assert made.content()["unit"] == "users"


def test_an_interrupted_study_is_kept_and_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "conduct", interrupted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = ran("--scheme", "memory", "--out", str(tmp_path))
    assert result.exit_code == 130
    assert result.stdout.splitlines()[-1] == "VERDICT INCONCLUSIVE PASS memory steady_chat arms=1 exit=130"
    again = CliRunner().invoke(main, ["show", "latest-comparison", "--out", str(tmp_path)])
    assert again.exit_code == 0
    assert again.stdout == result.stdout


def test_terms_and_both_drivers_reach_the_arms(tmp_path: Path) -> None:
    terms = ("--durability", "power", "--store-rtt", "1ms", "--pool-ratio", "0.25")
    made = study("--scheme", "all", "--mysql-driver", "both", *terms)
    names = [climber.arm.name for climber in made.climbers]
    assert len(names) == 9
    assert names[:3] == ["memory", "db/aiomysql", "db/asyncmy"]
    options = made._options
    assert (options.durability, options.store_rtt_ms, options.pool_ratio) == ("power", 1.0, 0.25)
    settings = made.content()["settings"]
    assert (settings["durability"], settings["mysql_driver"]) == ("power", None)


def test_a_study_beside_it_is_kept_with_its_settings(tmp_path: Path) -> None:
    first = study("--scheme", "db", "--reads-per-mark", "8")
    (tmp_path / "comparison.json").write_text(json.dumps(first.content(), default=str))
    (told,) = study("--scheme", "db", "--beside", str(tmp_path)).content()["beside"]
    assert told["from"] == tmp_path.name
    assert told["settings"]["reads_per_mark"] == 8
    (tmp_path / "comparison.json").write_text('{"kind": "runs"}')
    assert "no study of this version" in ran("--scheme", "db", "--beside", str(tmp_path)).output
