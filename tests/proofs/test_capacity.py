"""The capacity that `make proof-capacity` calls true."""

from __future__ import annotations

import numpy as np
import pytest

from tests.proofs.capacity import in_line


def test_who_comes_waits_for_those_before() -> None:
    at = np.array([30.0, 0.0, 4.0])
    assert in_line(at, np.array([2, 0, 1]), 10.0) == pytest.approx([10.0, 10.0, 16.0])


def test_a_second_one_of_the_same_asker_stands_in_line_when_its_first_is_answered() -> None:
    """Whoever came meanwhile is before it: at 10 the second asker's, at 20 the first one's own again."""
    at, asker = np.array([0.0, 1.0, 2.0]), np.array([7, 7, 9])
    assert in_line(at, asker, 10.0) == pytest.approx([10.0, 29.0, 18.0])
    assert in_line(at, np.array([7, 8, 9]), 10.0) == pytest.approx([10.0, 19.0, 28.0])


def test_all_of_one_asker_wait_as_long_as_those_of_many() -> None:
    at = np.sort(np.random.default_rng(1).uniform(0.0, 1000.0, 90))
    many = in_line(at, np.arange(90), 10.0)
    assert in_line(at, np.zeros(90, np.int64), 10.0) == pytest.approx(many)
