"""`bench explain`: the list, one story, and errors that name what there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import summary
from bench.checks.findings import causes
from bench.cli import main
from bench.results import RunFolder
from tests.bench.synthetic import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made, _ = build(
        tmp_path_factory.mktemp("run"), scheme="redis", stale_at_end=3, measure_s=8, people=20, probes=4
    )
    summary.write(made)
    return made


def explain(*words: str) -> Result:
    return CliRunner().invoke(main, ["explain", *words], catch_exceptions=False)


def test_the_list_has_each_cause_once_worst_first(folder: RunFolder) -> None:
    result = explain(str(folder.path))
    assert result.exit_code == 0
    told = causes(folder.findings())
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split(" · ")[0] for line in heads] == [finding["id"] for finding in told]
    assert told[0]["says"] in result.stdout
    assert f"bench explain {folder.run_id} f1" in result.stderr
    assert folder.summary()["consistency"]["causes"] == len(told)


def test_one_finding_in_full(folder: RunFolder) -> None:
    result = explain(str(folder.path), "f2")
    assert result.exit_code == 0
    finding = next(one for one in folder.findings() if one["id"] == "f2")
    assert finding["says"] in result.stdout
    assert "Look at next:" in result.stdout
    assert all(str(record["op_id"]) in result.stdout for record in finding["records"] if record["op_id"])


def test_json_is_what_the_file_has(folder: RunFolder) -> None:
    assert json.loads(explain(str(folder.path), "f1", "--json").stdout) == folder.findings()[0]
    lines = explain(str(folder.path), "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == causes(folder.findings())


@pytest.mark.parametrize(("name", "said"), [("g1", "Did you mean f1?"), ("f99999", "there are f1 to f")])
def test_an_unknown_finding_names_the_nearest(folder: RunFolder, name: str, said: str) -> None:
    result = explain(str(folder.path), name)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.strip().count("\n") == 0


def test_an_unknown_run_names_the_nearest(folder: RunFolder) -> None:
    result = explain(folder.run_id[:-1] + "f", "--out", str(folder.path.parent))
    assert result.exit_code == 2
    assert f"Did you mean {folder.run_id}?" in result.stderr


def test_a_run_without_findings_says_what_was_judged(tmp_path: Path) -> None:
    clean, _ = build(tmp_path, measure_s=3, people=16, visible_us=0, probes=4)
    summary.write(clean)
    result = explain(str(clean.path))
    assert result.exit_code == 0
    assert "checks found nothing wrong in" in result.stdout
    assert "nothing was found" in explain(str(clean.path), "f1").stderr


def test_findings_of_an_older_version_are_refused(tmp_path: Path) -> None:
    old, _ = build(tmp_path, measure_s=3, people=16)
    summary.write(old)
    old.write_findings([{"check": "linearizable", "operations": []}])
    result = explain(str(old.path))
    assert result.exit_code == 2
    assert f"bench report {old.run_id} makes them again" in result.stderr


def test_a_damaged_file_is_one_paragraph(tmp_path: Path) -> None:
    broken, _ = build(tmp_path, measure_s=3, people=16)
    summary.write(broken)
    (broken.path / "findings.jsonl").write_text("{no json\n")
    result = explain(str(broken.path))
    assert result.exit_code == 2
    assert "can't be read" in result.stderr
    assert result.stderr.strip().count("\n") == 0
