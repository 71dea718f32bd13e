"""The records that a finding is told by: which operation, by whom, when, and where its time went.

A finding has up to five of them, in the order of time.  Each plays a `part`:

    write    what should be shown            read    what shows less
    filler   the read that is suspected of having put the old value into the cache
    before   what was there already          push    what a device was told
    message  what should be counted          held    what the store held at the end

The report draws them and `bench explain` prints them."""

from __future__ import annotations

from functools import cached_property
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.metrics.history import History
from bench.population import NOBODY, user_id
from bench.record import NONE, Op, Outcome, PushKind
from bench.results import Json

STAGES: Final = ("server", "wait", "store", "cache", "queue")


class Told(Protocol):
    """What a check needs to tell of operations that it knows by their ids."""

    def seed(self, value: int) -> Json: ...

    def by_id(self, op_id: int, part: str, value: int) -> Json: ...

    def held(self, value: int) -> Json: ...


class Story:
    """Makes the records of one run's findings.  Times are s since `window.start`."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._zero = history.window.start

    def seconds(self, at: int) -> float | None:
        """ns of CLOCK_MONOTONIC in s since the start; None where it did not happen."""
        return round((at - self._zero) / 1e9, 6) if at > 0 else None

    def seed(self, value: int) -> Json:
        """Where a cursor started."""
        return {"part": "write", "op": "seed", "op_id": None, "value": value}

    def held(self, value: int) -> Json:
        """What the store held when it was read, after the drain."""
        at = self.seconds(self._history.window.drain_end)
        return {"part": "held", "op": "store", "op_id": None, "value": value, "at_s": at}

    def by_id(self, op_id: int, part: str, value: int) -> Json:
        """The operation of this id.  Raises KeyError if the record has none."""
        ids, order = self._ids
        place = int(np.searchsorted(ids, op_id))
        if place == len(ids) or ids[place] != op_id:
            raise KeyError(f"the record has no operation {op_id}")
        return self.operation(int(order[place]), part, value)

    @cached_property
    def _ids(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        op_id = self._history.operations["op_id"]
        order = np.argsort(op_id, kind="stable")
        return op_id[order], order

    def operation(self, row: int, part: str, value: int | None) -> Json:
        """Row of `operations`; `value` is what it wrote or showed of what the finding is about, None where
        the record does not say."""
        record = self._history.operations
        took = {name: int(record[f"{name}_us"][row]) for name in STAGES}
        device = int(record["device"][row])
        user = int(record["user"][row])
        return {
            "part": part,
            "op": Op(int(record["op"][row])).name,
            "op_id": int(record["op_id"][row]),
            "value": value,
            "user": user,
            "user_id": user_id(user),
            "device": None if device == NOBODY else device,
            "session": int(record["session"][row]),
            "outcome": Outcome(int(record["outcome"][row])).name.lower(),
            "sent_s": self.seconds(int(record["sent"][row])),
            "acknowledged_s": self.seconds(int(record["acknowledged"][row])),
            "stages_us": took if any(took.values()) else None,
        }

    def push(self, row: int) -> Json:
        """Row of `pushes`."""
        record = self._history.pushes
        numbers = {
            name: int(record[name][row]) for name in ("value", "version", "change_id", "session", "user")
        }
        return {
            "part": "push",
            "op": f"push {PushKind(int(record['kind'][row])).name}",
            "op_id": None,
            **{name: None if number == NONE else number for name, number in numbers.items()},
            "user_id": user_id(numbers["user"]),
            "device": int(record["device"][row]),
            "actor": int(record["actor"][row]),
            "received_s": self.seconds(int(record["received"][row])),
        }
