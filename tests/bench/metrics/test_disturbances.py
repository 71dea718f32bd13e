"""What others used, what ran short, and who was restarted: by known samples; unknown where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.metrics import disturbances
from bench.metrics.history import History
from bench.results import Json, RunFolder
from tests.bench.synthetic import S, World, build, change_manifest

MIB = 1 << 20


@pytest.fixture
def made(tmp_path: Path) -> tuple[RunFolder, World]:
    return build(tmp_path)


def told(folder: RunFolder) -> Json:
    return disturbances.summarise(History(folder))


def replaced(
    folder: RunFolder, component: str, metric: str, values: dict[float, float], world: World
) -> None:
    """Other samples of one metric: (seconds into the window -> value)."""
    samples = folder.timeseries()
    kept = [
        row
        for row in zip(
            *(samples[name].tolist() for name in ("t", "component", "metric", "value")), strict=True
        )
        if (row[1], row[2]) != (component, metric)
    ]
    new = [(world.measure + int(at * S), component, metric, value) for at, value in values.items()]
    folder.write_timeseries([*kept, *new])


def test_what_no_process_of_the_run_used_was_used_by_others(made: tuple[RunFolder, World]) -> None:
    folder, world = made
    assert told(folder)["foreign_cores"] == pytest.approx(0.03)
    replaced(folder, "machine", "cpu_s", {-5: 0, 25: 30 * 1.71}, world)
    assert told(folder)["foreign_cores"] == pytest.approx(0.5, abs=0.001)
    assert told(folder)["harness_cores"] == pytest.approx(0.01)


@pytest.mark.parametrize("component", ["machine", "harness", "server", "mysql", "generator"])
def test_others_are_unknown_if_one_process_of_the_run_is(
    made: tuple[RunFolder, World], component: str
) -> None:
    folder, world = made
    replaced(folder, component, "cpu_s", {}, world)
    assert told(folder)["foreign_cores"] is None


@pytest.mark.parametrize(
    ("metric", "figure", "values", "expected"),
    [
        ("swapped_bytes", "swapped_bytes", {-5: 0, 0: 5 * MIB, 20: 7 * MIB, 25: 90 * MIB}, 2 * MIB),
        ("throttled_s", "throttled_share", {-5: 0, 0: 1.0, 20: 2.0, 25: 9.0}, 0.05),
        ("too_hot", "too_hot", {-5: 3, 0: 3, 20: 5, 25: 5}, 2),
        ("clock_steps_s", "clock_steps_us", {-5: 0, 0: 0.5, 20: 0.5025, 25: 9}, 2_500),
        ("slowest_core_khz", "slowest_khz_share", {-5: 1, 1: 3_000, 9: 2_400, 25: 1}, 0.8),
    ],
)
def test_what_counts_is_the_window(
    made: tuple[RunFolder, World], metric: str, figure: str, values: dict[float, float], expected: float
) -> None:
    folder, world = made
    replaced(folder, "machine", metric, values, world)
    assert told(folder)[figure] == pytest.approx(expected)


def test_room_is_the_least_of_the_whole_run(made: tuple[RunFolder, World]) -> None:
    folder, world = made
    replaced(folder, "machine", "free_bytes_memory", {-4: 9e9, 22: 1e6, 24: 9e9}, world)
    assert told(folder)["free_bytes"] == {
        "results": 8_000_000_000,
        "memory": 1_000_000,
        "data": 8_000_000_000,
    }


def test_files_and_ports_stand_beside_their_limits(made: tuple[RunFolder, World]) -> None:
    folder, world = made
    assert told(folder)["files"] == {"server": {"open": 120, "limit": 1_024}}
    asked = folder.manifest()["load"]["connections_asked"]
    assert told(folder)["ports"] == {"used": asked + 100, "of": 28_232}
    replaced(folder, "machine", "tcp_tw", {}, world)
    assert told(folder)["ports"]["used"] is None


def test_the_busiest_load_process_waits_for_a_core(made: tuple[RunFolder, World]) -> None:
    folder, world = made
    replaced(folder, "generator/1", "runqueue_s", {-5: 0, 0: 1, 20: 4, 25: 5}, world)
    replaced(folder, "server", "runqueue_s", {-5: 0, 25: 30}, world)
    assert told(folder)["runqueue_share"] == pytest.approx(0.15)


# --- services -----------------------------------------------------------------------------------------------


def services(before: Any, after: Any) -> Json:
    seen = {"before": {"redis": before}, "after": {"redis": after}}
    told: Json = disturbances.services({"run": {"services": {"redis": {}}}, "services_seen": seen})["redis"]
    return told


def test_another_incarnation_is_not_the_same() -> None:
    assert services({"run_id": "a"}, {"run_id": "a"}) == {"same": True, "differs": []}
    told = services({"run_id": "a", "save": ""}, {"run_id": "b", "save": ""})
    assert told == {"same": False, "differs": ["run_id: a when the load began, b when it was over"]}


def test_another_setting_is_not_the_same() -> None:
    told = services({"appendonly": "no"}, {"appendonly": "yes"})
    assert told["differs"] == ["appendonly: no when the load began, yes when it was over"]


def test_a_start_is_known_to_whole_seconds() -> None:
    assert services({"started_s": 900.1}, {"started_s": 902.5})["same"] is True
    assert services({"started_s": 900.1}, {"started_s": 903.0})["same"] is False


@pytest.mark.parametrize(("before", "after"), [({}, {}), ({"run_id": "a"}, {}), (None, {"run_id": "a"})])
def test_of_whom_nothing_is_known_nothing_is_said(before: Any, after: Any) -> None:
    assert services(before, after)["same"] is None


def test_who_no_longer_answers_is_not_the_same() -> None:
    told = services({"run_id": "a"}, {"does not answer": "refused"})
    assert told["same"] is False
    assert "does not answer: None when the load began, refused when it was over" in told["differs"]


def test_a_run_without_services_has_none(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, scheme="memory")
    assert told(folder)["services"] == {}
    change_manifest(folder, services_seen={})
    assert told(folder)["services"] == {}
