"""L7: events by age and how many are behind, from what the server told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.metrics import queue_lag
from bench.metrics.history import History
from bench.metrics.queue_lag import QueueLag
from tests.bench.synthetic import Spread, build


def lag(folder_of: Path, **knobs: object) -> QueueLag:
    folder, _ = build(folder_of, scheme="queue", **knobs)  # type: ignore[arg-type]
    found = queue_lag.collect(History(folder))
    assert isinstance(found, QueueLag)
    return found


def test_quantiles_are_those_of_the_events_of_the_window(tmp_path: Path) -> None:
    ages = Spread(2_000, 30_000)
    entry = queue_lag.summarise(lag(tmp_path, event_us=ages, measure_s=20, warmup_s=5))
    assert entry["count"] == 50 * 20
    assert entry["censored"] == 0
    for name, p in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert entry["lower"][name] <= ages.at(p) + 300
        assert entry["quantiles"][name] >= ages.at(p) - 300
        assert entry["quantiles"][name] - entry["lower"][name] == 1_000
    assert entry["events"] | {"low_n": []} == {
        "n": 21, "mean": 17, "p50": 17, "p90": 17, "p99": None, "p999": None, "max": 17, "low_n": [],
        "at_least": [], "bounds": {"p50": [17, 17], "p90": [17, 17]},
    }  # fmt: skip


def test_events_that_were_never_applied_hold_the_quantiles_up(tmp_path: Path) -> None:
    found = lag(tmp_path, never_applied=250, measure_s=20)
    entry = queue_lag.summarise(found)
    assert (entry["count"], entry["censored"], entry["undelivered"]) == (1_250, 250, 250)
    assert found.within_us[~found.applied].min() >= 4_000_000
    assert entry["quantiles"]["p90"] is None  # 20 % never came
    assert entry["quantiles"]["p50"] == pytest.approx(2_000 + 28_000 * 0.5 / 0.8, abs=1_000)
    assert entry["quantiles"]["at_least"] == ["mean", "max"]


def test_a_server_that_tells_nothing_is_said_so(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, scheme="queue")
    (folder.path / "queue_ages.parquet").unlink()
    assert "LAG" in str(queue_lag.collect(History(folder)))
