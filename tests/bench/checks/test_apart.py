"""Half of the work in a process of its own: the same result, and no failure is lost."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from bench import machine
from bench.checks import all_checks, apart
from bench.selftest import mutations
from bench.selftest.held import Record


def _fail() -> None:
    raise ValueError("as here")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_half_is_carried_out_elsewhere() -> None:
    there, here = apart.both(os.getpid, os.getpid)
    assert here == os.getpid() != there


def test_a_failure_of_either_is_raised() -> None:
    with pytest.raises(ValueError, match="as here"):
        apart.both(_fail, os.getpid)
    with pytest.raises(ValueError, match="as here"):
        apart.both(os.getpid, _fail)


def test_a_half_that_was_killed_is_noticed() -> None:
    with pytest.raises(ChildProcessError, match="memory"):
        apart.both(_die, os.getpid)


def test_two_processes_find_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    record, rng = Record.load(), np.random.default_rng(3)
    for operator in (mutations.show_less, mutations.show_less_at_end, mutations.forget_delivery):
        assert operator(record, rng) is not None
    history = record.history()
    alone = all_checks.judge(history, "")
    assert len(alone.findings) > 3
    monkeypatch.setattr(all_checks, "LARGE", 0)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    assert all_checks.judge(history, "") == alone
