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

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Broken:
    """Rows of the operations: the `judged` reads are eligible, and `reads` of them showed less than their
    `witness`, which had been complete for `age` ns when they began."""

    judged: Ints
    reads: Ints
    witness: Ints
    age: Ints


def read_your_writes(operations: Operations, session: Ints) -> Broken:
    return _judge(operations, session, operations.write)


def monotonic_reads(operations: Operations, session: Ints) -> Broken:
    return _judge(operations, session, ~operations.write)


def _judge(operations: Operations, session: Ints, evidence: NDArray[np.bool_]) -> Broken:
    """`session` -1: nobody's."""
    ours = session >= 0
    done = np.flatnonzero(evidence & ours & (operations.responded != NEVER))
    reads = np.flatnonzero(~operations.write & ours)
    pair = (session << 32) | operations.key  # keys are small: see the register's bound
    known = np.unique(pair[done])
    reads = reads[np.isin(pair[reads], known)]
    steps = Steps(np.searchsorted(known, pair[done]), operations.responded[done], operations.value[done])
    key = np.searchsorted(known, pair[reads])
    before = steps.before(key, operations.invoked[reads])
    less = steps.highest(before) > operations.value[reads]
    first = steps.first_above(key[less], operations.value[reads[less]])
    broken = reads[less]
    age = operations.invoked[broken] - steps.time(first)
    return Broken(reads[before >= 0], broken, done[steps.row(first)], age)
