"""The work ledger of a run: what the scheme declares for what was recorded, against what the stores counted.

Counters were taken at quiet moments: `before` the load connected, `connected` when everybody had signed in,
and `after` the drain.  From the first to the last, declared and counted must agree; per message, from the
second to the last, is what one message costs, without signing in and without what only the harness asked.

A counter that is off by no more than SLACK agrees: asking takes a few milliseconds, a script is sent whole
the first time, and a poll may fall between two questions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import APPLIED, History, Marks, marks
from bench.metrics.receivers import implied, told, unknown_senders
from bench.population import NOBODY
from bench.record import DUPLICATE, MORE, NONE, RESET, Op, Outcome, PushKind
from bench.results import Json
from schemes import SCHEMES
from schemes.ledger import (
    DECLARED_ONLY,
    NOT_OF_SCHEMES,
    ROWS,
    STATEMENTS,
    Counts,
    Event,
    Range,
    declared_by,
    total,
)

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SLACK: Final = 8
FIND_SPANS: Final = 50
"""Spans that one SELECT of a DELIVERED finds the rows of (model `flags`)."""
MOMENTS: Final = ("before", "connected", "after")
NETWORK: Final = (
    ("mysql", "Bytes_received"),
    ("mysql", "Bytes_sent"),
    ("redis", "total_net_input_bytes"),
    ("redis", "total_net_output_bytes"),
)
OWN_DEVICES: Final = 2
PEERS_DEVICES: Final = 3
SENDERS: Final = 10
DELIVERED_ITEMS: Final = 100
"""Who may be told of a read that a SEND may have implied: other devices of the sender, devices of the direct
peer, and in groups so many senders' devices; and the conversations of one DELIVERED at most."""


def summarise(history: History) -> Json:
    """`ledger` of `summary.json`.  `available` False says in `why_not` why there is nothing to compare."""
    moments = history.manifest.get("ledger") or {}
    if why := _why_not(history, moments):
        return {"available": False, "why_not": why}
    before, connected, after = (moments[name] for name in MOMENTS)
    events = _declared(history, before, after)
    rows = [*_stores(events, before, after), *_pushes(history, before, after)]
    return {
        "available": True,
        "slack": SLACK,
        "rows": rows,
        "events": [{"what": event.what, "times": event.times} for event in events if event.times],
        **_per_message(history, connected, after),
    }


def _why_not(history: History, moments: Json) -> str:
    run = history.run
    if run.get("url") or run.get("scheme") not in SCHEMES:
        return "a server of somebody else's declares nothing"
    if missing := [name for name in MOMENTS if name not in moments]:
        return f"the stores' counters were not taken: {', '.join(missing)}"
    if history.manifest.get("drained") is False:
        return "something was still on its way when the drain ended"
    first, last = moments["before"], moments["after"]
    back = [f"{part}.{name}" for part, name in _pairs(first) if _grown(first, last, part, name) < 0]
    return f"a counter went back, so a service was restarted: {back[0]}" if back else ""


def _pairs(moment: Json) -> list[tuple[str, str]]:
    return [(part, name) for part in ("mysql", "redis", "kafka") for name in moment.get(part) or ()]


def _grown(first: Json, last: Json, part: str, name: str) -> float:
    return float((last.get(part) or {}).get(name, 0) - (first.get(part) or {}).get(name, 0))


# --- declared and counted -----------------------------------------------------------------------------------


def _declared(history: History, first: Json, last: Json) -> list[Event]:
    run = history.run
    declare = declared_by(SCHEMES[run["scheme"]].ledger)
    return declare(run.get("options") or {}, done(history, first["t"], last["t"]), _noted(first, last))


def _noted(first: Json, last: Json) -> Counts:
    """How much the server's own notes grew."""
    earlier, later = ((moment.get("server") or {}).get("scheme") or {} for moment in (first, last))
    return Counter(
        {
            name: value - earlier.get(name, 0)
            for name, value in later.items()
            if isinstance(value, int) and isinstance(earlier.get(name, 0), int)
        }
    )


def _stores(events: list[Event], first: Json, last: Json) -> list[Json]:
    declared = total(events)
    counted = _counted(first, last)
    if "mysql" in last:
        spans = [declared.get(f"mysql.{name}", (0, 0)) for name in STATEMENTS]
        declared["mysql.Questions"] = (sum(low for low, _ in spans), sum(high for _, high in spans))
    names = [name for name in sorted(declared.keys() | counted.keys()) if name not in DECLARED_ONLY]
    return [compared(name, declared.get(name, (0, 0)), counted.get(name, 0)) for name in names]


def _counted(first: Json, last: Json) -> dict[str, float]:
    """What each store counted, by the names of the declarations; without what the harness asked for
    counters."""
    found: dict[str, float] = {}
    if "mysql" in last:
        found = {f"mysql.{name}": _grown(first, last, "mysql", name) for name in (*STATEMENTS, *ROWS)}
        asked = _grown(first, last, "mysql", "Questions")
        found["mysql.Questions"] = asked - _grown(first, last, "mysql", "Com_show_status")
    for name in last.get("redis") or ():
        if name.partition("|")[0] not in NOT_OF_SCHEMES and not name.startswith("total_"):
            found[f"redis.{name}"] = _grown(first, last, "redis", name)
    if "kafka" in last:
        found["kafka.records"] = _grown(first, last, "kafka", "records")
    return found


def compared(counter: str, declared: Range, counted: float) -> Json:
    """A row of the ledger.  `off`: how far the count is outside of what was declared, as a share of it; 0
    within SLACK."""
    low, high = declared
    beyond = max(low - counted, counted - high, 0.0)
    share = beyond / max(abs(high), 1.0) if beyond > SLACK else 0.0
    return {
        "counter": counter,
        "at_least": low,
        "at_most": high,
        "counted": counted,
        "off": round(share, 6),
    }


# --- what was recorded --------------------------------------------------------------------------------------


def done(history: History, first_ns: int, last_ns: int) -> Counts:
    """`DONE` of `schemes/ledger.py`: what the load did between two moments."""
    operations = history.operations
    sent = operations["sent"]
    within = (sent >= first_ns) & (sent < last_ns) & (sent > 0)
    found: Counts = Counter()
    ok = within & (operations["outcome"] == Outcome.OK)
    _count_questions(history, ok, found)
    _count_sends(history, ok, found)
    for op, name in ((Op.READ, "read"), (Op.PROBE_READ, "read"), (Op.DELIVERED, "delivered")):
        _count_marks(history, ok, op, name, found)
    _count_unsure(history, within & np.isin(operations["outcome"], (Outcome.FAIL, Outcome.INFO)), found)
    return found


def _count_questions(history: History, ok: Bools, found: Counts) -> None:
    operations = history.operations
    op, flags = operations["op"], operations["flags"]
    sync = ok & (op == Op.SYNC)
    later = _later_pages(history, ok)
    named = (op == Op.STATE) & (operations["conversation"] != NOBODY)
    counts = {
        "hello": ok & (op == Op.HELLO) & (operations["version"] != NONE),  # else it was AUTH at /control
        "state.later": later & (operations["unread"] != NONE),
        "state.page": ok & (op == Op.STATE) & ~named & ~(later & (operations["unread"] != NONE)),
        "state.named": ok & (named | (op == Op.PROBE_STATE) | (op == Op.PROBE_ONCE)),
        "sync.reset": sync & ((flags & RESET) > 0),
        "sync.more": sync & ((flags & MORE) > 0),
        "sync.done": sync & ((flags & (MORE | RESET)) == 0),
        "history": ok & (op == Op.HISTORY),
        "door.durable": ok & (op == Op.PROBE_DURABLE),
        "door.cached": ok & (op == Op.PROBE_CACHED),
    }
    found.update({name: int(np.count_nonzero(rows)) for name, rows in counts.items()})


def _later_pages(history: History, ok: Bools) -> Bools:
    """STATEs that continue another one: while signing in, that is before its SYNC, a session asks for all
    pages."""
    operations = history.operations
    rows = np.flatnonzero(ok & np.isin(operations["op"], (Op.STATE, Op.SYNC)))
    later = np.zeros(operations.rows, np.bool_)
    rows = rows[np.lexsort((operations["sent"][rows], operations["session"][rows]))]
    session, state = operations["session"][rows], operations["op"][rows] == Op.STATE
    follows = np.zeros(len(rows), np.bool_)
    follows[1:] = (session[1:] == session[:-1]) & state[1:] & state[:-1]
    syncs = np.cumsum(~state)
    first = np.maximum.accumulate(
        np.where(np.diff(session.astype(np.int64), prepend=-1), np.arange(len(rows)), 0)
    )
    synced = syncs > syncs[first] - ~state[first] if len(rows) else np.zeros(0, np.bool_)
    later[rows[follows & ~synced]] = True
    return later


def _count_sends(history: History, ok: Bools, found: Counts) -> None:
    operations, membership = history.operations, history.membership
    rows = np.flatnonzero(ok & ((operations["op"] == Op.SEND) | (operations["op"] == Op.PROBE_SEND)))
    again = (operations["flags"][rows] & DUPLICATE) > 0
    conversation = operations["conversation"][rows[~again]]
    direct = membership.direct[conversation]
    found["send.duplicates"] += int(np.count_nonzero(again))
    found["send.direct"] += int(np.count_nonzero(direct))
    found["send.group"] += int(np.count_nonzero(~direct))
    found["send.receivers"] += int((membership.of_conversation.size(conversation) - 1).sum())


def _count_marks(history: History, ok: Bools, op: Op, name: str, found: Counts) -> None:
    operations = history.operations
    rows = np.flatnonzero(ok & (operations["op"] == op))
    several = operations["items"][rows] > 1
    found[f"{name}.several"] += int(np.count_nonzero(several))
    moved, unknown = _moved(history, rows[~several], op)
    found[f"{name}.moved.direct"] += int(np.count_nonzero(history.membership.direct[moved.conversation]))
    found[f"{name}.moved.group"] += int(np.count_nonzero(~history.membership.direct[moved.conversation]))
    if name == "read":
        found["read.unknown"] += unknown
    found[f"{name}.stale"] += len(rows[~several]) - len(moved.row) - unknown
    items, _ = _moved(history, rows[several], op)
    direct = history.membership.direct[items.conversation]
    found[f"{name}.several.moved.direct"] += int(np.count_nonzero(direct))
    found[f"{name}.several.moved.group"] += int(np.count_nonzero(~direct))
    if name == "delivered":
        _, spans = np.unique(items.row, return_counts=True)
        found["delivered.several.moving"] += len(spans)
        found["delivered.several.finds"] += int((-(-spans // FIND_SPANS)).sum())


def _moved(history: History, rows: Ints, op: Op) -> tuple[Marks, int]:
    """The cursors that these moved, and of how many nobody can say it."""
    asked = marks(history, Op.READ if op == Op.PROBE_READ else op, rows)
    return asked.take(asked.applied == APPLIED), int(np.count_nonzero(asked.applied < 0))


def _count_unsure(history: History, unsure: Bools, found: Counts) -> None:
    op = history.operations["op"]
    of = {"send": (Op.SEND, Op.PROBE_SEND), "read": (Op.READ, Op.PROBE_READ), "delivered": (Op.DELIVERED,)}
    writes = np.zeros(len(op), np.bool_)
    for name, ops in of.items():
        rows = unsure & np.isin(op, ops)
        writes |= rows
        found[f"unsure.{name}"] = int(np.count_nonzero(rows))
    silent = np.isin(op, (Op.CONNECT, Op.SUB, Op.PING))
    found["unsure.ask"] = int(np.count_nonzero(unsure & ~writes & ~silent))


# --- pushes -------------------------------------------------------------------------------------------------


def _pushes(history: History, first: Json, last: Json) -> list[Json]:
    """What the protocol says must be pushed, against what arrived; nothing where somebody was not connected
    all the time, since then nobody can say to whom."""
    if _left_early(history):
        return []
    return [
        compared(f"pushes.{name}", declared, _arrived(history, kind, last["t"]))
        for name, kind, declared in (
            ("message", PushKind.MESSAGE, _messages(history, first, last)),
            ("read", PushKind.READ, _receipts(history, first, last)),
            ("delivered", PushKind.DELIVERED, _confirmations(history, first, last)),
        )
    ]


def _left_early(history: History) -> bool:
    connections = history.connections
    of_devices = connections["role"] == 0
    closed = connections["closed"]
    return bool((of_devices & (closed > 0) & (closed < history.window.drain_end)).any())


def _arrived(history: History, kind: PushKind, before_ns: int) -> float:
    pushes = history.pushes
    return float(np.count_nonzero((pushes["kind"] == kind) & (pushes["received"] < before_ns)))


def _devices(history: History) -> Ints:
    """By person: how many subscribed devices."""
    membership = history.membership
    connected = np.isin(membership.device, history.sessions.device)
    return np.bincount(membership.device_user[connected], minlength=membership.people).astype(np.int64)


def _sent(history: History, first: Json, last: Json, ops: tuple[Op, ...], outcome: Outcome) -> Ints:
    """Rows of what was sent between two moments and ended like this."""
    operations = history.operations
    sent = operations["sent"]
    within = (sent >= first["t"]) & (sent < last["t"]) & (operations["outcome"] == outcome)
    return np.flatnonzero(within & np.isin(operations["op"], ops))


def _messages(history: History, first: Json, last: Json) -> Range:
    """MESSAGE to every device of every member but the one that sent; perhaps, where nobody answered it."""
    sends = (Op.SEND, Op.PROBE_SEND)
    rows = _sent(history, first, last, sends, Outcome.OK)
    sure = _told_of(history, rows[(history.operations["flags"][rows] & DUPLICATE) == 0])
    return sure, sure + _told_of(history, _sent(history, first, last, sends, Outcome.INFO))


def _told_of(history: History, rows: Ints) -> int:
    operations = history.operations
    _, person = history.membership.members_of(operations["conversation"][rows])
    return int(_devices(history)[person].sum()) - int(np.count_nonzero(operations["op"][rows] == Op.SEND))


def _receipts(history: History, first: Json, last: Json) -> Range:
    """UPDATE read/ to the reader's other devices, the direct peer, and in groups the senders."""
    devices, low, high = _devices(history), 0, 0
    for op in (Op.READ, Op.PROBE_READ):
        writes = marks(history, Op.READ, _sent(history, first, last, (op,), Outcome.OK))
        for some, sure in (
            (writes.take(writes.applied == 1), True),
            (writes.take(writes.applied < 0), False),
        ):
            _, person = told(history, some)
            count = int(devices[some.user].sum() + devices[person].sum()) - len(some.row) * (op == Op.READ)
            high += PEERS_DEVICES * unknown_senders(history, some)
            low, high = low + count * sure, high + count
    by_sends = _implied(history, first, last)
    _, person = told(history, by_sends)
    count = int(devices[by_sends.user].sum() + devices[person].sum()) - len(by_sends.row)
    unsure = _sent(history, first, last, (Op.READ, Op.PROBE_READ, Op.SEND, Op.PROBE_SEND), Outcome.INFO)
    noted, in_direct = _noted(first, last), history.membership.direct[by_sends.conversation]
    direct = max(0, noted["mysql.sends_reading_direct"] - int(np.count_nonzero(in_direct)))
    group = max(
        0,
        noted["mysql.sends_reading"]
        + noted["mysql.sends_locked"]
        - noted["mysql.sends_reading_direct"]
        - int(np.count_nonzero(~in_direct)),
    )
    in_group = OWN_DEVICES + PEERS_DEVICES * SENDERS
    perhaps = direct * (OWN_DEVICES + PEERS_DEVICES) + (group + len(unsure)) * in_group
    perhaps += PEERS_DEVICES * unknown_senders(history, by_sends)
    return low + count, high + count + perhaps


def _implied(history: History, first: Json, last: Json) -> Marks:
    """SENDs that surely read something."""
    rows = _sent(history, first, last, (Op.SEND,), Outcome.OK)
    rows = rows[(history.operations["flags"][rows] & DUPLICATE) == 0]
    return implied(history, replace(marks(history, Op.SEND, rows), up_to=history.operations["value"][rows]))


def _confirmations(history: History, first: Json, last: Json) -> Range:
    """UPDATE delivered/ to the direct peer; of an unanswered one nobody knows how many it moved."""
    items = marks(history, Op.DELIVERED, _sent(history, first, last, (Op.DELIVERED,), Outcome.OK))
    items = items.take(history.membership.direct[items.conversation])
    asked, person = history.membership.members_of(items.conversation)
    peer = person != items.user[asked]
    each = _devices(history)[person[peer]]
    moved = items.applied[asked[peer]] == APPLIED
    queued = (history.run.get("ack") or {}).get("read") == "queued"
    perhaps = (
        len(_sent(history, first, last, (Op.DELIVERED,), Outcome.INFO)) * DELIVERED_ITEMS * PEERS_DEVICES
    )
    high = int(each.sum() if queued else each[moved].sum()) + perhaps
    return (0 if queued else int(each[moved].sum())), high


# --- per message --------------------------------------------------------------------------------------------


def _per_message(history: History, first: Json, last: Json) -> Json:
    """What a message cost from when everybody was connected to the end of the drain; null: not known.

    Rows, commits, round trips, commands and records are what the stores counted, less what only the harness
    asked; what commits by itself, and what was sent to Redis, as declared; fsyncs and bytes are measured and
    declared nowhere."""
    events = _declared(history, first, last)
    counted, asked = _counted(first, last), total(event for event in events if event.of_harness)
    declared = {name: (low + high) / 2 for name, (low, high) in total(events).items()}
    messages = len(_sent(history, first, last, (Op.SEND, Op.PROBE_SEND), Outcome.OK))

    def each(part: str, *names: str) -> float | None:
        if part not in last:
            return 0.0 if messages else None
        known = [counted.get(name, 0.0) - asked.get(name, (0, 0))[0] for name in names]
        return round(sum(known) / messages, 4) if messages else None

    def of(value: float) -> float | None:
        return round(value / messages, 4) if messages else None

    redis = [name for name in counted if name.startswith("redis.")]
    sent = declared.get("redis.round_trips", 0.0) - asked.get("redis.round_trips", (0, 0))[0]
    pushes = history.pushes["received"]
    return {
        "messages": messages,
        "per_message": {
            "rows": each("mysql", *(f"mysql.{name}" for name in ROWS)),
            "commits": _sum(each("mysql", "mysql.Com_commit"), of(declared.get("mysql.autocommits", 0.0))),
            "mysql_round_trips": each("mysql", "mysql.Questions"),
            "redis_round_trips": of(sent),
            "round_trips": _sum(each("mysql", "mysql.Questions"), of(sent)),
            "redis_commands": each("redis", *redis),
            "records": each("kafka", "kafka.records"),
            "pushes": of(float(np.count_nonzero((pushes >= first["t"]) & (pushes < last["t"])))),
            "fsyncs": of(_grown(first, last, "mysql", "Innodb_data_fsyncs")),
            "log_bytes": of(_grown(first, last, "mysql", "Innodb_os_log_written")),
            "network_bytes": of(sum(_grown(first, last, part, name) for part, name in NETWORK)),
        },
        "measured_not_declared": ["fsyncs", "log_bytes", "network_bytes"],
    }


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 4) if known else None
