"""Did every process keep up, and do their clocks agree?  Event loops, garbage collection, clocks.  Pure.

The load processes stand on the measuring side: where they stood still, the figures are theirs.  Server and
consumer are measured, and what holds them up is in their figures; it is told where it is not the store that
is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.guards.guard import INVALID, OK, WARN, Guard, unknown
from bench.results import Json

GENERATOR_STALLED: Final = 0.01
"""Of the window; with more of it the p99 of what was sent late, or noticed late, is the generator's."""
GENERATOR_GAP_US: Final = 50_000
SERVER_GAP_US: Final = 250_000
PAUSE_US: Final = 5_000
STEP_US: Final = 1_000
STEP_VOID_US: Final = 100_000
APART_US: Final = 5_000
HUB_SHARE: Final = 0.005
"""Of READs; half of the slowest hundredth, so that their p99 is the loop's and not the store's."""


def _of(summary: Json, figure: str, *, generator: bool | None = None) -> dict[str, Any]:
    """That figure by process: of the load processes, of the others, or of all."""
    processes: Json = summary.get("processes") or {}
    return {
        name: of.get(figure)
        for name, of in processes.items()
        if generator is None or (name.partition("/")[0] == "generator") == generator
    }


def _silent(values: dict[str, Any], guard: str, threshold: float, what: str) -> Guard | None:
    """Not known, if it is not of every process."""
    missing = [name for name, value in values.items() if value is None]
    if values and not missing:
        return None
    return unknown(guard, threshold, f"{what} of {', '.join(missing) or 'every process'}")


def _worst(values: dict[str, Any]) -> tuple[str, float]:
    return max(values.items(), key=lambda pair: pair[1])


def _ms(us: float) -> str:
    return f"{us / 1000:.1f} ms"


def _generator_stalls(summary: Json) -> Guard:
    shares, gaps = (_of(summary, name, generator=True) for name in ("stalled_share", "gap_us_max"))
    silent = _silent(shares, "generator_stalls", GENERATOR_STALLED, "gaps of the event loop")
    if silent is not None:
        return silent
    (process, share), (other, gap) = _worst(shares), _worst(gaps)
    verdict = INVALID if share > GENERATOR_STALLED else WARN if gap > GENERATOR_GAP_US else OK
    return Guard(
        "generator_stalls",
        verdict,
        share,
        GENERATOR_STALLED,
        f"{process} stood still for {share:.2%} of the window, the longest gap of all load processes was "
        f"{_ms(gap)} ({other})"
        if gap
        else "no load process came back more than 5 ms late to its event loop",
        "What the generator did not send or notice in time is not the system's doing: quiet the machine, add "
        "--workers, or lower --rate.",
    )


def _server_stalls(summary: Json) -> Guard:
    gaps = _of(summary, "gap_us_max", generator=False)
    silent = _silent(gaps, "server_stalls", SERVER_GAP_US, "gaps of the event loop")
    if silent is not None:
        return silent
    process, gap = _worst(gaps)
    return Guard(
        "server_stalls",
        WARN if gap > SERVER_GAP_US else OK,
        gap,
        SERVER_GAP_US,
        f"the longest that {process} stood still in one piece was {_ms(gap)}"
        if gap
        else "nobody came back more than 5 ms late to its event loop",
        "It is in every figure of that moment: if it was stopped or starved, repeat the run; if it is busy, "
        "lower --rate.",
    )


def _gc_pauses(summary: Json) -> Guard:
    pauses = _of(summary, "gc_us_max")
    silent = _silent(pauses, "gc_pauses", PAUSE_US, "pauses of garbage collection")
    if silent is not None:
        return silent
    process, longest = _worst(pauses)
    return Guard(
        "gc_pauses",
        WARN if longest > PAUSE_US else OK,
        longest,
        PAUSE_US,
        f"the longest pause for garbage collection was {_ms(longest)}, in {process}"
        if longest
        else "nobody collected garbage for a millisecond or more",
        "Collections are frozen before the window begins: whoever collects in it shows in its own p99.",
    )


def hub_bound(summary: Json) -> bool | None:
    """Whether READ p99 is an event loop's, and not the store's; None: not known."""
    share = (summary.get("hub") or {}).get("share")
    return None if share is None else share > HUB_SHARE


def _hub_bound(summary: Json) -> Guard:
    hub: Json = summary.get("hub") or {}
    share = hub.get("share")
    if share is None:
        return unknown("hub_bound", HUB_SHARE, "READs that met a gap of an event loop")
    by = ", ".join(f"{name} {count}" for name, count in hub["by"].items() if count)
    return Guard(
        "hub_bound",
        WARN if hub_bound(summary) else OK,
        share,
        HUB_SHARE,
        f"{hub['held']} of {hub['reads']} READs ({share:.2%}) met an event loop that was busy for over 5 ms"
        + (f" ({by})" if by else ""),
        "READ p99 is hub-bound: it says how long an event loop was busy, not how long a store took, and is "
        "not ranked. Lower --rate, or give the processes cores.",
    )


def _clock_steps(summary: Json) -> Guard:
    harness = (summary.get("disturbances") or {}).get("clock_steps_us")
    steps = _of(summary, "clock_steps_us") | {"the harness": harness}
    silent = _silent(steps, "clock_steps", STEP_US, "steps of the wall clock")
    if silent is not None:
        return silent
    process, step = _worst(steps)
    return Guard(
        "clock_steps",
        INVALID if step > STEP_VOID_US else WARN if step > STEP_US else OK,
        step,
        STEP_VOID_US if step > STEP_VOID_US else STEP_US,
        f"the wall clock was moved by {_ms(step)} in the window, as {process} saw it"
        if step
        else "the wall clock was not moved",
        "Ages in the queue are told by the wall clock. Let the clock settle (chronyc tracking), or the "
        "machine not be suspended, and repeat the run.",
    )


def _clocks_apart(summary: Json) -> Guard:
    apart = _of(summary, "clock_apart_us")
    silent = _silent(apart, "clocks_agree", APART_US, "the clock")
    if silent is not None:
        return silent
    process, us = _worst(apart)
    return Guard(
        "clocks_agree",
        INVALID if us > APART_US else OK,
        us,
        APART_US,
        f"the clock of {process} is at least {_ms(us)} from the harness's"
        if us
        else "every process has the clock of the harness",
        "Times of one host's processes are compared with each other: run them all on one host, in one time "
        "namespace.",
    )


GUARDS: Final[tuple[Callable[[Json], Guard], ...]] = (
    _generator_stalls,
    _server_stalls,
    _gc_pauses,
    _hub_bound,
    _clock_steps,
    _clocks_apart,
)
