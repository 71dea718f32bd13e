"""Somebody is shown what a cursor was before, all else as it was: what only one kind of promise can see
(mutations.py)."""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.record import Outcome, Phase
from bench.selftest.choose import (
    READS,
    Ints,
    Rng,
    op_name,
    operation_of,
    own_items,
    pick,
    put,
    shown,
)
from bench.selftest.held import WORKER, Record
from bench.selftest.mutations_pushes import SIGN_IN_NS, reconnected, sign_in

LOST: Final = 1006
"""Close code of a connection that broke."""


def show_earlier(record: Record, rng: Rng) -> str | None:
    """Cursor and version of an earlier STATE; the unread number is that of now."""
    return _show_earlier(record, rng, shown(record))


def reconnect_and_show_earlier(record: Record, rng: Rng) -> str | None:
    """The same, on a connection after the one on which it was otherwise."""
    session = reconnected(record, rng)
    if session is None:
        return None
    operations = record.tables["operations"]
    mine = operations["op_id"][operations["session"] == session]
    items = shown(record)
    return _show_earlier(record, rng, items[np.isin(record.tables["items"]["op_id"][items], mine)])


def _show_earlier(record: Record, rng: Rng, among: Ints) -> str | None:
    item = pick(among, rng)
    before = None if item is None else _before(record, item, rng)
    if item is None or before is None:
        return None
    items = record.tables["items"]
    value = int(items["value"][item])
    put(record, "items", item, value=items["value"][before], version=items["version"][before])
    return f"{op_name(record, operation_of(record, item))} shows {items['value'][before]} for {value} again"


def _before(record: Record, item: int, rng: Rng) -> int | None:
    """An item of a STATE that shows the same cursor lower."""
    items, own = record.tables["items"], own_items(record, final=False)
    same = (items["conversation"][own] == items["conversation"][item]) & (
        items["actor"][own] == items["actor"][item]
    )
    return pick(own[same & (items["value"][own] < items["value"][item])], rng)


def look_twice_at_end(record: Record, rng: Rng) -> str | None:
    """Nobody answered the last READ of a cursor; the store has it.  The final read was shown the cursor as it
    was before, lost its connection after that page, and was shown all of it on the next."""
    items = record.tables["items"]
    for item in rng.permutation(shown(record, final=True)).tolist():
        before, read = _before_last(record, item), _last_read(record, item)
        if before is None or read is None:
            continue
        earlier = {name: int(items[name][before]) for name in ("value", "version")}
        value = int(items["value"][item])
        said = f"{op_name(record, read)} unanswered, its cursor shown at {earlier['value']}, then at {value}"
        put(record, "operations", read, outcome=Outcome.INFO, acknowledged=0, value=-1, version=-1)
        _look_again(record, operation_of(record, item))
        put(record, "items", item, **earlier)
        items = record.tables["items"]
        for other in np.flatnonzero(items["op_id"] == items["op_id"][item])[::-1].tolist():
            if other != item:
                record.drop_item(other)
        return said
    return None


def _before_last(record: Record, item: int) -> int | None:
    """The item of a STATE that shows the cursor highest of all but this one, where that is lower."""
    items, own = record.tables["items"], own_items(record, final=False)
    same = (items["conversation"][own] == items["conversation"][item]) & (
        items["actor"][own] == items["actor"][item]
    )
    others = own[same & (own != item)]
    if not len(others):
        return None
    highest = int(others[np.argmax(items["value"][others])])
    return highest if items["value"][highest] < items["value"][item] else None


def _last_read(record: Record, item: int) -> int | None:
    """The READ that brought the cursor to where this item shows it, if it was one of this alone."""
    operations, items = record.tables["operations"], record.tables["items"]
    mine = (operations["conversation"] == items["conversation"][item]) & (
        operations["user"] == items["actor"][item]
    )
    marks = mine & np.isin(operations["op"], READS) & (operations["argument"] == items["value"][item])
    rows = np.flatnonzero(marks)
    return int(rows[0]) if len(rows) == 1 and operations["items"][rows[0]] <= 1 else None


def _look_again(record: Record, state: int) -> None:
    """The connection of this STATE breaks when it was answered; on the next it is asked once more."""
    operations, connections = record.tables["operations"], record.tables["connections"]
    old, op_id = int(operations["session"][state]), int(operations["op_id"][state])
    of_worker = operations["op_id"] >> WORKER == op_id >> WORKER
    moment, last = int(operations["acknowledged"][state]), int(np.flatnonzero(of_worker)[-1])
    took = moment - int(operations["sent"][state])
    new = int(connections["session"][connections["session"] >> 24 == old >> 24].max()) + 1
    again = int(operations["op_id"][last]) + 1
    sent = moment + 4 * SIGN_IN_NS
    times = {"intended": sent, "sent": sent, "acknowledged": sent + min(took, SIGN_IN_NS)}
    record.insert("operations", state, last + 1, op_id=again, session=new, **times)
    items = record.tables["items"]["op_id"]
    end = int(np.flatnonzero(items >> WORKER == op_id >> WORKER)[-1]) + 1
    for number, item in enumerate(np.flatnonzero(items == op_id).tolist()):
        record.insert("items", item, end + number, op_id=again)
    record.in_order()
    sign_in(record, old, new, moment, {})
    connection = int(np.flatnonzero(connections["session"] == old)[0])
    steps = ("intended", "opened", "welcomed")
    opened = {name: moment + (place + 1) * SIGN_IN_NS for place, name in enumerate(steps)}
    record.insert(
        "connections", connection, connection + 1, session=new, closed=sent + 2 * SIGN_IN_NS, **opened
    )
    put(record, "connections", connection, closed=moment, close_code=LOST, phase=Phase.FINAL)
