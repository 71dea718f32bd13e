"""`summary.json` from end to end: the contract's fields, made again alike, and runs that ended in trouble."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from bench import summary
from bench.expressions import ExpressionError
from bench.results import Json, RunFolder
from tests.bench.synthetic import START, S, build, change_manifest

pytestmark = pytest.mark.slow  # whole made-up runs

Q = {"n", "mean", "p50", "p90", "p99", "p999", "max"}
CONTRACT = {
    "": "schema_version tool_version run_id command started_at duration_s verdict run load operations lag "
    "consistency generator resources",
    "verdict": "status outcome exit_code reasons correctness",
    "run": "scheme model variant queue_order scenario users people devices_per_person intensity seed nodes "
    "mysql_driver services",
    "load": "offered_per_s achieved_per_s dropped late connections_asked connections_held reconnects "
    "messages_per_s pushes_per_s",
    "operations": "READ SEND SYNC STATE DELIVERED",
    "operations/READ": "count ok fail info errors latency_us service_us stages_us",
    "operations/READ/stages_us": "server store cache queue",
    "lag": "ack own_device receipt visible durable cache queue",
    "lag/receipt": "count censored undelivered quantiles available why_not",
    "generator": "send_lag_us cpu_cores cpu_us_per_operation rss_bytes bytes_per_user "
    "gc_pauses ceiling_per_s",
    "resources/server": "cpu_cores_mean cpu_cores_max rss_bytes_max",
}


def at(figures: Json, path: str) -> Any:
    for step in filter(None, path.split("/")):
        figures = figures[step]
    return figures


def test_the_contract(tmp_path: Path) -> None:
    figures = summary.summarize(build(tmp_path)[0])
    for path, names in CONTRACT.items():
        assert set(names.split()) <= set(at(figures, path)), path
    for path in ("operations/READ/latency_us", "lag/receipt/quantiles", "generator/send_lag_us"):
        assert set(at(figures, path)) >= Q
        assert all(isinstance(at(figures, path)[name], int | None) for name in Q)
    names = "name promise promised eligible violations upper_bound_95 verdict worst"
    assert set(names.split()) <= set(figures["consistency"]["checks"][0])
    assert figures["schema_version"] == 1
    assert figures["duration_s"] == 20


def test_what_is_written_is_what_is_computed(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, stale_at_end=2)
    figures = summary.write(folder)
    assert folder.summary() == figures == summary.summarize(RunFolder.open(folder.path))
    kinds = [finding["check"] for finding in folder.findings()]
    assert kinds.count("stale_at_end") == 2
    assert kinds.count("unread_at_end") == 2
    assert set(kinds) == {
        "stale_at_end", "converged", "linearizable", "read_your_writes_person", "monotonic_reads_person",
        "unread", "unread_at_end",
    }  # probes see what they wrote a moment later  # fmt: skip
    assert json.dumps(figures, allow_nan=False)


def test_the_table_has_a_row_per_figure(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    figures = summary.write(folder)
    with (folder.path / "summary.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["READ.latency.p90"] == {
        "name": "READ.latency.p90",
        "unit": "us",
        "value": str(figures["operations"]["READ"]["latency_us"]["p90"]),
        "n": str(figures["operations"]["READ"]["latency_us"]["n"]),
    }
    assert rows["READ.latency.p999"]["value"] == ""
    assert rows["lag.receipt.undelivered"]["value"] == "0"
    assert rows["violations.acknowledged_reads"]["n"] == str(figures["consistency"]["checks"][0]["eligible"])
    assert float(rows["server.cpu_cores_mean"]["value"]) == 0.5
    assert not [name for name in rows if name.startswith("lag.queue")]
    assert rows["t_visibility.0"]["value"] == str(figures["t_visibility"]["bins"][0]["share"])
    badge = figures["badge"]["error_s_per_user_hour"]
    assert rows["badge.error_s_per_user_hour.late"]["value"] == str(badge["late"])


@pytest.mark.parametrize("scheme", ["memory", "db", "redis", "queue"])
def test_every_scheme_passes_its_own_promises(tmp_path: Path, scheme: str) -> None:
    figures = summary.summarize(build(tmp_path, scheme=scheme, send_per_s=60)[0])
    verdict = figures["verdict"]
    assert (verdict["status"], verdict["correctness"], verdict["exit_code"]) == ("VALID", "PASS", 0)


@pytest.mark.parametrize(("scheme", "code"), [("memory", 12), ("db", 12), ("redis", 0), ("queue", 12)])
def test_stale_at_the_end_fails_who_promised_convergence(tmp_path: Path, scheme: str, code: int) -> None:
    figures = summary.summarize(build(tmp_path, scheme=scheme, stale_at_end=1, send_per_s=60)[0])
    assert figures["verdict"]["exit_code"] == code


@pytest.mark.parametrize(("scheme", "code"), [("memory", 0), ("db", 12), ("redis", 12), ("queue", 12)])
def test_a_lost_acknowledgement_fails_who_promised_to_keep_it(tmp_path: Path, scheme: str, code: int) -> None:
    figures = summary.summarize(build(tmp_path, scheme=scheme, lost_acknowledged=1, send_per_s=60)[0])
    assert figures["verdict"]["exit_code"] == code


def test_a_hole_in_the_record_is_invalid_and_unknown(tmp_path: Path) -> None:
    figures = summary.summarize(build(tmp_path, hole=3, send_per_s=60)[0])
    verdict = figures["verdict"]
    assert (verdict["status"], verdict["correctness"], verdict["exit_code"]) == ("INVALID", "UNKNOWN", 4)
    assert "record_complete" in {reason["guard"] for reason in verdict["reasons"]}


def test_a_condition_in_the_manifest_is_asked(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, send_per_s=60)
    change_manifest(folder, fail_if=["READ.p50 > 1ms"])
    figures = summary.summarize(folder)
    assert figures["verdict"]["exit_code"] == 10
    change_manifest(folder, fail_if=["READ.p51 > 1ms"])
    with pytest.raises(ExpressionError, match=r"READ\.p5"):
        summary.summarize(folder)


# --- runs that ended in trouble ---------------------------------------------------------------------------


def interrupted(folder: RunFolder, phase: str, **window: int) -> Json:
    (folder.path / "final_store.parquet").unlink()
    manifest = folder.manifest()
    manifest |= {"window": {"start": START, **window}, "drained": None, "final": {}}
    manifest |= {"ended": {"how": "interrupted", "phase": phase, "message": ""}}
    folder.write_manifest(manifest)
    return summary.summarize(folder)


def test_interrupted_while_measuring(tmp_path: Path) -> None:
    folder, world = build(tmp_path)
    figures = interrupted(folder, "measure", measure=world.measure)
    assert figures["verdict"]["exit_code"] == 130
    assert figures["verdict"]["correctness"] == "UNKNOWN"
    assert figures["operations"]["READ"]["count"] > 0


def test_interrupted_before_measuring(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    change_manifest(folder, window={"measure": None})
    figures = interrupted(folder, "warmup")
    assert figures["verdict"]["exit_code"] == 130
    assert json.dumps(figures, allow_nan=False)


def test_nothing_was_ever_recorded(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    for file in folder.path.glob("*.parquet"):
        file.unlink()
    manifest = folder.manifest()
    manifest |= {"window": {}, "drained": None, "final": {}, "deaths": []}
    manifest |= {"ended": {"how": "not_started", "phase": "setup", "message": "MySQL: access denied"}}
    folder.write_manifest(manifest)
    figures = summary.write(folder)
    assert figures["verdict"]["exit_code"] == 3
    assert figures["verdict"]["status"] == "INVALID"
    assert figures["operations"] == {}
    assert "MySQL: access denied" in figures["verdict"]["reasons"][0]["message"]


def test_a_dead_server_is_named_with_its_second(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, send_per_s=60)
    change_manifest(
        folder,
        ended={"how": "failed", "phase": "measure", "message": "server died"},
        deaths=[
            {"component": "server", "at_s": 7.0, "phase": "measure", "message": "server: signal 9, 7.0 s"}
        ],
    )
    verdict = summary.summarize(folder)["verdict"]
    assert (verdict["exit_code"], verdict["status"]) == (4, "INVALID")
    assert any("server: signal 9, 7.0 s" in reason["message"] for reason in verdict["reasons"])


def test_an_empty_manifest_of_ours_still_gives_a_summary(tmp_path: Path) -> None:
    """The runner was killed after the first lines: the folder must be readable all the same."""
    folder, _ = build(tmp_path)
    folder.write_manifest({"run_id": folder.run_id, "run": {"scheme": "db"}})
    figures = summary.summarize(folder)
    assert figures["operations"]["SEND"]["count"] > 0
    assert figures["duration_s"] * S > 0


def test_a_run_that_recorded_nothing_has_a_summary(tmp_path: Path) -> None:
    """It broke before anybody was connected: that is what its summary must say."""
    folder, _ = build(tmp_path)
    for shard in folder.path.glob("*-[0-9].parquet"):
        shard.unlink()
    folder.update_manifest(ended={"how": "internal_error", "phase": "connect", "message": "a bug"})
    verdict = summary.summarize(folder)["verdict"]
    assert verdict["status"] == "INVALID"
    assert any("a bug" in reason["message"] for reason in verdict["reasons"])
