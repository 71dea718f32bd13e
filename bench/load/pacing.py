"""When things are due: one heap and one timerfd for the whole process.

libev's own timers round up to whole milliseconds; a timerfd is 0.03 ms late.  Wake-ups are a quantum apart,
so that one of them serves many users; a backlog is worked off in slices between which sockets are read.
"""

from __future__ import annotations

import ctypes
import heapq
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Final

now_ns: Final = time.monotonic_ns
QUANTUM_NS: Final = 250_000
SLICE: Final = 64
"""Calls between which the sockets get their turn."""
_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC, _TFD_TIMER_ABSTIME = 1, 0o2004000, 1

Step = tuple[int, Callable[..., None], tuple[Any, ...]]
"""(due in ns of CLOCK_MONOTONIC, function, arguments); the function gets the due time first."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.timerfd_settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


class Pacer:
    """Calls functions at their time, on gevent's loop.

    `on_error(error)` gets what a function raises: gevent would stop the watcher for good."""

    def __init__(self, loop: Any, on_error: Callable[[Exception], None]) -> None:
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ties = count()
        self._on_error = on_error
        self._timer = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._setting = (ctypes.c_int64 * 4)()
        self._setting_address = ctypes.addressof(self._setting)
        self._armed = 0
        self._working = False
        self._woke = 0
        self._watcher = loop.io(self._timer, 1)
        self._watcher.start(self._wake)

    def at(self, due: int, function: Callable[..., None], *arguments: Any) -> None:
        """Calls `function(due, *arguments)` at `due`."""
        heapq.heappush(self._heap, (due, next(self._ties), function, arguments))
        if not self._working and (not self._armed or due < self._armed):
            self._arm(due)

    def follow(self, steps: Iterator[Step]) -> None:
        """Carries out steps that come in order of time; only the next one is held."""
        step = next(steps, None)
        if step is not None:
            self.at(step[0], self._step, step, steps)

    def _step(self, due: int, step: Step, steps: Iterator[Step]) -> None:
        self.follow(steps)
        step[1](due, *step[2])

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        os.close(self._timer)
        self._heap.clear()

    def _arm(self, due: int) -> None:
        self._armed = due = max(due, self._woke + QUANTUM_NS)
        self._setting[2], self._setting[3] = divmod(due, 1_000_000_000)
        _libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, self._setting_address, None)

    def _wake(self) -> None:
        heap, done = self._heap, 0
        moment = self._woke = now_ns()
        self._working = True
        while heap and done < SLICE and (heap[0][0] <= moment or heap[0][0] <= (moment := now_ns())):
            due, _, function, arguments = heapq.heappop(heap)
            done += 1
            try:
                function(due, *arguments)
            except Exception as error:  # noqa: BLE001  rim of the event loop: the next one must go on
                self._on_error(error)
        self._working = False
        self._armed = 0
        if done == SLICE:
            self._woke -= QUANTUM_NS  # a backlog is not paced
        if heap:
            self._arm(heap[0][0])  # which also takes back that it is readable
        else:
            with suppress(BlockingIOError):  # armed anew in the meantime: nothing has expired
                os.read(self._timer, 8)
