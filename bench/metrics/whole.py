"""Is the record whole, and possible?  A check that judges from a damaged record could accuse nobody rightly,
and acquit nobody either; so each problem names its file and row, and no check says `pass` while there is one.

What is looked for: rows that the running counters or the manifest miss, rows that came twice, a worker's file
that is not there, words and numbers that no recorder writes, items that belong to nothing, and clocks: rows
of one process are written in the order of time, an answer comes after its question, and nothing happens
before the run began or after it ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History
from bench.metrics.ragged import distinct
from bench.population import NOBODY
from bench.record import ERROR_NAMES, Op, Outcome, Phase, PushKind, Rx
from bench.results import Json, Table

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NUMBER: Final = (1 << 40) - 1
"""Of a row in its worker: the low bits of an op_id."""
TOLD_MAX: Final = 5
"""Problems that are told in words; the number of all is told with them."""
BACKWARDS_NS: Final = 1_000_000_000
"""Receive times of one process, those of the kernel on one connection, may be out of order by what waited in
its sockets, not by more."""
WORDS: Final = {
    "operations": {"op": len(Op), "outcome": len(Outcome), "phase": len(Phase), "error": len(ERROR_NAMES)},
    "pushes": {"kind": len(PushKind), "phase": len(Phase)},
}


def look(history: History) -> Json:
    """`record` of `summary.json`: rows, missing, twice, and the problems in words (empty: it is whole)."""
    missing, twice, told = _counters(history)
    told += [*_shards(history), *_words(history), *_clocks(history), *_items(history)]
    return {
        "rows": history.operations.rows,
        "missing": missing,
        "twice": twice,
        "problems": told[:TOLD_MAX],
        "problem_count": len(told),
    }


def why_not(record: Json) -> str:
    """Why no check can pass, in one line; empty where the record is whole."""
    if not record["problems"]:
        return ""
    more = record["problem_count"] - 1
    return str(record["problems"][0]) + (f" (and {more} more)" if more else "")


def _counters(history: History) -> tuple[int, int, list[str]]:
    """Rows missing from the running counters of the workers, and rows that came twice."""
    op_id = history.operations["op_id"]
    worker, number = op_id >> 40, op_id & NUMBER
    missing = twice = 0
    told = []
    for one in distinct(worker).tolist():
        mine = np.sort(number[worker == one])
        steps = np.diff(mine, prepend=-1)
        twice += int(np.count_nonzero(steps == 0))
        missing += int((steps - 1)[steps > 1].sum())
        file = f"operations-{one}.parquet"
        gap, again = np.flatnonzero(steps > 1)[:1], np.flatnonzero(steps == 0)[:1]
        told += [f"{file}: the row of operation {mine[i] - 1} is missing" for i in gap]
        told += [f"{file}: operation {mine[i]} is there twice" for i in again]
    return missing, twice, told


def _shards(history: History) -> Iterator[str]:
    """What the runner wrote against what is there."""
    for name, written in (history.manifest.get("rows") or {}).items():
        found = history.folder.shard_rows(name)
        if found is None:
            yield f"{name}.parquet is not there; the run wrote {written} rows of it"
        elif found != written:
            yield f"{name}.parquet: {found} rows, the run wrote {written}"


def _words(history: History) -> Iterator[str]:
    conversations, people = len(history.membership.direct), history.membership.people
    for table, words in ((history.operations, WORDS["operations"]), (history.pushes, WORDS["pushes"])):
        for column, known in words.items():
            yield from _told(table, table[column] >= known, f"{column} is none of this version's")
        place = table["conversation"]
        yield from _told(
            table, (place >= conversations) & (place != NOBODY), "its conversation is not of this population"
        )
        yield from _told(table, table["user"] >= people, "its user is not of this population")
        yield from _told(table, table["value"] < -1, "its value is negative")


def _clocks(history: History) -> Iterator[str]:
    operations, pushes = history.operations, history.pushes
    sent, acknowledged = operations["sent"], operations["acknowledged"]
    early = (acknowledged > 0) & (acknowledged < sent)
    yield from _told(operations, early, "it was acknowledged before it was sent")
    yield from _told(operations, _backwards(operations, sent, 0), "its clock went backwards")
    yield from _told(pushes, _received_backwards(history), "its clock went backwards")
    clock = history.manifest.get("clock") or {}
    if clock:
        for table, column in ((operations, "sent"), (operations, "acknowledged"), (pushes, "received")):
            at = table[column]
            outside = (at > 0) & ((at < clock["began"]) | (at > clock["ended"]))
            yield from _told(table, outside, f"{column} is outside of the run: a clock jumped")


def _received_backwards(history: History) -> Bools:
    """Pushes that came before one that was written down earlier.

    The kernel stamps what waits for a process that is held, however long that takes: such rows are in order
    on each connection, but not in the order in which the process read its connections."""
    pushes = history.pushes
    received, session = pushes["received"], pushes["session"]
    own = np.flatnonzero(history.probe_sessions(session))
    if not len(own):
        return _backwards(pushes, received, BACKWARDS_NS)
    back = _backwards(pushes, np.where(pushes["rx"] == Rx.CLEAN, 0, received), BACKWARDS_NS)
    own = own[np.argsort(session[own], kind="stable")]
    same, step = np.diff(session[own]) == 0, np.diff(received[own])
    back[own[1:][same & (step < -BACKWARDS_NS)]] = True
    return back


def _backwards(table: Table, times: Ints, tolerance: int) -> Bools:
    """Rows whose time is before one that the same process wrote down earlier; 0 is no time."""
    back = np.zeros(table.rows, np.bool_)
    for _, first, last in table.shards():
        at = times[first:last]
        back[first:last] = (at > 0) & (at < np.maximum.accumulate(at) - tolerance)
    return back


def _items(history: History) -> Iterator[str]:
    """Every item is of a recorded operation, and every operation has as many as it says."""
    operations, items = history.operations, history.items
    op_id, of = operations["op_id"], items["op_id"]
    order = np.argsort(op_id)
    place = np.searchsorted(op_id, of, sorter=order)
    known = place < len(op_id)
    row = order[np.minimum(place, max(0, len(op_id) - 1))] if len(op_id) else np.zeros_like(place)
    known &= (op_id[row] == of) if len(op_id) else False
    yield from _told(items, ~known, "the operation that it belongs to was not recorded")
    have = np.bincount(row[known], minlength=operations.rows)
    short = (operations["outcome"] == Outcome.OK) & (have != operations["items"])
    yield from _told(operations, short, "it has not as many items as it says")


def _told(table: Table, wrong: Bools, what: str) -> Iterator[str]:
    """One line for all such rows: the first, by file and row, and how many there are."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        file, row = table.place(int(rows[0]))
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        yield f"{file} row {row}: {what}{more}"
