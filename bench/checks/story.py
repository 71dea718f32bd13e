"""The records that a finding is told by: which operation, by whom, when, and where its time went.

A finding has two to five of them, in the order of time.  Each plays a `part`: `write` (what should be shown),
`read` (what shows less), `push`, `before`, ...; the report draws them and `bench explain` prints them."""

from __future__ import annotations

from typing import Final

from bench.metrics.history import History
from bench.population import NOBODY
from bench.record import NONE, Op, Outcome, PushKind
from bench.results import Json

STAGES: Final = ("server", "wait", "store", "cache", "queue")


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

    def operation(self, row: int, part: str, value: int) -> Json:
        """Row of `operations`; `value` is what it wrote or showed of what the finding is about."""
        record = self._history.operations
        took = {name: int(record[f"{name}_us"][row]) for name in STAGES}
        device = int(record["device"][row])
        return {
            "part": part,
            "op": Op(int(record["op"][row])).name,
            "op_id": int(record["op_id"][row]),
            "value": value,
            "user": int(record["user"][row]),
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
            "device": int(record["device"][row]),
            "actor": int(record["actor"][row]),
            "received_s": self.seconds(int(record["received"][row])),
        }
