"""Figures that make the guards of processes, machine and steady state fire, that do not quite, and that are
not there.  (guard, path in the summary, value that is put there, verdict)"""

from __future__ import annotations

from typing import Any

from bench.results import Json

OF_ONE = {
    "stalled_share": 0.0,
    "gaps": 0,
    "gap_us_max": 0,
    "gc_pauses": 0,
    "gc_us_max": 0,
    "clock_steps_us": 0,
    "clock_apart_us": 0,
}


def processes(process: str, **figures: Any) -> Json:
    """Three processes that had nothing, but for these figures of one."""
    return {
        name: OF_ONE | (figures if name == process else {})
        for name in ("server", "generator/0", "generator/probe_users")
    }


def hub(held: int) -> Json:
    return {"reads": 1_000, "held": held, "share": held / 1_000, "by": {"server": held}}


def services(same: bool | None) -> Json:
    differs = ["run_id: a when the load began, b when it was over"] if same is False else []
    return {"redis": {"same": same, "differs": differs}}


def changed(name: str, before: float, after: float, *, apart: bool = True) -> Json:
    return {name: {"before": before, "after": after, "change": after / before - 1, "apart": apart}}


def warmup(seconds: float, changes: Json) -> Json:
    because = f"its {seconds:g} s were over"
    return {"seconds": seconds, "ended_because": because, "span_s": 4, "changes": changes}


def little(apart: float | None) -> Json:
    return {"n": 2.0, "x_per_s": 100.0, "r_us": 20_000, "apart": apart}


STEADY = changed("READ", 1_000, 1_010, apart=False)
GENERATOR, PROBES = "generator/0", "generator/probe_users"
MIB = 1 << 20

FIRES: list[tuple[str, str, Any, str]] = [
    ("generator_stalls", "processes", processes(GENERATOR, stalled_share=0.0101), "invalid"),
    ("generator_stalls", "processes", processes(PROBES, stalled_share=0.1, gap_us_max=9), "invalid"),
    ("generator_stalls", "processes", processes(GENERATOR, gap_us_max=50_001), "warn"),
    ("server_stalls", "processes", processes("server", gap_us_max=250_001), "warn"),
    ("gc_pauses", "processes", processes("server", gc_pauses=1, gc_us_max=5_001), "warn"),
    ("gc_pauses", "processes", processes(PROBES, gc_pauses=1, gc_us_max=9_000), "warn"),
    ("hub_bound", "hub", hub(6), "warn"),
    ("clock_steps", "processes", processes(GENERATOR, clock_steps_us=1_001), "warn"),
    ("clock_steps", "processes", processes("server", clock_steps_us=100_001), "invalid"),
    ("clock_steps", "disturbances/clock_steps_us", 3_600_000_000, "invalid"),
    ("clocks_agree", "processes", processes(GENERATOR, clock_apart_us=5_001), "invalid"),
    ("cpu_steal", "resources/machine", {"counters": {"steal_s": 1.5}}, "warn"),
    ("cpu_steal", "resources/machine", {"counters": {"steal_s": 5.1}}, "inconclusive"),
    ("foreign_load", "disturbances/foreign_cores", 0.11, "warn"),
    ("foreign_load", "disturbances/foreign_cores", 0.26, "inconclusive"),
    ("run_queue", "disturbances/runqueue_share", 0.06, "warn"),
    ("run_queue", "disturbances/runqueue_share", 0.11, "inconclusive"),
    ("cpu_throttled", "disturbances/throttled_share", 0.011, "inconclusive"),
    ("cpu_throttled", "disturbances/too_hot", 1.0, "inconclusive"),
    ("cpu_throttled", "disturbances/slowest_khz_share", 0.89, "warn"),
    ("no_swapping", "disturbances/swapped_bytes", MIB + 1, "inconclusive"),
    ("disk_room", "disturbances/free_bytes/memory", 255 * MIB, "warn"),
    ("disk_room", "disturbances/free_bytes/results", 15 * MIB, "invalid"),
    ("open_files", "disturbances/files", {"server": {"open": 820, "limit": 1_024}}, "warn"),
    ("ports", "disturbances/ports", {"used": 22_600, "of": 28_232}, "warn"),
    ("services_same", "disturbances/services", services(same=False), "invalid"),
    ("warm_up", "warmup", warmup(4.9, STEADY), "warn"),
    ("warm_up", "warmup", warmup(15, changed("READ", 2_000, 1_490)), "inconclusive"),
    ("warm_up", "warmup", warmup(15, changed("STATE", 1_000, 1_260)), "inconclusive"),
    ("warm_up", "warmup", warmup(15, changed("throughput", 0.9, 1.0)), "inconclusive"),
    ("littles_law", "little", little(0.051), "inconclusive"),
]
SILENT: list[tuple[str, str, Any]] = [
    ("generator_stalls", "processes", processes(GENERATOR, stalled_share=0.01, gap_us_max=50_000)),
    ("generator_stalls", "processes", processes("server", stalled_share=0.5, gap_us_max=200_000)),
    ("server_stalls", "processes", processes("server", gap_us_max=250_000)),
    ("server_stalls", "processes", processes(GENERATOR, gap_us_max=900_000)),
    ("gc_pauses", "processes", processes("server", gc_pauses=9, gc_us_max=5_000)),
    ("hub_bound", "hub", hub(5)),
    ("clock_steps", "processes", processes(GENERATOR, clock_steps_us=1_000)),
    ("clocks_agree", "processes", processes(GENERATOR, clock_apart_us=5_000)),
    ("cpu_steal", "resources/machine", {"counters": {"steal_s": 1.0}}),
    ("foreign_load", "disturbances/foreign_cores", 0.10),
    ("run_queue", "disturbances/runqueue_share", 0.05),
    ("cpu_throttled", "disturbances/throttled_share", 0.01),
    ("cpu_throttled", "disturbances/slowest_khz_share", 0.91),
    ("no_swapping", "disturbances/swapped_bytes", MIB),
    ("disk_room", "disturbances/free_bytes/memory", 256 * MIB),
    ("disk_room", "disturbances/free_bytes/data", None),
    ("open_files", "disturbances/files", {"server": {"open": 819, "limit": 1_024}}),
    ("ports", "disturbances/ports", {"used": 22_500, "of": 28_232}),
    ("services_same", "disturbances/services", services(same=True)),
    ("services_same", "disturbances/services", {}),
    ("warm_up", "warmup", warmup(5, STEADY)),
    ("warm_up", "warmup", warmup(15, changed("READ", 2_000, 1_000, apart=False))),
    ("warm_up", "warmup", warmup(15, changed("READ", 2_000, 2_490))),
    ("warm_up", "warmup", warmup(15, changed("READ", 200, 390))),
    ("warm_up", "warmup", warmup(15, changed("throughput", 1.0, 1.04))),
    ("littles_law", "little", little(0.05)),
]
UNKNOWN: list[tuple[str, str, Any]] = [
    *(
        (guard, "processes", processes(GENERATOR, **{figure: None}))
        for guard, figure in (
            ("generator_stalls", "stalled_share"),
            ("gc_pauses", "gc_us_max"),
            ("clock_steps", "clock_steps_us"),
            ("clocks_agree", "clock_apart_us"),
        )
    ),
    ("server_stalls", "processes", processes("server", gap_us_max=None)),
    ("hub_bound", "hub", hub(0) | {"share": None}),
    ("cpu_steal", "resources/machine", {}),
    ("foreign_load", "disturbances/foreign_cores", None),
    ("run_queue", "disturbances/runqueue_share", None),
    ("cpu_throttled", "disturbances/throttled_share", None),
    ("no_swapping", "disturbances/swapped_bytes", None),
    ("disk_room", "disturbances/free_bytes", {"results": None, "memory": None}),
    ("open_files", "disturbances/files", {}),
    ("ports", "disturbances/ports", {"used": None, "of": 28_232}),
    ("services_same", "disturbances/services", services(same=None)),
    ("warm_up", "warmup", {}),
    ("littles_law", "little", little(None)),
]
