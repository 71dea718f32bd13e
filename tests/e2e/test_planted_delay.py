"""A planted push delay moves the receipt lag by just that much, and one of nothing by nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.services import server
from tests.e2e.small import judged, options

pytestmark = pytest.mark.services


def receipt_lag(out: Path, patch: pytest.MonkeyPatch, delay_ms: int) -> dict[str, Any]:
    """The receipt lag of a run against the control with this delay planted."""
    patch.setenv("PLANTED_PUSH_DELAY_MS", str(delay_ms))
    patch.setattr(server, "MODULE", "tests.e2e.delayed_server")
    chosen = options(out, "memory", users=150, rate_per_s=100.0, duration_s=5.0, pin="auto")
    _, summary = judged(chosen)
    lag: dict[str, Any] = summary["lag"]["receipt"]
    assert lag["count"] >= 1000
    assert (
        lag["undelivered"] <= lag["count"] / 100
    )  # DRAIN does not know of pushes that the planted fault holds
    return lag


def test_the_lag_is_moved_by_what_was_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, nothing, planted = (
        receipt_lag(tmp_path / name, monkeypatch, delay)["quantiles"]["p50"] / 1000
        for name, delay in (("plain", 0), ("nothing", 0), ("planted", 50))
    )
    assert abs(nothing - plain) < 1.0
    assert planted - plain == pytest.approx(50.0, abs=2.0)
