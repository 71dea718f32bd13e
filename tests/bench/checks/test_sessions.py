"""Session guarantees against a plain double loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.checks import register, sessions
from bench.checks.register import NEVER, Operations
from bench.checks.sessions import Broken

Row = tuple[int, bool, int, int, int, int]
"""key, write, value, invoked, responded, session."""


def operations(rows: list[Row]) -> tuple[Operations, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    columns = [np.array([row[i] for row in rows], np.int64) for i in range(6)]
    nothing = np.empty(0, np.int64)
    return Operations(columns[0], columns[1].astype(np.bool_), *columns[2:5], nothing), columns[5]


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for _ in range(draw(st.integers(0, 12))):
        write, invoked = draw(st.booleans()), draw(st.integers(0, 15))
        unanswered = write and draw(st.integers(0, 4)) == 0
        responded = NEVER if unanswered else invoked + draw(st.integers(1, 5))
        key, value, session = draw(st.integers(0, 2)), draw(st.integers(0, 5)), draw(st.integers(-1, 2))
        rows.append((key, write, value, invoked, responded, session))
    return rows


def plain(rows: list[Row], evidence: bool) -> tuple[int, list[int]]:
    """(eligible, broken reads): every read against everything that its session did before it."""
    eligible, broken = 0, []
    for number, (key, write, value, invoked, _, session) in enumerate(rows):
        if write or session < 0:
            continue
        before = [
            other[2]
            for other in rows
            if (other[0], other[1], other[5]) == (key, evidence, session) and other[4] < invoked
        ]
        eligible += bool(before)
        if max(before, default=0) > value:
            broken.append(number)
    return eligible, broken


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None)
@given(histories())
def test_both_guarantees_are_those_of_a_plain_loop(rows: list[Row]) -> None:
    ops, session = operations(rows)
    asked: list[tuple[Callable[..., Broken], bool]] = [
        (sessions.read_your_writes, True),
        (sessions.monotonic_reads, False),
    ]
    for judge, evidence in asked:
        found = judge(ops, session)
        assert (len(found.judged), found.reads.tolist()) == plain(rows, evidence)
        for read, witness, age in zip(found.reads, found.witness, found.age, strict=True):
            assert rows[read][3] - rows[witness][4] == age
            assert rows[witness][2] > rows[read][2]
            assert rows[witness][4] < rows[read][3]
            assert rows[witness][5] == rows[read][5]


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(histories())
def test_whom_a_session_disappoints_real_time_does_too(rows: list[Row]) -> None:
    """The proof of docs/consistency.md: a session's evidence is part of everybody's, a device's of a
    person's."""
    ops, session = operations(rows)
    stale = set(register.judge(ops).stale.tolist())
    wider = np.where(session < 0, -1, session // 2)
    for judge in (sessions.read_your_writes, sessions.monotonic_reads):
        of_session, of_wider = (set(judge(ops, of).reads.tolist()) for of in (session, wider))
        assert of_session <= of_wider <= stale
