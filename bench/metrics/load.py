"""What was asked of the system and what it was given: offered against achieved load, connections, send lag.

Offered are the plan's operations that fell due in the measured window; achieved are those that were sent in
it, or had nothing left to say (`already_read`).  A READ whose message never came never fell due: that is the
system's doing and counted apart (`never_due`).  Nothing else here is about how the system answered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import DEADLINE_US, History
from bench.metrics.quantiles import summarise
from bench.metrics.wrong import wrong
from bench.record import NONE, Op, Outcome, PushKind
from bench.results import Json

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
STEP_S = 10
"""Offered and achieved are compared over steps of so many seconds."""
LATE_US = 5_000
"""Sent later than this after it was meant to: too late to be called the planned load."""


def summarise_load(history: History) -> Json:
    """`load` of `summary.json`."""
    operations, window = history.operations, history.window
    planned = np.flatnonzero((operations["plan"] != NONE) & history.measured & history.first)
    never_due = _never_due(history, planned)
    planned = planned[~never_due]
    sent = planned[operations["sent"][planned] > 0]
    already = int(np.count_nonzero(history.outcome(planned, Outcome.ALREADY_READ)))
    asked = history.manifest.get("load") or {}
    seconds = max(window.seconds, 1e-9)
    steps = _steps(history, planned)
    sends = history.measured_rows(Op.SEND)
    return {
        "offered_per_s": round(len(planned) / seconds, 3),
        "achieved_per_s": round((len(sent) + already) / seconds, 3),
        "dropped": len(planned) - len(sent) - already,
        "held_back": _held_back(history, sent),
        "late": int(np.count_nonzero(_send_lag_us(history, sent) > LATE_US)),
        "already_read": already,
        "never_due": int(np.count_nonzero(never_due)),
        "worst_step": min(steps, key=lambda step: step["achieved_share"], default=None),
        "messages_per_s": round(_acknowledged(history, sends) / seconds, 3),
        "send_per_s_asked": asked.get("send_per_s"),
        "pushes_per_s": round(sum(_pushes(history).values()) / seconds, 3),
        "pushes": _pushes(history),
        **_connections(history, asked.get("connections_asked")),
        **_outcomes(history, asked.get("planned")),
    }


def _acknowledged(history: History, rows: Ints) -> int:
    """By a reply that can be right."""
    return int(np.count_nonzero(history.outcome(rows, Outcome.OK) & ~wrong(history, rows)))


def _never_due(history: History, rows: Ints) -> Bools:
    """Reactions to a message that never came: not sent, and not for want of a connection."""
    operations = history.operations
    reacts = np.isin(operations["op"][rows], (Op.READ, Op.PROBE_READ))
    unsent = operations["outcome"][rows] == Outcome.UNSENT
    never: Bools = reacts & unsent & (operations["error"][rows] == 0)
    return never


def _send_lag_us(history: History, rows: Ints) -> NDArray[np.float64]:
    return (history.operations["sent"][rows] - _could_be_sent(history)[rows]) / 1e3


def _held_back(history: History, sent: Ints) -> Json | None:
    """Closed arrivals: operations that waited for an answer to the one before, and the longest such wait."""
    if not is_closed(history):
        return None
    waited = (_could_be_sent(history)[sent] - history.operations["intended"][sent]) / 1e3
    return {"count": int(np.count_nonzero(waited > 0)), "us_max": round(float(waited.max(initial=0)))}


def _could_be_sent(history: History) -> Ints:
    """By row of `operations`: when it was meant to be sent; with closed arrivals, when the device's planned
    operation before it had ended, if that was later.  What waited for an answer waited for the system."""
    operations = history.operations
    intended: Ints = operations["intended"]
    if not is_closed(history):
        return intended
    rows = np.flatnonzero((operations["plan"] != NONE) & history.first & (operations["sent"] > 0))
    rows = rows[operations["op"][rows] < Op.PROBE_SEND]
    rows = rows[np.lexsort((operations["sent"][rows], operations["device"][rows]))]
    done = np.where(
        operations["outcome"][rows] == Outcome.INFO,
        np.maximum(operations["acknowledged"][rows], operations["sent"][rows] + DEADLINE_US * 1000),
        operations["acknowledged"][rows],
    )
    same = operations["device"][rows][1:] == operations["device"][rows][:-1]
    free = intended.copy()
    later = rows[1:][same]
    free[later] = np.maximum(intended[later], np.minimum(done[:-1][same], operations["sent"][later]))
    return free


def is_closed(history: History) -> bool:
    """Whether devices waited for their last answer before they went on."""
    return bool((history.manifest.get("load") or {}).get("arrivals") == "closed")


def _steps(history: History, planned: Ints) -> list[Json]:
    """Offered and achieved per step of STEP_S.  A last, shorter one is left out unless it is the only one."""
    operations, window = history.operations, history.window
    n = max(1, int(window.seconds // STEP_S))
    intended = _could_be_sent(history)[planned]
    sent = operations["sent"][planned]
    already = operations["outcome"][planned] == Outcome.ALREADY_READ
    offered = _per_step(intended, window.measure, n)
    achieved = _per_step(np.where(already, intended, sent)[already | (sent > 0)], window.measure, n)
    return [
        {"at_s": i * STEP_S, "offered": int(a), "achieved": int(b), "achieved_share": round(float(b / a), 6)}
        for i, (a, b) in enumerate(zip(offered, achieved, strict=True))
        if a
    ]


def _per_step(t: Ints, start: int, n: int) -> Ints:
    step = (t - start) // (STEP_S * 1_000_000_000)
    return np.bincount(step[(step >= 0) & (step < n)], minlength=n)


def _pushes(history: History) -> dict[str, int]:
    """Pushes received in the measured window, by kind."""
    pushes, window = history.pushes, history.window
    inside = (pushes["received"] >= window.measure) & (pushes["received"] < window.measure_end)
    counts = np.bincount(pushes["kind"][inside], minlength=len(PushKind))
    return {kind.name: int(counts[kind]) for kind in PushKind if counts[kind]}


def _connections(history: History, asked: int | None) -> Json:
    """Held: subscribed before the measured window and open to its end, reconnecting not counted as
    holding."""
    connections, window = history.connections, history.window
    mine = connections["role"] == 0
    device = connections["device"][mine]
    subscribed, closed = connections["subscribed"][mine], connections["closed"][mine]
    held = (
        (subscribed > 0) & (subscribed <= window.measure) & ((closed == 0) | (closed >= window.measure_end))
    )
    lost = (closed > 0) & (closed < window.measure_end)
    codes, counts = np.unique(connections["close_code"][mine][lost], return_counts=True)
    opened = connections["opened"][mine] > 0
    return {
        "connections_asked": asked if asked is not None else len(np.unique(device)),
        "connections_held": len(np.unique(device[held])),
        "reconnects": int(np.count_nonzero(opened)) - len(np.unique(device[opened])),
        "closes": {str(code): int(count) for code, count in zip(codes, counts, strict=True)},
        "connect_us": summarise((connections["opened"] - connections["intended"])[mine][opened] / 1e3),
    }


def _outcomes(history: History, planned: int | None) -> Json:
    """The share of the run's planned operations that have exactly one row with an outcome."""
    operations = history.operations
    rows = (operations["plan"] != NONE) & history.first
    plan, count = np.unique(operations["plan"][rows], return_counts=True)
    exactly = int(np.count_nonzero(count == 1))
    of = planned if planned is not None else len(plan)
    return {
        "planned": of,
        "with_one_outcome": exactly,
        "outcome_complete_share": round(exactly / of, 6) if of else None,
    }


# --- the generator ----------------------------------------------------------------------------------------


def send_lag(history: History, which: Bools | None = None) -> Json:
    """How late operations were sent: Q, and its p50 and p99 over the thirds of the window (does it grow?); of
    these rows of `operations`, by default all."""
    rows = _timed_rows(history)
    rows = rows if which is None else rows[which[rows]]
    lag = _send_lag_us(history, rows)
    third = (
        (history.operations["intended"][rows] - history.window.measure)
        * 3
        // max(1, history.window.measure_end - history.window.measure)
    )
    thirds = [summarise(lag[third == i]) for i in range(3)]
    by_third = {q: [one[q] for one in thirds] for q in ("p50", "p99")}
    return {"send_lag_us": summarise(lag), "send_lag_by_third_us": by_third}


def floor_us(send_lag: Json, receive_error_us: int) -> int | None:
    """f: what the instrument itself adds at p99.  Below 100 samples the largest send lag stands for it."""
    late = send_lag["p99"] if send_lag["p99"] is not None else send_lag["max"]
    return None if late is None else late + receive_error_us


def _timed_rows(history: History) -> Ints:
    """Operations that a schedule wanted at a time: everything sent in the window but connecting."""
    operations = history.operations
    scheduled = history.measured & history.first & (operations["sent"] > 0) & (operations["op"] >= Op.SEND)
    return np.flatnonzero(scheduled)
