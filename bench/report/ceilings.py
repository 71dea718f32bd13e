"""Ceilings in words: what `bench calibrate` found, and how near to them a run came.  Pure."""

from __future__ import annotations

from typing import Final

from bench.report import figures
from bench.results import Json

NAMES: Final = {
    "generator": "generator against an echo",
    "generator_mixed": "generator, natural mix",
    "memory": "generator + memory",
    "mysql": "MySQL",
    "redis": "Redis",
    "kafka": "Kafka",
}
ALIKE: Final = 0.1
"""The core is as fast as it was, within this share."""


def lines(found: Json, before: Json | None) -> list[str]:
    """One per ceiling; with what was measured before, by how much it moved."""
    told = [
        f"{NAMES[name]}: {figures.count(ceiling['per_s'])}{_interval(ceiling)} {ceiling['unit']}/s"
        f"{_moved(ceiling, ((before or {}).get('ceilings') or {}).get(name))}"
        for name, ceiling in found["ceilings"].items()
    ]
    return [*told, f"measured {found['measured_at']} in {found['seconds']:g} s{_core(found, before or {})}"]


def _interval(ceiling: Json) -> str:
    ends = ceiling.get("interval")
    return "" if ends is None else f" {figures.between(ends, figures.count)}"


def _moved(ceiling: Json, before: Json | None) -> str:
    if before is None or not before["per_s"]:
        return ""
    return f" ({ceiling['per_s'] / before['per_s'] - 1:+.1%} against the last time)"


def _core(found: Json, before: Json) -> str:
    """A ceiling that moved as the core did tells of the host."""
    if "reference_per_cpu_s" not in found or "reference_per_cpu_s" not in before:
        return ""
    moved = found["reference_per_cpu_s"] / before["reference_per_cpu_s"] - 1
    other = ", so this is not the machine that it was" if abs(moved) > ALIKE else ""
    return f"; a loop that only computes: {moved:+.1%} against the last time{other}"


def near_line(summary: Json) -> list[str]:
    """How near a run came to each."""
    ceilings = summary.get("ceilings")
    if not ceilings:
        return ["Ceilings of this machine: not measured (bench calibrate)"]
    parts = [
        f"{NAMES[name]} {figures.percent(near['share'], 2)}"
        for name, near in ceilings["near"].items()
        if near["share"] is not None
    ]
    return [f"Of what this machine can carry ({ceilings['measured_at'][:10]}): {', '.join(parts)}"]
