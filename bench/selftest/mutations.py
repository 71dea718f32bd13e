"""Small changes to a clean record, each of which leaves a record that could have been written: every value is
one that the protocol allows, every operation ends after it began, rows are in the order of their clocks, and
no number is missing.

An operator changes a record in place and says what it did; None where it found nothing to change.
`OPERATORS` has those that aim at each check; a new check is one entry there and one in oracle.py.  Here are
those of cursors, and of what store and cache hold at the end."""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.record import Op, Outcome
from bench.selftest import mutations_changes as changes
from bench.selftest import mutations_looks as looks
from bench.selftest import mutations_pushes as pushes
from bench.selftest import mutations_unread as unread
from bench.selftest.choose import (
    READS,
    SENDS,
    STATES,
    Ints,
    Operator,
    Rng,
    answered,
    behind,
    op_name,
    operation_of,
    other_number,
    pick,
    put,
    shift,
    shown,
    store_row,
)
from bench.selftest.held import Record

# --- what is shown of a cursor ----------------------------------------------------------------------------


def _show_other(record: Record, rng: Rng, items: Ints, *, low: bool) -> str | None:
    item = pick(items, rng)
    if item is None:
        return None
    columns = record.tables["items"]
    value, last = int(columns["value"][item]), int(columns["last_seq"][item])
    new = int(rng.integers(0, value)) if low else int(rng.integers(value + 1, last + 1))
    put(record, "items", item, value=new, unread=last - new)
    return f"{op_name(record, operation_of(record, item))} shows {new} for {value}"


def show_less(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, shown(record), low=True)


def show_more(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, behind(record), low=False)


def show_less_at_end(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, shown(record, final=True), low=True)


def show_more_at_end(record: Record, rng: Rng) -> str | None:
    return _show_other(record, rng, behind(record, final=True), low=False)


def swap_shown(record: Record, rng: Rng) -> str | None:
    """Two STATEs of one cursor show each other's values."""
    items = record.tables["items"]
    first = pick(shown(record), rng)
    if first is None:
        return None
    same = (items["conversation"] == items["conversation"][first]) & (items["actor"] == items["actor"][first])
    state = np.isin(record.tables["operations"]["op"], STATES)
    ids = record.tables["operations"]["op_id"][state]
    same &= np.isin(items["op_id"], ids) & (items["value"] != items["value"][first])
    second = pick(np.flatnonzero(same), rng)
    if second is None:
        return None
    for column in ("value", "unread", "version", "last_seq"):
        items[column][[first, second]] = items[column][[second, first]]
    return f"items {first} and {second} swapped"


def show_own_message_too_soon(record: Record, rng: Rng) -> str | None:
    """The last STATE before a person's own SEND, all read, shows that message already."""
    operations, items = record.tables["operations"], record.tables["items"]
    send = pick(answered(record, *SENDS), rng)
    if send is None:
        return None
    conversation, user, seq = (int(operations[name][send]) for name in ("conversation", "user", "value"))
    asked = operations["acknowledged"] < operations["sent"][send]
    asked &= np.isin(operations["op"], STATES) & (operations["user"] == user)
    at_head = np.isin(items["op_id"], operations["op_id"][asked]) & (items["conversation"] == conversation)
    at_head &= (items["actor"] == user) & (items["value"] == seq - 1) & (items["last_seq"] == seq - 1)
    rows = np.flatnonzero(at_head)
    if not len(rows):
        return None
    item = int(rows[-1])
    put(record, "items", item, value=seq, last_seq=seq)
    return f"{op_name(record, operation_of(record, item))} shows message {seq} before {op_name(record, send)}"


def acknowledge_other(record: Record, rng: Rng) -> str | None:
    """The acknowledgement of a READ says another cursor than it was."""
    operations = record.tables["operations"]
    row = pick(np.flatnonzero((operations["value"] > 0) & np.isin(operations["op"], READS)), rng)
    if row is None:
        return None
    value = int(operations["value"][row])
    new = int(rng.integers(0, 2 * value))
    if new == value:
        return None
    put(record, "operations", row, value=new)
    return f"{op_name(record, row)} is told {new} for {value}"


def unanswered_and_not_shown(record: Record, rng: Rng) -> str | None:
    """Nobody answered the last READ of a cursor, and it happened: the store has it, the API shows what was
    before."""
    operations, items = record.tables["operations"], record.tables["items"]
    item = pick(shown(record, final=True), rng)
    if item is None:
        return None
    conversation, user, value = (int(items[name][item]) for name in ("conversation", "actor", "value"))
    mine = (operations["conversation"] == conversation) & (operations["user"] == user)
    marks = np.flatnonzero(mine & np.isin(operations["op"], READS) & (operations["argument"] == value))
    if len(marks) != 1 or operations["items"][marks[0]] > 1:
        return None
    put(record, "operations", int(marks[0]), outcome=Outcome.INFO, acknowledged=0, value=-1, version=-1)
    put(record, "items", item, value=value - 1)
    return f"{op_name(record, int(marks[0]))} unanswered, its cursor shown at {value - 1}"


# --- when, and by whom ------------------------------------------------------------------------------------


def shift_read(record: Record, rng: Rng) -> str | None:
    return shift(record, rng, answered(record, *STATES))


def shift_write(record: Record, rng: Rng) -> str | None:
    return shift(record, rng, answered(record, *READS, *SENDS))


def other_session(record: Record, rng: Rng) -> str | None:
    """A STATE was asked on a connection of another device of the same person."""
    operations, devices = record.tables["operations"], record.tables["devices"]
    row = pick(answered(record, *STATES), rng)
    if row is None:
        return None
    own = devices["device"][devices["user"] == operations["user"][row]]
    others = np.isin(operations["device"], own) & (operations["device"] != operations["device"][row])
    other = pick(np.flatnonzero(others), rng)
    if other is None:
        return None
    put(
        record, "operations", row,
        session=operations["session"][other], device=operations["device"][other],
    )  # fmt: skip
    return f"{op_name(record, row)} on the connection of {op_name(record, other)}"


# --- what was written -------------------------------------------------------------------------------------


def _drop(record: Record, rng: Rng, *ops: Op) -> str | None:
    row = pick(answered(record, *ops), rng)
    if row is None:
        return None
    name = op_name(record, row)
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
    row = pick(answered(record, *ops), rng)
    if row is None:
        return None
    last = store["last_seq"][store["conversation"] == operations["conversation"][row]]
    value, new = int(operations["argument"][row]), int(rng.integers(1, int(last[0]) + 1))
    if new == value:
        return None
    told = {"value": new} if operations["value"][row] >= 0 else {}
    put(record, "operations", row, argument=new, **told)
    return f"{op_name(record, row)} up to {new} for {value}"


def read_other(record: Record, rng: Rng) -> str | None:
    return _ask_other(record, rng, *READS)


def deliver_other(record: Record, rng: Rng) -> str | None:
    return _ask_other(record, rng, Op.DELIVERED)


def unanswered(record: Record, rng: Rng) -> str | None:
    row = pick(answered(record, *READS, *SENDS, Op.DELIVERED), rng)
    if row is None:
        return None
    name = op_name(record, row)
    put(record, "operations", row, outcome=Outcome.INFO, acknowledged=0, value=-1, version=-1)
    return f"{name} was never answered"


def send_again(record: Record, rng: Rng) -> str | None:
    """Another message is acknowledged with a number that one has already."""
    row = pick(answered(record, *SENDS), rng)
    if row is None:
        return None
    name = op_name(record, row)
    record.repeat_operation(row)
    return f"{name} made twice"


def send_numbered_otherwise(record: Record, rng: Rng) -> str | None:
    operations = record.tables["operations"]
    row = pick(answered(record, *SENDS), rng)
    if row is None:
        return None
    value = int(operations["value"][row])
    new = max(1, value + int(rng.integers(-2, 3)))
    if new == value:
        return None
    put(record, "operations", row, value=new)
    return f"{op_name(record, row)} is message {new} for {value}"


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
    told = pick(answered(record, Op.DELIVERED), rng)
    if told is None:
        return None
    row = store_row(record, int(operations["conversation"][told]), int(operations["user"][told]))
    if row is None:
        return None
    new = int(operations["argument"][told]) - 1
    for name in ("read_seq", "delivered_seq"):
        store[name][row] = min(new, int(store[name][row]))
    return f"row {row} of the store holds {new}, below {op_name(record, told)}"


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
    item = pick(shown(record, final=True), rng)
    if item is None:
        return None
    row = store_row(record, int(items["conversation"][item]), int(items["actor"][item]))
    if row is None:
        return None
    value = int(record.tables["final_store"]["read_seq"][row])
    put(record, "final_store", row, read_seq=value - 1)
    record.drop_item(item)
    return f"row {row} of the store holds {value - 1} for {value}, and nobody looked"


# --- what the cache holds ---------------------------------------------------------------------------------


def _cache_other(record: Record, rng: Rng, name: str) -> str | None:
    cache = record.tables["final_cache"]
    row = int(rng.integers(len(cache[name])))
    value = int(cache[name][row])
    new = other_number(rng, value, 4, 0, int(cache["last_seq"][row]))
    if new is None:
        return None
    put(record, "final_cache", row, **{name: new})
    return f"the cache holds {name} {new} for {value} in row {row}"


def cache_other_read(record: Record, rng: Rng) -> str | None:
    return _cache_other(record, rng, "read_seq")


def cache_other_delivered(record: Record, rng: Rng) -> str | None:
    return _cache_other(record, rng, "delivered_seq")


def cache_forgets_delivery(record: Record, rng: Rng) -> str | None:
    """The cache holds a message as not delivered that the store has as delivered, and not read."""
    cache = record.tables["final_cache"]
    row = pick(np.flatnonzero(cache["delivered_seq"] > cache["read_seq"]), rng)
    if row is None:
        return None
    value, read = int(cache["delivered_seq"][row]), int(cache["read_seq"][row])
    new = int(rng.integers(read, value))
    put(record, "final_cache", row, delivered_seq=new)
    return f"the cache holds delivered_seq {new} for {value} in row {row}"


def cache_forgets(record: Record, rng: Rng) -> str | None:
    """The cache does not have a cursor: it was deleted, or expired."""
    rows = len(record.tables["final_cache"]["user"])
    row = int(rng.integers(rows))
    record.keep("final_cache", np.arange(rows) != row)
    return f"row {row} of the cache is gone"


def unanswered_and_cached(record: Record, rng: Rng) -> str | None:
    """Nobody answered a READ that is in the cache; the store was read before it happened."""
    operations, cache = record.tables["operations"], record.tables["final_cache"]
    row = pick(answered(record, Op.READ), rng)
    if row is None or operations["items"][row] > 1:
        return None
    conversation, user, value = (int(operations[name][row]) for name in ("conversation", "user", "argument"))
    held = store_row(record, conversation, user)
    cached = np.flatnonzero((cache["conversation"] == conversation) & (cache["user"] == user))
    if held is None or not len(cached) or record.tables["final_store"]["read_seq"][held] != value:
        return None
    put(record, "operations", row, outcome=Outcome.INFO, acknowledged=0, value=-1, version=-1)
    put(record, "final_store", held, read_seq=value - 1)
    return f"{op_name(record, row)} unanswered, and in the cache alone"


CURSOR: Final[tuple[Operator, ...]] = (
    show_less, show_more, swap_shown, acknowledge_other, shift_read, shift_write, other_session, drop_write,
    read_other, unanswered, looks.show_earlier, looks.reconnect_and_show_earlier,
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
    "stale_at_end": (
        show_less_at_end, show_more_at_end, hold_other_read, unanswered_and_not_shown,
        looks.look_twice_at_end,
    ),
    "converged": (
        cache_other_read, cache_other_delivered, cache_forgets_delivery, cache_forgets, unanswered_and_cached,
        show_less_at_end, show_more_at_end, hold_other_read, hold_other_delivered,
    ),
    "linearizable": (*CURSOR, show_own_message_too_soon),
    "read_your_writes_session": CURSOR,
    "monotonic_reads_session": CURSOR,
    "read_your_writes_device": CURSOR,
    "monotonic_reads_device": CURSOR,
    "read_your_writes_person": CURSOR,
    "monotonic_reads_person": CURSOR,
    "sync_complete": (
        *changes.PAGES, changes.leave_out_and_do_not_push, changes.tell_nobody, changes.drop_sync,
        changes.shift_sync, pushes.drop_push, pushes.move_push, drop_write, unanswered,
    ),
    "sync_pages": changes.PAGES,
    "versions": changes.VERSIONS,
    "device_state": (
        changes.never_tell_device, changes.tell_device_more, pushes.drop_push, pushes.push_other_value,
        hold_other_read, drop_write, unanswered,
    ),
    "push_duplicates": (
        pushes.push_again, pushes.push_numbered_as_another, pushes.change_numbered_as_another,
        pushes.swap_in_stream, pushes.drop_push, pushes.push_to_other_device,
    ),
    "push_order": (
        pushes.move_push, pushes.swap_in_stream, pushes.swap_pushes, pushes.push_numbered_otherwise,
        pushes.push_other_value, pushes.push_again,
    ),
    "push_regress": (
        pushes.reconnect, pushes.reconnect_and_count_back, pushes.reconnect_and_count_back_in_log,
        pushes.reconnect_and_push_again, pushes.reconnect_in_another_epoch,
    ),
    "push_gaps": (
        pushes.drop_push, pushes.drop_rest_of_stream, pushes.push_to_other_device, pushes.push_other_value,
        pushes.reconnect, drop_write, unanswered,
    ),
    "receipt_before_message": (
        pushes.receipt_first, pushes.message_last, pushes.move_push, pushes.swap_pushes,
        pushes.push_other_value,
    ),
    "unread": (
        unread.count_other, unread.count_of_another_time, unread.answer_other, show_less, show_more,
        shift_read, shift_write, drop_send, unanswered,
    ),
    "unread_at_end": (
        unread.count_other_at_end, show_less_at_end, show_more_at_end, hold_other_read, hold_other_messages,
        drop_send,
    ),
    "total_unread": (
        unread.total_other, unread.count_other, unread.count_elsewhere, unread.leave_out, show_less,
    ),
}  # fmt: skip
"""By the check that they aim at."""
