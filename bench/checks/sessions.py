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
    """`eligible` reads, of which `reads` (rows of the operations) showed less than their `witness`."""

    eligible: int
    reads: Ints
    witness: Ints


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
    return Broken(int(np.count_nonzero(before >= 0)), reads[less], done[steps.row(first)])
