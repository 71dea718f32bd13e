"""How far away the stores are made to be: `--store-rtt`.  On one machine a round trip costs next to nothing,
and a scheme that makes five of them looks as good as one that makes two.

Every request to a store, of whichever kind, waits half the time before it is sent and half before its answer
counts; what a store sends by itself (a published message, a fetched record) waits one half.  Opening
connections and topics is not touched, and a refusal comes back at once.  Off, `rtt_ns` is 0 and nobody waits.

All waits are equally long, so who came first is let go first: a queue and one kernel timer do.  The loop's
own timers count whole milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

RTT_MS_MAX: Final = 200.0
"""Above it a transaction would take longer than a client waits."""

rtt_ns = 0
"""Nanoseconds to a store and back; set once, before anything is asked."""

_ABSOLUTE: Final = 1
_clock: _Clock | None = None


def set_rtt(ms: float) -> None:
    """Raises ValueError for what is no time, or too long."""
    global rtt_ns  # noqa: PLW0603  a setting of the process, like failpoints.on
    if not 0 <= ms <= RTT_MS_MAX:
        raise ValueError(f"store-rtt: expected 0 to {RTT_MS_MAX:g} ms, got {ms:g}")
    rtt_ns = round(ms * 1e6)


async def way() -> None:
    """One way, to a store or back: half of `rtt_ns`."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()
    later(lambda: None if arrived.done() else arrived.set_result(None))
    await arrived


def later(call: Callable[[], object]) -> None:
    """Calls after one way; calls that were asked for earlier come earlier."""
    global _clock  # noqa: PLW0603  of the loop that runs
    loop = asyncio.get_running_loop()
    if _clock is None or _clock.loop is not loop:
        _clock = _Clock(loop)
    _clock.add(time.monotonic_ns() + rtt_ns // 2, call)


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Clock:
    """A timerfd of one loop, set to the first of those who wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self._fd = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "the kernel gave no timer")
        loop.add_reader(self._fd, self._ring)

    def __del__(self) -> None:
        os.close(self._fd)

    def add(self, due_ns: int, call: Callable[[], object]) -> None:
        self._waiting.append((due_ns, call))
        if len(self._waiting) == 1:
            self._arm(due_ns)

    def _arm(self, due_ns: int) -> None:
        seconds, nanoseconds = divmod(due_ns, 10**9)
        setting = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        if _libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(setting), None):
            raise OSError(ctypes.get_errno(), "the kernel's timer cannot be set")

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set anew since it rang
        now = time.monotonic_ns()
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            waiting.popleft()[1]()
        if waiting:
            self._arm(waiting[0][0])
