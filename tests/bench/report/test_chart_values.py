"""The values of each chart, computed once more from the Parquet files by other means.

With pandas, by the queries that stand below the charts, and from what the made-up run is known to be."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.record import Op, Phase
from bench.report import queries, spectrum
from bench.report.sources import SHOWN
from bench.report.visibility import share_at
from bench.results import RunFolder
from tests.bench.report.conftest import Compared, Made

pytestmark = pytest.mark.slow  # draws whole reports


def run_query(query: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(query, names)
    return names["result"]


def of(query: str, made: Made, monkeypatch: pytest.MonkeyPatch) -> Any:
    return run_query(queries.filled(query, ["."]), made.folder.path, monkeypatch)["."]


@pytest.fixture(params=["control", "redis", "queue"])
def made(request: pytest.FixtureRequest) -> Made:
    found: Made = request.getfixturevalue(request.param)
    return found


def test_percentile_spectrum(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = of(queries.SPECTRUM, made, monkeypatch)
    for one in made.data.curves:
        known = computed[Op[one.operation]]
        for mark, us in zip(spectrum.MARKS, known, strict=True):
            drawn = spectrum.at(one, mark)
            if one.n * (1 - mark) >= 1:
                assert drawn == pytest.approx(us, abs=1e-3)
            else:
                assert drawn is None


def test_percentile_spectrum_s_service_time(made: Made) -> None:
    ops = pd.concat(map(pd.read_parquet, sorted(made.folder.path.glob("operations-*.parquet"))))
    ops = ops[
        (ops.op == Op.READ) & (ops.phase == Phase.MEASURE) & (ops.acknowledged > 0) & ops.outcome.isin([1, 2])
    ]
    if made.world.knobs.probe_every:
        ops = ops[ops.op_id // 2**40 == made.world.knobs.workers]
    took = np.sort((ops.acknowledged - ops.sent) / 1e3)
    read = next(one for one in made.data.curves if one.operation == "READ")
    assert read.service_us[-1] == pytest.approx(
        took[-2], abs=1e-3
    )  # one sample lies beyond the last quantile
    assert read.service_us[0] == pytest.approx(np.quantile(took, 0.5, method="inverted_cdf"), abs=1e-3)


def test_latency_heat_map(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = of(queries.HEAT_MAP, made, monkeypatch)
    for one in made.data.maps:
        known = computed[Op[one.operation]]
        assert one.n == known.sum()
        drawn = {}
        for row, column in zip(*np.nonzero(one.counts), strict=True):
            low = round(12 * np.log10(one.edges_us[row]))
            drawn[float(one.seconds[column]), float(low)] = int(one.counts[row, column])
        assert drawn == {key: int(count) for key, count in known.items()}


def test_heat_map_counts_every_unanswered_operation(redis: Made) -> None:
    read = next(one for one in redis.data.maps if one.operation == "READ")
    ops = pd.concat(map(pd.read_parquet, sorted(redis.folder.path.glob("operations-*.parquet"))))
    assert read.info.sum() == len(ops[(ops.op == Op.READ) & (ops.outcome == 3)]) > 0


@pytest.mark.parametrize("name", ["receipt", "own_device", "message", "ack", "queue"])
def test_not_yet_visible(made: Made, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known: pd.Series[float] = of(queries.HIDDEN, made, monkeypatch)[name]
    one = next(one for one in made.data.hidden if one.lag == name)
    if name == "queue" and made.world.knobs.scheme != "queue":
        assert one.why_not
        assert not len(known)
        return
    assert one.share[-1] == pytest.approx(known.iloc[-1], abs=1e-12)
    for us, share in zip(one.time_us, one.share, strict=True):
        assert known[us] == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("name", ["receipt", "own_device", "message"])
def test_not_yet_visible_is_what_the_run_was_made_of(control: Made, name: str) -> None:
    """Nothing was lost and nobody left: the curve is the plain distribution of the lags that were drawn."""
    window = control.folder.manifest()["window"]
    intended = {row["op_id"]: row["intended"] for row in control.world.operations}
    lags = [
        told.lag_us
        for told in control.world.told[name]
        if window["measure"] <= intended[told.write] < window["measure_end"]
    ]
    one = next(one for one in control.data.hidden if one.lag == name)
    assert (one.n, one.censored, one.undelivered) == (len(lags), 0, 0)
    for ms in (0.5, 1.0, 1.5, 2.0, 5.0):
        left = np.mean(np.array(lags) > ms * 1000)
        assert share_at(one, ms) == pytest.approx(left, abs=0.02)  # steps that were thinned out


def test_visible_contains_the_known_lag(control: Made) -> None:
    one = next(one for one in control.data.hidden if one.lag == "visible")
    known_ms = control.world.knobs.visible_us / 1000
    assert share_at(one, known_ms - 5.1) == pytest.approx(1.0)
    assert share_at(one, known_ms + 6.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("name", "late_us"), [("durable", "stored_us"), ("cache", "cached_us")])
def test_the_stores_curves_contain_the_known_lags(queue: Made, name: str, late_us: str) -> None:
    one = next(one for one in queue.data.hidden if one.lag == name)
    known_ms = getattr(queue.world.knobs, late_us) / 1000
    assert one.n == queue.world.knobs.probes
    assert share_at(one, known_ms - 5.1) == pytest.approx(1.0)
    assert share_at(one, known_ms + 6.0) == pytest.approx(0.0, abs=1e-9)


def test_t_visibility(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    known: pd.DataFrame = of(queries.SOON, made, monkeypatch)
    points = {i: (one.shown, one.n) for i, one in enumerate(made.data.soon.bins) if one.n}
    assert points == {int(i): (int(row["sum"]), int(row["size"])) for i, row in known.iterrows()}
    assert sum(n for _, n in points.values()) == 2 * made.world.knobs.probes
    visible = made.world.knobs.visible_us
    for one in made.data.soon.bins:
        if one.n and (one.to_us <= visible or one.from_us >= visible):
            assert one.share == (one.from_us >= visible)


def test_cumulative_flow(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: pd.DataFrame = of(queries.FLOW, made, monkeypatch)
    flow = made.data.flow
    assert flow.n == len(reads)
    for curve, column in (
        (flow.intended, "intended"),
        (flow.acknowledged, "acknowledged"),
        (flow.told, "told"),
    ):
        for index in range(0, len(flow.seconds), 37):
            assert curve[index] == (reads[column] <= flow.seconds[index]).sum()
    assert flow.never_told == reads.told.isna().sum()
    assert flow.never_acknowledged == reads.acknowledged.isna().sum()


def test_the_most_that_waited_at_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: pd.DataFrame = of(queries.FLOW, made, monkeypatch)
    flow = made.data.flow
    moments = np.sort(np.concatenate([reads.intended, flow.bins[:-1]]))
    waiting = [((reads.intended <= t) & ~(reads.told <= t)).sum() for t in moments]
    for index, low in enumerate(flow.bins[:-1]):
        inside = (moments >= low) & (moments < flow.bins[index + 1])
        assert flow.waiting_told[index] == np.max(np.array(waiting)[inside])


def test_cpu_per_message(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: pd.DataFrame = of(queries.CPU, made, monkeypatch)
    assert set(made.data.demand.parts) == set(computed.index) - {"generator", "machine", "harness"}
    for component, spent in made.data.demand.parts.items():
        assert spent.measured == pytest.approx(computed.measured[component])
        assert spent.drain == pytest.approx(computed.drain[component])
        told = made.summary["resources"][component]["cpu_s_per_1000_messages"]
        assert spent.drained == pytest.approx(told, abs=1e-4)


def test_time_by_stage(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: pd.DataFrame = of(queries.STAGES, made, monkeypatch)
    assert [one.operation for one in made.data.splits] == [op.name for op in SHOWN]
    for one in made.data.splits:
        known = computed.loc[Op[one.operation]].rename(lambda column: column.removesuffix("_us"))
        assert dict(one.mean) == pytest.approx(known.to_dict(), abs=2e-6)


def test_time_by_stage_of_the_slow_ones(redis: Made) -> None:
    ops = pd.concat(map(pd.read_parquet, sorted(redis.folder.path.glob("operations-*.parquet"))))
    ops = ops[(ops.op == Op.SEND) & (ops.phase == Phase.MEASURE) & (ops.acknowledged > 0)]
    took = (ops.acknowledged - ops.intended).rank(method="first") - 1
    n = len(ops)
    slow = ops[(took >= np.ceil(round(n * 0.985, 6)) - 1) & (took < np.ceil(round(n * 0.995, 6)) - 1)]
    one = next(one for one in redis.data.splits if one.operation == "SEND")
    assert one.slow_n == len(slow)
    assert one.slow is not None
    assert one.slow["store"] == pytest.approx(slow.store_us.mean() / 1e3, abs=1e-6)


def test_the_queries_on_the_page_run_where_the_page_is(
    reported: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (reported.path / "report.html").read_text()
    found = [unescape(query) for query in re.findall(r"<pre><code>(.*?)</code></pre>", page, flags=re.DOTALL)]
    assert len(found) == 7
    for query in found:
        assert list(run_query(query, reported.path, monkeypatch)) == ["."]


def test_the_queries_of_a_comparison_reach_its_runs(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (compared.out / "report.html").read_text()
    query = unescape(re.findall(r"<pre><code>(.*?)</code></pre>", page, flags=re.DOTALL)[0])
    result = run_query(query, compared.out, monkeypatch)
    for arm in compared.content["arms"]:
        p99 = result[f"../{arm['middle']}"][Op.READ][2]
        assert arm["summary"]["operations"]["READ"]["latency_us"]["p99"] == pytest.approx(p99, abs=1)
