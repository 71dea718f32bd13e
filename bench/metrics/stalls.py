"""Which processes stood still in the measured window, for how long, and how many READs had a share in it.

From the table `stalls` (`bench/results.py`).  A process that told nothing, or not of the whole window, is
listed with figures that are not known.

A process that is late to its loop was either busy in it or kept from a core by others, which on few cores are
the stores: who measures or is measured has stood still either way, but only the first is the loop's doing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.cores import GENERATOR, PROBE_USERS
from bench.metrics import operations
from bench.metrics.history import History
from bench.record import Op, Stall
from bench.results import Json

Ints = NDArray[np.int64]
SERVER: Final = "server"
GAP_NS: Final = 5_000_000
FIGURES: Final = (
    "stalled_share", "gaps", "gap_us_max", "gc_pauses", "gc_us_max", "clock_steps_us", "clock_apart_us",
)  # fmt: skip


def summarise(history: History) -> Json:
    """`processes` of `summary.json`: by process the share of the measured window that its loop stood still,
    in how many gaps, the longest; pauses of garbage collection; steps of the wall clock, all together."""
    told = {watched["process"]: number for number, watched in enumerate(_watched(history))}
    return {
        process: _one(history, told.get(process)) for process in dict.fromkeys((*_expected(history), *told))
    }


def _watched(history: History) -> list[Json]:
    return history.manifest.get("watched") or []


def _expected(history: History) -> list[str]:
    """Processes that a run like this has."""
    workers = [f"{GENERATOR}/{number}" for number in range(int(history.run.get("workers") or 1))]
    probes = [PROBE_USERS] if history.probe_worker is not None else []
    consumer = ["consumer"] if "kafka" in (history.run.get("services") or {}) else []
    return [SERVER, *consumer, *workers, *probes]


def _one(history: History, number: int | None) -> Json:
    """Figures of an entry of `watched`."""
    window = history.window
    if number is None or not window.seconds:
        return dict.fromkeys(FIGURES)
    watched = _watched(history)[number]
    apart = {"clock_apart_us": watched["clock_apart_us"]}
    if watched["since"] > window.measure or watched["until"] < window.measure_end:
        return dict.fromkeys(FIGURES) | apart
    gaps, pauses, steps = (_lengths_us(history, number, kind) for kind in (Stall.LOOP, Stall.GC, Stall.CLOCK))
    return {
        "stalled_share": round(float(gaps.sum()) / 1e6 / window.seconds, 6),
        "gaps": len(gaps),
        "gap_us_max": int(gaps.max(initial=0)),
        "gc_pauses": len(pauses),
        "gc_us_max": int(pauses.max(initial=0)),
        "clock_steps_us": int(steps.sum()),
        **apart,
    }


def _lengths_us(history: History, number: int, kind: Stall) -> Ints:
    """As far as they lie in the measured window."""
    start, end = _spans(history, number, kind)
    inside = np.minimum(end, history.window.measure_end) - np.maximum(start, history.window.measure)
    if kind == Stall.CLOCK:  # an instant, and its length is no time
        at = (end >= history.window.measure) & (end < history.window.measure_end)
        inside = (end - start)[at]
    lengths: Ints = inside[inside > 0] // 1000
    return lengths


def _own_gaps(history: History, number: int) -> tuple[Ints, Ints]:
    """(from, to) of each gap of the loop that is longer than GAP_NS without what the process may have waited
    for a core in it; that is taken to be its beginning."""
    start, end = _spans(history, number, Stall.LOOP)
    queued, at = _spans(history, number, Stall.CORE)
    place = np.searchsorted(at, end)
    waited = np.zeros(len(end), np.int64)
    known = np.flatnonzero(place < len(at))
    known = known[at[place[known]] == end[known]]
    waited[known] = (at - queued)[place[known]]
    own = end - start - waited > GAP_NS
    return (start + waited)[own], end[own]


def _spans(history: History, number: int, kind: Stall) -> tuple[Ints, Ints]:
    """(from, to) of each, ns, in order."""
    stalls = history.folder.table("stalls")
    mine = (stalls["process"] == number) & (stalls["kind"] == kind)
    end = stalls["at"][mine]
    start = end - stalls["length_us"][mine].astype(np.int64) * 1000
    order = np.argsort(end, kind="stable")
    return start[order], end[order]


# --- READs --------------------------------------------------------------------------------------------------


def hub(history: History) -> Json:
    """`hub` of `summary.json`: how many of the READs that give the headline were under way while a loop was
    busy with something else: that of the server since they were sent, that of the load process that timed
    them since they were meant to be sent.

    share None: a loop that had to be watched was not."""
    took = operations.timed_best(history, Op.READ)
    row, answered = took.row[took.answered], history.operations["acknowledged"]
    begun, sent, done = history.operations["intended"][row], history.operations["sent"][row], answered[row]
    worker = history.operations["op_id"][row] >> 40
    numbers = {watched["process"]: number for number, watched in enumerate(_watched(history))}
    held, by, unknown = np.zeros(len(row), np.bool_), {}, False
    for process, mine in _loops(history, worker).items():
        if process not in numbers or _one(history, numbers[process])["gaps"] is None:
            unknown |= bool(mine.any())
            continue
        since = sent if process == SERVER else begun
        touched = mine & _touched(*_own_gaps(history, numbers[process]), since, done)
        held |= touched
        by[process] = int(np.count_nonzero(touched))
    known = len(row) > 0 and not unknown
    return {
        "reads": len(row),
        "held": int(np.count_nonzero(held)),
        "share": round(int(np.count_nonzero(held)) / len(row), 6) if known else None,
        "by": by,
    }


def _loops(history: History, worker: Ints) -> dict[str, NDArray[np.bool_]]:
    """Whose loops count for which of these operations."""
    found = {SERVER: np.ones(len(worker), np.bool_)}
    for number in np.unique(worker).tolist():
        name = PROBE_USERS if number == history.probe_worker else f"{GENERATOR}/{number}"
        found[name] = worker == number
    return found


def _touched(start: Ints, end: Ints, begun: Ints, done: Ints) -> NDArray[np.bool_]:
    """Which of the intervals (begun, done) have a part in one of the gaps, which follow each other."""
    touched: NDArray[np.bool_] = np.searchsorted(start, done) > np.searchsorted(end, begun, side="right")
    return touched
