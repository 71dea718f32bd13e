"""Was it a steady state that was measured?  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.guards.guard import INCONCLUSIVE, OK, UNKNOWN, WARN, Guard, unknown
from bench.results import Json

WARM_UP_S: Final = 5.0
CHANGE: Final = 0.25
"""Of a median service time, from the warm-up's end to the window's begin."""
CHANGE_US: Final = 200
THROUGHPUT: Final = "throughput"
THROUGHPUT_CHANGE: Final = 0.05
APART: Final = 0.05


def _warm_up(summary: Json) -> Guard:
    """Time and stationarity: a short warm-up is told, one that was still changing leaves things undecided."""
    warmup: Json = summary.get("warmup") or {}
    changes = warmup.get("changes") or {}
    if "seconds" not in warmup:
        return unknown("warm_up", CHANGE, "the warm-up")
    short = warmup["seconds"] < WARM_UP_S
    moved = {name: change for name, change in changes.items() if _moved(name, change)}
    apart = [abs(change["change"] or 0) for change in changes.values() if change["apart"]]
    ended = f"warm-up of {warmup['seconds']:g} s ended because {warmup['ended_because']}"
    if moved:
        said = f"{ended}; it was not steady: {'; '.join(map(_said, moved, moved.values()))}"
    elif changes:
        said = f"{ended}; its last {warmup['span_s']:g} s were like the first measured"
    else:
        said = f"{ended}; whether it was steady is not known, there are too few samples"
    return Guard(
        "warm_up",
        INCONCLUSIVE if moved else WARN if short else OK if changes else UNKNOWN,
        warmup["seconds"] if short and not moved else max(apart, default=0.0 if changes else None),
        WARM_UP_S if short and not moved else CHANGE,
        said,
        f"Raise --warmup; below {WARM_UP_S:g} s caches, pools and a JVM are seldom warm.",
    )


def _moved(name: str, change: Json) -> bool:
    by = abs(change["change"] or 0)
    if name == THROUGHPUT:
        return bool(change["apart"] and by > THROUGHPUT_CHANGE)
    enough = abs(change["after"] - change["before"]) > CHANGE_US
    return bool(change["apart"] and by > CHANGE and enough)


def _said(name: str, change: Any) -> str:
    if name == THROUGHPUT:
        return f"answers per planned operation {change['before']:.2f}, then {change['after']:.2f}"
    before, after = change["before"] / 1000, change["after"] / 1000
    return f"{name} took {before:.2f} ms, then {after:.2f} ms ({change['change']:+.0%})"


def _little(summary: Json) -> Guard:
    little: Json = summary.get("little") or {}
    apart = little.get("apart")
    if apart is None:
        return unknown("littles_law", APART, "operations under way")
    n, x, r_ms = little["n"], little["x_per_s"], little["r_us"] / 1000
    return Guard(
        "littles_law",
        INCONCLUSIVE if apart > APART else OK,
        apart,
        APART,
        f"{n:.3g} operations were under way on average; {x:.0f}/s of {r_ms:.2f} ms make "
        f"{x * r_ms / 1000:.3g}",
        "Either a backlog grew (lower --rate), or rows of the record contradict each other.",
    )


GUARDS: Final[tuple[Callable[[Json], Guard], ...]] = (_warm_up, _little)
