from __future__ import annotations

import numpy as np
import pytest

from bench.report import arms
from bench.report.heatmap import PER_DECADE, HeatMap, edges, finding, heat_map
from bench.report.phases import Phases

DB = arms.arms([{"scheme": "db", "model": "flags"}])[0]
PHASES = Phases(-5, 20, 25)


def made(intended_s: list[float], response_us: list[float], answered: list[bool] | None = None) -> HeatMap:
    known = np.ones(len(intended_s), bool) if answered is None else np.array(answered)
    return heat_map(DB, "READ", np.array(intended_s), np.array(response_us), known, PHASES)


def test_each_operation_is_in_one_cell() -> None:
    one = made([0.0, 0.5, 19.99, -4.5], [1_000.0, 1_000.0, 20_000.0, 150.0])
    assert one.n == 4
    column = int(np.searchsorted(one.seconds, 0.0))
    row = int(np.searchsorted(one.edges_us, 1_000.0 + 1e-6)) - 1
    assert one.counts[row, column] == 2
    assert one.edges_us[row] <= 1_000.0 + 1e-6 < one.edges_us[row + 1]


def test_what_nobody_answered_is_counted_apart() -> None:
    one = made([1.0, 1.5, 2.0], [1_000.0, 0.0, 0.0], [True, False, False])
    assert one.n == 1
    assert one.info.sum() == 2


def test_bins_are_even_on_a_log_scale_and_enclose_the_sample() -> None:
    bins = edges(np.array([37.0, 41_000.0]))
    assert np.diff(np.log10(bins)) == pytest.approx(1 / PER_DECADE)
    assert bins[0] <= 37.0
    assert bins[-1] > 41_000.0


def test_a_long_run_has_no_more_columns_than_can_be_seen() -> None:
    long = Phases(0, 7_200, 7_230)
    one = heat_map(DB, "READ", np.linspace(0, 7_200, 50), np.full(50, 900.0), np.ones(50, bool), long)
    assert len(one.seconds) <= 302
    assert one.n == 50


def test_a_second_that_stands_out_is_named() -> None:
    seconds = np.repeat(np.arange(20.0), 5)
    calm = made(seconds.tolist(), [1_000.0] * 100)
    assert (
        finding([calm]) == "No second stands out; slowest answers: READ 1.00 ms"[:38] + finding([calm])[38:]
    )
    stall = made([*seconds.tolist(), 7.0], [*[1_000.0] * 100, 900_000.0])
    assert finding([stall]).startswith("db/flags READ: in second 7 up to ")


def test_nothing_answered_is_said() -> None:
    assert finding([made([1.0], [0.0], [False])]) == "No operation was answered"
