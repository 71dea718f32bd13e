from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.compare import Run
from bench.results import LATEST, RunFolder, ours, point
from tests.bench.gate.made import run, runs


def store(root: Path, of: list[Run]) -> list[str]:
    """As folders, with manifest and summary and no rows."""
    for each in of:
        folder = RunFolder(root / each.run_id)
        folder.path.mkdir(parents=True)
        folder.write_manifest({**each.manifest, "ended": {"how": "finished"}})
        folder.write_summary(each.summary)
    return [str(root / each.run_id) for each in of]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results with a baseline `main`, and no bench.toml or CI around."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    found = tmp_path / "results"
    assert bench("baseline", "save", "main", *store(found, runs("a", 10, 1))).exit_code == 0
    return found


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def check(root: Path, of: list[Run], *words: str) -> Result:
    return bench("check", "--baseline", "main", *words, *store(root, of))


def test_alike_runs_pass_and_the_last_line_says_so(root: Path) -> None:
    found = check(root, runs("b", 10, 2))
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[-1].startswith("VERDICT VALID PASS redis steady_chat check=PASS ")


def test_worse_runs_are_11(root: Path) -> None:
    found = check(root, runs("b", 10, 2, worse=0.5))
    assert found.exit_code == 11
    assert "exit 11: CPU per message +" in found.stdout


@pytest.mark.parametrize("text", [None, "", "{", '{"tool": "other"}'])
def test_no_baseline_to_speak_of_is_5_with_a_sentence(root: Path, text: str | None) -> None:
    if text is not None:
        (root / "baselines" / "odd.json").write_text(text)
    found = bench("check", "--baseline", "odd", *store(root, runs("b", 10, 2)))
    assert found.exit_code == 5
    assert "no comparable baseline" in found.stdout


def test_a_baseline_of_an_invalid_run_is_5(root: Path) -> None:
    path = root / "baselines" / "main.json"
    path.write_text(path.read_text().replace('"status":"VALID"', '"status":"INVALID"', 1))
    found = check(root, runs("b", 10, 2))
    assert found.exit_code == 5
    assert "no measure of anything" in found.stdout


def test_a_broken_promise_is_12_and_a_missed_objective_10(root: Path) -> None:
    assert check(root, runs("b", 10, 2), "--slo", "READ.p99 < 1ms").exit_code == 10
    assert check(root, [*runs("c", 10, 2), run("bad", violations=1)]).exit_code == 12


def test_without_runs_it_is_the_newest_series(root: Path) -> None:
    store(root, [*runs("old", 8, 3, worse=2.0, series="one"), *runs("new", 8, 2, series="two")])
    point(root, LATEST, root / "new7")
    found = bench("check", "--baseline", "main", "--json")
    content = json.loads(found.stdout)
    assert content["change"]["sides"][1]["runs"] == [f"new{i}" for i in range(8)]
    assert found.exit_code == 0


def test_every_output_is_written(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    outputs = {"--markdown": "c.md", "--junit": "c.xml", "--github-action-benchmark": "g.json",
               "--bencher": "b.json"}  # fmt: skip
    words = [word for pair in outputs.items() for word in pair]
    found = check(root, runs("b", 10, 2, worse=0.5), *words)
    assert found.exit_code == 11
    assert "REGRESSION" in (tmp_path / "c.md").read_text()
    assert (tmp_path / "c.xml").read_text().startswith("<?xml")
    assert json.loads((tmp_path / "g.json").read_text())
    assert [entry["unit"] for entry in json.loads((tmp_path / "g-bigger.json").read_text())]
    assert json.loads((tmp_path / "b.json").read_text())["steady_chat/redis"]
    assert "REGRESSION" in (tmp_path / "step.md").read_text()
    assert "::error title=bench check::CPU per message" in found.stderr
    (folder,) = root.glob("*-check-*")
    assert (folder / "report.html").exists()
    assert json.loads((folder / "check.json").read_text())["verdict"]["exit_code"] == 11
    assert (folder / "charts" / "effects.png").exists()


def test_show_tells_it_again_and_clean_would_take_it_away(root: Path) -> None:
    found = check(root, runs("b", 10, 2, worse=0.5))
    (folder,) = root.glob("*-check-*")
    again = bench("show", str(folder))
    assert again.exit_code == 0, again.output
    assert again.stdout == found.stdout
    assert folder in ours(root)
    (folder / "check.json").write_text("{}")
    assert bench("show", str(folder)).exit_code == 2


def test_the_table_in_bench_toml_is_heard_and_its_mistakes_named(root: Path, tmp_path: Path) -> None:
    toml = tmp_path / "bench.toml"
    toml.write_text(
        '[check]\nbaseline = "main"\nfail-if = ["READ.p99 > 1ms"]\n[check.tolerance]\n"READ.p50" = "80%"\n'
    )
    found = bench("check", *store(root, runs("b", 10, 2, worse=0.5)), "--json")
    assert found.exit_code == 10
    assert json.loads(found.stdout)["change"]["deciding"] == ["READ.p50"]
    toml.write_text('[check]\nfail_fi = ["x"]\n')
    found = bench("check", "--baseline", "main", str(root / "b0"))
    assert found.exit_code == 2
    assert "fail-if" in found.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check",), "--baseline NAME"),
        (("check", "--baseline", "main", "--fail-if", "READ.p99 > +10"), "signed share"),
        (("check", "--baseline", "main", "nonsense"), "No run 'nonsense'"),
    ],
)
def test_bad_usage_is_2_and_says_what_to_type(root: Path, words: tuple[str, ...], said: str) -> None:
    found = bench(*words)
    assert found.exit_code == 2
    assert said in found.output


# --- bench baseline -----------------------------------------------------------------------------------------


def test_list_show_and_remove(root: Path) -> None:
    (root / "baselines" / "odd.json").write_text("{")
    found = bench("baseline", "list")
    assert found.stdout.startswith("main ")
    assert "10 runs" in found.stdout
    assert "odd: " in found.stderr
    assert "READ p99" in bench("baseline", "show", "main").stdout
    assert bench("baseline", "remove", "main").exit_code == 0
    assert bench("baseline", "show", "main").exit_code == 5
    assert bench("baseline", "remove", "main").exit_code == 5


def test_save_overwrites_only_when_told_and_warns_of_few(root: Path) -> None:
    few = store(root, runs("few", 2, 5))
    assert bench("baseline", "save", "main", *few).exit_code == 2
    found = bench("baseline", "save", "main", "--replace", *few)
    assert found.exit_code == 0
    assert "nothing can be said against fewer than 6" in found.stderr
    assert bench("baseline", "save", "bad", *store(root, [run("x", status="INVALID")])).exit_code == 5


def test_what_is_no_baseline_is_not_removed(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "package.json"
    other.write_text('{"name": "mine"}')
    assert bench("baseline", "remove", str(other)).exit_code == 5
    assert other.exists()
