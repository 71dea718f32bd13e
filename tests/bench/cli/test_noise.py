"""What the words of `bench noise` come to."""

from __future__ import annotations

import pytest

from bench.cli import noise
from bench.options import BadOptions, RunOptions


def options(*words: str) -> RunOptions:
    with noise.command.make_context("noise", list(words)) as context:
        given = dict(context.params)
        return noise._options(given, given.pop("blocks"))


def test_it_is_a_run_repeated_and_shorter() -> None:
    chosen = options("--scheme", "db", "--model", "cursor", "--users", "50")
    assert (chosen.scheme, chosen.users, chosen.repeat, chosen.duration_s) == ("db", 50, 10, 20.0)
    assert chosen.scheme_options == {"model": "cursor"}


def test_what_was_said_counts() -> None:
    chosen = options("--scheme", "db", "--blocks", "7", "--duration", "5s")
    assert (chosen.repeat, chosen.duration_s) == (7, 5.0)
    assert options("--scheme", "db", "--preset", "ci").duration_s == 30.0


def test_one_scheme_at_a_time() -> None:
    with pytest.raises(BadOptions, match="one scheme at a time"):
        options("--scheme", "all")
    with pytest.raises(BadOptions, match="Say what to measure"):
        options()
