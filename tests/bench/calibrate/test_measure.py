from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bench import machine
from bench.calibrate.measure import ROUNDS, Slice, ceiling, middle


def test_what_was_disturbed_or_lucky_is_in_no_ceiling() -> None:
    assert middle([2_000, 2_100, 1_000, 1_900, 9_000, 2_000, 1_000, 2_000]) == 1_975
    assert middle([9_000]) == 9_000


def test_twelve_slices_that_are_off_by_a_tenth_agree_with_the_next_twelve_within_a_tenth() -> None:
    rng = np.random.default_rng(3)
    found = [middle(list(1 + 0.1 * rng.standard_normal(ROUNDS))) for _ in range(2_000)]
    apart = [abs(one / other - 1) for one, other in pairwise(found)]
    assert np.mean(np.array(apart) <= 0.1) > 0.95


def test_a_ceiling_is_made_of_the_slices_of_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 4)
    slices = [
        Slice({"generator_mixed": 900, "memory": 700}, 300, 2.0),
        Slice({"mysql": 9_000}, 1_000),
        Slice({"generator_mixed": 1_000, "memory": 600}, 320, 2.2),
        Slice({"mysql": 11_000}, 1_200),
        Slice({"generator_mixed": 1_100, "memory": 800}, 310, 2.1),
    ]
    assert ceiling("generator_mixed", slices)["per_s"] == 1_000
    assert ceiling("memory", slices) == {
        "unit": "operations, generator and server on a core each",
        "per_s": 700,
        "interval": None,
        "slices_per_s": [700, 600, 800],
        "measured_at_per_s": 310,
        "pushes_per_operation": 2.1,
        "cores": 1,
    }
    mysql = ceiling("mysql", slices)
    assert (mysql["per_s"], mysql["cores"]) == (40_000, 4), "all four cores may be MySQL's"
