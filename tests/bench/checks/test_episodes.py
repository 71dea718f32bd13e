"""Episodes against a plain walk along each cursor, and the order in which violations are told."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.checks.episodes import group

Row = tuple[int, int, int, int, int]
"""cursor, invoked, 0 not judged / 1 right / 2 wrong, witness, badness."""


def ints(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def plain(rows: list[Row]) -> list[set[int]]:
    """Rows of each episode, walking along the reads of each cursor."""
    found: list[set[int]] = []
    for cursor in {row[0] for row in rows}:
        current: set[int] = set()
        right_since, last = False, None
        mine = [i for i, row in enumerate(rows) if row[0] == cursor and row[2]]
        for i in sorted(mine, key=lambda i: (rows[i][1], i)):
            if rows[i][2] == 1:
                right_since = True
                continue
            if current and right_since and rows[i][3] != last:
                found.append(current)
                current = set()
            current.add(i)
            right_since, last = False, rows[i][3]
        if current:
            found.append(current)
    return found


rows = st.lists(
    st.tuples(*(st.integers(0, top) for top in (2, 20, 2, 2, 5))), max_size=25
)  # fmt: skip


@given(rows)
def test_episodes_are_those_of_a_plain_walk(rows: list[Row]) -> None:
    judged = ints([i for i, row in enumerate(rows) if row[2]])
    wrong = ints([i for i, row in enumerate(rows) if row[2] == 2])
    found = group(
        ints([row[0] for row in rows]),
        ints([row[1] for row in rows]),
        judged,
        wrong,
        ints([rows[i][3] for i in wrong]),
        ints([rows[i][4] for i in wrong]),
    )
    groups = [set(wrong[found.of == number].tolist()) for number in range(found.count)]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, plain(rows)))
    assert found.size.tolist() == [len(group) for group in groups]
    heads = found.told[: found.count].tolist()
    badness = [rows[i][4] for i in wrong]
    assert sorted(found.told.tolist()) == list(range(len(wrong)))
    assert sorted(found.of[heads].tolist()) == list(range(found.count))
    assert [badness[i] for i in heads] == sorted((badness[i] for i in heads), reverse=True)
    for head in heads:
        assert badness[head] == max(badness[i] for i in range(len(wrong)) if found.of[i] == found.of[head])


def test_one_stale_value_read_often_is_one_episode() -> None:
    """Wrong, wrong, right for another reader, wrong again for the same reason; then another cause."""
    wrong = ints([0, 1, 3, 5])
    found = group(
        ints([7] * 6), ints([1, 2, 3, 4, 5, 6]), ints(list(range(6))), wrong, ints([40, 40, 40, 41]),
        ints([1, 2, 4, 3]),
    )  # fmt: skip
    assert found.of.tolist() == [0, 0, 0, 1]
    assert found.told.tolist() == [2, 3, 1, 0]
