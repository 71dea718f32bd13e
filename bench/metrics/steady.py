"""Was what was measured a steady state?  The warm-up's end against the window's begin, and Little's law.

**Warm-up.**  It ends when its time is over and is never made longer.  The last seconds of it and the first
ones of the measured window are cut into PARTS each.  A figure (the median service time of an operation, and
answers per planned operation) has changed if the parts before are above, or below, the parts after, but for
at most OUT_OF_ORDER of the 64 pairs: under no change that happens 14 times in C(16, 8) = 12,870, whatever the
figure's distribution (H. B. Mann and D. R. Whitney, "On a Test of Whether one of Two Random Variables is
Stochastically Larger than the Other", Annals of Mathematical Statistics 18, 1947).

**Little's law.**  N = X R for what was under way: N by integration over the window, X the answers per second
in it, R how long those took (John D. C. Little, "A Proof for the Queuing Formula L = lambda W", Operations
Research 9, 1961).  What was under way at the window's edges is in one side only, so that the two differ where
a backlog grows, and where rows of the record contradict each other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import DEADLINE_US, History
from bench.record import NONE, Op, Outcome
from bench.results import Json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SPAN_S: Final = 8.0
PARTS: Final = 8
OUT_OF_ORDER: Final = 3
ENOUGH: Final = 10
"""Samples in a part for its median."""
LATENCIES: Final = (Op.SEND, Op.READ, Op.STATE)
THROUGHPUT: Final = "throughput"


def warm_up(history: History) -> Json:
    """`warmup` of `summary.json`; {} if the run never got to measuring.  `changes`: by figure before, after
    (the medians of the parts; µs, or answers per planned operation), the change as a share of `before`, and
    whether the parts are apart."""
    window = history.window
    if not window.seconds:
        return {}
    seconds = (window.measure - window.start) / 1e9
    span_s = min(SPAN_S, seconds, window.seconds / 2)
    return {
        "seconds": round(seconds, 3),
        "ended_because": f"its {seconds:g} s were over",
        "span_s": round(span_s, 3),
        "changes": _changes(history, round(span_s * 1e9)) if span_s > 0 else {},
    }


def _changes(history: History, span_ns: int) -> Json:
    window = history.window
    edges = np.linspace(window.measure - span_ns, window.measure + span_ns, 2 * PARTS + 1)
    found = {}
    for op in LATENCIES:
        medians = _medians(history, op, edges)
        if medians is not None:
            found[op.name] = _change(medians)
    answered = _answered(history, edges)
    if answered is not None:
        found[THROUGHPUT] = _change(answered)
    return found


def _change(parts: Floats) -> Json:
    before, after = parts[:PARTS], parts[PARTS:]
    one, other = float(np.median(before)), float(np.median(after))
    return {
        "before": round(one, 4),
        "after": round(other, 4),
        "change": round(other / one - 1, 4) if one else None,
        "apart": _apart(before, after),
    }


def _apart(before: Floats, after: Floats) -> bool:
    rising = int(np.count_nonzero(before[:, None] < after[None, :]))
    falling = int(np.count_nonzero(before[:, None] > after[None, :]))
    return max(rising, falling) >= len(before) * len(after) - OUT_OF_ORDER


def _medians(history: History, op: Op, edges: Floats) -> Floats | None:
    """Median service time of each part, by when it was meant; None where one has not ENOUGH samples."""
    operations = history.operations
    rows = np.flatnonzero((operations["op"] == op) & history.first & (operations["outcome"] == Outcome.OK))
    part = np.searchsorted(edges, operations["intended"][rows], side="right") - 1
    service = (operations["acknowledged"][rows] - operations["sent"][rows]) / 1e3
    parts = [service[part == number] for number in range(2 * PARTS)]
    if min(map(len, parts)) < ENOUGH:
        return None
    return np.array([np.median(values) for values in parts])


def _answered(history: History, edges: Floats) -> Floats | None:
    """Answers that came in each part, per planned operation that was due in it."""
    operations = history.operations
    planned = (operations["plan"] != NONE) & history.first & (operations["sent"] > 0)
    came = operations["acknowledged"][planned & (operations["outcome"] == Outcome.OK)]
    answers, _ = np.histogram(came, edges)
    due, _ = np.histogram(operations["intended"][planned], edges)
    return answers / due if due.min() >= ENOUGH else None


def little(history: History) -> Json:
    """`little` of `summary.json`: N (operations), X (1/s), R (µs), and how far N and X R are apart, as a
    share of the larger; None where nothing was under way."""
    operations, window = history.operations, history.window
    rows = np.flatnonzero((operations["op"] >= Op.SEND) & (operations["sent"] > 0))
    sent, done = operations["sent"][rows], operations["acknowledged"][rows]
    done = np.where(done > 0, done, sent + DEADLINE_US * 1000)
    seconds = window.seconds
    inside = (done >= window.measure) & (done < window.measure_end)
    if not seconds or not inside.any():
        return {"n": None, "x_per_s": None, "r_us": None, "apart": None}
    n = _in_flight(sent, done, window.measure, window.measure_end)
    x, r = float(np.count_nonzero(inside)) / seconds, float(np.mean((done - sent)[inside])) / 1e9
    larger = max(n, x * r)
    return {
        "n": round(n, 6),
        "x_per_s": round(x, 3),
        "r_us": round(r * 1e6),
        "apart": round(abs(n - x * r) / larger, 6) if larger > 0 else None,
    }


def _in_flight(sent: Ints, done: Ints, start: int, end: int) -> float:
    """The mean over [start, end) of how many have been sent and are not done."""
    at = np.concatenate([sent, done]).clip(start, end)
    step = np.concatenate([np.ones(len(sent)), -np.ones(len(done))])
    order = np.argsort(at, kind="stable")
    under_way = np.cumsum(step[order])
    lasts = np.diff(at[order], append=end)
    return float(np.sum(under_way * lasts)) / (end - start)
