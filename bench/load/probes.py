"""Measures how long a read stays invisible elsewhere: one connection reads, another of the same person asks.

It asks either until the read shows (lag L4; PROBE_STATE), or once, a planned time after the acknowledgement
(t-visibility; PROBE_ONCE): how often a read at that age is seen can only be told by those who look whatever
happened before.  The stores are asked at the same time (`door.py`).

On people and conversations of their own.  What a probe asks is not planned; its `argument` is the seq waited
for, and a STATE whose item has `read_seq >= argument` saw it.
"""

from __future__ import annotations

from bench.load.device import PROBE, Crowd, Device
from bench.load.door import DoorDevice
from bench.load.engine import Answer
from bench.load.pacing import now_ns
from bench.load.polling import CENSORED_NS, next_poll
from bench.load.replies import Incoming
from bench.population import NOBODY, index_of
from bench.record import NONE, Op
from schemes.protocol import Mark, Read, Send, State


class ProbeDevice(Device):
    """A connection that signs in and no more: no SUB, and what it asks belongs to its pair."""

    __slots__ = ("_device_id", "_pair")

    def __init__(self, crowd: Crowd, person: int, device_id: str, pair: ProbePair) -> None:
        super().__init__(crowd, NOBODY, person, PROBE)
        self._device_id = device_id
        self._pair = pair

    @property
    def device_id(self) -> str:
        return self._device_id

    def welcomed(self) -> None:
        self.signing_in = False
        self._engine.signed_in()

    def replied(self, row: int, op: int, reply: Incoming, moment: int) -> None:
        if op == Op.PROBE_SEND:
            self._pair.sent(row, reply, moment)
        elif op == Op.PROBE_READ:
            self._pair.was_read(row, reply, moment)
        elif op == Op.PROBE_STATE:
            self._pair.polled(row, reply, moment)
        elif op == Op.PROBE_ONCE:
            self._pair.looked(row, reply, moment)
        else:
            super().replied(row, op, reply, moment)

    def failed(self, row: int, op: int, answer: Answer) -> None:
        if op in (Op.PROBE_SEND, Op.PROBE_READ, Op.PROBE_STATE):
            self._pair.failed(row, op)
        elif op != Op.PROBE_ONCE:
            super().failed(row, op, answer)


class ProbePair:
    """Two people and their conversation: one sends, the other reads on one connection and asks on another."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        sender, reader, self._conversation = crowd.population.probe_pair(number)
        self._engine = crowd.engine
        self._name = crowd.population.conversation_id(self._conversation)
        self._sender = ProbeDevice(crowd, sender, "probe-send", self)
        self._reader = ProbeDevice(crowd, reader, "probe-read", self)
        self._poller = ProbeDevice(crowd, reader, "probe-poll", self)
        self._door = DoorDevice(crowd, reader, crowd.door) if crowd.door is not None else None
        self._plans: dict[int, tuple[int, int]] = {}
        """By row of the SEND: (plan number of its READ, offset)."""
        self._offsets: dict[int, int] = {}
        """By row of the READ."""
        self._polls: dict[int, tuple[int, int, int]] = {}
        """By row: (seq waited for, when the READ was acknowledged, polls so far)."""

    @property
    def devices(self) -> tuple[Device, ...]:
        door = () if self._door is None else (self._door,)
        return self._sender, self._reader, self._poller, *door

    def probe(self, due: int, plan: int, offset_ns: int) -> None:
        """A message; when it is acknowledged its READ, and when that is, STATE until it shows; or, with an
        offset of 0 or more, one STATE that long afterwards."""
        send = Send(self._name, f"probe-{plan}-{due}", "probe")
        row = self._engine.request(self._sender, Op.PROBE_SEND, send, due, self._conversation, NONE, plan)
        if row >= 0:
            self._plans[row] = (plan + 1, offset_ns)
        else:
            self._no_read(plan + 1)

    def sent(self, row: int, reply: Incoming, moment: int) -> None:
        self._engine.recorder.answered(
            row, moment, reply.seq, NONE, NONE, NONE, 0, int(reply.duplicate), reply.t
        )
        self._sender.wrote(row, reply.seq, moment)
        read = Read([Mark(self._name, reply.seq)])
        plan, offset_ns = self._plans.pop(row)
        row = self._engine.request(
            self._reader, Op.PROBE_READ, read, moment, self._conversation, reply.seq, plan
        )
        if row >= 0:
            self._offsets[row] = offset_ns

    def was_read(self, row: int, reply: Incoming, moment: int) -> None:
        item = reply.items[0]
        version = item.version if item.version is not None else NONE
        unread = item.unread if item.unread is not None else NONE
        self._engine.recorder.answered(
            row, moment, item.read_seq, version, NONE, unread, 0, int(bool(item.applied)), reply.t
        )
        self._reader.marked(row, reply.items[:1], moment)
        if self._door is not None:
            self._door.watch(self._conversation, item.read_seq, moment)
        offset_ns = self._offsets.pop(row)
        if offset_ns < 0:
            self._poll(moment, item.read_seq, moment, 0)
        else:
            self._engine.pacer.at(moment + offset_ns, self._look, item.read_seq)

    def _look(self, due: int, seq: int) -> None:
        self._ask(Op.PROBE_ONCE, due, seq)

    def looked(self, row: int, reply: Incoming, moment: int) -> None:
        self._shown(row, reply, moment)

    def _ask(self, op: Op, due: int, seq: int) -> int:
        state = State(conversations=[self._name], limit=1)
        return self._engine.request(self._poller, op, state, due, self._conversation, seq)

    def _poll(self, due: int, seq: int, since: int, polls: int) -> None:
        row = self._ask(Op.PROBE_STATE, due, seq)
        if row >= 0:
            self._polls[row] = (seq, since, polls + 1)

    def polled(self, row: int, reply: Incoming, moment: int) -> None:
        if self._shown(row, reply, moment) < self._polls[row][0]:
            self._again(row)
        else:
            del self._polls[row]

    def _shown(self, row: int, reply: Incoming, moment: int) -> int:
        """Records a STATE; the read_seq that it shows, NONE without the conversation."""
        recorder, live = self._engine.recorder, self._engine.live
        change_id = reply.change_id if reply.change_id is not None else NONE
        heard, sent, shown = live.heard(recorder.session(row)), recorder.sent(row), NONE
        for index, item in enumerate(reply.conversations):
            if index_of(item.conversation_id) == self._conversation:
                shown = item.read_seq
            recorder.item(
                row, index, index_of(item.conversation_id), self._poller.person, item.read_seq,
                item.version if item.version is not None else NONE,
                item.unread if item.unread is not None else NONE, 0, item.last_seq,
            )  # fmt: skip
            live.shown(
                heard, self._poller.person, index_of(item.conversation_id), item.read_seq, sent, moment
            )
        recorder.answered(row, moment, change_id, NONE, change_id, NONE, len(reply.conversations), 0, reply.t)
        return shown

    def failed(self, row: int, op: int) -> None:
        """A SEND that failed has no READ; a STATE that failed is asked again."""
        if op == Op.PROBE_SEND:
            self._no_read(self._plans.pop(row)[0])
        elif op == Op.PROBE_READ:
            del self._offsets[row]
        else:
            self._again(row)

    def _again(self, row: int) -> None:
        seq, since, polls = self._polls.pop(row)
        due = max(next_poll(self._engine.recorder.sent(row), polls), now_ns())
        if due < since + CENSORED_NS:
            self._engine.pacer.at(due, self._poll, seq, since, polls)

    def _no_read(self, plan: int) -> None:
        self._engine.unsent(self._reader, Op.PROBE_READ, now_ns(), self._conversation, plan=plan)
