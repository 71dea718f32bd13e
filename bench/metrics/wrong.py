"""Replies that prove themselves wrong: acknowledged, and what they say contradicts what was asked.

A wrong answer is no fast answer: it counts as an error (`WRONG_REPLY`) and gives no latency.  Wrong is what
the device that asked can know from the reply alone, whatever the server promised:

READ, DELIVERED   the cursor that it tells of the conversation asked for is below what was asked to be marked
SEND              no seq: nobody can place the message
SYNC              the next change id is below the one that was asked from, without `reset_required`

What a field does not say proves nothing (a server of somebody else's may leave it out), and what needs other
replies, another device or the store to be known is a finding of `bench/checks/`: a STATE that is stale may be
all that was promised.  The record keeps these rows as acknowledged, so that the checks still hold the server
to them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History, items_of
from bench.record import RESET, Op, Outcome

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
NAME: Final = "WRONG_REPLY"


def wrong(history: History, rows: Ints) -> Bools:
    """Which of these rows of `operations` were acknowledged by a reply that cannot be right."""
    operations = history.operations
    op, value = operations["op"][rows], operations["value"][rows].astype(np.int64)
    asked = operations["argument"][rows].astype(np.int64)
    marks = np.isin(op, (Op.READ, Op.DELIVERED))
    several = marks & (operations["items"][rows] > 1)
    if several.any():
        value = np.where(several, _told_of_the_first(history, rows), value)
    below = (value >= 0) & (value < asked)
    backwards = (op == Op.SYNC) & below & (operations["flags"][rows] & RESET == 0)
    unplaced = (op == Op.SEND) & (value < 1)
    found: Bools = history.outcome(rows, Outcome.OK) & ((marks & below) | backwards | unplaced)
    return found


def _told_of_the_first(history: History, rows: Ints) -> Ints:
    """The cursor that a reply tells of the conversation that was asked for first, in whatever order it does;
    -1 where it tells none."""
    index, owner = items_of(history, rows)
    items, operations = history.items, history.operations
    same = items["conversation"][index] == operations["conversation"][owner]
    told = np.full(len(operations["op_id"]), -1, np.int64)
    np.maximum.at(told, owner[same], items["value"][index[same]])
    return told[rows]
