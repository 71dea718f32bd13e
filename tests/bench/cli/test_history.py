from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from tests.bench.cli.test_check import store
from tests.bench.gate.made import run, runs

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def history(root: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["history", *words, "--out", str(root)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Thirty runs, the last twelve a third slower; a run of another plan, and one that is not valid."""
    made = [*runs("a", 18, 1), *runs("b", 12, 2, worse=0.33)]
    for i, each in enumerate(made):
        each.manifest["started_at"] = (BEGAN + timedelta(days=i)).isoformat()
        each.manifest["machine"]["git"] = f"c{i}"
    names = [f"{i:02d}-{each.run_id}" for i, each in enumerate(made)]
    for each, name in zip(made, names, strict=True):
        object.__setattr__(each, "run_id", name)
    store(tmp_path, [*made, run("00-other", plan="b" * 64), run("00-bad", status="INVALID")])
    return tmp_path


def test_the_change_is_found_drawn_and_named_with_its_commits(root: Path) -> None:
    found = history(root, "READ.p50", "--chart", str(root / "h.png"))
    assert found.exit_code == 0, found.output
    assert "runs=30 changes=1" in found.stdout.splitlines()[-1]
    assert "18-b0" in found.stdout
    assert "c17..c18" in found.stdout
    assert (root / "h.png").read_bytes().startswith(b"\x89PNG")


def test_only_runs_like_the_one_that_was_named_are_drawn(root: Path) -> None:
    found = history(root, "READ.p50", "--like", str(root / "00-other"))
    assert "runs=1 changes=0" in found.stdout
    assert (root / "history-READ.p50.svg").exists()


def test_no_run_is_5_and_no_figure_2(root: Path, tmp_path: Path) -> None:
    assert history(tmp_path / "none", "READ.p50").exit_code == 5
    found = history(root, "RAED.p50")
    assert found.exit_code == 2
    assert "Did you mean" in found.output
