"""Carries out one process's part of the plan: its devices' sends, reads and openings, and its probes.

A scenario merges the parts that it wants into one stream of steps (`scenarios/steady_chat.py`); a read joins
in when its message has arrived.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.load.closed import Closed
from bench.load.device import Crowd, Device
from bench.load.pacing import Step
from bench.load.probes import ProbePair
from bench.load.shares import Share
from bench.plan import Plan, Rows
from bench.population import NOBODY, Ints
from bench.record import Op

_WAITING, _DUE, _DONE = 0, 1, 2


class Timeline:
    """What `share` owns; times count from `t0_ns`, which is set when the run begins.  With `closed` each
    device waits for its last answer."""

    def __init__(
        self,
        crowd: Crowd,
        plan: Plan,
        nonce: str,
        share: Share,
        closed: Closed | None = None,
        before: Timeline | None = None,
    ) -> None:
        """`before`: the timeline that this one takes over from, with the connections of its probes."""
        self.crowd = crowd
        self._closed = closed
        self._plan = plan
        self.nonce: Final = nonce
        self._suffix: Final = f"-{nonce}"
        self._bodies = {int(size): "x" * int(size) for size in np.unique(plan.sends["body"])}
        self._read_start = plan.reads_of_sends().data
        self._read_device = np.ascontiguousarray(plan.reads["device"]).data
        self._read_at = np.ascontiguousarray(plan.reads["at"]).data
        self._read_conversation = np.ascontiguousarray(plan.reads["conversation"]).data
        self._read_progress = bytearray(len(plan.reads))
        self._end_ns = 0
        self.t0_ns = 0
        pairs = share.pairs.tolist() if plan.options.probes else []
        self._pairs: dict[int, ProbePair] = (
            {pair: ProbePair(crowd, pair) for pair in pairs} if before is None else before._pairs
        )
        self._owns_device = _flags(share.devices, crowd.population.devices)
        self._owns_pair = _flags(share.pairs, crowd.population.options.probe_pairs)

    def begin(self, t0_ns: int) -> None:
        """The warm-up starts at this time of CLOCK_MONOTONIC."""
        self.t0_ns = t0_ns
        self._end_ns = t0_ns + round(self._plan.options.duration_s * 1e9)

    @property
    def probe_pairs(self) -> list[ProbePair]:
        return list(self._pairs.values())

    @property
    def end_ns(self) -> int:
        """When the measured window ends."""
        return self._end_ns

    def planned_at(self) -> Ints:
        """When this process's planned operations are due, ascending, in ns after t0."""
        plan = self._plan
        parts = [
            plan.sends["at"][self._owns_device[plan.sends["device"]]],
            plan.reads["at"][self._owns_device[plan.reads["device"]]],
        ]
        parts += plan.options.per_opening * [plan.openings["at"][self._owns_device[plan.openings["device"]]]]
        parts += 2 * [plan.probes["at"][self._owns_pair[plan.probes["pair"]]]]
        at: Ints = np.sort(np.concatenate(parts))
        return at

    def _own(self, table: Rows) -> Ints:
        """Rows of the devices of this process."""
        return np.flatnonzero(self._owns_device[table["device"]])

    # --- streams of steps -------------------------------------------------------------------------------

    def sends(self) -> Iterator[Step]:
        """Every planned SEND."""
        table = self._plan.sends
        for row in self._own(table).tolist():
            yield self.t0_ns + int(table["at"][row]), self._send, (row,)

    def seeded_reads(self) -> Iterator[Step]:
        """The reads of messages that were seeded unread; the others follow from messages that arrive."""
        seeded = self._plan.reads[: self._read_start[0]]
        own = self._own(seeded)
        for row in own[np.argsort(seeded["at"][own], kind="stable")].tolist():
            self._read_progress[row] = _DUE
            device = self.crowd.device(int(seeded["device"][row]))
            yield self.t0_ns + int(seeded["at"][row]), self._read, (row, device, 0)

    def openings(self) -> Iterator[Step]:
        """Somebody opens the app: the most recent conversations, and what changed."""
        table = self._plan.openings
        for row in self._own(table).tolist():
            yield self.t0_ns + int(table["at"][row]), self._open, (row,)

    def point_reads(self) -> Iterator[Step]:
        """Somebody asks for the state of one conversation, by its name."""
        table = self._plan.openings
        for row in self._own(table).tolist():
            yield self.t0_ns + int(table["at"][row]), self._look, (row,)

    def probes(self) -> Iterator[Step]:
        """How long a read stays invisible elsewhere (lags L4 to L6, t-visibility)."""
        table = self._plan.probes
        for row in np.flatnonzero(self._owns_pair[table["pair"]]).tolist():
            pair = self._pairs[int(table["pair"][row])]
            arguments = self._plan.first_probe + 2 * row, int(table["offset_us"][row]) * 1000
            yield self.t0_ns + int(table["at"][row]), pair.probe, arguments

    # --- steps ------------------------------------------------------------------------------------------

    def _send(self, due: int, row: int) -> None:
        device = self.crowd.device(int(self._plan.sends["device"][row]))
        self._do(device, due, row, self._send_now, row)

    def _send_now(self, due: int, device: Device, row: int) -> int:
        send = self._plan.sends[row]
        body = self._bodies[int(send["body"])]
        return device.send(int(send["conversation"]), f"p{row}{self._suffix}", body, due, row)

    def _open(self, due: int, row: int) -> None:
        device = self.crowd.device(int(self._plan.openings["device"][row]))
        number = self._plan.first_opening + 2 * row
        self._do(device, due, number, self._state_now, number)
        self._do(device, due, number + 1, self._sync_now, number + 1)

    def _look(self, due: int, row: int) -> None:
        opening = self._plan.openings[row]
        device = self.crowd.device(int(opening["device"]))
        number = self._plan.first_opening + row
        self._do(device, due, number, self._look_now, int(opening["conversation"]), number)

    def _look_now(self, due: int, device: Device, conversation: int, number: int) -> int:
        return device.state_of(conversation, due=due, plan=number)

    def _state_now(self, due: int, device: Device, number: int) -> int:
        return device.state(due=due, plan=number)

    def _sync_now(self, due: int, device: Device, number: int) -> int:
        return device.sync(due=due, plan=number)

    def _do(
        self, device: Device, due: int, number: int, function: Callable[..., int], *arguments: Any
    ) -> None:
        """`function(due, device, *arguments)`, at once or when it is the device's turn; `number` is that of
        the plan."""
        if self._closed is None:
            function(due, device, *arguments)
        else:
            self._closed.do(device, due, number, function, *arguments)

    def arrived(
        self, device: Device, client_msg_id: str, _cell: int, _conversation: int, moment: int
    ) -> None:
        """A message reached a device: if its owner is to read it here, they will when they look, or now if
        they have been looking for it."""
        if not client_msg_id.endswith(self._suffix) or moment >= self._end_ns:
            return
        number = client_msg_id[1 : -len(self._suffix)]
        if not number.isdecimal():
            return  # a task's or a probe's
        send = int(number)
        first, last = self._read_start[send], self._read_start[send + 1]
        row = bisect_left(self._read_device, device.number, first, last)
        if row == last or self._read_device[row] != device.number or self._read_progress[row] != _WAITING:
            return
        self._read_progress[row] = _DUE
        due = self.t0_ns + self._read_at[row]
        if moment > due:
            self._read(moment, row, device, (moment - due) // 1000)
        else:
            self.crowd.engine.pacer.at(due, self._read, row, device, 0)

    def _read(self, due: int, row: int, device: Device, dependency_us: int) -> None:
        self._read_progress[row] = _DONE
        self._do(device, due, self._plan.first_read + row, self._read_now, row, dependency_us)

    def _read_now(self, due: int, device: Device, row: int, dependency_us: int) -> int:
        return device.read(self._read_conversation[row], due, self._plan.first_read + row, dependency_us)

    @property
    def busy(self) -> bool:
        """Whether a device is still to do what was due."""
        return self._closed is not None and self._closed.busy

    def give_up(self) -> None:
        """Records what never got its turn as not sent."""
        for device, due, number in self._closed.abandoned() if self._closed is not None else ():
            op, conversation = self._planned(number)
            self.crowd.engine.unsent(device, op, due, conversation, plan=number)

    def _planned(self, number: int) -> tuple[Op, int]:
        """(operation, conversation) of this number of the plan."""
        plan = self._plan
        if number < plan.first_read:
            return Op.SEND, int(plan.sends["conversation"][number])
        if number < plan.first_opening:
            return Op.READ, int(self._read_conversation[number - plan.first_read])
        if plan.options.point_reads:
            return Op.STATE, int(plan.openings["conversation"][number - plan.first_opening])
        return (Op.SYNC if (number - plan.first_opening) % 2 else Op.STATE), NOBODY

    def finish(self) -> None:
        """Records the reads whose message never came as not sent."""
        own = self._own(self._plan.reads)
        progress = np.frombuffer(self._read_progress, np.uint8)
        for row in own[progress[own] != _DONE].tolist():
            device = self.crowd.device(self._read_device[row])
            due, conversation = self.t0_ns + self._read_at[row], self._read_conversation[row]
            self.crowd.engine.unsent(device, Op.READ, due, conversation, plan=self._plan.first_read + row)


def _flags(owned: Ints, count: int) -> npt.NDArray[np.bool_]:
    flags = np.zeros(count, np.bool_)
    flags[owned] = True
    return flags
