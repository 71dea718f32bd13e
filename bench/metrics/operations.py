"""How long operations took and how they ended, and where the time went.

Three times are kept apart: the wait from when the plan wanted an operation until it was sent, the service
time from there to the reply, and the latency (response), which is both.  They hold what was answered (ok, and
the server's own failures) and what nobody knows, which enters as at least the deadline; a reply that proves
itself wrong (`wrong.py`) is an error and no latency.  READ and DELIVERED react to a message: their `intended`
already waits for its arrival.

Counts are of all users; times are of those that `headline.py` chooses, with the others beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics import headline
from bench.metrics.history import DEADLINE_US, History
from bench.metrics.quantiles import rank, summarise
from bench.metrics.wrong import NAME as WRONG_REPLY
from bench.metrics.wrong import wrong
from bench.record import ERROR_NAMES, Op, Outcome
from bench.results import Json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MEASURED: Final = (Op.SEND, Op.READ, Op.DELIVERED, Op.STATE, Op.SYNC, Op.HISTORY, Op.PING)
"""Operations of the load; probes are reported as a lag, connecting as connections."""
STAGES: Final = ("client", "network", "other", "wait", "store", "cache", "queue")
"""client: meant to be sent -> sent.  network: service time outside the server.  wait, store, cache, queue:
the server's own; other: the rest of its time.  They add up to the latency."""
BAND: Final = (0.985, 0.995)
"""The slow ones: latency between these quantiles."""


@dataclass(frozen=True)
class Timed:
    """Operations of one kind that got as far as the server: times in µs; `answered`: a reply came."""

    row: Ints
    latency_us: Floats
    service_us: Floats
    wait_us: Floats
    answered: NDArray[np.bool_]
    of_probes: NDArray[np.bool_]

    def take(self, which: NDArray[np.bool_]) -> Timed:
        return Timed(**{name: getattr(self, name)[which] for name in self.__dataclass_fields__})

    def summarise(self) -> dict[str, Json]:
        at_least = DEADLINE_US if bool((~self.answered).any()) else None
        return {
            "latency_us": summarise(self.latency_us, at_least_us=at_least),
            "service_us": summarise(self.service_us, at_least_us=at_least),
            "wait_us": summarise(self.wait_us),
        }


def timed(history: History, op: Op) -> Timed:
    operations = history.operations
    rows = history.measured_rows(op)
    outcome = operations["outcome"][rows]
    ended = np.isin(outcome, (Outcome.OK, Outcome.FAIL, Outcome.INFO))
    rows = rows[(operations["sent"][rows] > 0) & ended & ~wrong(history, rows)]
    outcome = operations["outcome"][rows]
    service = (operations["acknowledged"][rows] - operations["sent"][rows]) / 1e3
    service = np.where(outcome == Outcome.INFO, np.maximum(service, DEADLINE_US), service)
    wait = (operations["sent"][rows] - operations["intended"][rows]) / 1e3
    return Timed(rows, service + wait, service, wait, outcome != Outcome.INFO, history.by_probes[rows])


def timed_best(history: History, op: Op) -> Timed:
    """Those that give the headline."""
    took = timed(history, op)
    return took.take(headline.choose(took.of_probes).rows)


def summarise_all(history: History) -> Json:
    """`operations` of `summary.json`: the kinds that the plan held, by name."""
    figures = {op.name: _summarise(history, op) for op in MEASURED}
    return {name: figure for name, figure in figures.items() if figure["count"]}


def _summarise(history: History, op: Op) -> Json:
    operations = history.operations
    rows = history.measured_rows(op)
    outcome = np.bincount(operations["outcome"][rows], minlength=len(Outcome))
    wrong_replies = int(np.count_nonzero(wrong(history, rows)))
    everybody = timed(history, op)
    choice = headline.choose(everybody.of_probes)
    took = everybody.take(choice.rows)
    figures = took.summarise()
    retried = np.flatnonzero((operations["op"] == op) & history.measured & ~history.first)
    return {
        "count": int(outcome[[Outcome.OK, Outcome.FAIL, Outcome.INFO]].sum()),
        "ok": int(outcome[Outcome.OK]) - wrong_replies,
        "fail": int(outcome[Outcome.FAIL]) + wrong_replies,
        "info": int(outcome[Outcome.INFO]),
        "unsent": int(outcome[Outcome.UNSENT]),
        "already_read": int(outcome[Outcome.ALREADY_READ]),
        "retries": {"count": len(retried), "ok": int(np.count_nonzero(history.outcome(retried, Outcome.OK)))},
        "errors": _errors(history, rows) | ({WRONG_REPLY: wrong_replies} if wrong_replies else {}),
        "from": choice.source,
        **figures,
        "cross_check": headline.cross_check(
            choice,
            everybody.latency_us,
            figures["latency_us"],
            lambda rows: everybody.take(rows).summarise(),
            "latency_us",
        ),
        "dependency_us": _dependency(history, op, rows),
        "stages_us": _server_stages(history, took),
        "mean_ms": _mean_stages(history, took, np.arange(len(took.row))),
        "mean_ms_slow": _mean_stages(history, took, slow(took.latency_us)),
    }


def _errors(history: History, rows: Ints) -> dict[str, int]:
    counts = np.bincount(history.operations["error"][rows], minlength=len(ERROR_NAMES))
    named = zip(ERROR_NAMES, counts.tolist(), strict=False)
    return {name: count for name, count in named if name and count}


def _dependency(history: History, op: Op, rows: Ints) -> Json | None:
    """How long READ and DELIVERED waited for the arrival of their message, beyond the planned delay."""
    if op not in (Op.READ, Op.DELIVERED):
        return None
    sent = rows[history.operations["sent"][rows] > 0]
    return summarise(history.operations["dependency_us"][sent])


def _server_stages(history: History, took: Timed) -> Json:
    """Q of the server's own times, where it told them."""
    told = took.row[history.operations["server_us"][took.row] > 0]
    names = ("server", "wait", "store", "cache", "queue")
    return {name: summarise(history.operations[f"{name}_us"][told]) for name in names}


def slow(latency_us: Floats) -> Ints:
    """Indexes of the operations whose latency lies between the quantiles of BAND; none if too few."""
    low, high = (rank(len(latency_us), p) for p in BAND)
    return np.argsort(latency_us, kind="stable")[low:high]


def _mean_stages(history: History, took: Timed, which: Ints) -> Json | None:
    """Mean ms by stage of the answered ones among `which`; None if there is none or the server told
    nothing."""
    which = which[took.answered[which]]
    row = took.row[which]
    operations = history.operations
    which, row = which[operations["server_us"][row] > 0], row[operations["server_us"][row] > 0]
    if not len(row):
        return None
    own = {
        name: float(np.mean(operations[f"{name}_us"][row])) for name in ("wait", "store", "cache", "queue")
    }
    server = float(np.mean(operations["server_us"][row]))
    service, latency = float(np.mean(took.service_us[which])), float(np.mean(took.latency_us[which]))
    mean = {
        "client": latency - service,
        "network": service - server,
        "other": server - sum(own.values()),
        **own,
    }
    return {"n": len(row), **{name: round(mean[name] / 1e3, 6) for name in STAGES}}
