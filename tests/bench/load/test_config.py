"""Live quantiles are within their promise."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from bench.load.config import LoadConfig, Report, bucket_of, quantile
from bench.plan import PlanOptions
from bench.population import PopulationOptions


def test_quantiles_are_within_five_percent() -> None:
    durations = np.random.default_rng(1).lognormal(7, 1, 5000)
    buckets: dict[int, int] = {}
    for duration in durations:
        buckets[bucket_of(duration)] = buckets.get(bucket_of(duration), 0) + 1
    for share in (0.5, 0.99):
        assert quantile(buckets, share) == pytest.approx(np.quantile(durations, share), rel=0.05)
    assert quantile({}, 0.5) == 0


def test_what_goes_over_the_channel_comes_back() -> None:
    config = LoadConfig(
        "ws://h:1", "s.py", "/dev/shm/x", "p.npz", PopulationOptions(10), PlanOptions(), "n", cores=(0,)
    )  # fmt: skip
    encoded = msgspec.json.decode(msgspec.json.encode(config))
    assert msgspec.convert(encoded, LoadConfig, strict=False) == config
    report = Report(connected=3, latency={"READ": {5: 1}}, outcomes={"READ": {"OK": 1}})
    decoded = msgspec.json.decode(msgspec.json.encode(report))
    assert msgspec.convert(decoded, Report, strict=False) == report
