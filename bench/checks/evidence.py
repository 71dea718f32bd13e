"""From a run's record to what the checks judge: what was acknowledged, what may have happened, what was seen.

An operation may have happened if it was answered or if nobody knows (`info`); an unanswered SEND may have
become any message up to the last one of its conversation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.checks.convergence import Cached
from bench.checks.final_read import NO_OPERATION, Cursors, Evidence, Messages, Promises, Writes
from bench.metrics.history import History, items_of, marks
from bench.record import Op, Outcome, Phase

Ints = NDArray[np.int64]


def promises(history: History) -> Promises:
    acks = history.run.get("ack") or {}
    promised = history.run.get("promises") or []
    return Promises("durable" in promised, "convergence" in promised, str(acks.get("read")))


def collect(history: History, unknown: str) -> Evidence:
    """`unknown`: why the record is not whole, empty if it is."""
    if (history.manifest.get("final") or {}).get("held_against") == "api":
        return _over_api(history, unknown)
    store = history.folder.table("final_store")
    conversation, user, read, delivered, last = (
        store[name].astype(np.int64)
        for name in ("conversation", "user", "read_seq", "delivered_seq", "last_seq")
    )
    last_seq = np.full(len(history.membership.direct), -1, np.int64)
    last_seq[conversation] = last
    sends = _sends(history, last_seq)
    reads = _marked(history, Op.READ, Op.PROBE_READ)
    shown, shown_at, shown_by = _shown(history)
    return Evidence(
        reads=_seeded(history) + reads + sends,
        deliveries=_delivered_seeded(history)
        + _marked(history, Op.DELIVERED)
        + _unanswered_deliveries(history, last_seq)
        + (reads + sends).unpromised(),
        messages=_messages(history, last_seq),
        store_read=Cursors(conversation, user, read),
        store_delivered=Cursors(conversation, user, np.maximum(read, delivered)),
        store_read_at=history.window.drain_end,
        shown=shown,
        shown_at=shown_at,
        shown_by=shown_by,
        unknown=_not_whole(history, unknown, len(read)),
        drained=history.manifest.get("drained") is True,
    )


def cached(history: History) -> Cached:
    """What the cache held after the drain; nothing where the scheme has none."""
    cache = history.folder.table("final_cache")
    conversation, user, read, delivered = (
        cache[name].astype(np.int64) for name in ("conversation", "user", "read_seq", "delivered_seq")
    )
    return Cached(
        Cursors(conversation, user, read),
        Cursors(conversation, user, np.maximum(read, delivered)),
        missing="redis" in (history.run.get("services") or {}) and not history.folder.has("final_cache"),
    )


def _over_api(history: History, unknown: str) -> Evidence:
    """The final read instead of the store.  Who was not asked showed nothing, and wrote nothing either."""
    shown, shown_at, shown_by = _shown(history)
    last_seq = _last_seq_shown(history)
    asked = _asked_finally(history)
    writes = _seeded(history) + _marked(history, Op.READ, Op.PROBE_READ) + _sends(history, last_seq)
    none = np.empty(0, np.int64)
    nothing = Writes(none, none, none, none, none)
    return Evidence(
        reads=writes.of(np.isin(writes.user, asked)),
        deliveries=nothing,
        messages=_messages(history, last_seq),
        store_read=shown,
        store_delivered=Cursors(none, none, none),
        store_read_at=history.window.drain_end,
        shown=shown,
        shown_at=shown_at,
        shown_by=shown_by,
        unknown=_not_whole(history, unknown, len(shown.value), "API"),
        drained=history.manifest.get("drained") is True,
        over_api=True,
    )


def _not_whole(history: History, unknown: str, cursors: int, source: str = "store") -> str:
    if not cursors:
        return f"the {source} was not read at the end"
    if unknown:
        return unknown
    final = history.manifest.get("final") or {}
    if (history.manifest.get("ended") or {}).get("how") != "finished":
        return "the run did not finish"
    if final.get("answered") != final.get("asked"):
        return f"only {final.get('answered')} of {final.get('asked')} final reads were answered"
    return ""


def _seeded(history: History) -> Writes:
    """Where cursors started: as good as acknowledged."""
    membership = history.membership
    n = len(membership.user)
    return Writes(
        membership.conversation,
        membership.user,
        membership.read_seq,
        np.ones(n, np.int64),
        np.full(n, NO_OPERATION, np.int64),
    )


def _delivered_seeded(history: History) -> Writes:
    """A seeded history counts as delivered, or not yet: nobody was told."""
    membership, seeded = history.membership, _seeded(history)
    whole = membership.history[membership.conversation]
    return Writes(seeded.conversation, seeded.user, whole, seeded.acknowledged, seeded.operation).unpromised()


def _may(history: History, *ops: Op) -> Ints:
    """Rows of these operations that happened or may have, retries included."""
    operations = history.operations
    happened = np.isin(operations["outcome"], (Outcome.OK, Outcome.INFO))
    return np.flatnonzero(np.isin(operations["op"], ops) & happened)


def _marked(history: History, *ops: Op) -> Writes:
    found = marks(history, ops[0], _may(history, *ops))
    ok = found.outcome == Outcome.OK
    return Writes(
        found.conversation,
        found.user,
        found.up_to,
        np.where(ok, found.acknowledged, 0),
        history.operations["op_id"][found.row],
    )


def _unanswered_deliveries(history: History, last_seq: Ints) -> Writes:
    """What a DELIVERED held besides its first item is known from its reply only: without one it may have
    raised any of the person's delivery cursors, up to the last message."""
    membership, operations = history.membership, history.operations
    silent = (operations["op"] == Op.DELIVERED) & (operations["outcome"] == Outcome.INFO)
    of = np.isin(membership.user, operations["user"][silent])
    conversation, user = membership.conversation[of], membership.user[of]
    nobody = np.full(len(user), NO_OPERATION, np.int64)
    return Writes(conversation, user, last_seq[conversation], np.zeros_like(user), nobody)


def _sends(history: History, last_seq: Ints) -> Writes:
    """Sending implies reading up to one's own message."""
    operations = history.operations
    rows = _may(history, Op.SEND, Op.PROBE_SEND)
    conversation = operations["conversation"][rows].astype(np.int64)
    ok = (operations["outcome"][rows] == Outcome.OK) & (operations["value"][rows] > 0)
    return Writes(
        conversation,
        operations["user"][rows].astype(np.int64),
        np.where(ok, operations["value"][rows], last_seq[conversation]),
        np.where(ok, operations["acknowledged"][rows], 0),
        operations["op_id"][rows],
    )


def _messages(history: History, last_seq: Ints) -> Messages:
    operations = history.operations
    rows = _may(history, Op.SEND, Op.PROBE_SEND)
    size = len(last_seq)
    conversation = operations["conversation"][rows].astype(np.int64)
    seq = operations["value"][rows]
    duplicate = (operations["flags"][rows] & 1) == 1
    ok = (operations["outcome"][rows] == Outcome.OK) & (seq > 0)
    highest = history.membership.history.copy()
    before = ok & (operations["acknowledged"][rows] <= history.window.drain_end)
    np.maximum.at(highest, conversation[before], seq[before])
    first = operations["attempt"][rows] == 0
    most = history.membership.history + np.bincount(conversation[first], minlength=size)
    given = np.sort((conversation[ok & ~duplicate] << 32) | seq[ok & ~duplicate])
    twice = np.bincount(given[1:][np.diff(given) == 0] >> 32, minlength=size)
    told = Writes(
        conversation[ok & ~duplicate],
        operations["user"][rows][ok & ~duplicate].astype(np.int64),
        seq[ok & ~duplicate],
        np.where(before, operations["acknowledged"][rows], 0)[ok & ~duplicate],
        operations["op_id"][rows][ok & ~duplicate],
    )
    return Messages(highest, most, last_seq, twice, told)


def _final_states(history: History) -> Ints:
    """Rows of the STATEs that the fresh connections of the final read were answered."""
    operations = history.operations
    final = (operations["op"] == Op.STATE) & (operations["phase"] == Phase.FINAL)
    return np.flatnonzero(final & (operations["outcome"] == Outcome.OK))


def _asked_finally(history: History) -> Ints:
    return np.unique(history.operations["user"][_final_states(history)].astype(np.int64))


def _last_seq_shown(history: History) -> Ints:
    """By conversation: the most that any member was shown at the end; -1 where nobody was."""
    last_seq = np.full(len(history.membership.direct), -1, np.int64)
    index, _ = items_of(history, _final_states(history))
    index = index[history.items["conversation"][index] < len(last_seq)]
    np.maximum.at(last_seq, history.items["conversation"][index], history.items["last_seq"][index])
    return last_seq


def _shown(history: History) -> tuple[Cursors, Ints, Ints]:
    """What the fresh connections of the final read were shown of their own cursors, when, and by which
    operations."""
    operations, items = history.operations, history.items
    index, row = items_of(history, _final_states(history))
    own = items["actor"][index] == operations["user"][row]
    index, row = index[own], row[own]
    conversation, user, value = (
        items[name][index].astype(np.int64) for name in ("conversation", "actor", "value")
    )
    return Cursors(conversation, user, value), operations["sent"][row], operations["op_id"][row]
