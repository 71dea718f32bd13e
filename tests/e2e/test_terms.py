"""Runs under terms that were asked for: what the stores then really are, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.results import RunFolder
from tests.e2e.small import judged, options

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def power(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, Any]]:
    """The queue, all that an ACK rests on flushed, 2 ms away, with a pool short of the data."""
    asked = options(
        tmp_path_factory.mktemp("power"), "queue", durability="power", store_rtt_ms=2.0, pool_ratio=0.5
    )
    return judged(asked)


def test_it_ends_well(power: tuple[RunFolder, dict[str, Any]]) -> None:
    folder, summary = power
    assert folder.manifest()["ended"]["how"] == "finished", folder.manifest()["ended"]
    assert summary["verdict"]["correctness"] == "PASS", summary["verdict"]["reasons"]


def test_every_store_that_an_ack_rests_on_flushes(power: tuple[RunFolder, dict[str, Any]]) -> None:
    _, summary = power
    settings = {name: of["settings"] for name, of in summary["run"]["services"].items()}
    assert settings["mysql"]["innodb_flush_log_at_trx_commit"] == "1"
    assert (settings["mysql"]["log_bin"], settings["mysql"]["sync_binlog"]) == ("ON", "1")
    assert settings["kafka"]["flush.messages"] == "1"
    assert settings["redis"]["appendonly"] == "no"  # it is a cache
    durable = summary["run"]["durability"]
    assert durable["class"] == "power"
    assert durable["stores"] == {"mysql": "power", "redis": "none", "kafka": "power"}


def test_each_round_trip_takes_so_much_longer(power: tuple[RunFolder, dict[str, Any]]) -> None:
    """A SEND is at least four statements and a COMMIT, and an event."""
    _, summary = power
    stages = summary["operations"]["SEND"]["stages_us"]
    assert stages["store"]["p50"] >= 4 * 2_000
    assert stages["queue"]["p50"] >= 2_000
    assert summary["operations"]["STATE"]["stages_us"]["cache"]["p50"] >= 2_000


def test_the_pool_was_short_and_missed(power: tuple[RunFolder, dict[str, Any]]) -> None:
    _, summary = power
    pool = summary["pool"]
    assert pool["ratio_asked"] == 0.5
    assert pool["pool_bytes"] < 100 << 20  # else it is a GB
    assert pool["misses"] > 0


def test_what_was_postponed_is_told(power: tuple[RunFolder, dict[str, Any]]) -> None:
    folder, summary = power
    backlogs = summary["debt"]["backlogs"]
    assert {"queue_events", "dirty_bytes", "redo_age_bytes"} <= set(backlogs)
    assert backlogs["queue_events"]["after_drain"] == 0
    assert backlogs["redo_age_bytes"]["at_end"] > 0
    assert folder.manifest()["machine"]["disk"]["fdatasync_us"]["p50"] > 0


def test_the_weaker_class_is_what_it_says(tmp_path: Path) -> None:
    _, summary = judged(options(tmp_path, "db", durability="process"))
    settings = summary["run"]["services"]["mysql"]["settings"]
    assert settings["innodb_flush_log_at_trx_commit"] == "2"
    assert summary["run"]["durability"]["class"] == "process"
    assert summary["verdict"]["correctness"] == "PASS"
