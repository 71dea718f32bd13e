"""What had to be pushed to whom, judged from the run's own record, and what of it never came.

There are two kinds of evidence:

    told      an acknowledged change (a SEND, the reading that it implied, a READ or DELIVERED that was
              applied) has to be told to each session that had subscribed before it was sent
    skipped   a message that somebody was pushed, or a change of a person's log that another device of theirs
              was pushed or a SYNC lists: a lower and a higher one of its stream came, this one did not

The session that asked is not told.  What nobody acknowledged may never have been told to anybody: it counts
only where somebody was.  A push is lost once it had `HOLE_NS` to come: after a later one of its stream, or
where the run ended with nothing on its way, until the session closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks.pushed import Pushed
from bench.metrics.history import History, Marks, items_of, joined, marks
from bench.metrics.receivers import cursor_key, implied, told, unanswered_sends
from bench.record import DUPLICATE, Op, Outcome, PushKind

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Pairs = tuple[Ints, Ints]
"""(which change, person)."""

HOLE_NS: Final = 1_000_000_000
"""A hole is a gap only after this."""
NOTHING: Final = -1
"""Bit of `operations.flags` of a SEND."""
_NAMES: Final = ("session", "kind", "conversation", "actor", "value")


@dataclass(frozen=True)
class Lost:
    """Pushes that never came.  `session` is the small number; `operation` the acknowledged change,
    `elsewhere` what shows that there was one (a push to somebody else), `later` a push of the same stream
    that came: each a row of its table, or NOTHING."""

    session: Ints
    kind: Ints
    conversation: Ints
    actor: Ints
    value: Ints
    operation: Ints
    elsewhere: Ints
    later: Ints

    def take(self, which: NDArray[np.generic]) -> Lost:
        return Lost(**{name: getattr(self, name)[which] for name in Lost.__dataclass_fields__})


def lost(history: History, pushed: Pushed) -> tuple[int, Lost]:
    """(pushes that had to come and had the time, those of them that did not), each once."""
    sends, deliveries = _sends(history), _deliveries(history)
    reads = joined(_reads(history), implied(history, sends))
    found = [
        _untold(history, pushed, PushKind.MESSAGE, sends, history.membership.members_of(sends.conversation)),
        _untold(history, pushed, PushKind.READ, reads, _told_of_reads(history, reads)),
        _untold(history, pushed, PushKind.DELIVERED, deliveries, _peers(history, deliveries)),
    ]
    missing = [part for _, part in found]
    known = sum(len(part.session) for part in missing)
    skipped = [_skipped_messages(history, pushed, sends), _skipped_changes(history, pushed)]
    every, kept = _once(_joined([*missing, *skipped]))
    return sum(had_to for had_to, _ in found) + int(np.count_nonzero(kept >= known)), every


def _joined(parts: Sequence[Lost]) -> Lost:
    names = Lost.__dataclass_fields__
    return Lost(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _once(every: Lost) -> tuple[Lost, Ints]:
    """Each lost push by the first that tells of it, and which those are."""
    columns = [getattr(every, name) for name in _NAMES]
    order = np.lexsort(columns)
    first = np.ones(len(order), np.bool_)
    first[1:] = np.logical_or.reduce([np.diff(column[order]) != 0 for column in columns])
    kept = np.sort(order[first])
    return every.take(kept), kept


def settled(history: History) -> bool:
    """Whether the run came to its end with nothing on its way: only then is what has not come lost."""
    ended = (history.manifest.get("ended") or {}).get("how")
    return history.manifest.get("drained") is True and ended == "finished"


# --- told: acknowledged changes -----------------------------------------------------------------------------


def _untold(
    history: History, pushed: Pushed, kind: PushKind, changes: Marks, pairs: Pairs
) -> tuple[int, Lost]:
    """(pushes that came or had the time, those that did not come)."""
    which, session = _subscribed(history, changes, pairs)
    conversation, actor, value = (getattr(changes, name)[which] for name in ("conversation", "user", "up_to"))
    stream = pushed.stream(session, np.full(len(which), kind, np.int64), conversation, actor)
    came = pushed.by_value.came(stream, value)
    later = pushed.by_value.first_above(stream, value)
    closed, end = pushed.closed[session], history.window.drain_end
    had_time = pushed.before(later, closed - HOLE_NS)
    acknowledged = changes.acknowledged[which]
    outlived = (closed >= end) & (acknowledged <= end) & (acknowledged + HOLE_NS <= closed)
    missing = np.flatnonzero(~came & (had_time | (outlived & settled(history))))
    return int(np.count_nonzero(came)) + len(missing), Lost(
        session=session[missing],
        kind=np.full(len(missing), kind, np.int64),
        conversation=conversation[missing],
        actor=actor[missing],
        value=value[missing],
        operation=changes.row[which[missing]],
        elsewhere=np.full(len(missing), NOTHING, np.int64),
        later=np.where(had_time, pushed.row_of(later), NOTHING)[missing],
    )


def _subscribed(history: History, changes: Marks, pairs: Pairs) -> Pairs:
    """(which change, session number): sessions that had subscribed before it was sent, but the asking one."""
    which, person = pairs
    asked, device = history.membership.devices_of(person)
    of, place = history.sessions.of_devices(device)
    which = which[asked[of]]
    session = history.sessions.session[place]
    then = history.sessions.subscribed[place] < changes.sent[which]
    then &= session != changes.session[which]
    return which[then], history.sessions.number(session[then])


def _sends(history: History) -> Marks:
    """Without duplicates: what an earlier, unanswered attempt did may not have been told."""
    operations = history.operations
    ok = (operations["outcome"] == Outcome.OK) & (operations["value"] > 0)
    rows = np.flatnonzero((operations["op"] == Op.SEND) & ok & ((operations["flags"] & DUPLICATE) == 0))
    return replace(marks(history, Op.SEND, rows), up_to=operations["value"][rows])


def _applied(history: History, op: Op) -> Marks:
    operations = history.operations
    found = marks(
        history, op, np.flatnonzero((operations["op"] == op) & (operations["outcome"] == Outcome.OK))
    )
    return found.take(found.applied == 1)


def _reads(history: History) -> Marks:
    return _applied(history, Op.READ)


def _deliveries(history: History) -> Marks:
    """In direct conversations: nobody is told of others."""
    found = _applied(history, Op.DELIVERED)
    return found.take(history.membership.direct[found.conversation])


def _peers(history: History, changes: Marks) -> Pairs:
    which, person = history.membership.members_of(changes.conversation)
    peer = person != changes.user[which]
    return which[peer], person[peer]


def _told_of_reads(history: History, reads: Marks) -> Pairs:
    """The readers themselves, and who gets the receipts.

    A person whose SEND was never answered may have read a group further than anybody knows: whose messages
    their READs covered there, nobody can say."""
    which, person = told(history, reads)
    unsure = np.isin(cursor_key(history, reads.conversation, reads.user), unanswered_sends(history))
    kept = history.membership.direct[reads.conversation[which]] | ~unsure[which]
    own = np.arange(len(reads.row), dtype=np.int64)
    return np.concatenate([own, which[kept]]), np.concatenate([reads.user, person[kept]])


# --- skipped: what others show to exist ---------------------------------------------------------------------


def _skipped_messages(history: History, pushed: Pushed, sends: Marks) -> Lost:
    entries, messages = pushed.messages
    conversation = np.concatenate([sends.conversation, pushed.conversation[entries]])
    seq = np.concatenate([sends.up_to, pushed.value[entries]])
    actor = np.concatenate([sends.user, pushed.actor[entries]])
    nothing = np.full(len(entries), NOTHING, np.int64)
    operation = np.concatenate([sends.row, nothing])
    elsewhere = np.concatenate([np.full(len(sends.row), NOTHING, np.int64), pushed.row[entries]])
    known = _distinct(conversation, seq)
    skipped = messages.skipped(pushed.conversation_of_stream(), conversation[known], seq[known])
    which, later = known[skipped.known], entries[skipped.next]
    session = pushed.session[later]
    found = Lost(
        session=session,
        kind=np.full(len(which), PushKind.MESSAGE, np.int64),
        conversation=conversation[which],
        actor=actor[which],
        value=seq[which],
        operation=operation[which],
        elsewhere=elsewhere[which],
        later=pushed.row_of(later),
    )
    asked_here = _Asked(history)
    excused = asked_here.sent(found) | (asked_here.unanswered_send(found) & (found.operation == NOTHING))
    return found.take(pushed.before(later, pushed.closed[session] - HOLE_NS) & ~excused)


def _skipped_changes(history: History, pushed: Pushed) -> Lost:
    """Of the person's change log, which pushes and SYNC number alike."""
    entries, log = pushed.log
    synced, row = _synced(history)
    items = history.items
    user = np.concatenate([pushed.user[entries], history.operations["user"][row].astype(np.int64)])
    change_id, conversation, actor, value = (
        np.concatenate([ours[entries], items[name][synced].astype(np.int64)])
        for name, ours in (
            ("change_id", pushed.change_id),
            ("conversation", pushed.conversation),
            ("actor", pushed.actor),
            ("value", pushed.value),
        )
    )
    operation = np.concatenate([np.full(len(entries), NOTHING, np.int64), row])
    elsewhere = np.concatenate([pushed.row[entries], np.full(len(row), NOTHING, np.int64)])
    known = _distinct(user, change_id)
    skipped = log.skipped(pushed.user_of_session(), user[known], change_id[known])
    which, later = known[skipped.known], entries[skipped.next]
    session = pushed.session[later]
    found = Lost(
        session=session,
        kind=np.full(len(which), PushKind.READ, np.int64),
        conversation=conversation[which],
        actor=actor[which],
        value=value[which],
        operation=operation[which],
        elsewhere=elsewhere[which],
        later=pushed.row_of(later),
    )
    asked_here = _Asked(history)
    own = (found.actor == pushed.user[later]) & asked_here.read(found)
    excused = own | ((found.elsewhere == NOTHING) & _maybe_unanswered(history, found))
    return found.take(pushed.before(later, pushed.closed[session] - HOLE_NS) & ~excused)


def _synced(history: History) -> tuple[Ints, Ints]:
    """(row of items, row of operations) of the changes that SYNCs listed."""
    operations = history.operations
    rows = np.flatnonzero((operations["op"] == Op.SYNC) & (operations["outcome"] == Outcome.OK))
    index, row = items_of(history, rows)
    numbered = history.items["change_id"][index] >= 0
    return index[numbered], row[numbered]


class _Asked:
    """What each session asked for itself, and so was not told of."""

    def __init__(self, history: History) -> None:
        operations, sessions = history.operations, history.sessions
        self._conversations = len(history.membership.direct) + 1
        may = np.isin(operations["outcome"], (Outcome.OK, Outcome.INFO))
        sends = np.flatnonzero((operations["op"] == Op.SEND) & may)
        answered = sends[operations["value"][sends] > 0]
        reads = marks(history, Op.READ, np.flatnonzero((operations["op"] == Op.READ) & may))
        self._values = int(max(operations["value"].max(initial=0), reads.up_to.max(initial=0))) + 2
        open_ = sends[operations["value"][sends] <= 0]
        self._open = self._cell(
            sessions.number(operations["session"][open_]), operations["conversation"][open_].astype(np.int64)
        )
        self._sent = self._key(
            self._cell(
                sessions.number(operations["session"][answered]),
                operations["conversation"][answered].astype(np.int64),
            ),
            operations["value"][answered],
        )
        self._read = self._key(self._cell(sessions.number(reads.session), reads.conversation), reads.up_to)

    def _cell(self, session: Ints, conversation: Ints) -> Ints:
        return session * self._conversations + conversation

    def _key(self, cell: Ints, value: Ints) -> Ints:
        return cell * self._values + np.minimum(value, self._values - 1)

    def sent(self, lost: Lost) -> Bools:
        sent: Bools = np.isin(self._key(self._cell(lost.session, lost.conversation), lost.value), self._sent)
        return sent

    def unanswered_send(self, lost: Lost) -> Bools:
        """It may be the message that this session sent and was never told the seq of."""
        unanswered: Bools = np.isin(self._cell(lost.session, lost.conversation), self._open)
        return unanswered

    def read(self, lost: Lost) -> Bools:
        """By a READ or, since sending implies reading, by a SEND."""
        key = self._key(self._cell(lost.session, lost.conversation), lost.value)
        return np.isin(key, self._read) | self.sent(lost) | self.unanswered_send(lost)


def _maybe_unanswered(history: History, lost: Lost) -> Bools:
    """Whether somebody may have made this change who was never told: then others may not have been either."""
    operations = history.operations
    info = operations["outcome"] == Outcome.INFO
    reads = marks(history, Op.READ, np.flatnonzero((operations["op"] == Op.READ) & info))
    values = int(max(reads.up_to.max(initial=0), lost.value.max(initial=0))) + 1
    cell = cursor_key(history, lost.conversation, lost.actor)
    read = cursor_key(history, reads.conversation, reads.user)
    return np.isin(cell * values + lost.value, read * values + reads.up_to) | np.isin(
        cell, unanswered_sends(history)
    )


def _distinct(address: Ints, number: Ints) -> Ints:
    """The first entry of each (address, number), ascending by both."""
    order = np.lexsort((number, address))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(address[order]) != 0) | (np.diff(number[order]) != 0)
    return order[first]
