"""How near a run came to what its machine can carry, by what `bench calibrate` found there."""

from __future__ import annotations

from typing import Final

from bench.results import Json

CONTROL: Final = "memory"


def near(
    calibrated: Json | None, operations: Json, resources: Json, run: Json, seconds: float
) -> Json | None:
    """`ceilings` of `summary.json`; None where nothing was calibrated.

    The generator's share is by its rate: all operations of the window, against as many cores as it has
    workers.  A store's is the CPU that it used of all that it may: what an operation of a run costs it is not
    what one cost in the calibration."""
    if not calibrated or seconds <= 0:
        return None
    ceilings = calibrated["ceilings"]
    done = sum(figures["count"] for figures in operations.values()) / seconds
    workers = int(run.get("workers") or 1)
    found = {
        "generator": _by_rate(done, ceilings["generator"], workers),
        "generator_mixed": _by_rate(done, ceilings["generator_mixed"], workers),
    }
    if run.get("scheme") == CONTROL:
        found[CONTROL] = _by_rate(done, ceilings[CONTROL], 1)
    for store in ("mysql", "redis", "kafka"):
        used = (resources.get(store) or {}).get("cpu_cores_mean")
        if used is not None and store in ceilings:
            found[store] = _by_cpu(used, ceilings[store])
    return {"measured_at": calibrated["measured_at"], "near": found}


def _by_rate(per_s: float, ceiling: Json, workers: int) -> Json:
    limit = ceiling["per_s"] * workers
    return {
        "unit": ceiling["unit"],
        "ceiling_per_s": round(limit, 1),
        "used_per_s": round(per_s, 1),
        "share": round(per_s / limit, 4) if limit else None,
    }


def _by_cpu(used_cores: float, ceiling: Json) -> Json:
    return {
        "unit": ceiling["unit"],
        "ceiling_per_s": ceiling["per_s"],
        "used_cores": used_cores,
        "share": round(used_cores / ceiling["cores"], 4),
    }
