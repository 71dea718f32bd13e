from __future__ import annotations

import pytest

from bench.calibrate.drive import Driven


def test_a_ceiling_is_what_a_core_of_the_component_would_carry() -> None:
    driven = Driven(10.0, 5_000, 1_000, {"generator": 2.5, "server": 4.0})
    assert driven.per_cpu_s("generator") == pytest.approx(2_000)
    assert driven.per_cpu_s("server") == pytest.approx(1_250)
