"""Changes to the pushes that came to devices, and to the connections on which they did (mutations.py)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.record import Op, Phase, PushKind
from bench.selftest.choose import Rng, last_seq, other_number, pick, push_name, put
from bench.selftest.held import Record

Bools = NDArray[np.bool_]

FURTHEST_NS: Final = 3_000_000_000
CONTENT: Final = ("at_ms", "value", "version", "change_id", "conversation", "actor", "unread", "kind")
"""What a push says; the other columns are who got it, and when."""
SIGN_IN_NS: Final = 1_000_000
"""Between the steps of a new connection."""
TRIES: Final = 20


def _any(record: Record, rng: Rng) -> int:
    return int(rng.integers(len(record.tables["pushes"]["value"])))


def _same(record: Record, row: int, *columns: str) -> Bools:
    """Pushes that have the same in these columns."""
    pushes = record.tables["pushes"]
    same: Bools = np.logical_and.reduce([pushes[name] == pushes[name][row] for name in columns])
    return same


def _stream(record: Record, row: int) -> Bools:
    """Pushes of the same stream, messages by their conversation."""
    message = record.tables["pushes"]["kind"][row] == PushKind.MESSAGE
    return _same(record, row, "session", "kind", "conversation", *(() if message else ("actor",)))


def _number(record: Record, row: int) -> str:
    """The column by which its stream is numbered."""
    pushes = record.tables["pushes"]
    numbered = pushes["kind"][row] != PushKind.MESSAGE and pushes["version"][row] >= 0
    return "version" if numbered else "value"


def _ended(record: Record) -> int:
    return int(record.manifest()["clock"]["ended"]) - 1


# --- more, less, and at other times -----------------------------------------------------------------------


def push_again(record: Record, rng: Rng) -> str | None:
    row = _any(record, rng)
    name = push_name(record, row)
    record.insert("pushes", row, row + 1)
    received = int(record.tables["pushes"]["received"][row]) + int(rng.integers(1, FURTHEST_NS))
    record.move_push(row + 1, min(received, _ended(record)))
    return f"{name} came twice"


def drop_push(record: Record, rng: Rng) -> str | None:
    row = _any(record, rng)
    name = push_name(record, row)
    record.keep("pushes", np.arange(len(record.tables["pushes"]["value"])) != row)
    return f"{name} never came"


def drop_rest_of_stream(record: Record, rng: Rng) -> str | None:
    """Nothing of a stream came from then on."""
    row = _any(record, rng)
    name, same = push_name(record, row), _stream(record, row)
    record.keep("pushes", ~(same & (np.arange(len(same)) >= row)))
    return f"{name} and all later ones of its stream never came"


def move_push(record: Record, rng: Rng) -> str | None:
    row = _any(record, rng)
    pushes, connections = record.tables["pushes"], record.tables["connections"]
    name, came = push_name(record, row), int(pushes["received"][row])
    began = int(connections["subscribed"][connections["session"] == pushes["session"][row]][0])
    new = int(np.clip(came + int(rng.integers(-FURTHEST_NS, FURTHEST_NS)), began + 1, _ended(record)))
    record.move_push(row, new)
    return f"{name} moved by {(new - came) / 1e9:.3f} s"


def push_to_other_device(record: Record, rng: Rng) -> str | None:
    """It came to another connection of the same person, in the same process."""
    row = _any(record, rng)
    pushes = record.tables["pushes"]
    others = _same(record, row, "user") & (pushes["session"] != pushes["session"][row])
    others &= pushes["session"] >> 24 == pushes["session"][row] >> 24
    other = pick(np.flatnonzero(others), rng)
    if other is None:
        return None
    name = push_name(record, row)
    put(record, "pushes", row, session=pushes["session"][other], device=pushes["device"][other])
    return f"{name} came to {int(pushes['session'][other]):#x} instead"


# --- with other content -----------------------------------------------------------------------------------


def _swap(record: Record, rng: Rng, row: int, others: Bools) -> str | None:
    others[row] = False
    other = pick(np.flatnonzero(others), rng)
    if other is None:
        return None
    names = push_name(record, row), push_name(record, other)
    for column in CONTENT:
        values = record.tables["pushes"][column]
        values[[row, other]] = values[[other, row]]
    return f"{names[0]} and {names[1]} swapped"


def swap_in_stream(record: Record, rng: Rng) -> str | None:
    row = _any(record, rng)
    return _swap(record, rng, row, _stream(record, row))


def swap_pushes(record: Record, rng: Rng) -> str | None:
    row = _any(record, rng)
    return _swap(record, rng, row, _same(record, row, "session"))


def push_numbered_as_another(record: Record, rng: Rng) -> str | None:
    """A push has the version (a message: the seq) of another of its stream."""
    row = _any(record, rng)
    column, same = _number(record, row), _stream(record, row)
    return _copy(record, rng, row, column, same)


def change_numbered_as_another(record: Record, rng: Rng) -> str | None:
    """A change has the id of another that the same connection was told of."""
    pushes = record.tables["pushes"]
    row = pick(np.flatnonzero(pushes["change_id"] >= 0), rng)
    if row is None:
        return None
    return _copy(record, rng, row, "change_id", _same(record, row, "session") & (pushes["change_id"] >= 0))


def _copy(record: Record, rng: Rng, row: int, column: str, among: Bools) -> str | None:
    values = record.tables["pushes"][column]
    other = pick(np.flatnonzero(among & (values != values[row])), rng)
    if other is None:
        return None
    name = push_name(record, row)
    values[row] = values[other]
    return f"{name} with {column} {values[row]} of another"


def push_numbered_otherwise(record: Record, rng: Rng) -> str | None:
    row = _any(record, rng)
    column, name = _number(record, row), push_name(record, row)
    value = int(record.tables["pushes"][column][row])
    new = other_number(rng, value, 3, 1, value + 3)
    if new is None:
        return None
    put(record, "pushes", row, **{column: new})
    return f"{name} with {column} {new} for {value}"


def push_other_value(record: Record, rng: Rng) -> str | None:
    """A receipt or an own update says that somebody got to another message."""
    pushes = record.tables["pushes"]
    row = pick(np.flatnonzero(pushes["kind"] != PushKind.MESSAGE), rng)
    if row is None:
        return None
    name, value = push_name(record, row), int(pushes["value"][row])
    new = other_number(rng, value, 3, 1, last_seq(record, int(pushes["conversation"][row])))
    if new is None:
        return None
    put(record, "pushes", row, value=new)
    return f"{name} says {new}"


# --- receipts and their messages --------------------------------------------------------------------------


def _receipt_and_message(record: Record, rng: Rng) -> tuple[int, int] | None:
    """A receipt and a message that it covers and that came before it, on one connection."""
    pushes = record.tables["pushes"]
    receipt = pick(np.flatnonzero(pushes["kind"] == PushKind.READ), rng)
    if receipt is None:
        return None
    covered = _same(record, receipt, "session", "conversation") & (pushes["kind"] == PushKind.MESSAGE)
    covered &= (pushes["value"] <= pushes["value"][receipt]) & (np.arange(len(covered)) < receipt)
    message = pick(np.flatnonzero(covered), rng)
    return None if message is None else (receipt, message)


def receipt_first(record: Record, rng: Rng) -> str | None:
    found = _receipt_and_message(record, rng)
    if found is None:
        return None
    receipt, message = found
    name = push_name(record, receipt)
    record.move_push(receipt, int(record.tables["pushes"]["received"][message]) - 1)
    return f"{name} came before its message"


def message_last(record: Record, rng: Rng) -> str | None:
    found = _receipt_and_message(record, rng)
    if found is None:
        return None
    receipt, message = found
    name = push_name(record, message)
    record.move_push(message, int(record.tables["pushes"]["received"][receipt]) + 1)
    return f"{name} came after its receipt"


# --- on a second connection -------------------------------------------------------------------------------


def reconnect(record: Record, rng: Rng) -> str | None:
    """A device lost its connection for a moment, in which nothing happened."""
    session = reconnected(record, rng)
    return None if session is None else f"session {session:#x} goes on from one before"


def reconnected(record: Record, rng: Rng, **signed_in: Any) -> int | None:
    """The new session.  `signed_in`: columns of its HELLO."""
    connections = record.tables["connections"]
    window = record.manifest()["window"]
    for _ in range(TRIES):
        row = pick(np.flatnonzero((connections["role"] == 0) & (connections["subscribed"] > 0)), rng)
        if row is None:
            return None
        old = int(connections["session"][row])
        moment = int(rng.integers(window["measure"], window["measure_end"]))
        if not _quiet(record, old, moment, moment + 5 * SIGN_IN_NS):
            continue
        worker = connections["session"] >> 24 == old >> 24
        new = int(connections["session"][worker].max()) + 1
        _move_to(record, old, new, moment)
        sign_in(record, old, new, moment, signed_in)
        steps = ("intended", "opened", "welcomed", "subscribed")
        times = {name: moment + (i + 1) * SIGN_IN_NS for i, name in enumerate(steps)}
        record.insert("connections", row, row + 1, session=new, **times)
        put(record, "connections", row, closed=moment, close_code=1006, phase=Phase.MEASURE)
        return new
    return None


def _quiet(record: Record, session: int, start: int, end: int) -> bool:
    operations, pushes = record.tables["operations"], record.tables["pushes"]
    busy = (operations["session"] == session) & (operations["sent"] > 0)
    busy &= (operations["sent"] <= end) & (operations["acknowledged"] >= start)
    came = (pushes["session"] == session) & (pushes["received"] >= start) & (pushes["received"] <= end)
    return not busy.any() and not came.any()


def _move_to(record: Record, old: int, new: int, moment: int) -> None:
    for table, time in (("operations", "sent"), ("pushes", "received")):
        rows = record.tables[table]
        rows["session"][(rows["session"] == old) & (rows[time] > moment)] = new


def sign_in(record: Record, old: int, new: int, moment: int, signed_in: dict[str, Any]) -> None:
    """What the old connection began with, on the new one."""
    for place, op in enumerate((Op.CONNECT, Op.HELLO, Op.SUB), start=1):
        operations = record.tables["operations"]
        rows = np.flatnonzero((operations["session"] == old) & (operations["op"] == op))
        if len(rows):
            sent = moment + place * SIGN_IN_NS
            changes = {"session": new, "intended": sent, "sent": sent, "acknowledged": sent + SIGN_IN_NS // 2}
            record.repeat_operation(int(rows[0]), **changes, **(signed_in if op == Op.HELLO else {}))


def _told_before(record: Record, session: int, column: str, rng: Rng) -> tuple[int, int] | None:
    """(a push to the new session, the highest number of its stream on the one before)."""
    pushes, connections = record.tables["pushes"], record.tables["connections"]
    device = connections["device"][connections["session"] == session][0]
    after = np.flatnonzero((pushes["session"] == session) & (pushes[column] > 0))
    for row in rng.permutation(after).tolist():
        same = pushes["device"] == device
        if column != "change_id":
            same &= _same(record, row, "kind", "conversation")
            same &= (pushes["actor"] == pushes["actor"][row]) | (pushes["kind"] == PushKind.MESSAGE)
        before = pushes[column][same & (pushes["session"] != session)]
        if len(before) and before.max() > 1:
            return int(row), int(before.max())
    return None


def _count_back(record: Record, rng: Rng, column: str, **signed_in: Any) -> str | None:
    session = reconnected(record, rng, **signed_in)
    found = None if session is None else _told_before(record, session, column, rng)
    if found is None:
        return None
    row, highest = found
    new = int(rng.integers(1, highest))
    put(record, "pushes", row, **{column: new})
    return f"{push_name(record, row)} has {column} {new}, after {highest} on the connection before"


def reconnect_and_count_back(record: Record, rng: Rng) -> str | None:
    """The server lost its counter: it gives a lower version than on the connection before."""
    return _count_back(record, rng, "version")


def reconnect_and_count_back_in_log(record: Record, rng: Rng) -> str | None:
    return _count_back(record, rng, "change_id")


def reconnect_in_another_epoch(record: Record, rng: Rng) -> str | None:
    """It lost its counter, and said so."""
    return _count_back(record, rng, "version", version=2)


def reconnect_and_push_again(record: Record, rng: Rng) -> str | None:
    """The new connection is told what came to the one before."""
    pushes, session = record.tables["pushes"], reconnected(record, rng)
    if session is None:
        return None
    connections = record.tables["connections"]
    mine = connections["session"] == session
    device, began = int(connections["device"][mine][0]), int(connections["subscribed"][mine][0])
    row = pick(np.flatnonzero((pushes["device"] == device) & (pushes["session"] != session)), rng)
    if row is None:
        return None
    name = push_name(record, row)
    record.insert("pushes", row, row + 1, session=session)
    record.move_push(row + 1, int(rng.integers(began + 1, max(began + 2, _ended(record)))))
    return f"{name}, and again to {session:#x}"
