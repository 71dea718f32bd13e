"""What grows, and what only varies."""

from __future__ import annotations

import numpy as np
import pytest

from bench.capacity.backlog import UNANSWERED, growth, look
from bench.metrics.history import History
from tests.bench.synthetic import build

CAME_IN = 5_000.0


@pytest.mark.parametrize("level", [0.0, 20.0, 400.0])
def test_what_varies_does_not_grow(level: float) -> None:
    for seed in range(50):
        values = np.random.default_rng(seed).poisson(level, 30).astype(np.float64)
        assert not growth("work", values, CAME_IN).grows


@pytest.mark.parametrize("share", [0.02, 0.05, 0.5])
def test_more_than_is_done_grows(share: float) -> None:
    for seed in range(50):
        noise = np.random.default_rng(seed).poisson(20, 30)
        found = growth("work", np.linspace(0, share * CAME_IN, 30) + noise, CAME_IN)
        assert found.grows
        assert found.last > found.first


def test_too_short_a_series_says_nothing() -> None:
    assert not growth("work", np.array([0.0, 1e6]), CAME_IN).grows


def test_a_run_that_keeps_up_has_no_backlog(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, _ = build(tmp_path_factory.mktemp("run"), scheme="queue")
    found = look(History(folder))
    assert [one.what for one in found[:2]] == [UNANSWERED, "operations wait to be sent"]
    assert "events wait for the consumer" in {one.what for one in found}
    assert not any(one.grows for one in found)
