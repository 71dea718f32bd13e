"""The commands that only read results: report, show, list, logs, compare, clean."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import results, summary
from bench.cli import main
from bench.cli.list import questions
from bench.results import RunFolder
from schemes import SCHEMES
from tests.bench.synthetic import build

pytestmark = pytest.mark.slow  # draws whole reports


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two like runs with summaries and `latest`."""
    root = tmp_path_factory.mktemp("made") / "results"
    root.mkdir()
    for seed, scheme in ((0xA1, "db"), (0xB2, "redis")):
        folder, _ = build(root, seed=seed, scheme=scheme, measure_s=12, people=20)
        folder.update_manifest(plan_sha256="a" * 64, label="a note")
        summary.write(folder)
        results.point(root, results.LATEST, folder.path)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(made, tmp_path / "results", symlinks=True)
    return tmp_path / "results"


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


# --- RUN ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["latest", "0000b2", "20250301T120000Z-redis"])
def test_a_run_is_named_by_latest_its_short_id_or_the_beginning_of_its_name(made: Path, name: str) -> None:
    result = bench("show", name, "--quiet", "--out", str(made))
    assert result.exit_code == 0
    assert result.stdout.startswith("VERDICT ")
    assert " redis steady_chat " in result.stdout


def test_a_run_is_named_by_its_folder(made: Path) -> None:
    folder = next(made.glob("*-db-*"))
    assert " db steady_chat " in bench("show", str(folder), "--quiet").stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2025", "Type more of it"),
        ("0000b3", "Did you mean 0000b2"),
        ("latest-comparison", "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_paragraph(made: Path, name: str, said: str) -> None:
    result = bench("show", name, "--out", str(made))
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.strip().count("\n") == 0
    assert result.stdout == ""


def test_an_empty_results_folder_says_what_to_do(tmp_path: Path) -> None:
    for command in ("show", "report", "logs"):
        result = bench(command, "--out", str(tmp_path))
        assert result.exit_code == 2
        assert "bench run makes the first" in result.stderr


@pytest.mark.parametrize("command", ["show", "report", "logs"])
def test_a_foreign_folder_is_refused(command: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"tool": "k6"}')
    result = bench(command, str(tmp_path))
    assert result.exit_code == 2
    assert "was not written by readstate-bench" in result.stderr


def test_a_corrupt_run_is_one_paragraph_and_no_traceback(root: Path) -> None:
    folder = next(root.glob("*-db-*"))
    (folder / "operations-0.parquet").write_bytes(b"no Parquet")
    (folder / "summary.json").write_text("{")
    for command in ("report", "show"):
        result = bench(command, str(folder))
        assert result.exit_code == 2
        assert "damaged" in result.stderr
        assert result.stderr.strip().count("\n") == 0


def test_a_summary_of_another_version_is_refused(root: Path) -> None:
    folder = RunFolder(next(root.glob("*-db-*")))
    folder.write_summary({"schema_version": 0})
    result = bench("show", str(folder.path))
    assert result.exit_code == 2
    assert "bench report" in result.stderr


# --- report, show, logs -------------------------------------------------------------------------------------


def test_report_makes_again_what_was_lost(root: Path) -> None:
    folder = next(root.glob("*-db-*"))
    before = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").unlink()
    result = bench("report", str(folder))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("VERDICT ")
    assert json.loads((folder / "summary.json").read_text()) == before
    assert len(list((folder / "charts").glob("*.svg"))) == 7
    assert (folder / "report.html").exists()


def test_json_is_the_summary(made: Path) -> None:
    result = bench("show", "--json", "--out", str(made))
    assert json.loads(result.stdout)["run"]["scheme"] == "redis"


def test_logs_are_listed_and_printed(root: Path) -> None:
    folder = next(root.glob("*-db-*"))
    (folder / "logs" / "mysql.err").write_text("ready for connections\n")
    assert "server.log" in bench("logs", str(folder)).stdout
    assert bench("logs", str(folder), "server").stdout == "listening\n"
    assert bench("logs", str(folder), "my").stdout == "ready for connections\n"
    result = bench("logs", str(folder), "kafka")
    assert result.exit_code == 2
    assert "mysql.err, server.log" in result.stderr


# --- list ---------------------------------------------------------------------------------------------------


def test_every_scheme_and_option_is_listed() -> None:
    text = bench("list", "schemes").stdout
    for name, scheme in SCHEMES.items():
        assert f"{name:<8} {scheme.title}" in text
        for option in scheme.options:
            assert f"--{option} " in text
    assert set(json.loads(bench("list", "schemes", "--json").stdout)) == set(SCHEMES)


def test_scenarios_are_read_without_importing_them(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text('"""Does it work?\n\nMore."""\nraise SystemExit("imported")\n')
    (tmp_path / "bare.py").write_text("x = 1\n")
    (tmp_path / "__init__.py").write_text("")
    assert questions(tmp_path) == {"bare": "", "good": "Does it work?"}
    assert "steady_chat" in bench("list", "scenarios").stdout


def test_runs_are_listed_newest_first_and_a_broken_one_too(root: Path) -> None:
    broken = root / "20260101T000000Z-db-steady_chat-dead00"
    broken.mkdir()
    (broken / "manifest.json").write_text('{"tool": "readstate-bench", "schema_version": 99}')
    runs = json.loads(bench("list", "runs", "--json", "--out", str(root)).stdout)
    assert runs[0]["run_id"] == broken.name
    assert runs[0]["ended"] == "unreadable"
    assert {run["correctness"] for run in runs[1:]} == {"PASS"}
    assert {run["label"] for run in runs[1:]} == {"a note"}


# --- compare ------------------------------------------------------------------------------------------------


def test_two_arms_are_judged_the_second_against_the_first(root: Path) -> None:
    for first, second in (("0000a1", "0000b2"), ("0000b2", "0000a1")):
        content = json.loads(bench("compare", first, second, "--out", str(root), "--json").stdout)
        a, b = content["change"]["sides"]
        assert (a["runs"][0][-6:], b["runs"][0][-6:]) == (first, second)


def test_sides_are_what_stands_before_and_after_vs(root: Path) -> None:
    words = ("0000a1", "vs", "0000b2", "--decide", "READ.p50 > +20%", "--out", str(root))
    shown = bench("compare", *words)
    assert "VERDICTS of redis/flags against db/flags (unpaired: " in shown.stdout
    folder = results.LATEST_COMPARISON
    content = json.loads((root / folder / "comparison.json").read_text())
    assert content["change"]["deciding"] == ["READ.p50"]
    assert "READ.p50,change,redis/flags,db/flags," in (root / folder / "comparison.csv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("0000a1", "vs"), "one `vs`"),
        (("vs", "0000a1"), "one `vs`"),
        (("0000a1", "vs", "0000b2", "vs", "0000a1"), "one `vs`"),
        (("0000a1", "vs", "0000a1"), "both sides"),
        (("0000a1", "0000b2", "--decide", "READ.p50 > 20ms"), "signed share"),
    ],
)
def test_sides_that_cannot_be_meant(root: Path, words: tuple[str, ...], said: str) -> None:
    result = bench("compare", *words, "--out", str(root))
    assert result.exit_code == 2
    assert said in result.output


def test_compare_makes_a_folder_and_points_at_it(root: Path) -> None:
    result = bench("compare", "0000a1", "0000b2", "--out", str(root))
    latest = (root / "latest-comparison").resolve()
    assert result.exit_code == json.loads((latest / "comparison.json").read_text())["verdict"]["exit_code"]
    assert result.stdout.splitlines()[-1].startswith("VERDICT ")
    assert str(latest / "report.html") in result.stderr.replace(str(root), str(root.resolve()))
    assert latest.name.startswith(f"{datetime.now(UTC):%Y%m%d}T")
    assert "-compare-" in latest.name
    again = bench("show", "latest-comparison", "--out", str(root))
    assert again.stdout == result.stdout


def test_comparing_one_run_is_a_usage_error(root: Path) -> None:
    for words in (("latest",), ("latest", "0000b2")):
        result = bench("compare", *words, "--out", str(root))
        assert result.exit_code == 2
        assert "two different runs" in result.stderr


def test_comparing_unlike_runs_needs_a_word_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.report.charts.PLANS", ())  # the charts are another test's
    RunFolder(next(root.glob("*-db-*"))).update_manifest(plan_sha256="b" * 64)
    before = set(root.iterdir())
    result = bench("compare", "0000a1", "0000b2", "--out", str(root))
    assert result.exit_code == 2
    assert "--anyway" in result.stderr
    assert set(root.iterdir()) == before
    allowed = bench("compare", "0000a1", "0000b2", "--anyway", "--out", str(root))
    assert "UNLIKE RUNS" in allowed.stdout
    assert allowed.stdout.rstrip().endswith(" unlike=yes")


# --- clean --------------------------------------------------------------------------------------------------


def test_clean_keeps_the_newest_and_what_is_not_ours(root: Path) -> None:
    folder, _ = build(root, seed=0xC3, people=20, measure_s=3)
    newest = root / "20290301T120000Z-db-steady_chat-0000c3"
    folder.path.rename(newest)
    (root / "baselines").mkdir()
    (root / "notes.txt").write_text("mine")
    result = bench("clean", "--keep", "1", "--yes", "--out", str(root))
    assert result.exit_code == 0
    assert {path.name for path in root.iterdir()} == {newest.name, "baselines", "notes.txt"}


def test_clean_asks_first(root: Path) -> None:
    before = set(root.iterdir())
    result = CliRunner().invoke(main, ["clean", "--keep", "0", "--out", str(root)], input="n\n")
    assert result.exit_code == 1
    assert set(root.iterdir()) == before
    assert "0000a1" in result.stderr


def test_clean_touches_nothing_while_a_run_is_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bench.services.lock import run_lock

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = set(root.iterdir())
    with run_lock("bench run --scheme db"):
        result = bench("clean", "--keep", "0", "--yes", "--out", str(root))
    assert result.exit_code == 2
    assert "bench run --scheme db" in result.stderr
    assert set(root.iterdir()) == before
