"""The register check against exhaustive search, and what it says of the reads that it accuses."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.checks.kernel import Steps
from bench.checks.register import NEVER, Operations, judge

Row = tuple[int, bool, int, int, int]
"""key, write, value, invoked, responded."""
W, R = True, False


def operations(rows: Sequence[Row], open_keys: Sequence[int] = ()) -> Operations:
    columns = [np.array([row[i] for row in rows], np.int64) for i in range(5)]
    return Operations(columns[0], columns[1].astype(np.bool_), *columns[2:], np.array(open_keys, np.int64))


def linearizable(rows: Sequence[Row]) -> bool:
    """By trying every order that respects real time; unanswered writes may be left out."""
    return all(
        _search(frozenset(i for i, row in enumerate(rows) if row[0] == key), rows, 0)
        for key in {row[0] for row in rows}
    )


def _search(left: frozenset[int], rows: Sequence[Row], value: int) -> bool:
    if all(rows[i][4] == NEVER for i in left):
        return True
    first = min(rows[i][4] for i in left)
    for i in left:
        _, write, argument, invoked, _ = rows[i]
        if invoked > first or (not write and argument != value):
            continue
        if _search(left - {i}, rows, max(value, argument) if write else value):
            return True
    return False


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for _ in range(draw(st.integers(1, 7))):
        write = draw(st.booleans())
        invoked = draw(st.integers(0, 12))
        unanswered = write and draw(st.integers(0, 5)) == 0
        responded = NEVER if unanswered else invoked + draw(st.integers(1, 6))
        value = draw(st.integers(1 if write else 0, 4))
        rows.append((draw(st.integers(0, 1)), write, value, invoked, responded))
    return rows


@pytest.mark.slow
@settings(max_examples=3_000, deadline=None)
@given(histories())
def test_the_verdict_is_that_of_exhaustive_search(rows: list[Row]) -> None:
    assert judge(operations(rows)).linearizable == linearizable(rows)


def stretched(rows: Sequence[Row], gamma: int) -> list[Row]:
    """Every operation begins gamma / 2 earlier and ends gamma / 2 later, in halves of the unit of time."""
    return [
        (key, write, value, 2 * invoked - gamma, NEVER if responded == NEVER else 2 * responded + gamma)
        for key, write, value, invoked, responded in rows
    ]


def at_random(seed: int, keys: int) -> list[list[Row]]:
    """One history for each key.  What nobody wrote is never read: no stretch can help that."""
    chance = random.Random(seed)
    found: list[list[Row]] = []
    for key in range(keys):
        rows: list[Row] = []
        written = [0]
        for _ in range(chance.randint(1, 6)):
            write, invoked = chance.random() < 0.5, chance.randint(0, 12)
            ended = NEVER if write and chance.random() < 0.15 else invoked + chance.randint(1, 6)
            value = chance.randint(1, 4) if write else chance.choice(written)
            written += [value] * write
            rows.append((key, write, value, invoked, ended))
        found.append(rows)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_gamma_is_the_least_stretch_that_makes_it_linearizable(seed: int) -> None:
    """10,000 histories, by trying: linearizable with it, and not with one less."""
    histories = at_random(seed, 5_000)
    gammas = judge(operations([row for rows in histories for row in rows])).gamma.tolist()
    assert sum(gamma > 0 for gamma in gammas) > 500
    for rows, gamma in zip(histories, gammas, strict=True):
        assert linearizable(stretched(rows, gamma))
        assert gamma == 0 or not linearizable(stretched(rows, gamma - 1))


def test_a_stale_read_missed_no_more_than_was_being_written() -> None:
    rows = [row for rows in at_random(3, 10_000) for row in rows]
    verdict = judge(operations(rows))
    assert len(verdict.stale) > 500
    writes: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row[1]:
            writes[row[0]].append(row)
    for stale, least, most in zip(verdict.stale, verdict.missed, verdict.missed_at_most, strict=True):
        key, _, shown, began, ended = rows[stale]
        above = [row for row in writes[key] if row[2] > shown]
        assert least <= len({row[2] for row in above if row[4] < began})
        assert len({row[2] for row in above if row[3] <= ended}) <= most


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(histories())
def test_the_witness_is_higher_and_was_complete(rows: list[Row]) -> None:
    verdict = judge(operations(rows))
    for stale, witness, age in zip(verdict.stale, verdict.witness, verdict.age, strict=True):
        assert rows[witness][0] == rows[stale][0]
        assert rows[witness][2] > rows[stale][2]
        assert rows[stale][3] - rows[witness][4] == age > 0


def test_a_stale_read_is_as_old_as_the_first_thing_it_does_not_show() -> None:
    rows = [
        (0, W, 3, 0, 10),
        (0, W, 5, 20, 30),
        (0, W, 9, 40, 50),
        (0, R, 3, 100, 110),  # does not show 5 and 9
        (1, R, 0, 100, 110),  # another register
    ]
    verdict = judge(operations(rows))
    assert verdict.stale.tolist() == [3]
    assert verdict.witness.tolist() == [1]
    assert verdict.age.tolist() == [70]
    assert verdict.missed.tolist() == [2]
    assert verdict.missed_at_most.tolist() == [2]
    assert (verdict.gamma.tolist(), verdict.read.tolist()) == ([70, 0], [True, True])
    assert verdict.reads == 2


def test_what_somebody_read_is_evidence_too() -> None:
    """The write was never answered, but a reader has seen it: nobody may read less after that."""
    rows = [(0, W, 5, 0, NEVER), (0, R, 5, 10, 20), (0, R, 0, 30, 40)]
    verdict = judge(operations(rows))
    assert (verdict.stale.tolist(), verdict.witness.tolist()) == ([2], [1])
    assert judge(operations(rows[::2])).linearizable  # without that reader, it may not have happened yet


def test_a_value_that_nobody_wrote() -> None:
    rows = [(0, W, 5, 0, 10), (0, R, 7, 20, 30)]
    assert judge(operations(rows)).unwritten.tolist() == [1]
    assert judge(operations(rows, open_keys=[0])).linearizable  # an unanswered SEND may have


def test_a_write_that_began_when_it_was_superseded_already() -> None:
    rows = [(0, W, 9, 0, 10), (0, W, 5, 20, 30), (0, R, 5, 5, 40)]
    verdict = judge(operations(rows))
    assert (verdict.superseded.tolist(), verdict.stale.tolist()) == ([2], [])
    assert not linearizable(rows)


def test_nothing_is_no_violation() -> None:
    verdict = judge(operations([]))
    assert (verdict.reads, verdict.linearizable) == (0, True)


def test_keys_and_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Steps(np.array([1 << 40]), np.array([1 << 40]), np.array([1]))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 9)), max_size=30))
def test_steps_answer_as_a_plain_loop(rows: list[tuple[int, int, int]]) -> None:
    key, time, value = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    steps = Steps(key, time, value)
    for asked in range(4):
        for moment in range(22):
            step = steps.before(np.array([asked]), np.array([moment]))
            plain = max((v for k, t, v in rows if k == asked and t < moment), default=0)
            assert steps.highest(step).tolist() == [plain]
        for limit in range(10):
            step = steps.first_above(np.array([asked]), np.array([limit]))
            times = [t for k, t, v in rows if k == asked and v > limit]
            assert (step.tolist() == [-1]) == (not times)
            if times:
                assert steps.time(step).tolist() == [min(times)]
