"""The query behind each chart: Python with pandas, to be run in the folder of the page; it ends in `result`.

These did not draw the charts: they compute the same figures in another way, and a test holds them together.
{runs} is filled in with the folders of the runs, as seen from the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_OPERATIONS: Final = """\
import glob, json
import numpy as np, pandas as pd
# op: 3 SEND, 5 READ, 6 STATE, 7 SYNC; outcome: 1 ok, 2 refused, 3 unanswered; times in ns
def operations(run):
    manifest = json.load(open(f"{run}/manifest.json"))
    window, probes = manifest["window"], manifest["run"].get("probe_users") or {"worker": -1}
    files = sorted(glob.glob(f"{run}/operations-*.parquet"))
    ops = pd.concat(map(pd.read_parquet, files), ignore_index=True)
    ops = ops[ops.op.isin([3, 5, 6, 7]) & ops.outcome.isin([1, 2, 3]) & (ops.sent > 0) & (ops.attempt == 0)]
    ops["measured"] = ops.intended.between(window["measure"], window["measure_end"], inclusive="left")
    service = ops.acknowledged - ops.sent
    service = service.where(ops.outcome != 3, service.clip(lower=5_000_000_000))
    ops["response_us"] = (service + ops.sent - ops.intended) / 1e3
    ops["second"] = (ops.intended - window["measure"]) / 1e9
    ops["end"] = (window["drain_end"] - window["measure"]) / 1e9
    ops["begin"] = (window["start"] - window["measure"]) / 1e9
    ops["probe"] = ops.op_id // 2**40 == probes["worker"]
    return ops
def headline(ops):  # of one kind: the probe users' where they have enough
    return ops[ops.probe] if ops.probe.sum() >= 1000 else ops
"""

_LAGS: Final = """\
import json
from pathlib import Path
import numpy as np, pandas as pd
from bench.metrics import lags, visible  # who had to be told of what: bench/metrics/receivers.py
from bench.metrics.history import History
from bench.results import RunFolder
def pairs(run):
    history = History(RunFolder.open(Path(run)))
    for name, lag in lags.collect(history).items():
        yield name, pd.DataFrame({"write": lag.operation, "us": lag.time / 1e3,
                                  "arrived": lag.observed, "stayed": lag.outlived})
def queue(run):  # events by the class of their age when they were applied, from the window's start on
    manifest = json.load(open(f"{run}/manifest.json"))
    if "kafka" not in manifest["run"]["services"]:
        return pd.DataFrame(columns=["us", "arrived"])
    ages = pd.read_parquet(f"{run}/queue_ages.parquet")
    before = ages[ages.t <= manifest["window"]["measure"]].groupby("within_us").applied.max()
    grown = ages.groupby("within_us").applied.max().sub(before, fill_value=0).astype(int)
    return pd.DataFrame({"us": np.repeat(grown.index, grown), "arrived": True})
"""

SPECTRUM: Final = (
    _OPERATIONS
    + """\
levels = [0.5, 0.9, 0.99, 0.999]
result = {run: {op: np.quantile(headline(ops).response_us, levels, method="inverted_cdf")
                for op, ops in operations(run).query("measured").groupby("op")} for run in {runs}}
"""
)

HEAT_MAP: Final = (
    _OPERATIONS
    + """\
def cells(ops):
    ops = ops[(ops.outcome != 3) & ops.second.between(ops.begin, ops.end)]
    width = max(1, int(np.ceil((ops.end.iloc[0] - ops.begin.iloc[0]) / 300)))
    second = (np.floor(ops.second / width) * width).rename("second")
    row = np.floor(12 * np.log10(ops.response_us.clip(lower=10)) + 1e-9).rename("row")  # 10^(row/12) us
    return ops.groupby([ops.op, second, row]).size()
result = {run: cells(operations(run)) for run in {runs}}
"""
)

HIDDEN: Final = (
    _LAGS
    + """\
def kaplan_meier(lag):
    times = lag.groupby("us").arrived.agg(["sum", "size"]).sort_index()
    waiting = times["size"][::-1].cumsum()[::-1]
    return (1 - times["sum"] / waiting).cumprod()[times["sum"] > 0]
result = {run: {name: kaplan_meier(lag) for name, lag in [*pairs(run), ("queue", queue(run))]}
          for run in {runs}}
"""
)

SOON: Final = """\
import glob, json
import numpy as np, pandas as pd
# op: 11 a probe's READ, 12 its STATEs until one shows it (the first is sent at once), 15 its only STATE
edges = np.array([0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]) * 1e6  # ns
def table(run, name):
    return pd.concat(map(pd.read_parquet, sorted(glob.glob(f"{run}/{name}-*.parquet"))), ignore_index=True)
def seen(run):
    window, ops = json.load(open(f"{run}/manifest.json"))["window"], table(run, "operations")
    key = ["conversation", "argument"]
    reads = ops[(ops.op == 11) & (ops.outcome == 1)]
    reads = reads[reads.intended.between(window["measure"], window["measure_end"], inclusive="left")]
    first = ops[(ops.op == 12) & (ops.sent > 0)].sort_values("sent").drop_duplicates(key)
    looks = pd.concat([ops[(ops.op == 15) & (ops.sent > 0)], first]).query("outcome == 1")
    looks = looks.merge(reads[[*key, "acknowledged"]], on=key, suffixes=("", "_read"))
    looks = looks.merge(table(run, "items")[["op_id", "conversation", "value"]], on=["op_id", "conversation"],
                        how="left", suffixes=("", "_shown"))
    age = (looks.sent - looks.acknowledged_read).to_numpy()
    bin = np.searchsorted(edges, age, side="right") - 1
    return (looks.value_shown >= looks.argument).groupby(bin).agg(["sum", "size"])
result = {run: seen(run) for run in {runs}}
"""

FLOW: Final = (
    _LAGS
    + """\
def told(run):
    history = History(RunFolder.open(Path(run)))
    lag = pd.concat([lag for name, lag in pairs(run) if name in ("own_device", "receipt")])
    lag = lag[lag.arrived | lag.stayed]
    columns = ("intended", "sent", "acknowledged", "outcome")
    ops = {name: history.operations[name][lag.write] for name in columns}
    at = pd.Series(ops["sent"] + lag.us.to_numpy() * 1e3).where(lag.arrived.to_numpy(), np.inf)
    reads = pd.DataFrame(ops | {"told": at}).groupby(lag.write.to_numpy()).agg(
        {"intended": "first", "acknowledged": "first", "outcome": "first", "told": "max"})
    reads["acknowledged"] = reads.acknowledged.where(reads.outcome == 1)
    seconds = reads[["intended", "acknowledged", "told"]].sub(history.window.measure).div(1e9)
    return seconds.replace(np.inf, np.nan)
result = {run: told(run) for run in {runs}}
"""
)

CPU: Final = """\
import glob, json
import numpy as np, pandas as pd
def per_message(run):
    window = json.load(open(f"{run}/manifest.json"))["window"]
    ops = pd.concat(map(pd.read_parquet, sorted(glob.glob(f"{run}/operations-*.parquet"))))
    ops = ops[ops.intended.between(window["measure"], window["measure_end"], inclusive="left")]
    messages = len(ops.query("op == 3 and outcome == 1 and attempt == 0"))
    cpu = pd.read_parquet(f"{run}/timeseries.parquet").query("metric == 'cpu_s'")
    ends = [window["measure"], window["measure_end"], window["drain_end"]]
    used = {part: np.diff(np.interp(ends, rows.t, rows.value)) for part, rows in cpu.groupby("component")}
    used = pd.DataFrame(used, index=["measured", "drain"]).T
    return used.groupby(used.index.str.split("/").str[0]).sum() * 1000 / messages  # CPU-ms
result = {run: per_message(run) for run in {runs}}
"""

STAGES: Final = (
    _OPERATIONS
    + """\
def mean_ms(ops):
    ops = pd.concat([headline(kind) for _, kind in ops[ops.measured].groupby("op")])
    ops = ops[(ops.outcome != 3) & (ops.server_us > 0)]
    own = ops[["wait_us", "store_us", "cache_us", "queue_us"]].astype(float)
    parts = own.assign(client=(ops.sent - ops.intended) / 1e3,
                       network=(ops.acknowledged - ops.sent) / 1e3 - ops.server_us,
                       other=ops.server_us - own.sum(axis=1))
    return parts.groupby(ops.op).mean() / 1e3
result = {run: mean_ms(operations(run)) for run in {runs}}
"""
)


def filled(query: str, runs: Sequence[str]) -> str:
    """The query with the folders of the runs in it."""
    return query.replace("{runs}", repr(list(runs)))


STEPS: Final = """\
import json
for arm in json.load(open("comparison.json"))["arms"]:
    for step in arm["steps"]:
        print(arm["arm"], step["load"], step["said"], step["figures"]["operations"]["READ"]["latency_us"])
# the rows behind a step: RunFolder(f"../{step['run_id']}/{step['step']}").table("operations")
"""
