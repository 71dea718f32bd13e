"""Changes to the unread numbers that were shown (mutations.py)."""

from __future__ import annotations

from typing import Final

from bench.record import Op
from bench.selftest.choose import READS, Ints, Rng, answered, op_name, operation_of, own_items, pick, put
from bench.selftest.held import Record

FURTHEST: Final = 3


def _count(record: Record, rng: Rng, table: str, row: int | None) -> tuple[int, int] | None:
    """(before, after)."""
    if row is None:
        return None
    value = int(record.tables[table]["unread"][row])
    new = max(0, value + int(rng.integers(-FURTHEST, FURTHEST + 1)))
    if new == value:
        return None
    put(record, table, row, unread=new)
    return value, new


def _count_item(record: Record, rng: Rng, items: Ints) -> str | None:
    item = pick(items, rng)
    changed = _count(record, rng, "items", item)
    if item is None or changed is None:
        return None
    return f"{op_name(record, operation_of(record, item))} shows {changed[1]} unread for {changed[0]}"


def count_other(record: Record, rng: Rng) -> str | None:
    return _count_item(record, rng, own_items(record, final=False))


def count_other_at_end(record: Record, rng: Rng) -> str | None:
    return _count_item(record, rng, own_items(record, final=True))


def count_of_another_time(record: Record, rng: Rng) -> str | None:
    """A STATE shows the unread number of another STATE of the same cursor."""
    items, own = record.tables["items"], own_items(record, final=False)
    item = pick(own, rng)
    if item is None:
        return None
    same = (items["conversation"][own] == items["conversation"][item]) & (
        items["actor"][own] == items["actor"][item]
    )
    other = pick(own[same & (items["unread"][own] != items["unread"][item])], rng)
    if other is None:
        return None
    put(record, "items", item, unread=items["unread"][other])
    return f"{op_name(record, operation_of(record, item))} shows the unread number of item {other}"


def answer_other(record: Record, rng: Rng) -> str | None:
    """The acknowledgement of a READ says another number."""
    row = pick(answered(record, *READS), rng)
    changed = _count(record, rng, "operations", row)
    if row is None or changed is None:
        return None
    return f"{op_name(record, row)} is told {changed[1]} unread for {changed[0]}"


def total_other(record: Record, rng: Rng) -> str | None:
    row = pick(answered(record, Op.STATE), rng)
    changed = _count(record, rng, "operations", row)
    if row is None or changed is None:
        return None
    return f"{op_name(record, row)} says {changed[1]} in total for {changed[0]}"


def _of_state(record: Record, rng: Rng) -> Ints:
    """Items of one STATE about the asker's own cursors."""
    items, own = record.tables["items"], own_items(record, final=False)
    first = int(rng.choice(own))
    mine: Ints = own[items["op_id"][own] == items["op_id"][first]]
    return mine


def count_elsewhere(record: Record, rng: Rng) -> str | None:
    """One unread more in one conversation and one less in another: the total is the same."""
    unread, mine = record.tables["items"]["unread"], _of_state(record, rng)
    less = pick(mine[unread[mine] > 0], rng)
    more = pick(mine[mine != less], rng)
    if less is None or more is None:
        return None
    unread[less] -= 1
    unread[more] += 1
    return f"{op_name(record, operation_of(record, less))} shows one unread in item {more}, not in {less}"


def leave_out(record: Record, rng: Rng) -> str | None:
    """A STATE does not list a conversation."""
    item = pick(_of_state(record, rng), rng)
    if item is None:
        return None
    name = op_name(record, operation_of(record, item))
    record.drop_item(item)
    return f"{name} leaves item {item} out"
