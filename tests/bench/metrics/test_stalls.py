"""Stalls count where they lie in the measured window, and READs where they met one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.metrics import stalls
from bench.metrics.history import History
from bench.record import Stall
from bench.results import Json
from tests.bench.synthetic import S, Spread, build, change_manifest

LOOP, GC, CLOCK, CORE = Stall


def figures(tmp_path: Path, process: str, *found: tuple[str, Stall, float, float], **changes: Any) -> Json:
    folder, _ = build(tmp_path, stalls=found, **changes)
    told: Json = stalls.summarise(History(folder))[process]
    return told


def test_gaps_of_the_window_are_added_up(tmp_path: Path) -> None:
    told = figures(tmp_path, "server", ("server", LOOP, 5.0, 0.4), ("server", LOOP, 9.0, 0.2))
    assert told["stalled_share"] == pytest.approx(0.6 / 20)
    assert (told["gaps"], told["gap_us_max"]) == (2, 400_000)


def test_what_lies_outside_of_the_window_does_not_count(tmp_path: Path) -> None:
    told = figures(
        tmp_path, "server",
        ("server", LOOP, -1.0, 0.9), ("server", LOOP, 0.25, 1.0), ("server", LOOP, 20.5, 0.6),
        ("server", LOOP, 24.0, 1.0),
    )  # fmt: skip
    assert told["stalled_share"] == pytest.approx((0.25 + 0.1) / 20)
    assert (told["gaps"], told["gap_us_max"]) == (2, 250_000)


def test_kinds_and_processes_are_kept_apart(tmp_path: Path) -> None:
    found = (("server", GC, 5.0, 0.03), ("generator/1", GC, 5.0, 0.07), ("server", CLOCK, 6.0, 2.5))
    server = figures(tmp_path / "a", "server", *found)
    assert (server["gc_pauses"], server["gc_us_max"], server["clock_steps_us"]) == (1, 30_000, 2_500_000)
    assert server["gaps"] == 0
    other = figures(tmp_path / "b", "generator/1", *found)
    assert (other["gc_us_max"], other["clock_steps_us"]) == (70_000, 0)


def test_a_step_of_the_clock_is_an_instant(tmp_path: Path) -> None:
    told = figures(tmp_path, "server", ("server", CLOCK, 0.1, 3_600.0), ("server", CLOCK, -0.1, 0.01))
    assert told["clock_steps_us"] == 3_600_000_000


def test_who_did_not_tell_of_the_whole_window_is_not_known(tmp_path: Path) -> None:
    folder, world = build(tmp_path, stalls=(("server", LOOP, 5.0, 0.4),))
    watched = folder.manifest()["watched"]
    watched[0]["since"] = world.measure + S
    watched[1]["until"] = world.measure_end - S
    change_manifest(folder, watched=watched[:2])
    told = stalls.summarise(History(folder))
    assert set(told) == {"server", "generator/0", "generator/1"}
    assert {one["stalled_share"] for one in told.values()} == {None}
    assert told["server"]["clock_apart_us"] == 0, "its clock is known all the same"
    assert told["generator/1"]["clock_apart_us"] is None


def test_a_server_of_somebody_elses_is_listed(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, watched=False)
    assert stalls.summarise(History(folder))["server"] == dict.fromkeys(stalls.FIGURES)


# --- READs --------------------------------------------------------------------------------------------------


def test_reads_that_met_a_gap_of_the_server_are_counted(tmp_path: Path) -> None:
    folder, world = build(tmp_path, stalls=(("server", LOOP, 10.0, 1.0),), read_us=Spread(1_000, 1_100))
    history = History(folder)
    reads = history.measured_rows(stalls.Op.READ)
    begun, done = (history.operations[name][reads] for name in ("sent", "acknowledged"))
    low, high = world.measure + 9 * S, world.measure + 10 * S
    within = np.count_nonzero((done > low) & (begun < high))
    told = stalls.hub(history)
    assert told["held"] == within > 5
    assert told["by"]["server"] == told["held"]
    assert told["share"] == pytest.approx(told["held"] / told["reads"], abs=1e-6)


def test_a_load_process_holds_up_its_own_reads_only(tmp_path: Path) -> None:
    one = ("generator/0", LOOP, 20.0, 20.0)
    folder, _ = build(tmp_path, stalls=(one,))
    told = stalls.hub(History(folder))
    assert 0 < told["by"]["generator/0"] < told["reads"]
    assert told["by"]["generator/1"] == told["by"]["server"] == 0
    assert told["held"] == told["by"]["generator/0"]


@pytest.mark.parametrize(
    ("waited_s", "share_of_it"), [(0.0, 1.0), (0.5, 0.5), (0.994, 0.006), (0.996, 0.0), (1.0, 0.0)]
)
def test_what_a_loop_waited_for_a_core_is_not_its_own_doing(
    tmp_path: Path, waited_s: float, share_of_it: float
) -> None:
    gap = (("server", LOOP, 10.0, 1.0), ("server", CORE, 10.0, waited_s), ("server", CORE, 10.3, 0.9))
    folder, world = build(tmp_path, stalls=gap, read_us=Spread(1_000, 1_100))
    history = History(folder)
    reads = history.measured_rows(stalls.Op.READ)
    begun, done = (history.operations[name][reads] for name in ("sent", "acknowledged"))
    low, high = world.measure + round((10 - share_of_it) * S), world.measure + 10 * S
    within = np.count_nonzero((done > low) & (begun < high)) if share_of_it else 0
    assert stalls.hub(history)["by"]["server"] == within
    told = stalls.summarise(history)["server"]
    assert (told["gaps"], told["gap_us_max"]) == (1, 1_000_000), "it stood still all the same"


def test_the_server_holds_up_nobody_before_he_asks(tmp_path: Path) -> None:
    late = {"read_us": Spread(1_000, 1_100), "send_lag_us": Spread(300_000, 300_100)}
    folder, _ = build(tmp_path, stalls=(("server", LOOP, 10.0, 0.1),), **late)
    history = History(folder)
    reads = history.measured_rows(stalls.Op.READ)
    intended, sent, done = (history.operations[name][reads] for name in ("intended", "sent", "acknowledged"))
    end = history.window.measure + 10 * S
    asked, meant = (np.count_nonzero((done > end - S // 10) & (at < end)) for at in (sent, intended))
    assert stalls.hub(history)["held"] == asked < meant


def test_a_read_between_two_gaps_met_none() -> None:
    start, end = np.array([10, 30]), np.array([20, 40])
    begun, done = np.array([20, 5, 19, 41, 25]), np.array([30, 10, 21, 50, 45])
    assert stalls._touched(start, end, begun, done).tolist() == [False, False, True, False, True]


def test_an_unwatched_loop_makes_it_unknown(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    change_manifest(folder, watched=folder.manifest()["watched"][1:])
    assert stalls.hub(History(folder))["share"] is None
