"""Changes to the pages of SYNC, to versions, and to what devices were told of cursors (mutations.py)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.population import NOBODY
from bench.record import Op, PushKind
from bench.selftest.choose import (
    READS,
    STATES,
    Ints,
    Operator,
    Rng,
    answered,
    last_seq,
    op_name,
    operation_of,
    other_number,
    pick,
    push_name,
    put,
    shift,
    store_row,
)
from bench.selftest.held import Record

Bools = NDArray[np.bool_]


def _items_of(record: Record, *ops: Op) -> Ints:
    operations = record.tables["operations"]
    ids = operations["op_id"][answered(record, *ops)]
    return np.flatnonzero(np.isin(record.tables["items"]["op_id"], ids))


def _item_name(record: Record, item: int) -> str:
    items = record.tables["items"]
    owner = op_name(record, operation_of(record, item))
    return f"{owner}, item {items['index'][item]} (change {items['change_id'][item]})"


def _highest(record: Record, item: int) -> int:
    """The last message that an item can know of."""
    items = record.tables["items"]
    shown = int(items["last_seq"][item])
    return shown if shown >= 0 else last_seq(record, int(items["conversation"][item]))


# --- pages of SYNC ----------------------------------------------------------------------------------------


def leave_out_change(record: Record, rng: Rng) -> str | None:
    item = pick(_items_of(record, Op.SYNC), rng)
    if item is None:
        return None
    name = _item_name(record, item)
    record.drop_item(item)
    return f"{name} was left out"


def leave_out_and_do_not_push(record: Record, rng: Rng) -> str | None:
    """A change is in no page and no push to one device."""
    items, operations, pushes = (record.tables[name] for name in ("items", "operations", "pushes"))
    item = pick(_items_of(record, Op.SYNC), rng)
    if item is None:
        return None
    name = _item_name(record, item)
    device = operations["device"][operation_of(record, item)]
    change_id = items["change_id"][item]
    record.drop_item(item)
    told = (pushes["device"] == device) & (pushes["change_id"] == change_id)
    record.keep("pushes", ~told)
    return f"{name} was left out, and not pushed either"


def tell_nobody(record: Record, rng: Rng) -> str | None:
    """A row of a person's change log is in no page and no push to any device."""
    items, operations, pushes = (record.tables[name] for name in ("items", "operations", "pushes"))
    item = pick(_items_of(record, Op.SYNC), rng)
    if item is None:
        return None
    name, user = _item_name(record, item), operations["user"][operation_of(record, item)]
    change_id = items["change_id"][item]
    mine = operations["op_id"][(operations["op"] == Op.SYNC) & (operations["user"] == user)]
    record.keep("pushes", (pushes["user"] != user) | (pushes["change_id"] != change_id))
    while True:
        items = record.tables["items"]
        left = np.flatnonzero((items["change_id"] == change_id) & np.isin(items["op_id"], mine))
        if not len(left):
            return f"{name} was told to no device of u{user}"
        record.drop_item(int(left[0]))


def _page_other(record: Record, rng: Rng, column: str, low: int, high: int) -> str | None:
    row = pick(answered(record, Op.SYNC), rng)
    if row is None:
        return None
    value = int(record.tables["operations"][column][row])
    new = max(0, value + int(rng.integers(low, high + 1)))
    if new == value:
        return None
    put(record, "operations", row, **{column: new})
    what = "from" if column == "argument" else "up to"
    return f"{op_name(record, row)} {what} {new} for {value}"


def page_leads_elsewhere(record: Record, rng: Rng) -> str | None:
    return _page_other(record, rng, "value", -3, 3)


def page_asked_from_elsewhere(record: Record, rng: Rng) -> str | None:
    return _page_other(record, rng, "argument", -3, 3)


def renumber_change(record: Record, rng: Rng) -> str | None:
    item = pick(_items_of(record, Op.SYNC), rng)
    if item is None:
        return None
    name, value = _item_name(record, item), int(record.tables["items"]["change_id"][item])
    new = other_number(rng, value, 3, 1, value + 3)
    if new is None:
        return None
    put(record, "items", item, change_id=new)
    return f"{name} is change {new}"


def swap_changes(record: Record, rng: Rng) -> str | None:
    """Two changes of a page come in each other's place."""
    items, of_sync = record.tables["items"], _items_of(record, Op.SYNC)
    item = pick(of_sync, rng)
    if item is None:
        return None
    same = of_sync[(items["op_id"][of_sync] == items["op_id"][item]) & (of_sync != item)]
    other = pick(same, rng)
    if other is None:
        return None
    name = _item_name(record, item)
    for column in ("value", "version", "change_id", "conversation", "actor"):
        items[column][[item, other]] = items[column][[other, item]]
    return f"{name} and item {items['index'][other]} swapped"


def drop_sync(record: Record, rng: Rng) -> str | None:
    row = pick(answered(record, Op.SYNC), rng)
    if row is None:
        return None
    name = op_name(record, row)
    record.drop_operation(row)
    return f"{name} was never made"


def shift_sync(record: Record, rng: Rng) -> str | None:
    return shift(record, rng, answered(record, Op.SYNC))


# --- versions ---------------------------------------------------------------------------------------------


def _item_other(record: Record, rng: Rng, column: str) -> str | None:
    items = record.tables["items"]
    item = pick(_items_of(record, *STATES, Op.SYNC), rng)
    if item is None or items[column][item] < 0:
        return None
    value, name = int(items[column][item]), _item_name(record, item)
    most = _highest(record, item) if column == "value" else value + 3
    new = other_number(rng, value, 3, 0, most)
    if new is None:
        return None
    put(record, "items", item, **{column: new})
    return f"{name} has {column} {new} for {value}"


def other_version_in_answer(record: Record, rng: Rng) -> str | None:
    return _item_other(record, rng, "version")


def other_value_in_answer(record: Record, rng: Rng) -> str | None:
    return _item_other(record, rng, "value")


def other_version_acknowledged(record: Record, rng: Rng) -> str | None:
    row = pick(answered(record, *READS), rng)
    if row is None or record.tables["operations"]["version"][row] < 0:
        return None
    value = int(record.tables["operations"]["version"][row])
    new = other_number(rng, value, 3, 0, value + 3)
    if new is None:
        return None
    put(record, "operations", row, version=new)
    return f"{op_name(record, row)} is told version {new} for {value}"


def _push_other(record: Record, rng: Rng, column: str, most: int) -> str | None:
    pushes = record.tables["pushes"]
    row = pick(np.flatnonzero(pushes["kind"] == PushKind.READ), rng)
    if row is None or pushes[column][row] < 0:
        return None
    value, name = int(pushes[column][row]), push_name(record, row)
    new = other_number(rng, value, most, 0, value + most)
    if new is None:
        return None
    put(record, "pushes", row, **{column: new})
    return f"{name} with {column} {new} for {value}"


def other_version_pushed(record: Record, rng: Rng) -> str | None:
    return _push_other(record, rng, "version", 3)


def other_time_pushed(record: Record, rng: Rng) -> str | None:
    """When the message was first read, as one push tells it."""
    return _push_other(record, rng, "at_ms", 1_000)


def other_change_pushed(record: Record, rng: Rng) -> str | None:
    return _push_other(record, rng, "change_id", 3)


# --- what devices know ------------------------------------------------------------------------------------


def never_tell_device(record: Record, rng: Rng) -> str | None:
    """From some value on, a device was told nothing more of a cursor of somebody else or of its own person,
    neither by STATE and SYNC nor by a push."""
    operations, items, pushes = (record.tables[name] for name in ("operations", "items", "pushes"))
    row = pick(np.flatnonzero(pushes["kind"] == PushKind.READ), rng)
    if row is None:
        return None
    device, conversation, actor, value = (
        pushes[name][row] for name in ("device", "conversation", "actor", "value")
    )
    asked = operations["op_id"][operations["device"] == device]
    shown = np.isin(items["op_id"], asked) & (items["conversation"] == conversation)
    shown &= (items["actor"] == actor) & (items["value"] >= value)
    items["value"][shown] = value - 1
    told = (pushes["device"] == device) & (pushes["conversation"] == conversation)
    told &= (pushes["actor"] == actor) & (pushes["value"] >= value)
    record.keep("pushes", ~(told & np.isin(pushes["kind"], (PushKind.READ, PushKind.MESSAGE))))
    return f"device {device} is told of u{actor} in {conversation} up to {value - 1} only"


def tell_device_more(record: Record, rng: Rng) -> str | None:
    """An answer to a device shows more than the store has in the end."""
    operations, items = record.tables["operations"], record.tables["items"]
    of_device = operations["op_id"][operations["device"] != NOBODY]
    shown = _items_of(record, Op.STATE, Op.SYNC)
    shown = shown[np.isin(items["op_id"][shown], of_device)]
    for item in rng.permutation(shown).tolist():
        held = store_row(record, int(items["conversation"][item]), int(items["actor"][item]))
        final, most = int(record.tables["final_store"]["read_seq"][held or 0]), _highest(record, item)
        if held is not None and final < most:
            name, new = _item_name(record, item), int(rng.integers(final + 1, most + 1))
            put(record, "items", item, value=new)
            return f"{name} shows {new}, beyond {final}"
    return None


PAGES: Final[tuple[Operator, ...]] = (
    leave_out_change, page_leads_elsewhere, page_asked_from_elsewhere, renumber_change, swap_changes,
)  # fmt: skip
VERSIONS: Final[tuple[Operator, ...]] = (
    other_version_in_answer, other_value_in_answer, other_version_acknowledged, other_version_pushed,
    other_time_pushed, other_change_pushed, renumber_change,
)  # fmt: skip
