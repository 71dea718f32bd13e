from __future__ import annotations

import numpy as np
import pytest

from bench.metrics.history import Window
from bench.report import arms, canvas, cpu

DB, CONTROL = arms.arms([{"scheme": "db", "model": "flags"}, {"scheme": "memory", "model": None}])
WINDOW = Window(0, 5_000_000_000, 15_000_000_000, 20_000_000_000)
T = np.arange(0.0, 21.0)


def series(**cores: float) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    return {(name.replace("_", "/"), "cpu_s"): (T, 3 + share * T) for name, share in cores.items()}


def test_demand_is_cpu_time_per_message_with_the_drain_apart() -> None:
    one = cpu.demand(DB, series(server=0.5, mysql=0.2, generator=0.9), WINDOW, 100)
    assert list(one.parts) == ["server", "mysql"]  # the generator is not under test
    assert one.parts["server"].measured == pytest.approx(50)
    assert one.parts["server"].drain == pytest.approx(25)
    assert one.drained == pytest.approx(75 + 30)


def test_parts_of_a_component_are_added_up() -> None:
    one = cpu.demand(DB, series(server_0=0.5, server_1=0.25), WINDOW, 100)
    assert one.parts["server"].measured == pytest.approx(75)


def test_no_message_no_demand() -> None:
    assert not cpu.demand(DB, series(server=0.5), WINDOW, 0).parts


def test_whoever_died_before_the_window_has_no_demand() -> None:
    died = {("server", "cpu_s"): (np.array([0.0, 0.1]), np.array([0.0, 0.3]))}
    one = cpu.demand(DB, died, WINDOW, 100)
    assert not one.parts
    assert cpu.finding([one]).startswith("CPU per message is not available")


def test_the_finding() -> None:
    one = cpu.demand(DB, series(server=0.5, mysql=0.25), WINDOW, 100)
    control = cpu.demand(CONTROL, series(server=0.5), WINDOW, 100)
    assert cpu.finding([one]) == (
        "A message costs 112 CPU-ms in all, drain included; 67 % of it in the Python server and driver"
    )
    assert cpu.finding([control, one]) == "CPU-ms per message, drain included: control 75.0, db/flags 112"
    assert cpu.finding([cpu.demand(DB, {}, WINDOW, 9)]).startswith("CPU per message is not available")


def test_bars_begin_at_zero_and_the_control_is_outlined() -> None:
    demands = [
        cpu.demand(CONTROL, series(server=0.5), WINDOW, 100),
        cpu.demand(DB, series(server=1), WINDOW, 100),
    ]
    axes = cpu.draw(demands, canvas.Words("t", "s", "n")).axes[0]
    assert axes.get_xlim()[0] == 0
    assert sum(not bar.get_fill() for bar in axes.patches) == 1
    assert sum(bar.get_hatch() is not None for bar in axes.patches) == 2
