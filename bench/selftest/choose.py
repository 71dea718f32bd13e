"""What operators of mutations choose from, and how they change and name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.record import Op, Outcome, Phase, PushKind
from bench.selftest.held import Record

Ints = NDArray[np.int64]
Rng = np.random.Generator
Operator = Callable[[Record, Rng], str | None]
"""Changes a record in place and says what it did; None where it found nothing to change."""

STATES: Final = (Op.STATE, Op.PROBE_STATE, Op.PROBE_ONCE)
READS: Final = (Op.READ, Op.PROBE_READ)
SENDS: Final = (Op.SEND, Op.PROBE_SEND)
LONGEST_SHIFT_NS: Final = 5_000_000_000


def pick(rows: Ints, rng: Rng) -> int | None:
    return int(rng.choice(rows)) if len(rows) else None


def answered(record: Record, *ops: Op) -> Ints:
    operations = record.tables["operations"]
    return np.flatnonzero(np.isin(operations["op"], ops) & (operations["outcome"] == Outcome.OK))


def operation_of(record: Record, item: int) -> int:
    """Row of the operation that an item belongs to."""
    ids = record.tables["operations"]["op_id"]
    return int(np.flatnonzero(ids == record.tables["items"]["op_id"][item])[0])


def store_row(record: Record, conversation: int, user: int) -> int | None:
    store = record.tables["final_store"]
    found = np.flatnonzero((store["conversation"] == conversation) & (store["user"] == user))
    return int(found[0]) if len(found) else None


def put(record: Record, table: str, row: int, **values: Any) -> None:
    for column, value in values.items():
        record.tables[table][column][row] = value


def op_name(record: Record, row: int) -> str:
    operations = record.tables["operations"]
    return f"{Op(int(operations['op'][row])).name} {int(operations['op_id'][row])}"


def shown(record: Record, *, final: bool = False) -> Ints:
    """Items of STATEs (the final read's) about the asker's own cursor, above where it started: those
    that can be stale."""
    items, start = record.tables["items"], started(record)
    own = own_items(record, final=final)
    columns = (items[name][own].tolist() for name in ("conversation", "actor", "value"))
    return own[[start.get((c, u), 0) < value for c, u, value in zip(*columns, strict=True)]]


def behind(record: Record, *, final: bool = False) -> Ints:
    """The same, below the last message: those that can be shown too high."""
    items, own = record.tables["items"], own_items(record, final=final)
    return own[items["value"][own] < items["last_seq"][own]]


def own_items(record: Record, *, final: bool) -> Ints:
    operations, items = record.tables["operations"], record.tables["items"]
    wanted = np.isin(operations["op"], STATES)
    if final:
        wanted &= operations["phase"] == Phase.FINAL
    order = np.argsort(operations["op_id"])
    row = order[np.searchsorted(operations["op_id"], items["op_id"], sorter=order)]
    return np.flatnonzero(wanted[row] & (items["actor"] == operations["user"][row]))


def started(record: Record) -> dict[tuple[int, int], int]:
    members = record.tables["members"]
    columns = (members[name].tolist() for name in ("conversation", "user", "read_seq"))
    return {(c, u): value for c, u, value in zip(*columns, strict=True)}


def push_name(record: Record, row: int) -> str:
    pushes = record.tables["pushes"]
    kind = PushKind(int(pushes["kind"][row])).name
    return f"push {kind} {pushes['value'][row]} to {int(pushes['session'][row]):#x}"


def other_number(rng: Rng, value: int, most: int, low: int, high: int) -> int | None:
    """Up to `most` more or less, within what is allowed; None where that is the same."""
    new = int(np.clip(value + int(rng.integers(-most, most + 1)), low, high))
    return None if new == value else new


def last_seq(record: Record, conversation: int) -> int:
    store = record.tables["final_store"]
    return int(store["last_seq"][store["conversation"] == conversation][0])


def shift(record: Record, rng: Rng, rows: Ints) -> str | None:
    """One of these operations happened at another time, as long as it took."""
    operations = record.tables["operations"]
    row = pick(rows, rng)
    if row is None:
        return None
    start, end = record.manifest()["window"]["start"], record.manifest()["clock"]["ended"]
    by = int(rng.integers(-LONGEST_SHIFT_NS, LONGEST_SHIFT_NS))
    by = max(by, start + 1 - int(operations["intended"][row]))
    by = min(by, end - 1 - int(operations["acknowledged"][row]))
    name = op_name(record, row)
    for column in ("intended", "sent", "acknowledged"):
        operations[column][row] += by
    record.in_order()
    return f"{name} moved by {by / 1e9:.3f} s"
