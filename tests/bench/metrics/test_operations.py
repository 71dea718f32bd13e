"""Latencies, outcomes and stages of made-up runs against a second computation in plain Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bench.metrics.history import History
from bench.metrics.operations import STAGES, slow, summarise_all, timed
from bench.record import OPERATIONS, Op, Outcome
from tests.bench.synthetic import MS, S, Spread, World, build, rows

BUSY: dict[str, Any] = {"send_per_s": 100, "send_lag_us": Spread(0, 0)}


def plain(world: World, op: Op) -> list[dict[str, Any]]:
    return [
        r for r in world.operations if r["op"] == op and world.measure <= r["intended"] < world.measure_end
    ]


def rank(values: list[float], p: float) -> int:
    return round(sorted(values)[math.ceil(round(p * len(values), 6)) - 1])


@pytest.mark.parametrize("op", [Op.SEND, Op.READ, Op.DELIVERED, Op.STATE, Op.SYNC])
def test_quantiles_of_the_rows_one_by_one(tmp_path: Path, op: Op) -> None:
    folder, world = build(tmp_path)
    figures = summarise_all(History(folder))[op.name]
    ok = [row for row in plain(world, op) if row["outcome"] == Outcome.OK]
    latency = [(row["acknowledged"] - row["intended"]) / 1e3 for row in ok]
    service = [(row["acknowledged"] - row["sent"]) / 1e3 for row in ok]
    assert figures["ok"] == figures["count"] == len(ok)
    for name, p in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert figures["latency_us"][name] == rank(latency, p)
        assert figures["service_us"][name] == rank(service, p)
    assert figures["latency_us"]["mean"] == pytest.approx(sum(latency) / len(latency), abs=1)


def test_quantiles_are_those_that_were_made(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, send_us=Spread(3_000, 13_000), **BUSY)
    figures = summarise_all(History(folder))["SEND"]["latency_us"]
    assert [figures[name] for name in ("p50", "p90", "p99")] == pytest.approx([8_000, 12_000, 12_900], abs=50)


def test_latency_counts_from_when_it_was_wanted(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, send_lag_us=Spread(40_000, 40_000))
    figures = summarise_all(History(folder))["STATE"]
    assert figures["latency_us"]["p50"] - figures["service_us"]["p50"] == pytest.approx(40_000, abs=2)


def test_outcomes_and_errors_by_code(tmp_path: Path) -> None:
    folder, world = build(
        tmp_path, errors={"NOT_MEMBER": 0.1, "UNAVAILABLE": 0.1, "DEADLINE": 0.05}, measure_s=40
    )
    figures = summarise_all(History(folder))["READ"]
    by_outcome = [row["outcome"] for row in plain(world, Op.READ)]
    assert figures["fail"] == by_outcome.count(Outcome.FAIL) == figures["errors"]["NOT_MEMBER"] > 0
    assert figures["info"] == by_outcome.count(Outcome.INFO)
    assert figures["info"] == figures["errors"]["UNAVAILABLE"] + figures["errors"]["DEADLINE"]
    assert figures["already_read"] == by_outcome.count(Outcome.ALREADY_READ)
    assert figures["count"] == figures["ok"] + figures["fail"] + figures["info"]


def test_the_unanswered_enter_as_at_least_the_deadline(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, errors={"UNAVAILABLE": 0.05}, measure_s=40)
    figures = summarise_all(History(folder))["READ"]
    assert figures["latency_us"]["n"] == figures["count"]
    assert figures["latency_us"]["max"] >= 5_000_000
    assert figures["latency_us"]["p99"] >= 5_000_000
    assert figures["latency_us"]["at_least"] == ["mean", "p99", "max"]
    assert figures["latency_us"]["p50"] < 30_000


def test_what_never_left_is_no_latency(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, closed_devices=10)
    figures = summarise_all(History(folder))["SEND"]
    assert figures["unsent"] > 0
    assert figures["errors"]["NOT_CONNECTED"] == figures["unsent"]
    assert figures["latency_us"]["n"] == figures["count"] == figures["ok"]


def test_rows_without_an_outcome_are_unknown_or_unsent(tmp_path: Path) -> None:
    """A worker died: what it had sent is info, what it had not is unsent."""
    folder, world = build(tmp_path)
    inside = {"op": Op.PING, "intended": world.measure + S}
    sent = inside | {"op_id": 7 << 40, "sent": world.measure + S, "outcome": Outcome.PENDING}
    waiting = inside | {"op_id": 7 << 40 | 1, "outcome": Outcome.PENDING}
    folder.write_rows("operations", 7, rows(OPERATIONS, [sent, waiting]))
    figures = summarise_all(History(folder))["PING"]
    assert (figures["info"], figures["unsent"], figures["latency_us"]["n"]) == (1, 1, 1)


def test_retries_are_told_apart(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    at = world.measure + S
    row = {"op": Op.PING, "intended": at, "sent": at, "acknowledged": at + MS}
    first = row | {"op_id": 7 << 40, "outcome": Outcome.INFO}
    again = row | {"op_id": 7 << 40 | 1, "outcome": Outcome.OK, "attempt": 1}
    folder.write_rows("operations", 7, rows(OPERATIONS, [first, again]))
    figures = summarise_all(History(folder))["PING"]
    assert (figures["count"], figures["ok"], figures["info"]) == (1, 0, 1)
    assert figures["retries"] == {"count": 1, "ok": 1}


def test_operations_meant_for_the_window_count_whenever_they_end(tmp_path: Path) -> None:
    """Not to count what was wanted inside and came out after it would be coordinated omission."""
    folder, world = build(tmp_path)
    edge = {"op": Op.PING, "outcome": Outcome.OK}
    late = edge | {"intended": world.measure_end - 1, "sent": world.measure_end + S}
    late |= {"acknowledged": world.measure_end + 2 * S, "op_id": 7 << 40}
    outside = [
        edge | {"intended": t, "sent": t, "acknowledged": t + MS, "op_id": 7 << 40 | i}
        for i, t in enumerate((world.measure - 1, world.measure_end), start=1)
    ]
    folder.write_rows("operations", 7, rows(OPERATIONS, [late, *outside]))
    figures = summarise_all(History(folder))["PING"]
    assert figures["count"] == 1
    assert figures["latency_us"]["max"] == 2_000_000


def test_stages_add_up_to_the_latency(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    for figures in summarise_all(History(folder)).values():
        mean = figures["mean_ms"]
        assert sum(mean[stage] for stage in STAGES) * 1e3 == pytest.approx(
            figures["latency_us"]["mean"], abs=2
        )
        assert mean["store"] == pytest.approx(5 * mean["wait"], rel=0.01)
        assert mean["n"] == figures["ok"]


def test_the_slow_ones_are_those_between_two_quantiles(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, **BUSY)
    took = timed(History(folder), Op.SEND)
    chosen = slow(took.latency_us)
    ordered = sorted(took.latency_us.tolist())
    n = len(ordered)
    band = ordered[math.ceil(0.985 * n) - 1 : math.ceil(0.995 * n) - 1]
    assert sorted(took.latency_us[chosen].tolist()) == band
    assert len(band) == pytest.approx(n / 100, abs=1)
    assert len(slow(took.latency_us[:1])) == 0


def test_a_server_that_tells_no_stages_has_none(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    at = world.measure + S
    row = {"op": Op.PING, "intended": at, "sent": at, "acknowledged": at + MS, "outcome": Outcome.OK}
    folder.write_rows("operations", 7, rows(OPERATIONS, [row | {"op_id": 7 << 40}]))
    figures = summarise_all(History(folder))["PING"]
    assert figures["mean_ms"] is None
    assert figures["stages_us"]["server"]["n"] == 0


def test_wait_and_service_are_told_apart_and_add_up(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, send_lag_us=Spread(40_000, 40_000))
    history = History(folder)
    figures = summarise_all(history)["STATE"]
    assert figures["wait_us"]["p50"] == figures["wait_us"]["p99"] == pytest.approx(40_000, abs=1)
    assert figures["service_us"]["p99"] < 3_000
    took = timed(history, Op.STATE)
    assert took.latency_us == pytest.approx(took.wait_us + took.service_us)
