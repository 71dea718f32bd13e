"""Look-ups that first put in order what they look up."""

from __future__ import annotations

import numpy as np
import pytest

from bench.checks.packing import places


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("count", [0, 1, 500])
def test_places_are_those_of_a_search(count: int, in_order: bool) -> None:
    rng = np.random.default_rng(count)
    values, ordered = rng.integers(0, 99, count), np.sort(rng.integers(0, 99, 40))
    if in_order:
        values.sort()
    before = values.copy()
    assert places(values, ordered).tolist() == [int(np.count_nonzero(ordered < value)) for value in values]
    assert (values == before).all()
