"""Parts of the harness can be left out, a run says so, and the proof of their cost tells 3 % from more."""

from __future__ import annotations

import numpy as np
import pytest

from bench import runner
from bench.options import LEAVE_OUT, RunOptions
from bench.sampler import Sampler
from tests.proofs import own_effect
from tests.proofs.own_effect import Pair, page, rows


def options(*left_out: str) -> RunOptions:
    return RunOptions("memory", users=60, rate_per_s=20.0, duration_s=10.0, warmup_s=1.0, leave_out=left_out)


def test_without_probes_the_rest_of_the_plan_is_the_same() -> None:
    whole, without = runner.Load.of(options()), runner.Load.of(options("probes"))
    assert len(whole.plan.probes) > 0 == len(without.plan.probes)
    assert np.array_equal(whole.plan.sends, without.plan.sends)
    assert np.array_equal(whole.plan.openings, without.plan.openings)
    assert whole.probe_users.devices == without.probe_users.devices


def test_without_probe_users_their_devices_are_everybody_elses() -> None:
    whole, without = runner.Load.of(options()), runner.Load.of(options("probe_users"))
    assert whole.probe_users.devices
    assert without.probe_users.devices == ()
    assert without.plan.sha256 == whole.plan.sha256


def test_a_sampler_that_looks_seldom_has_no_thread() -> None:
    asked: list[int] = []
    seldom = Sampler(dict, lambda: asked.append(1) or [("mysql", "Questions", 1.0)], seldom=True)  # type: ignore[func-returns-value]
    seldom.start()
    seldom.look()
    assert len(asked) == 2
    samples = seldom.stop()
    assert sum(metric == "Questions" for _, _, metric, _ in samples) == 3
    often = Sampler(dict, list)
    often.look()
    assert often.so_far() == []


def pairs(cost: float, *, noise: float = 0.004, n: int = 20) -> dict[str, list[Pair]]:
    """`samplers` cost so much, the others nothing."""
    rng = np.random.default_rng(5)

    def figures(share: float) -> dict[str, float]:
        return {name: float(4 * share * np.exp(noise * rng.standard_normal())) for name in own_effect.FIGURES}

    costs = {part: cost if part == "samplers" else 1.0 for part in LEAVE_OUT}
    return {part: [(figures(of), figures(1.0)) for _ in range(n)] for part, of in costs.items()}


@pytest.mark.parametrize(
    ("cost", "noise", "said"), [(1.0, 0.004, "yes"), (1.06, 0.004, "NO"), (1.03, 0.03, "not decided")]
)
def test_more_than_the_limit_is_told_from_less(cost: float, noise: float, said: str) -> None:
    told = {row.part: row for row in rows(pairs(cost, noise=noise)) if row.figure == "cpu_ms"}
    assert told["samplers"].said == said
    assert told["samplers"].ratio == pytest.approx(cost, rel=3 * noise)
    if noise < 0.01:
        assert told["stamps"].said == "yes"


def test_few_pairs_decide_nothing() -> None:
    lines = page(pairs(1.0, n=3), "redis")
    assert sum("[0.000, inf] | not decided" in line for line in lines) == 2 * len(LEAVE_OUT)
