"""Small changes to a clean record, each of which leaves a record that could have been written: every value is
one that the protocol allows, every operation ends after it began, and no number is missing.

An operator changes a record in place and says what it did; None where it found nothing to change.
`OPERATORS` has those that aim at each check; a new check is one entry there and one in oracle.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.record import Op, Outcome, Phase
from bench.selftest.held import Record

Ints = NDArray[np.int64]
Rng = np.random.Generator
Operator = Callable[[Record, Rng], str | None]

STATES: Final = (Op.STATE, Op.PROBE_STATE)
READS: Final = (Op.READ, Op.PROBE_READ)
SENDS: Final = (Op.SEND, Op.PROBE_SEND)
LONGEST_SHIFT_NS: Final = 5_000_000_000


# --- choosing ---------------------------------------------------------------------------------------------


def _pick(rows: Ints, rng: Rng) -> int | None:
    return int(rng.choice(rows)) if len(rows) else None


def _answered(record: Record, *ops: Op) -> Ints:
    operations = record.tables["operations"]
    return np.flatnonzero(np.isin(operations["op"], ops) & (operations["outcome"] == Outcome.OK))


def _operation_of(record: Record, item: int) -> int:
    """Row of the operation that an item belongs to."""
    ids = record.tables["operations"]["op_id"]
    return int(np.flatnonzero(ids == record.tables["items"]["op_id"][item])[0])


def _shown(record: Record, *, final: bool = False) -> Ints:
    """Items of STATEs (the final read's) about the asker's own cursor, above where it started: those
    that can be stale."""
    items, start = record.tables["items"], _started(record)
    own = _own_items(record, final=final)
    columns = (items[name][own].tolist() for name in ("conversation", "actor", "value"))
    return own[[start.get((c, u), 0) < value for c, u, value in zip(*columns, strict=True)]]


def _behind(record: Record, *, final: bool = False) -> Ints:
    """The same, below the last message: those that can be shown too high."""
    items, own = record.tables["items"], _own_items(record, final=final)
    return own[items["value"][own] < items["last_seq"][own]]


def _own_items(record: Record, *, final: bool) -> Ints:
    operations, items = record.tables["operations"], record.tables["items"]
    wanted = np.isin(operations["op"], STATES)
    if final:
        wanted &= operations["phase"] == Phase.FINAL
    order = np.argsort(operations["op_id"])
    row = order[np.searchsorted(operations["op_id"], items["op_id"], sorter=order)]
    return np.flatnonzero(wanted[row] & (items["actor"] == operations["user"][row]))


def _started(record: Record) -> dict[tuple[int, int], int]:
    members = record.tables["members"]
    columns = (members[name].tolist() for name in ("conversation", "user", "read_seq"))
    return {(c, u): value for c, u, value in zip(*columns, strict=True)}


def _store_row(record: Record, conversation: int, user: int) -> int | None:
    store = record.tables["final_store"]
    found = np.flatnonzero((store["conversation"] == conversation) & (store["user"] == user))
    return int(found[0]) if len(found) else None


def _set(record: Record, table: str, row: int, **values: Any) -> None:
    for column, value in values.items():
        record.tables[table][column][row] = value


def _op_name(record: Record, row: int) -> str:
    operations = record.tables["operations"]
    return f"{Op(int(operations['op'][row])).name} {int(operations['op_id'][row])}"


# --- what is shown of a cursor ----------------------------------------------------------------------------


def _show_other(record: Record, rng: Rng, items: Ints, *, low: bool) -> str | None:
    item = _pick(items, rng)
    if item is None:
        return None
    columns = record.tables["items"]
    value, last = int(columns["value"][item]), int(columns["last_seq"][item])
    new = int(rng.integers(0, value)) if low else int(rng.integers(value + 1, last + 1))
    _set(record, "items", item, value=new, unread=last - new)
    return f"{_op_name(record, _operation_of(record, item))} shows {new} for {value}"


def show_less(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, _shown(record), low=True)


def show_more(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, _behind(record), low=False)


def show_less_at_end(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, _shown(record, final=True), low=True)


def show_more_at_end(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, _behind(record, final=True), low=False)


def swap_shown(record: Record, rng: Rng) -> str | None:
    """Two STATEs of one cursor show each other's values."""
    items = record.tables["items"]
    first = _pick(_shown(record), rng)
    if first is None:
        return None
    same = (items["conversation"] == items["conversation"][first]) & (items["actor"] == items["actor"][first])
    state = np.isin(record.tables["operations"]["op"], STATES)
    ids = record.tables["operations"]["op_id"][state]
    same &= np.isin(items["op_id"], ids) & (items["value"] != items["value"][first])
    second = _pick(np.flatnonzero(same), rng)
    if second is None:
        return None
    for column in ("value", "unread", "version", "last_seq"):
        items[column][[first, second]] = items[column][[second, first]]
    return f"items {first} and {second} swapped"


def acknowledge_other(record: Record, rng: Rng) -> str | None:
    """The acknowledgement of a READ says another cursor than it was."""
    operations = record.tables["operations"]
    row = _pick(np.flatnonzero((operations["value"] > 0) & np.isin(operations["op"], READS)), rng)
    if row is None:
        return None
    value = int(operations["value"][row])
    new = int(rng.integers(0, 2 * value))
    if new == value:
        return None
    _set(record, "operations", row, value=new)
    return f"{_op_name(record, row)} is told {new} for {value}"


def unanswered_and_not_shown(record: Record, rng: Rng) -> str | None:
    """Nobody answered the last READ of a cursor, and it happened: the store has it, the API shows what was
    before."""
    operations, items = record.tables["operations"], record.tables["items"]
    item = _pick(_shown(record, final=True), rng)
    if item is None:
        return None
    conversation, user, value = (int(items[name][item]) for name in ("conversation", "actor", "value"))
    mine = (operations["conversation"] == conversation) & (operations["user"] == user)
    marks = np.flatnonzero(mine & np.isin(operations["op"], READS) & (operations["argument"] == value))
    if len(marks) != 1 or operations["items"][marks[0]] > 1:
        return None
    _set(record, "operations", int(marks[0]), outcome=Outcome.INFO, acknowledged=0, value=-1, version=-1)
    _set(record, "items", item, value=value - 1)
    return f"{_op_name(record, int(marks[0]))} unanswered, its cursor shown at {value - 1}"


# --- when, and by whom ------------------------------------------------------------------------------------


def _shift(record: Record, rng: Rng, *ops: Op) -> str | None:
    operations = record.tables["operations"]
    row = _pick(_answered(record, *ops), rng)
    if row is None:
        return None
    start = int(record.manifest()["window"]["start"])
    by = int(rng.integers(-LONGEST_SHIFT_NS, LONGEST_SHIFT_NS))
    by = max(by, start + 1 - int(operations["intended"][row]))
    for name in ("intended", "sent", "acknowledged"):
        operations[name][row] += by
    return f"{_op_name(record, row)} moved by {by / 1e9:.3f} s"


def shift_read(record: Record, rng: Rng) -> str | None:
    return _shift(record, rng, *STATES)


def shift_write(record: Record, rng: Rng) -> str | None:
    return _shift(record, rng, *READS, *SENDS)


def other_session(record: Record, rng: Rng) -> str | None:
    """A STATE was asked on a connection of another device of the same person."""
    operations, devices = record.tables["operations"], record.tables["devices"]
    row = _pick(_answered(record, *STATES), rng)
    if row is None:
        return None
    own = devices["device"][devices["user"] == operations["user"][row]]
    others = np.isin(operations["device"], own) & (operations["device"] != operations["device"][row])
    other = _pick(np.flatnonzero(others), rng)
    if other is None:
        return None
    _set(
        record, "operations", row,
        session=operations["session"][other], device=operations["device"][other],
    )  # fmt: skip
    return f"{_op_name(record, row)} on the connection of {_op_name(record, other)}"


# --- what was written -------------------------------------------------------------------------------------


def _drop(record: Record, rng: Rng, *ops: Op) -> str | None:
    row = _pick(_answered(record, *ops), rng)
    if row is None:
        return None
    name = _op_name(record, row)
    record.drop_operation(row)
    return f"{name} was never made"


def drop_write(record: Record, rng: Rng) -> str | None:
    return _drop(record, rng, *READS, *SENDS)


def drop_delivered(record: Record, rng: Rng) -> str | None:
    return _drop(record, rng, Op.DELIVERED)


def drop_send(record: Record, rng: Rng) -> str | None:
    return _drop(record, rng, *SENDS)


def _ask_other(record: Record, rng: Rng, *ops: Op) -> str | None:
    """Up to another message, which exists."""
    operations, store = record.tables["operations"], record.tables["final_store"]
    row = _pick(_answered(record, *ops), rng)
    if row is None:
        return None
    last = store["last_seq"][store["conversation"] == operations["conversation"][row]]
    value, new = int(operations["argument"][row]), int(rng.integers(1, int(last[0]) + 1))
    if new == value:
        return None
    told = {"value": new} if operations["value"][row] >= 0 else {}
    _set(record, "operations", row, argument=new, **told)
    return f"{_op_name(record, row)} up to {new} for {value}"


def read_other(record: Record, rng: Rng) -> str | None:
    return _ask_other(record, rng, *READS)


def deliver_other(record: Record, rng: Rng) -> str | None:
    return _ask_other(record, rng, Op.DELIVERED)


def unanswered(record: Record, rng: Rng) -> str | None:
    row = _pick(_answered(record, *READS, *SENDS, Op.DELIVERED), rng)
    if row is None:
        return None
    name = _op_name(record, row)
    _set(record, "operations", row, outcome=Outcome.INFO, acknowledged=0, value=-1, version=-1)
    return f"{name} was never answered"


def send_again(record: Record, rng: Rng) -> str | None:
    """Another message is acknowledged with a number that one has already."""
    row = _pick(_answered(record, *SENDS), rng)
    if row is None:
        return None
    name = _op_name(record, row)
    record.repeat_operation(row)
    return f"{name} made twice"


def send_numbered_otherwise(record: Record, rng: Rng) -> str | None:
    operations = record.tables["operations"]
    row = _pick(_answered(record, *SENDS), rng)
    if row is None:
        return None
    value = int(operations["value"][row])
    new = max(1, value + int(rng.integers(-2, 3)))
    if new == value:
        return None
    _set(record, "operations", row, value=new)
    return f"{_op_name(record, row)} is message {new} for {value}"


# --- what the store holds ---------------------------------------------------------------------------------


def _hold_other(record: Record, rng: Rng, name: str, most: int) -> str | None:
    """A row of the store holds up to `most` more or less than it did, within what the columns allow."""
    store = record.tables["final_store"]
    row = int(rng.integers(len(store[name])))
    value = int(store[name][row])
    low, high = 0, int(store["last_seq"][row])
    same = np.arange(len(store[name])) == row
    if name == "last_seq":
        same = store["conversation"] == store["conversation"][row]
        low, high = int(store["delivered_seq"][same].max()), value + most
    new = int(np.clip(value + int(rng.integers(-most, most + 1)), low, high))
    if new == value:
        return None
    store[name][same] = new
    return f"the store holds {name} {new} for {value} in row {row}"


def hold_other_read(record: Record, rng: Rng) -> str | None:
    return _hold_other(record, rng, "read_seq", 4)


def hold_other_delivered(record: Record, rng: Rng) -> str | None:
    return _hold_other(record, rng, "delivered_seq", 4)


def forget_delivery(record: Record, rng: Rng) -> str | None:
    """The store holds less than a DELIVERED was acknowledged for, delivered and read."""
    operations, store = record.tables["operations"], record.tables["final_store"]
    told = _pick(_answered(record, Op.DELIVERED), rng)
    if told is None:
        return None
    row = _store_row(record, int(operations["conversation"][told]), int(operations["user"][told]))
    if row is None:
        return None
    new = int(operations["argument"][told]) - 1
    for name in ("read_seq", "delivered_seq"):
        store[name][row] = min(new, int(store[name][row]))
    return f"row {row} of the store holds {new}, below {_op_name(record, told)}"


def hold_other_messages(record: Record, rng: Rng) -> str | None:
    return _hold_other(record, rng, "last_seq", 3)


def forget_member(record: Record, rng: Rng) -> str | None:
    """The store has no row of a member."""
    store = record.tables["final_store"]
    row = int(rng.integers(len(store["user"])))
    record.keep("final_store", np.arange(len(store["user"])) != row)
    return f"row {row} of the store is gone"


def lost_and_not_looked_at(record: Record, rng: Rng) -> str | None:
    """The store holds less than was acknowledged, and the final read did not show that cursor."""
    items = record.tables["items"]
    item = _pick(_shown(record, final=True), rng)
    if item is None:
        return None
    row = _store_row(record, int(items["conversation"][item]), int(items["actor"][item]))
    if row is None:
        return None
    value = int(record.tables["final_store"]["read_seq"][row])
    _set(record, "final_store", row, read_seq=value - 1)
    record.keep("items", np.arange(len(items["op_id"])) != item)
    return f"row {row} of the store holds {value - 1} for {value}, and nobody looked"


CURSOR: Final[tuple[Operator, ...]] = (
    show_less, show_more, swap_shown, acknowledge_other, shift_read, shift_write, other_session, drop_write,
    read_other, unanswered,
)  # fmt: skip
OPERATORS: Final[dict[str, tuple[Operator, ...]]] = {
    "acknowledged_reads": (
        hold_other_read, forget_member, lost_and_not_looked_at, drop_write, read_other, unanswered,
    ),
    "acknowledged_deliveries": (
        hold_other_delivered, forget_delivery, deliver_other, drop_delivered, unanswered,
    ),
    "acknowledged_messages": (
        hold_other_messages, drop_send, send_again, send_numbered_otherwise, unanswered,
    ),
    "stale_at_end": (show_less_at_end, show_more_at_end, hold_other_read, unanswered_and_not_shown),
    "linearizable": CURSOR,
    "read_your_writes_session": CURSOR,
    "monotonic_reads_session": CURSOR,
    "read_your_writes_device": CURSOR,
    "monotonic_reads_device": CURSOR,
    "read_your_writes_person": CURSOR,
    "monotonic_reads_person": CURSOR,
}  # fmt: skip
"""By the check that they aim at."""
