"""Asks the stores themselves until they hold a probe's READ (lags L5 and L6), through the server's own door.

One authenticated connection to `/control` for each pair of probe people, in the process that sends their
READs: so question and READ are timed by one clock reader, and recorded as rows of one worker.  What Redis has
no entry for is up to date: whoever asks gets it from MySQL.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bench.load.config import ProbeDoor
from bench.load.device import PROBE, Crowd, Device
from bench.load.engine import Answer
from bench.load.pacing import now_ns
from bench.load.polling import CENSORED_NS, next_poll
from bench.load.replies import Incoming
from bench.population import NOBODY, user_id
from bench.record import NONE, Op
from schemes.protocol import CONTROL_PATH, ControlRequest

OPS: Final = {"DURABLE": Op.PROBE_DURABLE, "CACHED": Op.PROBE_CACHED}


class _Wait(NamedTuple):
    """For what, since when, and how often it was asked."""

    question: str
    conversation: int
    seq: int
    since: int
    polls: int


class DoorDevice(Device):
    """Asks about the cursors of one probe person."""

    __slots__ = ("_door", "_waits")
    path = CONTROL_PATH

    def __init__(self, crowd: Crowd, person: int, door: ProbeDoor) -> None:
        super().__init__(crowd, NOBODY, person, PROBE)
        self._door = door
        self._waits: dict[int, _Wait] = {}

    def opened(self) -> None:
        self._engine.request(self, Op.HELLO, ControlRequest("AUTH", secret=self._door.secret))

    def watch(self, conversation: int, seq: int, since: int) -> None:
        """Asks from now on until the stores hold `seq`, which was acknowledged at `since`."""
        for question in self._door.questions:
            self._ask(since, _Wait(question, conversation, seq, since, 0))

    def _ask(self, due: int, wait: _Wait) -> None:
        name = self._crowd.population.conversation_id(wait.conversation)
        frame = ControlRequest(wait.question, user=user_id(self.person), conversation=name)
        row = self._engine.request(self, OPS[wait.question], frame, due, wait.conversation, wait.seq)
        if row >= 0:
            self._waits[row] = wait._replace(polls=wait.polls + 1)

    def replied(self, row: int, op: int, reply: Incoming, moment: int) -> None:
        recorder, held = self._engine.recorder, reply.row
        if op == Op.HELLO:
            recorder.answered(row, moment, NONE, NONE, NONE, NONE, 0, 0, None)
            self.signing_in = False
            self._engine.signed_in()
            return
        read_seq, version = (held.read_seq, held.version) if held is not None else (NONE, NONE)
        recorder.answered(row, moment, read_seq, version, NONE, NONE, 0, 0, None)
        wait = self._waits.pop(row)
        if read_seq < wait.seq and not (held is None and op == Op.PROBE_CACHED):
            self._ask_again(row, wait)

    def failed(self, row: int, op: int, answer: Answer) -> None:
        if op in (Op.PROBE_DURABLE, Op.PROBE_CACHED):
            self._ask_again(row, self._waits.pop(row))
        else:
            super().failed(row, op, answer)

    def _ask_again(self, row: int, wait: _Wait) -> None:
        due = max(next_poll(self._engine.recorder.sent(row), wait.polls), now_ns())
        if due < wait.since + CENSORED_NS:
            self._engine.pacer.at(due, self._ask, wait)
