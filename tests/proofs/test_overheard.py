"""What is made of READs that were heard on the wire."""

from __future__ import annotations

import pytest

from tests.proofs.overheard import pairs

S = 1_000_000_000


def load(begins_s: float, took_us: float) -> list[tuple[int, float]]:
    """Ten READs a second for six seconds; those of its first and last second are ten times slower."""
    times = [n / 10 for n in range(60)]
    return [(int((begins_s + t) * S), took_us if 1 <= t < 5 else 10 * took_us) for t in times]


def side(*took_us: float) -> list[tuple[int, float]]:
    return [row for n, took in enumerate(took_us) for row in load(8 * n, took)]


def test_the_middle_of_each_load_but_the_warm_ones_stands_beside_the_other_sides() -> None:
    found = pairs([[], side(9, 9, 3, 4), [], side(8, 8, 5, 6)], loads=4)

    assert found == [(3, 5), (4, 6)]


def test_answers_may_come_in_another_order() -> None:
    assert pairs([side(9, 9, 3)[::-1], side(8, 8, 5)], loads=3) == [(3, 5)]


def test_a_load_that_was_not_heard_is_told() -> None:
    with pytest.raises(ValueError, match=r"\[3, 4\] loads were heard, and not 4 of two sides"):
        pairs([side(9, 9, 3), side(8, 8, 5, 6)], loads=4)


def test_a_side_that_was_not_heard_is_told() -> None:
    with pytest.raises(ValueError, match=r"\[3\] loads were heard"):
        pairs([side(9, 9, 3), []], loads=3)
