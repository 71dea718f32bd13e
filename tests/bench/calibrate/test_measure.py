from __future__ import annotations

import pytest

from bench import machine
from bench.calibrate.measure import Slice, ceiling, good


def test_a_ceiling_is_of_a_good_slice() -> None:
    """In two of eight a neighbour halves what a second of CPU buys."""
    assert good([2_000, 2_000, 1_000, 2_000, 2_000, 1_000, 2_000, 2_000]) == 2_000


def test_one_lucky_slice_is_no_ceiling() -> None:
    assert good([2_000, 2_000, 9_000, 2_000]) == 2_000
    assert good([9_000]) == 9_000


def test_a_ceiling_is_made_of_the_slices_of_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 4)
    slices = [
        Slice({"generator_mixed": [900], "memory": [700]}, 300, 2.0),
        Slice({"mysql": [9_000, 10_000]}, 1_000),
        Slice({"generator_mixed": [1_000], "memory": [600]}, 320, 2.2),
        Slice({"mysql": [11_000, 8_000]}, 1_200),
        Slice({"generator_mixed": [1_000], "memory": [700]}, 310, 2.1),
    ]
    assert ceiling("generator_mixed", slices)["per_s"] == 1_000
    assert ceiling("memory", slices) == {
        "unit": "operations, generator and server on a core each",
        "per_s": 700,
        "slices_per_s": [700, 600, 700],
        "measured_at_per_s": 310,
        "pushes_per_operation": 2.1,
        "cores": 1,
    }
    mysql = ceiling("mysql", slices)
    assert (mysql["per_s"], mysql["cores"]) == (40_000, 4), "all four cores may be MySQL's"
