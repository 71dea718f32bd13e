"""A tiny grid of `bench claims`, whole, on real services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import main
from tests.e2e import small

pytestmark = pytest.mark.services

WORDS = {"reproduced", "not reproduced", "not comparable"}
GRID = (
    "--history", "5/5", "--pool-ratio", "full", "--reads-per-mark", "1", "--reads-per-mark", "9",
    "--blocks", "6", "--open", "300ms", "--closed", "300ms", "--users", "60", "--no-burst", "--quiet",
)  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("claims")
    small.remember()
    return CliRunner().invoke(main, ["claims", *GRID, "--out", str(out)]), out


def test_every_cell_has_both_arms_side_by_side_and_every_claim_a_verdict(told: tuple[Any, Path]) -> None:
    result, out = told
    assert result.exit_code in (0, 5), result.output
    content = json.loads((out / "latest-comparison" / "claims.json").read_text())
    assert [cell["reads_per_mark"] for cell in content["cells"]] == [1.0, 9.0]
    for cell in content["cells"]:
        blocks = cell["blocks"] + cell["void"]
        assert len(blocks) >= 6
        assert all(set(block["arms"]) == {"db", "redis", "memory"} for block in blocks)
        parts = [part for block in blocks for arm in block["arms"].values() for part in arm.values()]
        assert not any(part["errors"] for part in parts)
        assert cell["cache_hit_ratio"] > 0
    assert {claim["verdict"] for claim in content["claims"]} <= WORDS
    status = content["verdict"]["status"]
    assert result.output.splitlines()[-1].startswith(f"VERDICT {status} UNKNOWN claims ")


def test_the_folder_is_there_and_nothing_is_left_behind(told: tuple[Any, Path]) -> None:
    _, out = told
    for name in ("report.html", "summary.md", "charts/claims.png"):
        assert (out / "latest-comparison" / name).is_file()
    assert not small.processes()
