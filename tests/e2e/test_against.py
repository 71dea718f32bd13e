"""`bench check --against` on real services: alike, slower, and one that does not start."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from tests.e2e import small

pytestmark = pytest.mark.services

PLANTED = f"{sys.executable} -m tests.proofs.planted_server redis"
BLOCKS = ("--scheme", "redis", "--users", "60", "--rate", "40", "--block", "3s", "--lead", "500ms",
          "--pin", "none", "--quiet")  # fmt: skip


TRIES = 3
"""Of a gate in which a block was disturbed by what else the machine does."""


def check(out: Path, *words: str) -> Result:
    small.remember()
    return CliRunner().invoke(main, ["check", *words, *BLOCKS, "--out", str(out)])


def content(out: Path, found: Result) -> Any:
    told = list(out.glob("*-check-*/check.json"))
    assert len(told) == 1, (found.exit_code, found.output, found.exception)
    return json.loads(told[0].read_text())


def test_a_slower_candidate_is_accused(tmp_path: Path) -> None:
    sides = [f"env PLANT=stretched:{by} {PLANTED}" for by in (0, 250)]
    for number in range(TRIES):
        out = tmp_path / str(number)
        words = ("--a", sides[0], "--b", sides[1], "--fail-if", "READ.p50 > +15%", "--budget", "3m")
        found = check(out, *words)
        told = content(out, found)
        if not told["left_out"]:
            break
    assert found.exit_code == 11, found.output
    (row,) = (row for row in told["change"]["rows"] if row["deciding"])
    assert row["metric"] == "READ.p50"
    assert row["interval"][0] > 1.15
    assert len(told["pairs"]) == row["blocks"][0] >= 4
    assert told["verdict"]["correctness"] == "PASS"
    assert told["why"][0]["parts"]
    assert not small.processes()


def test_the_files_that_are_here_are_like_themselves(tmp_path: Path) -> None:
    """As a checkout and as what is here; a wide tolerance is told soon."""
    here = str(Path(__file__).parents[2])
    for number in range(TRIES):
        out = tmp_path / str(number)
        found = check(out, "--against", here, "--fail-if", "READ.p50 > +200%", "--budget", "3m")
        told = content(out, found)
        if not told["left_out"]:
            break
    assert found.exit_code == 0, found.output
    assert told["verdict"]["outcome"] == "PASS"
    assert not small.processes()


def test_a_side_that_does_not_start_is_3_and_says_whose_it_is(tmp_path: Path) -> None:
    found = check(tmp_path, "--a", "false", "--b", f"env PLANT=stretched:0 {PLANTED}")
    assert found.exit_code == 3, found.output
    assert "error: false: The redis scheme did not start" in found.output
    assert not small.processes()


@pytest.mark.parametrize("ref", ["no-such-ref", "/tmp"])
def test_what_names_nothing_is_a_usage_error(tmp_path: Path, ref: str) -> None:
    found = check(tmp_path, "--against", ref)
    assert found.exit_code == 2
    assert repr(ref) in found.output
