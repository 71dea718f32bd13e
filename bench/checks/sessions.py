"""What one connection, device or person may rely on, on registers that only grow (Terry et al., PDIS 1994).

    read your writes   a read shows at least what the same session has written, and been told so
    monotonic reads    a read shows at least what the same session has read before

Only reads that have such a predecessor are eligible: the others could not fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.checks.kernel import Steps
from bench.checks.register import NEVER, Operations
from bench.metrics.ragged import distinct

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Broken:
    """Rows of the operations: the `judged` reads are eligible, and `reads` of them showed less than their
    `witness`, which had been complete for `age` ns when they began."""

    judged: Ints
    reads: Ints
    witness: Ints
    age: Ints


def read_your_writes(operations: Operations, session: NDArray[np.integer]) -> Broken:
    return _judge(operations, session, operations.write)


def monotonic_reads(operations: Operations, session: NDArray[np.integer]) -> Broken:
    return _judge(operations, session, ~operations.write)


def _judge(operations: Operations, session: NDArray[np.integer], evidence: Bools) -> Broken:
    """`session`: a small number, -1: nobody's.

    Who looks at a cursor for the first time could not be disappointed, and most do: what is sorted is only
    what can have a predecessor, and what is asked of the order only where something higher was there."""
    done = np.flatnonzero(evidence & (session >= 0) & (operations.responded != NEVER))
    reads = np.flatnonzero(~operations.write & (session >= 0))
    reads = reads[operations.invoked[reads] > _first(session, operations, done)[session[reads]]]
    done, reads = _of_the_same(operations.key, done, reads)
    done, reads = _of_the_same(session, done, reads)
    done_pair, read_pair = _pairs(session, operations.key, done, reads)
    first = np.full(max(int(done_pair.max(initial=-1)), int(read_pair.max(initial=-1))) + 1, NEVER)
    highest = np.full(len(first), -1, np.int64)
    np.minimum.at(first, done_pair, operations.responded[done])
    np.maximum.at(highest, done_pair, operations.value[done])
    eligible = first[read_pair] < operations.invoked[reads]
    reads, read_pair = reads[eligible], read_pair[eligible]
    suspect = highest[read_pair] > operations.value[reads]
    accusing = np.zeros(len(first), np.bool_)
    accusing[read_pair[suspect]] = True
    accusing = accusing[done_pair]
    broken, witness, age = _less(
        operations, done[accusing], done_pair[accusing], reads[suspect], read_pair[suspect]
    )
    return Broken(reads, broken, witness, age)


def _first(session: NDArray[np.integer], operations: Operations, done: Ints) -> Ints:
    """By session: when the first of these was complete."""
    first = np.full(int(session.max(initial=-1)) + 1, NEVER)
    np.minimum.at(first, session[done], operations.responded[done])
    return first


def _of_the_same(of: NDArray[np.integer], done: Ints, reads: Ints) -> tuple[Ints, Ints]:
    """What of both has a counterpart in the other."""
    size = int(of.max(initial=-1)) + 1
    with_done, with_reads = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    with_done[of[done]], with_reads[of[reads]] = True, True
    return done[with_reads[of[done]]], reads[with_done[of[reads]]]


def _pairs(session: NDArray[np.integer], key: Ints, done: Ints, reads: Ints) -> tuple[Ints, Ints]:
    """A small number for each (session, key), of both; the key is one where there is only one session."""
    if not session.max(initial=-1) > 0:
        return key[done], key[reads]
    done_pair, read_pair = ((session[rows].astype(np.int64) << 32) | key[rows] for rows in (done, reads))
    known = distinct(np.concatenate([done_pair, read_pair]))
    return np.searchsorted(known, done_pair), np.searchsorted(known, read_pair)


def _less(
    operations: Operations, done: Ints, done_pair: Ints, reads: Ints, read_pair: Ints
) -> tuple[Ints, Ints, Ints]:
    """(reads that showed less than had been complete when they began, the first to show it, for how long)."""
    steps = Steps(done_pair, operations.responded[done], operations.value[done])
    less = steps.highest(steps.before(read_pair, operations.invoked[reads])) > operations.value[reads]
    broken = reads[less]
    first = steps.first_above(read_pair[less], operations.value[broken])
    return broken, done[steps.row(first)], operations.invoked[broken] - steps.time(first)
