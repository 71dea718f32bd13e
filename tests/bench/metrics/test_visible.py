"""L4 to L6 from polls: the intervals that a probe's polls leave, and what Turnbull makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.metrics.history import History
from bench.metrics.visible import Visible, collect, visible
from bench.record import ITEMS, NONE, OPERATIONS, Op, Outcome
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


# --- the stores -------------------------------------------------------------------------------------------


def test_a_durable_ack_is_durable_before_the_first_poll_ends(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, scheme="redis", probes=50)
    stored = collect(History(folder))["durable"]
    assert isinstance(stored, Visible)
    assert len(stored.left) == 50
    assert stored.polls == 50
    assert (stored.left == 0).all()
    assert (stored.right <= 1 * MS).all()


@pytest.mark.parametrize("late_us", [0, 7_000, 31_000])
def test_the_cache_lag_is_found_within_a_poll(tmp_path: Path, late_us: float) -> None:
    folder, _ = build(tmp_path, scheme="queue", probes=50, cached_us=late_us)
    cached = collect(History(folder))["cache"]
    assert isinstance(cached, Visible)
    assert len(cached.left) == 50
    assert (cached.left <= late_us * 1e3).all()
    assert (cached.right >= late_us * 1e3).all()
    assert (cached.right - cached.left <= 7 * MS).all()


def of_stores(
    tmp_path: Path, stored: list[tuple[int, int]], cached: list[tuple[int, int]], ack: str
) -> History:
    """One probe of seq 9, acknowledged at ACK, and what the stores were asked, each for 1 ms: (ms after the
    ACK, seq held or NONE)."""
    folder, _ = build(tmp_path, scheme="queue", people=6, groups=0, probes=0, measure_s=2)
    for file in folder.path.glob("operations-*.parquet"):
        file.unlink()
    change_manifest(
        folder, window={"start": START, "measure": START + S, "measure_end": START + 10 * S},
        run={"ack": {"read": ack}},
    )  # fmt: skip
    common = {"conversation": 3, "user": 6, "outcome": Outcome.OK, "argument": 9}
    operations = [
        common
        | {"op_id": 0, "op": Op.PROBE_READ, "intended": ACK - MS, "sent": ACK - MS, "acknowledged": ACK}
        | {"flags": 1}
    ]
    for op, polls in ((Op.PROBE_DURABLE, stored), (Op.PROBE_CACHED, cached)):
        for after, value in polls:
            at = ACK + after * MS
            times = {"intended": at, "sent": at, "acknowledged": at + MS}
            operations.append(common | times | {"op_id": len(operations), "op": op, "value": value})
    folder.write_rows("operations", 0, rows(OPERATIONS, operations))
    return History(folder)


def interval(found: dict[str, Visible | str], name: str) -> tuple[float, float]:
    seen = found[name]
    assert isinstance(seen, Visible)
    (left,), (right,) = seen.left, seen.right
    return left / MS, right / MS


def test_what_redis_has_no_entry_for_is_up_to_date_and_what_mysql_has_none_for_is_not(tmp_path: Path) -> None:
    found = collect(of_stores(tmp_path, [(0, NONE), (5, 9)], [(0, 8), (5, NONE)], "durable"))
    assert interval(found, "durable") == (0, 6)
    assert interval(found, "cache") == (0, 6)


def test_a_queued_ack_counts_the_cache_from_when_mysql_had_it(tmp_path: Path) -> None:
    """In MySQL in (10, 16] ms after the ACK and in Redis in (30, 36]: between 14 and 26 ms later."""
    stored, cached = [(0, 8), (10, 8), (15, 9)], [(0, 8), (30, 8), (35, 9)]
    assert interval(collect(of_stores(tmp_path / "a", stored, cached, "queued")), "cache") == (14, 26)
    assert interval(collect(of_stores(tmp_path / "b", stored, cached, "durable")), "cache") == (30, 36)


def test_what_never_reached_the_store_is_censored(tmp_path: Path) -> None:
    found = collect(of_stores(tmp_path, [(0, 8), (10, 8)], [(0, 8), (10, 9)], "queued"))
    assert interval(found, "durable") == (10, np.inf)
    assert interval(found, "cache") == (0, 1)  # MySQL came after 10 ms if at all


def test_polls_of_another_seq_belong_to_another_probe(tmp_path: Path) -> None:
    history = of_stores(tmp_path, [(0, 9)], [(0, 9)], "durable")
    argument = history.operations["argument"].copy()
    argument[history.operations["op"] == Op.PROBE_DURABLE] = 10
    history.operations.replace("argument", argument)
    assert collect(history)["durable"] == "no probe was answered in the measured window"


def test_a_server_without_a_door_was_not_asked(tmp_path: Path) -> None:
    found = collect(of_stores(tmp_path, [], [], "durable"))
    assert "control door" in str(found["durable"])
    assert found["cache"] == found["durable"]
