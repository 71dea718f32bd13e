"""Groups and expansion against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.ragged import Groups, distinct, last_before, spread

SMALL = st.integers(0, 6)


@given(st.lists(SMALL, max_size=40), st.lists(SMALL, max_size=10))
def test_every_row_of_every_asked_group_in_order(group: list[int], asked: list[int]) -> None:
    which, row = Groups(np.array(group, int), 7).expand(np.array(asked, int))
    expected = [(i, r) for i, g in enumerate(asked) for r, of in enumerate(group) if of == g]
    assert list(zip(which.tolist(), row.tolist(), strict=True)) == expected


@given(st.lists(st.tuples(SMALL, SMALL), max_size=20))
def test_spread_counts_up_from_each_start(pairs: list[tuple[int, int]]) -> None:
    start, size = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    which, number = spread(start, size)
    expected = [(i, s + k) for i, (s, n) in enumerate(pairs) for k in range(n)]
    assert list(zip(which.tolist(), number.tolist(), strict=True)) == expected


@given(
    st.lists(st.tuples(SMALL, st.integers(0, 20)), max_size=30), st.lists(st.tuples(SMALL, SMALL), max_size=9)
)
def test_the_last_entry_strictly_before(
    entries: list[tuple[int, int]], questions: list[tuple[int, int]]
) -> None:
    entries = sorted(entries)
    group, time = (np.array([entry[i] for entry in entries], np.int64) for i in (0, 1))
    asked, before = (np.array([question[i] for question in questions], np.int64) for i in (0, 1))
    expected = [
        max((i for i, (g, t) in enumerate(entries) if g == of and t < at), default=-1) for of, at in questions
    ]
    assert last_before(group, time, asked, before).tolist() == expected


@given(st.lists(SMALL))
def test_distinct_is_a_sorted_set(values: list[int]) -> None:
    assert distinct(np.array(values, int)).tolist() == sorted(set(values))
