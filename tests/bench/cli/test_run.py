"""What the words of `bench run` come to."""

from __future__ import annotations

from bench.cli import run
from bench.options import RunOptions


def options(*words: str) -> RunOptions:
    with run.command.make_context("run", ["--scheme", "memory", *words]) as context:
        return run._options(context.params)


def test_a_run_goes_on_unless_it_is_to_fail_fast() -> None:
    assert not options().fail_fast
    assert options("--fail-fast").fail_fast
