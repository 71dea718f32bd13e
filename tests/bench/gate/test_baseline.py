from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.compare import Run
from bench.gate import baseline
from bench.gate.baseline import Baseline, BaselineError
from bench.gate.metrics import TOLERANCES
from bench.gate.verdicts import judge, side
from bench.metrics.intervals import ENOUGH
from bench.results import Json
from tests.bench.gate.made import run, runs

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def made(of: list[Run] | None = None) -> Json:
    return baseline.make("main", of or runs("a", 10, 1), now=NOW, command="bench baseline save main")[0]


def again(content: Json) -> Baseline:
    return baseline.read(json.dumps(content), "main.json")


def changed(**what: Any) -> Json:
    return made() | what


def test_what_was_kept_compares_as_the_runs_themselves(tmp_path: Path) -> None:
    of = runs("a", 10, 1)
    kept = baseline.load(baseline.save(tmp_path / "baselines", made(of)))
    b = side("b", runs("b", 10, 2, worse=0.3))
    assert judge(side("a", kept.runs), b, TOLERANCES) == judge(side("a", of), b, TOLERANCES)


def test_it_says_what_it_was_made_of(tmp_path: Path) -> None:
    path = baseline.save(tmp_path, made())
    content = json.loads(path.read_text())
    assert (content["machine_class"], content["seed"], content["plan_sha256"]) == ("box", 1, "a" * 64)
    assert path.stat().st_size < 10 * 12_000


@pytest.mark.parametrize("scheme", ["db", "redis", "queue"])
def test_the_committed_ones_can_be_held_against(scheme: str) -> None:
    kept = baseline.load(Path(__file__).parents[3] / "results" / "baselines" / f"{scheme}.json")
    assert {run.summary["run"]["scheme"] for run in kept.runs} == {scheme}
    assert len(kept.runs) >= ENOUGH
    assert judge(side("a", kept.runs), side("b", kept.runs), TOLERANCES)["rows"]


def test_bad_runs_are_left_out_and_named() -> None:
    of = [*runs("a", 6, 1), run("bad", status="INVALID"), run("broken", violations=3)]
    content, out = baseline.make("main", of, now=NOW, command="")
    assert len(content["runs"]) == 6
    assert out == [("bad", "INVALID"), ("broken", "a run in which a promise was broken")]


@pytest.mark.parametrize("of", [[], [run("bad", status="INVALID")]])
def test_none_left_is_no_baseline(of: list[Run]) -> None:
    with pytest.raises(BaselineError, match="No run to keep"):
        baseline.make("main", of, now=NOW, command="")


def test_runs_of_two_arms_are_no_baseline() -> None:
    with pytest.raises(BaselineError, match=r"not of one arm.*model"):
        baseline.make("main", [run("a"), run("b", model="cursor")], now=NOW, command="")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 61])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(BaselineError, match="no name"):
        baseline.make(name, runs("a", 6, 1), now=NOW, command="")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "no baseline of"),
        ('{"tool": "other", "kind": "baseline"}', "no baseline of"),
        (json.dumps(changed(kind="capacity")), "no baseline of"),
        (json.dumps(changed(schema_version=99)), "schema_version 99"),
        (json.dumps(changed(runs=[])), "no runs"),
        (json.dumps(changed(runs=None)), "damaged"),
        (json.dumps(changed(runs=[{"run_id": "x"}])), "damaged"),
        (json.dumps(changed(runs=[{"run_id": "x", "summary": {}, "manifest": {}}])), "damaged"),
        (json.dumps({k: v for k, v in made().items() if k != "name"}), "damaged"),
    ],
)
def test_what_is_no_baseline_is_said_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(BaselineError, match=said):
        baseline.read(text, "main.json")


def test_a_missing_or_unreadable_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="There is no baseline"):
        baseline.load(tmp_path / "none.json")
    with pytest.raises(BaselineError, match="cannot be read"):
        baseline.load(tmp_path)
    (tmp_path / "bin.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BaselineError, match="no text"):
        baseline.load(tmp_path / "bin.json")


def test_one_that_was_made_of_an_invalid_run_is_refused() -> None:
    content = made()
    content["runs"][3]["summary"]["verdict"]["status"] = "INVALID"
    with pytest.raises(BaselineError, match="no measure of anything: a3 is INVALID"):
        again(content)


def test_one_of_an_unknown_machine_is_refused() -> None:
    with pytest.raises(BaselineError, match="kind of machine"):
        again(made(runs("a", 6, 1, machine=None)))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"machine": "other"}, "machine class"),
        ({"machine": None}, "kind of machine"),
        ({"seed": 2}, "seed: 1 was kept, 2 is compared"),
        ({"plan": "b" * 64}, "plan_sha256"),
        ({"model": "cursor"}, "model: flags was kept, cursor is compared"),
        ({"scheme": "db"}, "scheme"),
        ({"durability": {"asked": "power"}}, "durability"),
        ({"services": {"mysql": {"engine": "MySQL", "version": "10.11", "how": "local"}}}, "mysql engine"),
        ({"scenario": "group_fanout"}, "scenario"),
        ({"options": {"model": "flags", "guard": "version"}}, "options"),
    ],
)
def test_what_is_unlike_is_refused_by_name(what: dict[str, Any], said: str) -> None:
    kept = again(made()).runs
    assert baseline.refusals(kept, runs("b", 6, 2)) == []
    found = baseline.refusals(kept, runs("b", 6, 2, **what))
    assert any(said in sentence for sentence in found), found
