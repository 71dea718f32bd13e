"""From a run's record to the streams of pushes that came to each connection.

Only sessions of devices that had subscribed count, and pushes about conversations and people that exist."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.checks import streams
from bench.checks.streams import Broken, Overtaken, Streams
from bench.metrics.history import History
from bench.metrics.ragged import distinct
from bench.record import NONE, Op, Outcome, PushKind

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
KINDS: Final = (PushKind.MESSAGE, PushKind.READ, PushKind.DELIVERED)


class Pushed:
    """`row` is in the run's `pushes`, in the order in which they came; the other columns are beside it.

    `session` is the small number of `Sessions`; `closed`, `subscribed`, `device` and `session_id` are by that
    number."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._conversations = len(history.membership.direct) + 1
        self._people = history.membership.people + 1
        self._by_session()
        pushes = history.pushes
        kind, session = pushes["kind"], history.sessions.number(pushes["session"])
        known = (pushes["conversation"] < self._conversations) & (pushes["actor"] < self._people)
        self.row: Ints = np.flatnonzero(np.isin(kind, KINDS) & (session >= 0) & known & (pushes["value"] > 0))
        self.session: Ints = session[self.row]
        self.kind, self.conversation, self.actor, self.user = (
            pushes[name][self.row].astype(np.int64) for name in ("kind", "conversation", "actor", "user")
        )
        self.value, self.received, self.change_id = (
            pushes[name][self.row].astype(np.int64) for name in ("value", "received", "change_id")
        )
        version = pushes["version"][self.row]
        self._version: Ints = np.where((self.kind == PushKind.MESSAGE) | (version < 0), self.value, version)
        things = self._thing(self.kind, self.conversation, self.actor)
        self._things = distinct(things)
        keys = self.session * len(self._things) + np.searchsorted(self._things, things)
        self._keys = distinct(keys)
        self._stream: Ints = np.searchsorted(self._keys, keys)

    def _by_session(self) -> None:
        sessions = self._history.sessions
        number = sessions.number(sessions.session)
        self.closed, self.subscribed, self.device, self.session_id = (
            np.zeros(sessions.count, np.int64) for _ in range(4)
        )
        self.session_id[number] = sessions.session
        self.closed[number] = sessions.closed
        self.subscribed[number] = sessions.subscribed
        self.device[number] = sessions.device

    def _thing(self, kind: Ints, conversation: Ints, actor: Ints) -> Ints:
        """What is told of; messages are their conversation's, whoever sent them."""
        actor = np.where(kind == PushKind.MESSAGE, 0, actor)
        return (kind * self._conversations + conversation) * self._people + actor

    def stream(self, session: Ints, kind: Ints, conversation: Ints, actor: Ints) -> Ints:
        """The stream of a session about something; -1 where nothing of it ever came."""
        place, known = _find(self._things, self._thing(kind, conversation, actor))
        stream, came = _find(self._keys, session * len(self._things) + place)
        return np.where(known & came, stream, -1)

    @cached_property
    def by_version(self) -> Streams:
        """Every push; messages by their seq."""
        return Streams(self._stream, self._version)

    @cached_property
    def by_value(self) -> Streams:
        """The same, by how far a cursor is: what an acknowledged change tells without fail."""
        return Streams(self._stream, self.value)

    @cached_property
    def messages(self) -> tuple[Ints, Streams]:
        """Which entries are messages, and their streams."""
        entries = np.flatnonzero(self.kind == PushKind.MESSAGE)
        return entries, Streams(self._stream[entries], self.value[entries])

    @cached_property
    def log(self) -> tuple[Ints, Streams]:
        """Which entries are changes of the person's own log, and those logs as each connection heard them."""
        entries = np.flatnonzero((self.kind == PushKind.READ) & (self.change_id >= 0))
        return entries, Streams(self.session[entries], self.change_id[entries])

    def before(self, entry: Ints, at: Ints) -> Bools:
        """Whether this push came, and no later than `at`; entry -1 is none."""
        if not len(self.row):
            return np.zeros(len(entry), np.bool_)
        return (entry >= 0) & (self.received[np.maximum(entry, 0)] <= at)

    def row_of(self, entry: Ints) -> Ints:
        """In the run's `pushes`; -1 stays."""
        if not len(self.row):
            return np.full(len(entry), -1, np.int64)
        return np.where(entry >= 0, self.row[np.maximum(entry, 0)], -1)

    def conversation_of_stream(self) -> Ints:
        conversation = np.zeros(len(self._keys), np.int64)
        conversation[self._stream] = self.conversation
        return conversation

    def user_of_session(self) -> Ints:
        user = np.zeros(len(self.device), np.int64)
        user[self.session] = self.user
        return user

    def regressed(self) -> Broken:
        """Over the connections of each device, as long as the server's epoch stays; entries."""
        again = np.bincount(self.device, minlength=1) > 1 if len(self.device) else np.zeros(1, np.bool_)
        rows = np.flatnonzero(again[self.device[self.session]])
        turn = np.empty(len(self.subscribed), np.int64)
        turn[np.argsort(self.subscribed, kind="stable")] = np.arange(len(self.subscribed))
        place = np.searchsorted(self._things, self._thing(self.kind, self.conversation, self.actor)[rows])
        in_log = self.change_id[rows] >= 0
        rows_in_log = rows[in_log & (self.kind[rows] == PushKind.READ)]
        every = np.concatenate([rows, rows_in_log])
        place = np.concatenate([place, np.full(len(rows_in_log), len(self._things))])
        number = np.concatenate([self._version[rows], self.change_id[rows_in_log]])
        epochs = self._epochs()
        device = self.device * (int(epochs.max(initial=0)) + 1) + epochs
        line = device[self.session[every]] * (len(self._things) + 1) + place
        lines = distinct(line)
        found = streams.regressed(np.searchsorted(lines, line), turn[self.session[every]], number)
        return Broken(every[found.rows], every[found.witness])

    def _epochs(self) -> Ints:
        """By session: the epoch that WELCOME told, as a small number; one of its own for none."""
        operations = self._history.operations
        rows = np.flatnonzero((operations["op"] == Op.HELLO) & (operations["outcome"] == Outcome.OK))
        session = self._history.sessions.number(operations["session"][rows])
        told = np.full(len(self.device), NONE, np.int64)
        told[session[session >= 0]] = operations["version"][rows[session >= 0]]
        return np.searchsorted(distinct(told), told)

    def overtaken(self) -> Overtaken:
        """Messages that came after a receipt that covers them; entries.  The first of each message counts."""
        twice = self.messages[0][self.messages[1].duplicates().rows]
        once = self.kind == PushKind.MESSAGE
        once[twice] = False
        found = [np.flatnonzero(once), np.flatnonzero(self.kind == PushKind.READ)]
        key = self.session * self._conversations + self.conversation
        messages, receipts = ((key[entries], entries, self.value[entries]) for entries in found)
        return streams.overtaken(messages, receipts, len(self.row))


def _find(values: Ints, asked: Ints) -> tuple[Ints, Bools]:
    """Where each is among ascending `values`, and whether it is."""
    if not len(values):
        return np.zeros(len(asked), np.int64), np.zeros(len(asked), np.bool_)
    place = np.minimum(np.searchsorted(values, asked), len(values) - 1)
    return place, values[place] == asked
