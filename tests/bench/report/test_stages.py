from __future__ import annotations

from typing import Any

import pytest

from bench.report import arms, canvas, stages

DB, REDIS = arms.arms([{"scheme": "db", "model": "flags"}, {"scheme": "redis", "model": "flags"}])


def entry(n: int = 500, **ms: float) -> dict[str, Any]:
    return {"n": n, **dict.fromkeys(stages.STAGES, 0.0), **ms}


def test_a_split_is_the_summary_s_means_in_the_order_of_the_bars() -> None:
    one = stages.split(DB, "READ", {"mean_ms": entry(store=2, wait=1), "mean_ms_slow": entry(10, store=9)})
    assert one is not None
    assert list(one.mean) == list(stages.STAGES)
    assert one.total_ms == 3
    assert one.slow is not None
    assert one.slow["store"] == 9


def test_a_mean_of_fewer_than_ten_is_not_shown() -> None:
    one = stages.split(DB, "READ", {"mean_ms": entry(), "mean_ms_slow": entry(9, store=9)})
    assert one is not None
    assert one.slow is None


def test_no_stage_times_no_split() -> None:
    assert stages.split(DB, "READ", {"mean_ms": None, "mean_ms_slow": None}) is None


def test_stages_that_add_up_to_more_than_the_server_s_time_are_not_drawn_as_its_parts() -> None:
    told = entry(store=2, wait=9, other=-4, network=1)
    one = stages.split(DB, "READ", {"mean_ms": told, "mean_ms_slow": None})
    assert one is not None
    assert one.overlap == 4
    assert one.total_ms == pytest.approx(8)
    assert one.mean["other"] == pytest.approx(7)
    assert one.mean["wait"] == 0
    assert stages.finding([one]) == "Mean time goes to: READ 8.00 ms, its stages overlap"
    figure = stages.draw([one], canvas.Words("t", "s", "n"))
    assert "undivided: stages overlap by 4.00" in [text.get_text() for text in figure.axes[0].texts]


def test_what_rounding_makes_negative_is_nothing() -> None:
    one = stages.split(DB, "READ", {"mean_ms": entry(store=2, other=-0.001), "mean_ms_slow": None})
    assert one is not None
    assert not one.overlap
    assert one.mean["other"] == 0


def splits() -> list[stages.Split]:
    made = [
        stages.split(
            arm, "READ", {"mean_ms": entry(store=store, wait=1), "mean_ms_slow": entry(20, store=20)}
        )
        for arm, store in ((DB, 3), (REDIS, 1))
    ]
    return [one for one in made if one is not None]


def test_the_finding_names_the_largest_stage() -> None:
    assert (
        stages.finding(splits())
        == "Mean READ goes to: db/flags 4.00 ms, 75 % store; redis/flags 2.00 ms, 50 % wait"
    )
    assert stages.finding(splits()[:1]) == "Mean time goes to: READ 4.00 ms, 75 % store"
    assert stages.finding([]).startswith("Where the time goes is not available")


def test_both_panels_have_one_scale_from_zero() -> None:
    mean, slow = stages.draw(splits(), canvas.Words("t", "s", "n")).axes[:2]
    assert mean.get_xlim() == slow.get_xlim()
    assert mean.get_xlim()[0] == 0
    assert sum(bar.get_width() for bar in mean.patches) == pytest.approx(6)
