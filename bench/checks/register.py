"""A read cursor is a register that only grows.  Is its history linearizable, and how stale is a read?  Pure.

Exact and O(n log n), because on a register that only grows three conditions are enough.  A history is
linearizable if and only if for every read r of a value v:

    unwritten    v is the start, or a write of v began before r ended
    stale        nothing higher than v was complete (written, or read by anybody) before r began
    superseded   nothing higher than v was complete before the first write of v began

They give each value a moment at which the register reaches it, the moments never run backwards, and each read
has one between its beginning and its end.  A write that nobody answered may have happened at any time or
never: it never completes, and excuses whoever reads it.  The tests hold this against exhaustive search.

`age` of a stale read is how long, at least, it was stale: from the first completion of something higher to
its beginning.

Gamma of a register (Golab, Li, Lopez-Ortiz, Nishimura: ICDCS 2014) is the smallest number so that its history
is linearizable once every operation begins Gamma / 2 earlier and ends Gamma / 2 later.  Stretching closes
exactly the gaps that the three conditions complain of, so it is the widest of them, over all reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks.kernel import Steps
from bench.metrics.ragged import distinct

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEVER: Final = np.iinfo(np.int64).max
"""When an unanswered write was complete."""


@dataclass(frozen=True)
class Operations:
    """One entry per operation on a register.  Times in ns from any zero, not negative.

    `key` is which register, a small number; `value` what was written or read, 0 where the register starts;
    `open_keys`: registers that somebody may have written with values that nobody knows."""

    key: Ints
    write: Bools
    value: Ints
    invoked: Ints
    responded: Ints
    open_keys: Ints

    def take(self, rows: Ints) -> Operations:
        return replace(self, **{name: getattr(self, name)[rows] for name in _OF_EACH})


_OF_EACH: Final = ("key", "write", "value", "invoked", "responded")


@dataclass(frozen=True)
class Verdict:
    """Rows of the operations that were given.  `witness[i]` is what makes `stale[i]` stale, `age[i]` in ns;
    it did not show at least `missed[i]` effective steps of the register, and of those that are known of at
    most `missed_at_most[i]`.

    `gamma[key]` in ns; a value that nobody wrote is no matter of time and not in it.  `read[key]`: whether
    anybody read that register."""

    reads: int
    stale: Ints
    witness: Ints
    age: Ints
    missed: Ints
    missed_at_most: Ints
    superseded: Ints
    unwritten: Ints
    gamma: Ints
    read: Bools

    @property
    def linearizable(self) -> bool:
        return not len(self.stale) and not len(self.superseded) and not len(self.unwritten)


def judge(operations: Operations) -> Verdict:
    """The exact verdict on every read.

    Where a register's operations are all of one value, and the first to write it had begun when it was read,
    none of the three conditions can fail: only the others are sorted."""
    reads, keys = ~operations.write, int(operations.key.max(initial=-1)) + 1
    moving = _moving(operations, keys)
    rows = np.flatnonzero(moving[operations.key])
    verdict = _judge(operations.take(rows), keys)
    read = np.zeros(keys, np.bool_)
    read[operations.key[reads]] = True
    return replace(
        verdict,
        reads=int(np.count_nonzero(reads)),
        stale=rows[verdict.stale],
        witness=rows[verdict.witness],
        superseded=rows[verdict.superseded],
        unwritten=rows[verdict.unwritten],
        read=read,
    )


def _moving(operations: Operations, keys: int) -> Bools:
    """By register: whether it has operations of several values, or was read before anybody wrote it."""
    key, value, write = operations.key, operations.value, operations.write
    one, began, moving = np.zeros(keys, np.int64), np.full(keys, NEVER), np.zeros(keys, np.bool_)
    one[key] = value
    np.minimum.at(began, key[write], operations.invoked[write])
    moving[key[(one[key] != value) | (operations.responded < began[key])]] = True
    return moving


def _judge(operations: Operations, keys: int) -> Verdict:
    reads = np.flatnonzero(~operations.write)
    done = np.flatnonzero(operations.responded != NEVER)
    steps = Steps(operations.key[done], operations.responded[done], operations.value[done])
    key, value = operations.key[reads], operations.value[reads]
    is_open = np.zeros(max(keys, int(operations.open_keys.max(initial=-1)) + 1), np.bool_)
    is_open[operations.open_keys] = True
    before = steps.before(key, operations.invoked[reads])
    is_stale = steps.highest(before) > value
    first = steps.first_above(key[is_stale], value[is_stale])
    stale = reads[is_stale]
    began, known = _first_writes(operations, key, value)
    closed = (value > 0) & ~is_open[key]
    unwritten = closed & (~known | (began > operations.responded[reads]))
    overtaken = steps.highest(steps.before(key, np.where(known, began, 0))) > value
    late = closed & known & overtaken
    early = unwritten & known
    age = operations.invoked[stale] - steps.time(first)
    gamma = np.zeros(keys, np.int64)
    np.maximum.at(gamma, key[is_stale], age)
    np.maximum.at(gamma, key[late], began[late] - steps.time(steps.first_above(key[late], value[late])))
    np.maximum.at(gamma, key[early], began[early] - operations.responded[reads[early]])
    return Verdict(
        reads=len(reads),
        stale=stale,
        witness=done[steps.row(first)],
        age=age,
        missed=_missed(operations, done, stale),
        missed_at_most=_missed_at_most(operations, stale),
        superseded=reads[late & ~unwritten],
        unwritten=reads[unwritten],
        gamma=gamma,
        read=np.bincount(key, minlength=keys) > 0,
    )


def _first_writes(operations: Operations, key: Ints, value: Ints) -> tuple[Ints, Bools]:
    """When the first write of exactly this value to this register began, and whether there is one."""
    writes = np.flatnonzero(operations.write)
    bits = int(operations.value.max(initial=0)).bit_length() + 1
    of_write = (operations.key[writes] << bits) | operations.value[writes]
    order = np.lexsort((operations.invoked[writes], of_write))
    of_write, began = of_write[order], operations.invoked[writes][order]
    if not len(of_write):
        return np.zeros_like(key), np.zeros(len(key), np.bool_)
    asked = (key << bits) | value
    place = np.minimum(np.searchsorted(of_write, asked), len(of_write) - 1)
    return began[place], of_write[place] == asked


def _missed(operations: Operations, done: Ints, stale: Ints) -> Ints:
    """How many answered writes had raised the register above what each stale read showed, before it began."""
    written = done[operations.write[done]]
    order = np.lexsort((operations.responded[written], operations.key[written]))
    written = written[order]
    bits = int(operations.value.max(initial=0)).bit_length() + 1
    highest = np.maximum.accumulate((operations.key[written] << bits) | operations.value[written])
    rises = np.concatenate([[True], np.diff(highest) > 0])[: len(highest)]
    steps = Steps(operations.key[written], operations.responded[written], operations.value[written])
    counted = np.cumsum(rises)
    last = steps.before(operations.key[stale], operations.invoked[stale])
    first = steps.first_above(operations.key[stale], operations.value[stale])
    between = (last >= 0) & (first >= 0) & (first <= last)
    if not len(counted):
        return np.zeros(len(stale), np.int64)
    return np.where(between, counted[np.maximum(last, 0)] - counted[np.maximum(first, 0)] + 1, 0)


def _missed_at_most(operations: Operations, stale: Ints) -> Ints:
    """How many different values above what each stale read showed were being written before it ended, or lie
    below one that was."""
    if not len(stale):
        return np.zeros(0, np.int64)
    writes = np.flatnonzero(operations.write)
    begun = Steps(operations.key[writes], operations.invoked[writes], operations.value[writes])
    key, value = operations.key[stale], operations.value[stale]
    highest = begun.highest(begun.before(key, operations.responded[stale] + 1))
    bits = int(operations.value.max(initial=0)).bit_length() + 1
    values = distinct((operations.key[writes] << bits) | operations.value[writes])
    above = np.searchsorted(values, (key << bits) | value, side="right")
    upto = np.searchsorted(values, (key << bits) | highest, side="right")
    missed: Ints = np.maximum(0, upto - above)
    return missed
