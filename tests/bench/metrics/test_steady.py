"""The warm-up's end against the window's begin, and Little's law: on records whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.metrics import steady
from bench.metrics.history import History
from bench.record import Op
from bench.results import Json
from tests.bench.synthetic import S, build, change_manifest

WARM = {"send_per_s": 60, "warmup_s": 12}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(build(tmp_path, **WARM)[0])


def slower(history: History, op: Op, until_s: float, by_us: float) -> Json:
    """As if this operation had taken longer until so many seconds into the window."""
    operations = history.operations
    late = (operations["op"] == op) & (operations["intended"] < history.window.measure + until_s * S)
    late &= operations["acknowledged"] > 0
    moved = operations["acknowledged"] + np.where(late, round(by_us * 1000), 0)
    operations.replace("acknowledged", moved)
    return steady.warm_up(history)


def test_a_steady_run_has_changed_in_nothing(history: History) -> None:
    told = steady.warm_up(history)
    assert set(told["changes"]) == {"SEND", "READ", "STATE", "throughput"}
    assert not any(change["apart"] for change in told["changes"].values())
    assert (told["seconds"], told["span_s"]) == (12, 8)
    assert told["ended_because"] == "its 12 s were over"


@pytest.mark.parametrize("op", [Op.SEND, Op.READ, Op.STATE])
def test_what_was_slower_until_the_window_began_has_changed(history: History, op: Op) -> None:
    change = slower(history, op, 0, 30_000)["changes"][op.name]
    assert change["apart"]
    assert change["before"] - change["after"] == pytest.approx(30_000, abs=2_500)
    assert change["change"] == pytest.approx(change["after"] / change["before"] - 1, abs=1e-4)


def test_two_parts_after_that_are_like_those_before_acquit(history: History) -> None:
    assert not slower(history, Op.READ, 2.0, 30_000)["changes"]["READ"]["apart"]


def test_three_pairs_may_be_out_of_order() -> None:
    before, after = np.arange(8.0), np.arange(10.0, 18.0)
    assert steady._apart(before, after)
    assert steady._apart(after, before)
    after[0] = 4.5  # below three of those before
    assert steady._apart(before, after)
    after[0] = 3.5
    assert not steady._apart(before, after)
    assert not steady._apart(np.ones(8), np.ones(8))


def test_answers_that_lag_behind_the_plan_are_a_change(history: History) -> None:
    operations, window = history.operations, history.window
    early = (operations["intended"] < window.measure) & (operations["acknowledged"] > 0)
    early &= (operations["op_id"] & 3) == 0  # a quarter is answered much later
    operations.replace("acknowledged", np.where(early, window.drain_end - 1, operations["acknowledged"]))
    change = steady.warm_up(history)["changes"]["throughput"]
    assert change["apart"]
    assert change["before"] < 0.85 < change["after"]


def test_few_samples_say_nothing(tmp_path: Path) -> None:
    history = History(build(tmp_path, send_per_s=1, warmup_s=12)[0])
    assert steady.warm_up(history)["changes"] == {}


def test_no_warm_up_is_none(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    change_manifest(folder, window={"start": world.measure})
    told = steady.warm_up(History(folder))
    assert (told["seconds"], told["span_s"], told["changes"]) == (0, 0, {})


def test_a_run_that_never_measured_says_nothing(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    change_manifest(folder, window={"measure": world.measure_end, "measure_end": world.measure_end})
    assert steady.warm_up(History(folder)) == {}


# --- Little's law -------------------------------------------------------------------------------------------


def test_both_sides_agree_on_a_steady_run(history: History) -> None:
    told = steady.little(history)
    assert told["apart"] < 0.01
    assert told["n"] == pytest.approx(told["x_per_s"] * told["r_us"] / 1e6, rel=0.01)


def test_the_integral_is_that_of_the_intervals() -> None:
    sent, done = np.array([0, 5, 12, 40]), np.array([10, 15, 60, 45])
    assert steady._in_flight(sent, done, 10, 50) == pytest.approx((0 + 5 + 38 + 5) / 40)


def test_a_growing_backlog_is_apart(history: History) -> None:
    operations, window = history.operations, history.window
    inside = (operations["intended"] >= window.measure) & (operations["acknowledged"] > 0)
    late = (operations["intended"] - window.measure) // 4  # the later, the slower
    operations.replace("acknowledged", operations["acknowledged"] + np.where(inside, late, 0))
    assert steady.little(history)["apart"] > 0.05


def test_nothing_under_way_is_not_known(tmp_path: Path) -> None:
    history = History(build(tmp_path)[0])
    history.operations.replace("sent", np.zeros(history.operations.rows, np.int64))
    assert steady.little(history)["apart"] is None
