"""READs as a flow: the curves end together unless something was lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.metrics import flow, lags
from bench.metrics.history import History
from tests.bench.synthetic import S, Spread, build


def curves(tmp_path: Path, **knobs: object) -> tuple[dict[str, list[int]], History]:
    folder, _ = build(tmp_path, **knobs)
    history = History(folder)
    told = lags.collect(history)
    return flow.reads(history, [told["own_device"], told["receipt"]]), history


def test_nothing_lost_means_that_all_curves_end_together(tmp_path: Path) -> None:
    found, _ = curves(tmp_path)
    assert (
        found["intended"][-1] == found["acknowledged"][-1] == found["applied"][-1] == found["visible"][-1] > 0
    )
    assert len(found["seconds"]) == len(found["visible"]) == 26
    for i in range(len(found["seconds"])):
        assert found["intended"][i] >= found["applied"][i] >= found["visible"][i]
    assert found["intended"][0] == 0


def test_counts_are_those_of_the_rows(tmp_path: Path) -> None:
    found, history = curves(tmp_path)
    told = lags.collect(history)
    rows = np.unique(np.concatenate([told["own_device"].operation, told["receipt"].operation]))
    at = history.window.measure + 7 * S
    assert found["intended"][7] == np.count_nonzero(history.operations["intended"][rows] <= at)
    assert found["acknowledged"][7] == np.count_nonzero(history.operations["acknowledged"][rows] <= at)


def test_a_lag_is_a_gap(tmp_path: Path) -> None:
    """With pushes 2 s late, what is visible is what was meant two seconds ago."""
    found, _ = curves(tmp_path, receipt_us=Spread(2_000_000, 2_000_000), send_lag_us=Spread(0, 0))
    assert found["visible"][12] == found["intended"][10]


def test_lost_pushes_leave_a_gap_for_good(tmp_path: Path) -> None:
    found, _ = curves(tmp_path, lost_pushes=0.5)
    assert found["visible"][-1] < found["intended"][-1]
