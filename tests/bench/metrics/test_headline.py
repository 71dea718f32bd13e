"""Probe users give the headline where they have enough samples; what the others measured stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.metrics import headline
from bench.metrics.history import History
from bench.metrics.operations import timed, timed_best
from bench.metrics.probe_users import summarise_probe_users
from bench.metrics.quantiles import bounds, summarise
from bench.record import Op
from bench.results import Json, RunFolder
from bench.summary import summarize
from tests.bench.synthetic import Spread, build, change_manifest

pytestmark = pytest.mark.slow  # whole made-up runs


def made(tmp_path: Path, **knobs: Any) -> tuple[RunFolder, Json]:
    """Half of the users are probe users: enough SENDs and READs of theirs, and too few STATEs."""
    wanted = {"probe_every": 2, "send_per_s": 60, "measure_s": 40, "think_s": 0.2} | knobs
    folder, _ = build(tmp_path, **wanted)
    return folder, summarize(folder)


def test_enough_samples_of_probe_users_are_the_headline(tmp_path: Path) -> None:
    folder, figures = made(tmp_path, unstamped_us=4_000)
    send = figures["operations"]["SEND"]
    took = timed(History(folder), Op.SEND)
    own, others = took.latency_us[took.of_probes], took.latency_us[~took.of_probes]
    assert len(own) >= headline.ENOUGH
    assert send["from"] == "probes"
    assert send["latency_us"] == summarise(own)
    assert send["count"] == len(own) + len(others), "counts are of everybody"
    check = send["cross_check"]
    assert check["from"] == "load"
    assert check["latency_us"] == summarise(others)
    assert check["p99_gap_us"] == send["latency_us"]["p99"] - check["latency_us"]["p99"]
    assert check["p99_gap_us"] == pytest.approx(-4_000, abs=300)
    assert (check["p99_apart"], check["maybe_chance"]) == (True, False)
    assert np.array_equal(timed_best(History(folder), Op.SEND).latency_us, own)


def test_too_few_of_them_are_the_cross_check_with_their_n(tmp_path: Path) -> None:
    folder, figures = made(tmp_path)
    state = figures["operations"]["STATE"]
    took = timed(History(folder), Op.STATE)
    assert 100 < np.count_nonzero(took.of_probes) < headline.ENOUGH
    assert state["from"] == "all"
    assert state["latency_us"] == summarise(took.latency_us)
    check = state["cross_check"]
    assert check["from"] == "probes"
    assert check["latency_us"] == summarise(took.latency_us[took.of_probes])
    assert check["p99_gap_us"] is not None, "it is told"
    assert check["p99_apart"] is None, "but not judged"


def test_without_probe_users_everybody_gives_the_headline(tmp_path: Path) -> None:
    figures = summarize(build(tmp_path)[0])
    for entry in (*figures["operations"].values(), *figures["lag"].values()):
        assert entry["cross_check"] is None
        assert entry["from"] in ("all", None)
    assert figures["probe_users"] is None


def test_a_folder_from_before_there_were_probe_users(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    manifest = folder.manifest()
    del manifest["run"]["probe_users"]
    folder.write_manifest(manifest)
    assert summarize(folder)["operations"]["SEND"]["from"] == "all"


def test_lags_are_of_what_probe_users_received(tmp_path: Path) -> None:
    folder, figures = made(tmp_path)
    receipt = figures["lag"]["receipt"]
    assert receipt["from"] == "probes"
    assert receipt["cross_check"]["from"] == "load"
    n, others = receipt["quantiles"]["n"], receipt["cross_check"]["quantiles"]["n"]
    assert n + others == receipt["count"]
    change_manifest(folder, run={"probe_users": {"users": 0, "worker": 2}})
    assert summarize(folder)["lag"]["receipt"]["count"] == receipt["count"]


def test_lags_that_load_users_saw_late_are_stated(tmp_path: Path) -> None:
    """Of the ACK, which each process stamps itself."""
    _, figures = made(tmp_path, unstamped_us=6_000)
    ack = figures["lag"]["ack"]["cross_check"]
    assert ack["p99_gap_us"] == pytest.approx(-6_000, abs=600)
    assert ack["p99_apart"] is True
    names = {reason["guard"] for reason in figures["verdict"]["reasons"]}
    assert "probe_users_agree" in names
    assert figures["verdict"]["status"] == "VALID"


def test_users_that_agree_are_not_accused(tmp_path: Path) -> None:
    _, figures = made(tmp_path)
    judged = [
        entry["cross_check"]["p99_apart"]
        for entry in (*figures["operations"].values(), *figures["lag"].values())
        if entry["cross_check"]
    ]
    assert judged.count(False) >= 4
    assert not any(judged)


def test_unanswered_ones_are_no_gap(tmp_path: Path) -> None:
    """A p99 that is only a lower bound is not compared."""
    _, figures = made(tmp_path, errors={"DEADLINE": 0.03})
    check = figures["operations"]["READ"]["cross_check"]
    assert check["p99_gap_us"] is check["p99_apart"] is None


# --- resolution -------------------------------------------------------------------------------------------


def test_the_resolution_is_that_of_whoever_gave_the_headline(tmp_path: Path) -> None:
    _, figures = made(tmp_path, send_lag_us=Spread(100, 1_100))
    probes, generator = figures["probe_users"], figures["generator"]
    assert probes["receive_error_us"] == 5
    assert probes["resolution_floor_us"] == probes["send_lag_us"]["p99"] + 5
    floors = {name: entry["resolution_floor_us"] for name, entry in figures["operations"].items()}
    assert floors["SEND"] == probes["resolution_floor_us"]
    assert floors["STATE"] == generator["resolution_floor_us"]
    assert figures["lag"]["receipt"]["resolution_floor_us"] == probes["resolution_floor_us"]


def test_replies_without_a_stamp_of_their_own_cost_resolution(tmp_path: Path) -> None:
    probes = summarise_probe_users(History(build(tmp_path, probe_every=2, coalesced=0.05)[0]))
    assert probes is not None
    assert probes["stamps"]["coalesced"] > 0
    assert probes["stamps"]["none"] == 0
    assert probes["user_space_late_us"]["p50"] == pytest.approx(350, abs=2)
    assert probes["receive_error_us"] == probes["user_space_late_us"]["p99"] == pytest.approx(399, abs=2)


def test_a_kernel_without_stamps_is_said(tmp_path: Path) -> None:
    figures = summarize(build(tmp_path, probe_every=2, coalesced=1.0)[0])
    probes, visible = figures["probe_users"], figures["lag"]["visible"]
    assert probes["stamps"]["clean"] == 0
    assert probes["receive_error_us"] is probes["resolution_floor_us"] is None
    assert visible["from"] == "probes"
    assert visible["resolution_floor_us"] == figures["generator"]["resolution_floor_us"]


# --- chance -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 0.99])
def test_the_interval_of_a_quantile_holds_the_truth_as_often_as_it_says(p: float) -> None:
    rng = np.random.default_rng(5)
    truth = -np.log(1 - p)
    samples = rng.exponential(size=(2_000, 1_000))
    held = np.mean([low <= truth <= high for low, high in (bounds(sample, p) for sample in samples)])
    assert 0.93 < held < 0.985


def test_a_gap_that_chance_can_make_is_marked(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    us = 20_000 * rng.exponential(size=4_000)
    choice = headline.choose(np.arange(4_000) < 2_000)
    samples = {True: us[choice.rows], False: us[choice.other_rows]}
    check = headline.cross_check(
        choice, us, summarise(samples[True]), lambda rows: {"q": summarise(us[rows])}, "q"
    )
    assert check is not None
    assert check["maybe_chance"] is True
    shifted = np.where(choice.rows, us, us * 2)
    check = headline.cross_check(
        choice, shifted, summarise(samples[True]), lambda rows: {"q": summarise(shifted[rows])}, "q"
    )
    assert check is not None
    assert (check["p99_apart"], check["maybe_chance"]) == (True, False)
