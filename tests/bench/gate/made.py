"""Made-up runs: whatever is not said is alike in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.compare import Run
from bench.results import Json

NOISE = {"READ.p50": 0.03, "READ.p99": 0.06, "lag.receipt.p99": 0.06, "cpu": 0.01}


def quantiles(p50: float, p99: float, **more: Any) -> Json:
    return {"n": 5_000, "mean": p50, "p50": p50, "p90": p99 / 2, "p99": p99, "p999": None, "max": p99,
            "low_n": [], "at_least": [], **more}  # fmt: skip


def run(
    run_id: str,
    *,
    read_p50: float = 5_000.0,
    read_p99: float = 40_000.0,
    receipt_p99: float | None = 50_000.0,
    cpu: float = 9.0,
    throughput: float = 70.0,
    status: str = "VALID",
    violations: int = 0,
    series: tuple[str, int] | None = None,
    side: str | None = None,
    floor: float = 50.0,
    store_ms: float = 2.0,
    waits: float = 100.0,
    machine: str | None = "box",
    plan: str = "a" * 64,
    started: str = "2026-11-20T10:00:00+00:00",
    **of_run: Any,
) -> Run:
    correctness = "FAIL" if violations else "PASS"
    code = 12 if violations else {"VALID": 0, "INVALID": 4, "INCONCLUSIVE": 5}[status]
    reasons = []
    if status != "VALID":
        told = {"INVALID": "invalid", "INCONCLUSIVE": "inconclusive"}[status]
        reasons = [{"guard": "send_lag", "verdict": told, "message": "operations were sent late",
                    "advice": "wait", "value": 1, "threshold": 1}]  # fmt: skip
    stages = {"n": 100, "client": 0.1, "network": 0.5, "other": 0.2, "wait": 0.4, "store": store_ms,
              "cache": 0.3, "queue": 0.0}  # fmt: skip
    operation = {
        "count": 5_000, "ok": 5_000, "fail": 0, "info": 0, "latency_us": quantiles(read_p50, read_p99),
        "service_us": quantiles(read_p50, read_p99), "wait_us": quantiles(1.0, 2.0),
        "mean_ms": stages, "mean_ms_slow": stages, "resolution_floor_us": floor,
    }  # fmt: skip
    check = {"name": "acknowledged_reads", "promise": "durable", "promised": True, "eligible": 9_000,
             "violations": violations, "verdict": "fail" if violations else "pass"}  # fmt: skip
    nothing: Json = {"available": False, "why_not": "no queue", "quantiles": None, "undelivered": 0}
    receipt = nothing if receipt_p99 is None else {
        "available": True, "undelivered": 0, "undelivered_share": 0.0,
        "quantiles": quantiles(receipt_p99 / 5, receipt_p99), "resolution_floor_us": floor,
    }  # fmt: skip
    summary: Json = {
        "run_id": run_id,
        "started_at": started,
        "run": {"scheme": "redis", "model": "flags", "arm": "redis", "scenario": "steady_chat", "users": 200,
                "people": 133, "seed": 1, "options": {"model": "flags"}, "mysql_driver": "aiomysql",
                "cache": "cold", "pinned": "no", "durability": {"asked": "article"},
                "services": {"mysql": {"engine": "MariaDB", "version": "10.11", "how": "local"}},
                **of_run},
        "load": {"messages_per_s": throughput, "offered_per_s": 300.0, "achieved_per_s": 300.0,
                 "pushes_per_s": 500.0, "send_per_s_asked": throughput},
        "operations": {"READ": operation, "SEND": {**operation}},
        "lag": {"receipt": receipt},
        "consistency": {"checks": [check]},
        "generator": {"resolution_floor_us": floor, "send_lag_us": quantiles(20.0, floor)},
        "resources": {
            "server": {"cpu_s_per_1000_messages": cpu * 0.6, "cpu_cores_mean": 0.4, "rss_bytes_max": 10**8},
            "mysql": {"cpu_s_per_1000_messages": cpu * 0.4, "cpu_cores_mean": 0.3, "rss_bytes_max": 10**8,
                      "counters": {"Innodb_row_lock_waits": waits, "Com_commit": 9_000.0}},
        },
        "stores": {"cache_hit_ratio": 0.9},
        "verdict": {"status": status, "correctness": correctness, "outcome": "PASS", "exit_code": code,
                    "reasons": reasons, "thresholds": []},
        "ended": {"how": "finished"},
    }  # fmt: skip
    manifest: Json = {
        "run_id": run_id, "started_at": started, "plan_sha256": plan, "machine": {"class": machine},
        "run": summary["run"], "load": {}, "window": {"measure": 0, "measure_end": 20 * 10**9},
    }  # fmt: skip
    if series is not None:
        name, block = series
        manifest["repeat"] = {"series": name, "block": block, "place": 0, "blocks": 10, "order": ["A", "B"],
                              "side": side}  # fmt: skip
    return Run(run_id, summary, manifest)


def runs(
    name: str,
    n: int,
    seed: int,
    /,
    *,
    worse: float = 0.0,
    series: str | None = None,
    side: str | None = None,
    drift: Sequence[float] | None = None,
    noise: float = 1.0,
    only: str | None = None,
    **more: Any,
) -> list[Run]:
    """n runs with NOISE; `worse` of READ, receipt lag and CPU alike, or `only` of one of NOISE.

    `drift`: what each block met, as a logarithm."""
    rng = np.random.default_rng((seed, sum(map(ord, name))))
    made = []
    for block in range(n):
        met = drift[block] if drift is not None else 0.0

        def drawn(base: float, what: str, met: float = met) -> float:
            effect = np.log1p(worse) if only in (None, what) else 0.0
            return float(base * np.exp(met + effect + noise * NOISE[what] * rng.standard_normal()))

        figures = {"read_p50": drawn(5_000, "READ.p50"), "read_p99": drawn(40_000, "READ.p99"),
                   "receipt_p99": drawn(50_000, "lag.receipt.p99"), "cpu": drawn(9.0, "cpu")}  # fmt: skip
        made.append(
            run(f"{name}{block}", series=None if series is None else (series, block), side=side,
                **(figures | more))
        )  # fmt: skip
    return made
