"""Was the machine the same for all arms?  The control's first run against its last.  Pure.

The control does the same work each time, so that what changes is the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.guards.guard import INCONCLUSIVE, OK, Guard, unknown
from bench.results import Json

DRIFT: Final = 0.05
FLOORS: Final = 2
"""A time that moved by less than so many resolution floors did not move."""


def control_drift(summaries: Sequence[Json]) -> Guard:
    """`summaries` of the control, in the order in which they were made."""
    if len(summaries) < 2:
        return unknown("control_drift", DRIFT, "whether the control drifted (it needs two runs of it)")
    first, last = summaries[0], summaries[-1]
    drifts = {
        "CPU per message": _change(_cpu(first), _cpu(last), 0.0),
        "READ p50": _change(_read_p50(first), _read_p50(last), FLOORS * _floor(first, last)),
    }
    known = {name: drift for name, drift in drifts.items() if drift is not None}
    if not known:
        return unknown("control_drift", DRIFT, "figures of the control")
    worst = max(known.values(), key=abs)
    return Guard(
        "control_drift",
        INCONCLUSIVE if abs(worst) > DRIFT else OK,
        round(worst, 4),
        DRIFT,
        "from its first run to its last the control drifted: "
        + ", ".join(f"{name} {_told(drift)}" for name, drift in known.items()),
        "The machine did not stay the same: compare arms of one block only, or repeat it when it is quiet.",
    )


def _change(first: float | None, last: float | None, at_least: float) -> float | None:
    if not first or last is None:
        return None
    return last / first - 1 if abs(last - first) > at_least else 0.0


def _told(drift: float) -> str:
    return f"{drift:+.1%}" if drift else "by less than can be told"


def _cpu(summary: Json) -> float | None:
    used: float | None = (summary["resources"].get("server") or {}).get("cpu_s_per_1000_messages")
    return used


def _read_p50(summary: Json) -> float | None:
    p50: float | None = ((summary["operations"].get("READ") or {}).get("latency_us") or {}).get("p50")
    return p50


def _floor(*summaries: Json) -> float:
    floors = [summary["generator"].get("resolution_floor_us") for summary in summaries]
    return float(max((floor for floor in floors if floor is not None), default=0))
