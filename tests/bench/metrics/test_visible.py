"""L4 from polls: the intervals that a probe's polls leave, and what Turnbull makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.metrics.history import History
from bench.metrics.visible import visible
from bench.record import ITEMS, OPERATIONS, Op, Outcome
from tests.bench.synthetic import MS, START, S, build, change_manifest, rows

ACK = START + 2 * S


@pytest.mark.parametrize("late_us", [0, 12_000, 40_000])
def test_the_median_is_right_within_a_poll(tmp_path: Path, late_us: float) -> None:
    folder, _ = build(tmp_path, visible_us=late_us, probes=200)
    seen = visible(History(folder))
    assert len(seen.left) == 200
    assert (seen.left <= late_us * 1e3 + 600_000).all()
    assert (seen.right >= late_us * 1e3).all()
    median = seen.intervals().quantile(0.5)[1]
    assert median is not None
    assert median == pytest.approx(late_us, abs=1_500 + 5_000 / 10)


def of_polls(tmp_path: Path, polls: list[tuple[int, bool]]) -> History:
    """One probe, acknowledged at ACK, and polls (ms after it, whether it shows the value), each 1 ms long."""
    folder, _ = build(tmp_path, people=6, groups=0, probes=0, measure_s=2)
    for table in ("operations", "items"):
        for file in folder.path.glob(f"{table}-*.parquet"):
            file.unlink()
    change_manifest(folder, window={"start": START, "measure": START + S, "measure_end": START + 10 * S})
    common = {"conversation": 3, "user": 6, "outcome": Outcome.OK}
    operations = [
        common
        | {"op_id": 0, "op": Op.PROBE_READ, "intended": ACK - MS, "sent": ACK - MS, "acknowledged": ACK}
        | {"argument": 9, "flags": 1}
    ]
    items = []
    for number, (after, shows) in enumerate(polls, start=1):
        at = ACK + after * MS
        operations.append(
            common
            | {"op_id": number, "op": Op.PROBE_STATE, "intended": at, "sent": at, "acknowledged": at + MS}
            | {"items": 1}
        )
        items.append({"op_id": number, "conversation": 3, "actor": 6, "value": 9 if shows else 8})
    folder.write_rows("operations", 0, rows(OPERATIONS, operations))
    folder.write_rows("items", 0, rows(ITEMS, items))
    return History(folder)


@pytest.mark.parametrize(
    ("polls", "left", "right", "flapped"),
    [
        ([(5, True)], 0, 6, 0),
        ([(5, False), (10, True)], 5, 11, 0),
        ([(5, False), (10, False), (15, True), (20, True)], 10, 16, 0),
        ([(5, True), (10, False), (15, True)], 10, 16, 1),
        ([(5, False), (10, False)], 10, np.inf, 0),
        ([(-3, False), (5, True)], 0, 6, 0),
    ],
)
def test_the_interval_is_from_the_last_absent_to_the_first_present_after_it(
    tmp_path: Path, polls: list[tuple[int, bool]], left: float, right: float, flapped: int
) -> None:
    seen = visible(of_polls(tmp_path, polls))
    assert (seen.left / MS).tolist() == [left]
    assert (seen.right / MS).tolist() == [right]
    assert seen.flapped == flapped


def test_a_probe_that_was_never_polled_says_nothing(tmp_path: Path) -> None:
    assert len(visible(of_polls(tmp_path, [])).left) == 0
