"""The self-test on a small load: everything planted is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.options import RunOptions
from bench.selftest import suite
from bench.selftest.lies import KINDS, NO_ERROR
from tests.e2e.small import left_behind, remember

pytestmark = pytest.mark.services  # whole runs: they take the machine's run lock and its time


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    remember()
    return RunOptions(
        "memory", users=80, rate_per_s=50.0, duration_s=6.0, warmup_s=2.0, pin="none", out=tmp_path,
        command="bench selftest (test)",
    )  # fmt: skip


def quiet(_: object) -> None:
    return


def test_every_lie_is_found_and_nobody_else_accused(options: RunOptions) -> None:
    result = suite.with_lies(options, 5, say=quiet, show=quiet).result
    assert not result.false
    assert {row.kind for row in result.rows} == set(KINDS)
    for row in result.rows:
        assert row.effect > 0, row
        assert not row.missed
        assert row.found == row.effect or row.kind in NO_ERROR
    assert not left_behind()


def test_a_stopped_generator_is_no_violation_and_no_valid_run(options: RunOptions) -> None:
    stopped = suite.with_a_stopped_generator(options, say=quiet, show=quiet)
    assert (stopped.findings, stopped.timing) == (0, "INVALID")


@pytest.mark.parametrize("number", [3])
def test_disturbed_honest_runs_are_not_accused(options: RunOptions, number: int) -> None:
    run = suite.clean(replace(options, duration_s=3.0, warmup_s=1.0), number, say=quiet, show=quiet)
    assert run.good, run
    assert run.disturbances > 0
    assert not list(options.out.glob("2*"))
