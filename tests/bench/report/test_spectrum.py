from __future__ import annotations

import numpy as np
import pytest

from bench.metrics.quantiles import quantile
from bench.report import arms, spectrum
from bench.report.spectrum import at, curve, finding, grid, name

DB, REDIS = arms.arms([{"scheme": "db", "model": "flags"}, {"scheme": "redis", "model": "flags"}])


def sample(n: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(n).permutation(np.arange(1, n + 1)) * scale


@pytest.mark.parametrize("n", [2, 9, 10, 99, 1000, 12345])
def test_no_quantile_that_n_cannot_support(n: int) -> None:
    p = grid(n)
    assert (n * (1 - p) >= 1 - 1e-6).all()
    assert p[-1] == pytest.approx(1 - 1 / n)
    assert (np.diff(p) > 0).all()


def test_nothing_is_drawn_of_one_sample() -> None:
    assert not len(grid(1))
    assert not len(curve(DB, "READ", np.array([5.0]), np.array([]), 0).response_us)


@pytest.mark.parametrize("n", [10, 777, 5000])
def test_quantiles_are_those_of_the_summary(n: int) -> None:
    values = sample(n)
    one = curve(DB, "READ", values, values, 0)
    for p, value in zip(one.p, one.response_us, strict=True):
        assert value == quantile(values, float(p))


def test_a_mark_that_n_does_not_support_is_missing() -> None:
    one = curve(DB, "READ", sample(500), sample(500), 0)
    assert at(one, 0.99) == 495
    assert at(one, 0.999) is None


def test_the_finding_names_the_outermost_percentile_that_all_arms_carry() -> None:
    curves = [
        curve(DB, "READ", sample(5_000, 2.0), sample(10), 0),
        curve(REDIS, "READ", sample(500), sample(10), 0),
    ]
    assert finding(curves, None) == "READ p90 in ms: redis/flags 0.450, db/flags 9.00"


def test_the_finding_says_when_arms_are_below_the_floor() -> None:
    curves = [curve(arm, "READ", sample(2_000, 0.1), sample(10), 0) for arm in (DB, REDIS)]
    assert "not separated" in finding(curves, 1_000)
    assert "not separated" not in finding(curves, 1)


def test_the_finding_of_one_run_is_about_its_operations() -> None:
    curves = [curve(DB, op, sample(2_000), sample(10), 0) for op in ("READ", "SEND")]
    assert (
        finding(curves, None)
        == "Response times: READ p50 1.00 ms, p99 1.98 ms; SEND p50 1.00 ms, p99 1.98 ms"
    )
    few = [curve(DB, "READ", sample(12), sample(2), 0)]
    assert finding(few, None) == "Response times: READ too few samples (12)"


def test_a_quantile_among_the_unanswered_is_a_lower_bound() -> None:
    unanswered = np.concatenate([sample(1_000), np.full(500, 5e6)])
    curves = [
        curve(DB, "READ", unanswered, sample(1_000), 500),
        curve(REDIS, "READ", sample(1_500), sample(9), 0),
    ]
    assert finding(curves, None) == "READ p99 in ms: redis/flags 1.49, db/flags ≥5,000"
    assert finding(curves[:1], None) == "Response times: READ p50 750 µs, p99 ≥5.00 s"


def test_names_of_percentiles() -> None:
    assert [name(p) for p in (0.5, 0.99, 0.999, 0.99999)] == ["p50", "p99", "p99.9", "p99.999"]


def test_the_line_ends_where_the_sample_does() -> None:
    from bench.report import canvas

    figure = spectrum.draw(
        [curve(DB, "READ", sample(1_000), sample(1_000), 3)], canvas.Words("t", "s", "n"), 50
    )
    axes = figure.axes[0]
    furthest = max(float(np.max(line.get_xdata())) for line in axes.lines if len(line.get_xdata()))
    assert furthest == pytest.approx(1_000)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert "n 1,000" in axes.get_title("left")
    assert "unanswered 3" in axes.get_title("left")
