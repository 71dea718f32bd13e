"""t-visibility: which reads count, in which bin, and Wilson's interval of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.metrics import t_visibility
from bench.metrics.history import History
from bench.metrics.t_visibility import Looks, bins, looks, wilson
from bench.plan import OFFSETS_US
from bench.record import Op, Outcome
from tests.bench.synthetic import LOOKS_MS, build


def test_reads_show_it_from_when_it_is_visible(tmp_path: Path) -> None:
    """12 ms after the ACK; looks at 1, 3, 7, 15, ... ms, and the first polls within 5 ms."""
    folder, _ = build(tmp_path, visible_us=12_000, probes=80)
    found = looks(History(folder))
    assert len(found.age_us) == 160
    assert (found.shows == (found.age_us >= 12_000)).all()
    by_age = {one.from_us: one for one in bins(found)}
    assert [by_age[us].share for us in (2_000, 5_000, 10_000, 20_000, 200_000)] == [0, 0, 1, 1, 1]
    assert by_age[10_000].n == 80 / len(LOOKS_MS)
    assert sum(by_age[us].n for us in (0, 2_000, 5_000)) == 80 + 30
    assert by_age[1_000_000].share is None


def test_polls_after_the_first_do_not_count(tmp_path: Path) -> None:
    """A READ that shows after 40 ms is polled for eight times: were they counted, most reads would not show
    it."""
    folder, _ = build(tmp_path, visible_us=40_000, probes=16)
    history = History(folder)
    assert np.count_nonzero(history.operations["op"] == Op.PROBE_STATE) > 16 * 7
    assert len(looks(history).age_us) == 32


def test_unanswered_reads_are_counted_apart(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, probes=16)
    history = History(folder)
    outcome = history.operations["outcome"].copy()
    outcome[np.flatnonzero(history.operations["op"] == Op.PROBE_ONCE)[:3]] = Outcome.INFO
    history.operations.replace("outcome", outcome)
    found = looks(history)
    assert (len(found.age_us), found.unanswered) == (29, 3)


def test_without_probes_there_is_no_curve(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, probes=0)
    entry = t_visibility.summarise(looks(History(folder)))
    assert (entry["available"], entry["bins"], entry["count"]) == (False, [], 0)


def test_bins_are_half_open_and_the_last_takes_the_rest() -> None:
    age = np.array([0, 1_999.9, 2_000, 4_999_999, 5_000_000, 9_000_000])
    found = bins(Looks(age, np.array([True, False, True, True, False, True]), 0))
    assert [one.n for one in found] == [2, 1, *[0] * 8, 1, 2]
    assert [one.from_us for one in found] == list(OFFSETS_US)
    assert found[0].share == 0.5


@pytest.mark.parametrize(
    ("shown", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_s_interval(shown: int, n: int, low: float, high: float) -> None:
    """The last is R. G. Newcombe's example, "Two-sided confidence intervals for the single proportion",
    Statistics in Medicine 17 (1998), 857-872."""
    assert wilson(shown, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_wilson_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    shown = rng.binomial(50, 0.9, 4_000)
    ends = {int(one): wilson(int(one), 50) for one in np.unique(shown)}
    covered = np.mean([ends[int(one)][0] <= 0.9 <= ends[int(one)][1] for one in shown])
    assert 0.93 < covered < 0.99
