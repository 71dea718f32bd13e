"""Closed arrivals: a device does its next planned operation only when the last one has been answered.

What had to wait is still intended for the planned time, so that response time counts the wait and service
time, which is all that a closed loop sees, does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from bench.load.device import Device
from bench.load.engine import Tasks

Job = tuple[int, int, Callable[..., int], tuple[Any, ...]]
"""(due, number in the plan, function, arguments): `function(due, device, *arguments)` gives the row that it
sent, or -1."""


class Closed:
    """One operation at a time for each device."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._waiting: dict[Device, deque[Job]] = {}

    def do(
        self, device: Device, due: int, number: int, function: Callable[..., int], *arguments: Any
    ) -> None:
        """Calls it now, or when those before it have ended.  Only from the event loop's callbacks."""
        waiting = self._waiting.get(device)
        if waiting is None:
            self._waiting[device] = deque()
            self._tasks.run(due, self._one_by_one, device, (due, number, function, arguments))
        else:
            waiting.append((due, number, function, arguments))

    @property
    def busy(self) -> bool:
        """Whether anything is still to be done."""
        return bool(self._waiting)

    def abandoned(self) -> list[tuple[Device, int, int]]:
        """(device, due, number in the plan) of what never got its turn, and will not get it any more."""
        left = [(device, job[0], job[1]) for device, waiting in self._waiting.items() for job in waiting]
        for waiting in self._waiting.values():
            waiting.clear()
        return left

    def _one_by_one(self, _due: int, device: Device, job: Job) -> None:
        waiting = self._waiting[device]
        try:
            while True:
                due, _, function, arguments = job
                row = function(due, device, *arguments)
                if row >= 0:
                    self._tasks.wait_for(row)
                if not waiting:
                    return
                job = waiting.popleft()
        finally:
            del self._waiting[device]
