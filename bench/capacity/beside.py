"""Other studies beside this one: in which settings they differ, what of them charts need.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.options import BOTH, RunOptions
from bench.results import Json

DRIVER: Final = "mysql_driver"
SETTINGS: Final = {
    "scenario": "scenario",
    "users": "users",
    "history": "history",
    "reads_per_mark": "reads per mark",
    "cache": "cache",
    "durability": "durability",
    "store_rtt_ms": "store rtt ms",
    "pool_ratio": "pool ratio",
    DRIVER: "driver",
}
"""What an ablation may change -> what it is called."""
KEPT: Final = ("load", "stage", "said")
READS: Final = ("STATE", "READ")


def settings(options: RunOptions) -> Json:
    """Of a study; None: as it is by itself.  With both drivers, each arm's run says its own."""
    direct, group = options.history
    return {
        "scenario": options.scenario,
        "users": options.users,
        "history": f"{direct}/{group}",
        "reads_per_mark": options.reads_per_mark,
        "cache": options.cache,
        "durability": options.durability,
        "store_rtt_ms": options.store_rtt_ms,
        "pool_ratio": options.pool_ratio,
        DRIVER: None if options.mysql_driver == BOTH else options.mysql_driver,
    }


def kept(content: Json, folder: str) -> Json:
    """What a later study keeps of this `comparison.json`."""
    return {
        "from": folder,
        **{name: content[name] for name in ("objective", "unit", "base", "settings", "control")},
        "status": content["verdict"]["status"],
        "arms": [
            {
                **{name: arm[name] for name in ("arm", "run", "found")},
                "steps": [{name: step[name] for name in KEPT} | _figures(step) for step in arm["steps"]],
            }
            for arm in content["arms"]
        ],
    }


def _figures(step: Json) -> Json:
    operations = step["figures"]["operations"]
    return {
        "figures": {
            "operations": {name: operations[name] for name in READS if name in operations},
            "resolution_floor_us": step["figures"]["resolution_floor_us"],
        }
    }


def differs(one: Json, other: Json) -> str:
    """How the settings of `other` differ from those of `one`: `durability power, history 50/200`.  Drivers of
    a study that has both are told by its arms."""
    return ", ".join(
        f"{name} {'natural' if other.get(key) is None else other[key]}"
        for key, name in SETTINGS.items()
        if one.get(key) != other.get(key) and (key != DRIVER or other.get(key) is not None)
    )


def reads_per_mark(arms: Sequence[Json], base: float) -> float | None:
    """STATEs per READ as they were carried at the base load, all arms together."""
    counts = dict.fromkeys(READS, 0)
    for arm in arms:
        for step in arm["steps"]:
            if step["load"] == base:
                for name in READS:
                    counts[name] += (step["figures"]["operations"].get(name) or {}).get("count", 0)
    return counts["STATE"] / counts["READ"] if counts["READ"] and counts["STATE"] else None
