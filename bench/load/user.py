"""A Locust user in domain words: all that a scenario file imports.

A scenario is a plain Locust file with a subclass of `ChatUser`.  What its users do comes from one of

- `timeline`, for heavy traffic that is planned: steps in order of time, which need no greenlet at all;
- `@task` methods, written as if they blocked, started at the times that `arrivals` says; a task occupies a
pooled greenlet only while it runs, and the next one does not wait for it (open loop).

Receiving, confirming and catching up go on by themselves (`device.py`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import gevent
from locust import User, task
from locust.user.task import LOCUST_STATE_RUNNING

from bench.load.device import Device
from bench.load.engine import Answer
from bench.load.pacing import Step
from bench.load.process import LoadProcess
from bench.load.timeline import Timeline
from bench.population import Indexes

__all__ = ["Answer", "ChatUser", "Client", "Rng", "Step", "Timeline", "in_order", "poisson", "task"]


def poisson(per_second: float) -> Callable[[ChatUser], float]:
    """For `arrivals`: at random, this often on average; seconds until the next."""
    return lambda user: user.rng.expovariate(per_second)


def in_order(*streams: Iterator[Step]) -> Iterator[Step]:
    """Streams of steps merged by time."""
    return heapq.merge(*streams, key=lambda step: step[0])


class Rng:
    """splitmix64: `random.Random` is 2.5 KiB a user, this is 0.1."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed

    def random(self) -> float:
        """Uniform in [0, 1)."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return ((z ^ z >> 31) >> 11) * 2.0**-53

    def below(self, end: int) -> int:
        """A whole number in [0, end)."""
        return int(self.random() * end)

    def expovariate(self, rate: float) -> float:
        return -math.log(1 - self.random()) / rate


class NotSentError(Exception):
    """The user is not connected now, or there was nothing new to read: the row is written, no reply will
    come."""


class Client:
    """What a task can do, one call after another; each waits for its answer.

    The first call of a task was intended for the time at which the task was due, the others for when they are
    made.  Raises NotSentError."""

    __slots__ = ("_due", "_sent", "_user")

    def __init__(self, user: ChatUser) -> None:
        self._user = user
        self._due = 0
        self._sent = itertools.count()

    def due(self, due_ns: int) -> None:
        """When the next call is intended for."""
        self._due = due_ns

    def send(self, conversation: int, body: str) -> Answer:
        """A message to one of the user's conversations."""
        device = self._device
        name = f"task-{device.number}-{next(self._sent)}-{self._user.load.timeline.nonce}"
        return self._wait(device.send(conversation, name, body, self._take_due()))

    def read(self, conversation: int) -> Answer:
        """Marks all that this device has seen of a conversation as read."""
        return self._wait(self._device.read(conversation, self._take_due()))

    def state(self, limit: int = 20) -> Answer:
        """The most recent conversations."""
        return self._wait(self._device.state(limit, self._take_due()))

    def sync(self) -> Answer:
        """What changed since this device last knew."""
        return self._wait(self._device.sync(self._take_due()))

    @property
    def _device(self) -> Device:
        if self._user.device is None:
            raise NotSentError("this user has no device of the population")
        return self._user.device

    def _take_due(self) -> int:
        due, self._due = self._due, 0
        return due

    def _wait(self, row: int) -> Answer:
        if row < 0:
            raise NotSentError
        return self._user.load.engine.tasks.wait_for(row)


class ChatUser(User):
    """One device of one person.  `conversations` are indexes in the population."""

    abstract = True
    arrivals: ClassVar[Callable[[ChatUser], float] | None] = None
    """Seconds until this user's next task, e.g. `poisson(per_second=0.2)`; replaces Locust's `wait_time`."""
    device: Device | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.tasks = cls.tasks or [_parked]  # Locust will not have a user without tasks

    @classmethod
    def timeline(cls, plan: Timeline) -> Iterator[Step]:  # noqa: ARG003  what a scenario may override
        """What is planned for all users of this process, in order of time."""
        return iter(())

    @property
    def load(self) -> LoadProcess:
        load: LoadProcess = self.environment.load
        return load

    @property
    def conversations(self) -> Indexes:
        population, device = self.load.population, self.device
        start = population.of_person_start
        person = device.person if device is not None else len(start)
        return population.of_person[start[person] : start[person + 1]]

    # --- what Locust calls ------------------------------------------------------------------------------

    def start(self, group: Any) -> gevent.Greenlet:
        """Claims a device and connects it.  Locust counts greenlets, so it gets one that is never started."""
        self._greenlet = gevent.Greenlet(_parked, self)
        self._group = group
        group.add(self._greenlet)
        self._state = LOCUST_STATE_RUNNING
        self.device = self.load.claim()
        if self.device is not None:
            self.device.connect()
        return self._greenlet

    def stop(self, force: bool = False) -> bool:  # noqa: ARG002
        """Closes the connection; nothing of this user runs afterwards."""
        if self.device is not None:
            self.device.close()
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        return True

    # --- tasks ------------------------------------------------------------------------------------------

    def begin(self, t0_ns: int) -> None:
        """The load starts at this time."""
        if type(self).arrivals is not None and self.device is not None:
            self.rng = Rng((self.load.population.options.seed << 32) + self.device.number)
            self.client = Client(self)
            self._next_task(t0_ns)

    def _next_task(self, after: int) -> None:
        arrivals = type(self).arrivals
        assert arrivals is not None
        due = after + round(arrivals(self) * 1e9)
        if due < self.load.timeline.end_ns:
            self.load.engine.pacer.at(due, self._due)

    def _due(self, due: int) -> None:
        self._next_task(due)
        self.load.engine.tasks.run(due, self._task, self.tasks[self.rng.below(len(self.tasks))])

    def _task(self, due: int, method: Callable[[ChatUser], None]) -> None:
        self.client.due(due)
        try:
            method(self)
        except NotSentError:
            self.load.engine.counters["task: not sent"] += 1


def _parked(user: ChatUser) -> None:
    raise AssertionError(f"{user} has no greenlet of its own")
