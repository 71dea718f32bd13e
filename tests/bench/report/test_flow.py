from __future__ import annotations

import numpy as np

from bench.report import arms
from bench.report.flow import Flow, finding, flow
from bench.report.phases import Phases

DB, REDIS = arms.arms([{"scheme": "db", "model": "flags"}, {"scheme": "redis", "model": "flags"}])
NEVER = float("nan")


def made(intended: list[float], acknowledged: list[float], told: list[float], arm: arms.Arm = DB) -> Flow:
    return flow(arm, np.array(intended), np.array(acknowledged), np.array(told), Phases(-2, 10, 12))


def test_curves_count_what_happened_by_then() -> None:
    one = made([1, 2, 3], [1.5, 2.5, NEVER], [1.7, 9.0, NEVER])
    at_five = int(np.searchsorted(one.seconds, 5.0))
    assert (one.intended[at_five], one.acknowledged[at_five], one.told[at_five]) == (3, 2, 1)
    assert (one.n, one.never_acknowledged, one.never_told) == (3, 1, 1)


def test_the_backlog_of_a_bin_is_the_most_that_waited_at_once() -> None:
    one = made([3.1, 3.2, 3.9], [3.3, 3.3, 3.95], [3.3, 3.35, 4.5])
    waiting = dict(zip(one.bins[:-1].tolist(), one.waiting_told.tolist(), strict=True))
    assert waiting[2.0] == 0
    assert waiting[3.0] == 2  # not 1, which is what is left at the end of the second
    assert waiting[4.0] == 1  # still waiting when the second began
    assert waiting[5.0] == 0


def test_the_finding_has_the_worst_moment_and_what_never_came() -> None:
    one = made([1, 4, 4.1, 4.2], [1, 4.5, 4.5, 4.5], [1, 4.8, 4.8, NEVER])
    start = "READs not yet told to everyone, at most in the window: "
    assert finding([one]) == start + "3 at 4 s, 1 never"
    assert (
        finding([one, made([1], [1.1], [1.2], REDIS)])
        == start + "db/flags 3 at 4 s, 1 never; redis/flags 1 at 1 s"
    )
