"""Offered against achieved, connections, send lag and holes: each with a run that has the trouble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.metrics.history import History
from bench.metrics.load import send_lag, summarise_load
from bench.record import CONNECTIONS, ERROR_CODES, NONE, OPERATIONS, Op, Outcome, PushKind
from bench.results import RunFolder
from tests.bench.synthetic import S, Spread, build, change_manifest, rows


def test_a_good_run_sends_all_that_was_planned(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    figures = summarise_load(History(folder))
    planned = [
        row
        for row in world.operations
        if row["plan"] != NONE and world.measure <= row["intended"] < world.measure_end
    ]
    assert figures["offered_per_s"] == figures["achieved_per_s"] == len(planned) / world.knobs.measure_s
    assert figures["dropped"] == figures["late"] == figures["reconnects"] == 0
    assert figures["already_read"] == sum(row["outcome"] == Outcome.ALREADY_READ for row in planned)
    assert figures["messages_per_s"] == world.knobs.send_per_s
    assert figures["outcome_complete_share"] == 1
    inside = [p for p in world.pushes if world.measure <= p["received"] < world.measure_end]
    assert figures["pushes"]["READ"] == sum(p["kind"] == PushKind.READ for p in inside)
    assert figures["pushes_per_s"] == pytest.approx(len(inside) / world.knobs.measure_s, abs=0.001)


def test_the_worst_ten_seconds_are_found(tmp_path: Path) -> None:
    """From 10 s on, operations are sent 30 s late."""
    folder, world = build(tmp_path, measure_s=30, warmup_s=1)
    late = [
        row | {"sent": row["sent"] + 30 * S, "acknowledged": row["acknowledged"] + 30 * S}
        if row["sent"] and world.measure + 10 * S <= row["intended"] < world.measure + 20 * S
        else row
        for row in world.operations
    ]
    for file in folder.path.glob("operations-*.parquet"):
        file.unlink()
    folder.write_rows("operations", 0, rows(OPERATIONS, late))
    figures = summarise_load(History(folder))
    assert figures["worst_step"]["at_s"] == 10
    assert figures["worst_step"]["achieved_share"] < 0.2
    assert figures["late"] > 0


def test_closed_devices_drop_their_operations(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, closed_devices=10)
    figures = summarise_load(History(folder))
    assert figures["dropped"] > 0
    assert figures["achieved_per_s"] < figures["offered_per_s"]
    assert figures["connections_held"] == figures["connections_asked"] - 10
    assert figures["closes"] == {"4408": 10}


def test_a_read_whose_message_never_came_is_not_the_generators_fault(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    before = summarize_load(folder)
    waiting = {"op": Op.READ, "intended": world.measure + S, "outcome": Outcome.UNSENT}
    waiting = [waiting | {"op_id": 7 << 40 | i, "plan": 1_000_000 + i} for i in range(500)]
    folder.write_rows("operations", 7, rows(OPERATIONS, waiting))
    after = summarize_load(folder)
    assert after["never_due"] == 500
    assert (after["dropped"], after["offered_per_s"]) == (before["dropped"], before["offered_per_s"])
    assert after["worst_step"] == before["worst_step"]
    unconnected = [row | {"error": ERROR_CODES["NOT_CONNECTED"]} for row in waiting]
    folder.write_rows("operations", 7, rows(OPERATIONS, unconnected))
    assert summarize_load(folder)["dropped"] == before["dropped"] + 500


def summarize_load(folder: RunFolder) -> dict[str, Any]:
    return summarise_load(History(folder))


def test_coming_back_is_a_reconnect_and_not_holding(tmp_path: Path) -> None:
    folder, world = build(tmp_path, closed_devices=1)
    again = {"opened": world.measure_end - S, "subscribed": world.measure_end - S, "session": 4 << 24}
    folder.write_rows("connections", 4, rows(CONNECTIONS, [again]))
    figures = summarise_load(History(folder))
    assert figures["reconnects"] == 1
    assert figures["connections_held"] == figures["connections_asked"] - 1


def test_probes_and_final_connections_are_no_devices(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    probe = {
        "opened": world.measure,
        "session": 4 << 24,
        "device": 0xFFFFFFFF,
        "role": 1,
        "closed": world.measure,
    }
    folder.write_rows("connections", 4, rows(CONNECTIONS, [probe]))
    figures = summarise_load(History(folder))
    assert figures["connections_held"] == figures["connections_asked"]
    assert figures["reconnects"] == 0
    assert figures["closes"] == {}


def test_a_planned_operation_without_a_row_or_with_two_is_not_complete(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    manifest = folder.manifest()
    planned = manifest["load"]["planned"]
    folder.update_manifest(load=manifest["load"] | {"planned": planned + 10})
    twice = {"op": Op.SEND, "plan": 0, "intended": world.measure, "op_id": 7 << 40, "outcome": Outcome.OK}
    folder.write_rows("operations", 7, rows(OPERATIONS, [twice]))
    figures = summarise_load(History(folder))
    assert figures["with_one_outcome"] == planned - 1
    assert figures["outcome_complete_share"] == pytest.approx((planned - 1) / (planned + 10), abs=1e-6)


def test_send_lag_is_what_was_made(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, send_lag_us=Spread(100, 1_100))
    figures = send_lag(History(folder))
    assert figures["send_lag_us"]["p50"] == pytest.approx(600, abs=10)
    assert figures["send_lag_us"]["p99"] == pytest.approx(1_090, abs=10)
    assert figures["send_lag_by_third_us"]["p99"] == pytest.approx([1_090] * 3, abs=15)


def test_with_closed_arrivals_the_wait_for_an_answer_is_not_the_generators(tmp_path: Path) -> None:
    """Every operation that was planned to begin before the device's last answer begins right after it."""
    folder, world = build(tmp_path, send_per_s=60)
    free: dict[int, int] = {}
    moved, waits = [], []
    for row in sorted(world.operations, key=lambda row: row["intended"]):
        if row["plan"] != NONE and row.get("sent"):
            wait = max(0, free.get(row["device"], 0) - row["sent"])
            row = row | {"sent": row["sent"] + wait, "acknowledged": row["acknowledged"] + wait + S // 5}
            free[row["device"]] = row["acknowledged"]
            waits.append(wait if world.measure <= row["intended"] < world.measure_end else 0)
        moved.append(row)
    for file in folder.path.glob("operations-*.parquet"):
        file.unlink()
    folder.write_rows("operations", 0, rows(OPERATIONS, sorted(moved, key=lambda row: row["op_id"])))
    opened = summarise_load(History(folder))
    assert opened["held_back"] is None
    assert opened["late"] >= sum(wait > 5_000_000 for wait in waits) > 10
    change_manifest(folder, load={"arrivals": "closed"})
    closed = summarise_load(History(folder))
    assert closed["late"] == 0
    assert closed["held_back"]["count"] == pytest.approx(sum(wait > 0 for wait in waits), rel=0.02)
    assert closed["held_back"]["us_max"] == pytest.approx(max(waits) / 1000, rel=0.01)
    assert send_lag(History(folder))["send_lag_us"]["p99"] < 200
    assert closed["worst_step"]["achieved_share"] == 1


def test_growing_send_lag_shows_in_the_thirds(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    slower = [
        row | {"sent": row["sent"] + (row["intended"] - world.measure) // 1000}
        if row["sent"] and row["op"] >= Op.SEND
        else row
        for row in world.operations
    ]
    for file in folder.path.glob("operations-*.parquet"):
        file.unlink()
    folder.write_rows("operations", 0, rows(OPERATIONS, slower))
    first, middle, last = send_lag(History(folder))["send_lag_by_third_us"]["p99"]
    assert first < middle < last
    assert last == pytest.approx(20 * 1_000, rel=0.05)
    medians = send_lag(History(folder))["send_lag_by_third_us"]["p50"]
    assert medians == pytest.approx([20_000 / 6, 20_000 / 2, 20_000 * 5 / 6], rel=0.1)
