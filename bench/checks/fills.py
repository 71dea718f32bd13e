"""Who put an old value into the cache?  A suspect from the record, never a proof.  Pure.

In `redis` (cache-aside) a value stays stale when a read missed, asked MySQL before a write was committed, and
filled the cache after that write's delete.  So the suspect is a STATE that asked the store, could fill this
cursor's key (its owner's, or the direct peer's), overlapped every write that the stale read missed, and began
before the stale read was answered.  Stage times tell who asked the store; the moments at which they did so,
and at which the cache was filled, no record has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks.observed import SEED, STATES, Observed
from bench.checks.register import NEVER
from bench.metrics.history import History, items_of
from bench.metrics.ragged import spread
from bench.record import Outcome

Ints = NDArray[np.int64]

CACHE_ASIDE: Final = "redis"
"""The scheme in which reads fill the cache."""


@dataclass(frozen=True)
class Suspect:
    """`row` of `operations`, what it showed of the cursor (None: the record does not say), and of how many
    suspects it is the last."""

    row: int
    value: int | None
    suspects: int


class Fills:
    """The reads of one run that asked the store, by the cursor whose key they may have filled."""

    def __init__(self, history: History, observed: Observed) -> None:
        """Sorts once; asked only when there is something to tell."""
        self._history, self._observed = history, observed
        self._asked: dict[int, Suspect | None] = {}
        cursor, self._row, self._shown = _reads_of_store(history)
        order = np.argsort(cursor, kind="stable")
        self._cursor, self._row, self._shown = cursor[order], self._row[order], self._shown[order]
        written = np.flatnonzero(observed.operations.write & (observed.row != SEED))
        order = np.argsort(observed.operations.key[written], kind="stable")
        self._written = written[order]
        self._key = observed.operations.key[self._written]

    def suspect(self, read: int) -> Suspect | None:
        """Who is suspected for a stale read, a row of the observed operations; None where nobody is.  Of
        several, the last."""
        if read not in self._asked:  # several checks accuse the same read
            self._asked[read] = self._find(read)
        return self._asked[read]

    def _find(self, read: int) -> Suspect | None:
        operations, key = self._observed.operations, int(self._observed.operations.key[read])
        mine = self._written[slice(*np.searchsorted(self._key, [key, key + 1]))]
        missed = mine[
            (operations.value[mine] > operations.value[read])
            & (operations.responded[mine] < operations.invoked[read])
        ]
        if not len(missed):
            return None
        zero = self._history.zero
        committed_by = int(operations.responded[missed].min()) + zero
        deleted_from = int(operations.invoked[missed].max()) + zero
        answered = int(operations.responded[read])
        answered = answered if answered == NEVER else answered + zero
        cursor = int(self._observed.cursor[key])
        slot = slice(*np.searchsorted(self._cursor, [cursor, cursor + 1]))
        row, shown = self._row[slot], self._shown[slot]
        sent, ended = (self._history.operations[name][row] for name in ("sent", "acknowledged"))
        fits = (sent < committed_by) & (ended > deleted_from) & (sent < answered)
        fits &= (shown < 0) | (shown == operations.value[read])
        if not fits.any():
            return None
        last = int(np.flatnonzero(fits)[np.argmax(ended[fits])])
        value = int(shown[last])
        return Suspect(int(row[last]), None if value < 0 else value, int(np.count_nonzero(fits)))


def _reads_of_store(history: History) -> tuple[Ints, Ints, Ints]:
    """(cursor, row of `operations`, value shown) of every cursor that a STATE from the store may have filled;
    -1 for the peer's, which the record does not have."""
    operations, items, membership = history.operations, history.items, history.membership
    asked = np.isin(operations["op"], STATES) & (operations["outcome"] == Outcome.OK)
    index, row = items_of(history, np.flatnonzero(asked & (operations["store_us"] > 0)))
    own = items["actor"][index] == operations["user"][row]
    index, row = index[own], row[own]
    conversation = items["conversation"][index].astype(np.int64)
    user = operations["user"][row].astype(np.int64)
    direct = np.flatnonzero(membership.direct[conversation])
    of = membership.of_conversation
    place, member = spread(of.start[conversation[direct]], of.size(conversation[direct]))
    member = membership.user[of.row[member]]
    peer = member != user[direct][place]
    place, member = direct[place[peer]], member[peer]
    return (
        np.concatenate([conversation << 32 | user, conversation[place] << 32 | member]),
        np.concatenate([row, row[place]]),
        np.concatenate([items["value"][index].astype(np.int64), np.full(len(place), -1, np.int64)]),
    )
