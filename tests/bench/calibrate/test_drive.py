from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.calibrate import measure
from bench.calibrate.drive import Driven


def test_a_ceiling_is_what_a_core_of_the_component_would_carry() -> None:
    driven = Driven(10.0, 5_000, 1_000, {"generator": 2.5, "server": 4.0})
    assert driven.per_cpu_s("generator") == pytest.approx(2_000)
    assert driven.per_cpu_s("server") == pytest.approx(1_250)


@pytest.mark.slow
def test_the_generator_of_a_run_drives_the_echo_again_and_again_on_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "USERS", 50)
    monkeypatch.setattr(measure, "ECHO_SENDS_PER_S", 100.0)
    logs = tmp_path / "echo"
    with ExitStack() as up, measure._echo(up, logs) as drive:
        slices = [drive.slice(), drive.slice()]
    for driven in slices:
        assert driven.operations >= 100  # SENDs and STATEs
        assert driven.pushes == 0
        assert driven.seconds == pytest.approx(measure.MEASURE_S, abs=0.6)
        assert driven.cpu_s["generator"] > 0 < driven.cpu_s["echo"]
    assert not any(path.read_text() for path in logs.glob("*.log"))
    assert not list(Path("/dev/shm").glob("readstate-calibrate-*"))
