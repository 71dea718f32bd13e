from __future__ import annotations

import numpy as np
import pytest

from bench.metrics.lags import Lag
from bench.metrics.visible import Visible
from bench.report import arms, canvas, visibility
from bench.report.visibility import (
    Hidden,
    finding,
    hidden,
    hidden_polled,
    nothing,
    reached,
    share_at,
    thinned,
)

DB = arms.arms([{"scheme": "db", "model": "flags"}])[0]


def lag(us: list[float], observed: list[bool] | None = None, outlived: list[bool] | None = None) -> Lag:
    n = len(us)
    seen = np.array(observed if observed is not None else [True] * n)
    stayed = np.array(outlived if outlived is not None else [True] * n)
    time = (np.array(us) * 1_000).astype(np.int64)
    return Lag(time, time, seen, stayed, np.arange(n), np.zeros(n, np.bool_))


def test_undelivered_marks_hold_the_curve_up() -> None:
    one = hidden(DB, "receipt", lag([1_000, 2_000, 3_000, 9_000], [True, True, True, False]))
    assert one.undelivered == one.censored == 1
    assert one.share.tolist() == pytest.approx([0.75, 0.5, 0.25])
    assert share_at(one, 0.5) == 1.0
    assert share_at(one, 8_999.0) == pytest.approx(0.25)
    assert reached(one, 0.25) == 3_000
    assert reached(one, 0.1) is None


def test_a_closed_session_is_censored_and_not_undelivered() -> None:
    one = hidden(DB, "receipt", lag([1_000, 2_000, 3_000], [True, False, True], [True, False, True]))
    assert (one.censored, one.undelivered) == (1, 0)
    assert one.ticks_us.tolist() == [2_000]
    assert one.share[-1] == 0


def test_the_table_adds_up_at_every_time() -> None:
    one = hidden(DB, "receipt", lag([500, 5_000, 50_000, 70_000], [True, True, True, False]))
    assert [(row.ms, row.waiting, row.arrived, row.censored) for row in one.table] == [
        (1, 3, 1, 0),
        (10, 2, 2, 0),
        (100, 0, 3, 1),
    ]


def test_polls_leave_a_band_and_not_a_point() -> None:
    seen = Visible(np.array([0.0, 5e6, 20e6]), np.array([5e6, 10e6, np.inf]), 0)
    one = hidden_polled(DB, "visible", seen)
    assert (one.n, one.undelivered) == (3, 1)
    assert (one.low <= one.share + 1e-9).all()
    assert (one.share <= one.high + 1e-9).all()
    assert share_at(one, 10.0) == pytest.approx(1 / 3)
    assert one.high[one.time_us == 5_000].item() == pytest.approx(2 / 3)
    assert one.low[one.time_us == 5_000].item() == pytest.approx(1 / 3)


def test_thinning_keeps_both_ends() -> None:
    values = np.arange(100_000.0)
    kept = thinned(values, 400)
    assert len(kept) <= 402
    assert kept[:3].tolist() == [0, 1, 2]
    assert kept[-3:].tolist() == [99_997, 99_998, 99_999]
    assert thinned(values[:50], 400).tolist() == list(range(50))


def big(n: int, lost: int) -> Hidden:
    observed = [True] * (n - lost) + [False] * lost
    times = [float(us) for us in range(1, n - lost + 1)] + [1e7] * lost
    return hidden(DB, "receipt", lag(times, observed))


def test_the_finding_has_the_deepest_share_that_n_supports_and_the_lost() -> None:
    assert finding([big(2_000, 0)]) == "L3 receipt: 99 % after 1.98 ms, none undelivered"
    assert finding([big(20_000, 0)]) == "L3 receipt: 99.9 % after 20.0 ms, none undelivered"
    assert finding([big(2_000, 3)]) == "L3 receipt: 99 % after 1.98 ms, 3 of 2,000 undelivered"
    assert finding([big(2_000, 100)]) == "L3 receipt: never 99 % visible, 100 of 2,000 undelivered"


def test_a_lag_that_was_not_measured_says_why_on_the_chart() -> None:
    curves = [big(100, 1), nothing(DB, "cache", "no cache here")]
    figure = visibility.draw(curves, canvas.Words("t", "s", "n"))
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any("cache: not available: no cache here" in text for text in said)
    assert any("n 100, 1 censored\n1 undelivered" in text for text in said)
    assert finding([curves[1]]) == "No lag could be measured"
