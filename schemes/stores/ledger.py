"""What the MySQL store's operations cost, by model.  Statement by statement as in `transactions.py`.

`noted` holds the store's own notes, named `mysql.<note>` (`mysql.py`, NOTES).  A SEND that implies a read,
the length of a span, or a deadlock are seen by the server alone.

A transaction that is rolled back and tried again has sent an unknown part of its statements: its ROLLBACK is
exact, the rest is declared as from nothing to all of a SEND's.  The same holds for what was refused or never
answered."""

from __future__ import annotations

from typing import Final

from schemes.ledger import Cost, Counts, Event, maybe, plus

FLAGS: Final = "flags"
SELECT: Final[Cost] = {"mysql.Com_select": 1}
COMMIT: Final[Cost] = {"mysql.Com_commit": 1}
ABANDONED: Final[Cost] = {
    "mysql.Com_select": 4,
    "mysql.Com_insert": 4,
    "mysql.Com_update": 3,
    "mysql.Com_update_multi": 1,
    "mysql.Handler_write": 60,
    "mysql.Handler_update": 60,
}
"""No attempt sends more than this, as long as its conversations have no more than 50 members."""


def insert(rows: float) -> Cost:
    return {"mysql.Com_insert": 1, "mysql.Handler_write": rows}


def update(rows: float) -> Cost:
    return {"mysql.Com_update": 1, "mysql.Handler_update": rows}


def joined(rows: float) -> Cost:
    """An UPDATE of several tables at once."""
    return {"mysql.Com_update_multi": 1, "mysql.Handler_update": rows}


def written(rows: str, times: float) -> Event:
    return Event(f"rows of messages {rows}", times, {"mysql.Handler_update": 1})


def asks(done: Counts, noted: Counts) -> list[Event]:
    """What is asked in the same way whatever is in front of MySQL."""
    return [
        Event("HELLO: the change id", done["hello"], SELECT),
        Event("SYNC, last page: head, changes, total", done["sync.done"], {"mysql.Com_select": 3}),
        Event("SYNC, more to come: head, changes", done["sync.more"], {"mysql.Com_select": 2}),
        Event("SYNC, reset_required: head", done["sync.reset"], SELECT),
        Event("HISTORY", done["history"], SELECT),
        Event("members of a conversation, not known yet", noted["mysql.directory_misses"], SELECT),
        Event("what MySQL holds, asked by the probes", done["door.durable"], SELECT, of_harness=True),
        Event("asked, and failed or unanswered", done["unsure.ask"], maybe({"mysql.Com_select": 3})),
    ]


def states(done: Counts) -> list[Event]:
    """STATE, where MySQL answers it."""
    return [
        Event("STATE, first page", done["state.page"], SELECT),
        Event("STATE, later page and total", done["state.later"], {"mysql.Com_select": 2}),
        Event("STATE of named conversations", done["state.named"], SELECT),
    ]


def sends(model: str, done: Counts, noted: Counts) -> list[Event]:
    """SEND: the seq, the sender's cursor, the message, (flags) a row for each receiver."""
    sent = done["send.direct"] + done["send.group"]
    rows = insert(0) if model == FLAGS else {}
    ahead = noted["mysql.sends_reading"]
    direct = noted["mysql.sends_reading_direct"]
    own: Cost = insert(1) if model != FLAGS else {}
    moved = plus(SELECT, joined(2), insert(1), own)
    first = plus(update(1), update(0), insert(1))  # one that was rolled back for its duplicate key
    return [
        Event("SEND", sent, plus(update(1), update(0), insert(1), rows, COMMIT)),
        Event("SEND: (flags) a row for each receiver", done["send.receivers"] if rows else 0, _row()),
        Event("SEND with nothing unread: its cursor", sent - ahead - noted["mysql.sends_locked"], _moved()),
        Event("SEND that implies a read: look, move, log", ahead, moved),
        Event("SEND that implies a read: the peer's log", direct, {**_moved(), **_row()}),
        Event("SEND again, found as a duplicate", done["send.duplicates"], plus(first, rows, SELECT)),
        written("read by a SEND", noted["mysql.sends_reading_rows"] if model == FLAGS else 0),
    ]


def _row() -> Cost:
    return {"mysql.Handler_write": 1}


def _moved() -> Cost:
    return {"mysql.Handler_update": 1}


def reads(model: str, done: Counts, noted: Counts) -> list[Event]:
    """READ of one conversation: look, move (cursor, rows, change ids) in one UPDATE, log."""
    direct, group = done["read.moved.direct"], done["read.moved.group"]
    locked = noted["mysql.reads_locked"]
    own: Cost = insert(1) if model != FLAGS else {}
    return [
        Event("READ: look, COMMIT", direct + group + done["read.stale"], plus(SELECT, COMMIT)),
        Event(
            "READ that moves: the move and its log", direct + group - locked, plus(joined(2), insert(1), own)
        ),
        Event("READ that moves, direct: the peer's log", direct, {**_moved(), **_row()}),
        Event("READ of several: COMMIT", done["read.several"], COMMIT),
        written("read by a READ", noted["mysql.reads_rows"] if model == FLAGS else 0),
    ]


def deliveries(model: str, done: Counts, noted: Counts, *, alone: bool = True) -> list[Event]:
    """DELIVERED: of one conversation a look and a move, which commits by itself if it is `alone`; of several
    one transaction."""
    moved = done["delivered.moved.direct"] + done["delivered.moved.group"]
    one: Cost = joined(1) if model == FLAGS else update(1)
    ends: Cost = {"mysql.autocommits": 1} if alone else {}
    several = done["delivered.several.moved.direct"] + done["delivered.several.moved.group"]
    flags = model == FLAGS
    asked = moved + done["delivered.stale"]
    singles = moved - noted["mysql.deliveries_locked"]
    mark: Cost = plus(update(1), SELECT, update(0)) if flags else update(1)
    commit: list[Cost] = [COMMIT] if alone else []
    return [
        Event("DELIVERED: look", asked, SELECT if alone else plus(SELECT, COMMIT)),
        Event("DELIVERED that moves", singles, plus(one, ends)),
        Event("DELIVERED, locked instead", noted["mysql.deliveries_locked"], plus(SELECT, mark, *commit)),
        Event("DELIVERED of several: lock, COMMIT", done["delivered.several"], plus(SELECT, COMMIT)),
        Event("DELIVERED of several: the cursors", done["delivered.several.moving"], {"mysql.Com_update": 1}),
        Event("DELIVERED of several: a cursor", several, _moved()),
        Event("DELIVERED of several: find the rows", done["delivered.several.finds"] if flags else 0, SELECT),
        Event(
            "DELIVERED of several: mark the rows",
            done["delivered.several.moving"] if flags else 0,
            {"mysql.Com_update": 1},
        ),
        written("delivered", noted["mysql.delivered_rows"] if flags else 0),
    ]


def locked(model: str, noted: Counts) -> list[Event]:
    """Members that were locked before they were moved: spans too long to be looked up ahead, READs of several
    conversations, and batches of a queue."""
    advances, moves = noted["mysql.advances"], noted["mysql.advanced"]
    flags = model == FLAGS
    rows = noted["mysql.advanced_rows"]
    marks: Cost = plus(SELECT, {"mysql.Com_update": 1}) if flags else {"mysql.Com_insert": 1}
    return [
        Event("SEND that looked ahead in vain: a long span", noted["mysql.looked_in_vain"], SELECT),
        Event("members locked", noted["mysql.locks"], SELECT),
        Event("members locked, and looked at again", noted["mysql.locks_again"], SELECT),
        Event("locked cursors moved together", advances, plus({"mysql.Com_update": 1}, marks)),
        Event("locked cursor moved", moves, {"mysql.Handler_update": 1} if flags else {**_moved(), **_row()}),
        Event("senders of what a locked cursor passed", 0 if flags else noted["mysql.advanced_told"], SELECT),
        written("passed by a locked cursor", rows if flags else 0),
        Event("what is unread after a locked cursor", noted["mysql.unread_counts"], SELECT),
        Event(
            "change ids taken, and the log", noted["mysql.logged"], plus({"mysql.Com_update": 1}, insert(0))
        ),
        Event("change ids of several people", noted["mysql.logged_many"], SELECT),
        Event("change ids of one person", noted["mysql.logged_users"], _moved()),
        Event("lines of the change log", noted["mysql.logged_lines"], _row()),
    ]


def trouble(done: Counts, noted: Counts) -> list[Event]:
    """What was given up: a part of its statements was sent."""
    unsure = done["unsure.send"] + done["unsure.read"] + done["unsure.delivered"]
    return [
        Event("rolled back", noted["mysql.rollbacks"], plus({"mysql.Com_rollback": 1}, maybe(ABANDONED))),
        Event("overtaken or a victim, autocommitted", noted["mysql.singles_abandoned"], maybe(ABANDONED)),
        Event("failed or unanswered", unsure, maybe(plus(ABANDONED, COMMIT, {"mysql.autocommits": 1}))),
    ]


def writes(model: str, done: Counts, noted: Counts, *, alone: bool = True) -> list[Event]:
    """Every mutation that goes straight to MySQL."""
    return [
        *sends(model, done, noted),
        *reads(model, done, noted),
        *deliveries(model, done, noted, alone=alone),
        *locked(model, noted),
        *trouble(done, noted),
    ]
