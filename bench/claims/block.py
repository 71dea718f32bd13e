"""One block: seconds of one mix on one arm, open (each operation at its time) or closed (so many at once).

Latency counts from the time at which an operation was due; in a closed block that is when the one before it
had ended.  Whatever is not answered as it should be is an error and has no latency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from bench.claims.client import Person, now_ns
from bench.claims.mix import Asked
from bench.load.pacing import Pacer
from bench.load.replies import Incoming
from bench.population import Population
from schemes.protocol import Mark, Read, Send, State

BODY: Final = "x" * 256
HEAD_START_NS: Final = 20_000_000
TRAILING_S: Final = 5.0
"""Answers are waited for after the block's end."""
MOST: Final = 60_000
"""Operations of a closed block; no arm here comes near it."""


@dataclass(frozen=True)
class Figures:
    """Times in µs, None without samples.

    `requests_per_s`: STATE, SEND and READ that were answered within the block.  `store_us`: of a look, what
    the server itself measured in MySQL and Redis.  `stale`: looks that showed less than their person's
    acknowledged marks."""

    seconds: float
    requests_per_s: float
    looks: int
    marks: int
    look_us: float | None
    look_p99_us: float | None
    service_us: float | None
    store_us: float | None
    server_us: float | None
    mark_us: float | None
    errors: int
    unanswered: int
    stale: int
    late_p99_us: float | None
    """How late operations were sent, after they were due."""
    generator_cpu: float
    """Cores."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class _Watcher:
    """What `Pacer` expects of gevent's loop, by asyncio."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop, self._fd = loop, fd

    def start(self, call: Any) -> None:
        self._loop.add_reader(self._fd, call)

    def stop(self) -> None:
        self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Nothing is held."""


class _Loop:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def io(self, fd: int, events: int) -> _Watcher:  # noqa: ARG002  gevent's signature
        return _Watcher(self._loop, fd)


class Runner:
    """Carries out blocks on one arm's connections; remembers what was acknowledged, to know what is stale."""

    def __init__(self, population: Population, people: Mapping[int, Person], nonce: str) -> None:
        self._population = population
        self._people = people
        self._nonce = nonce
        self._sent = 0
        self._marked: dict[tuple[int, int], int] = {}

    async def open(self, asked: Asked, seconds: float) -> Figures:
        """Each at its time."""
        block = _Block(self, asked)
        failed: list[Exception] = []
        pacer = Pacer(_Loop(asyncio.get_running_loop()), failed.append)
        start = now_ns() + HEAD_START_NS
        cpu = time.process_time()
        try:
            for row, at in enumerate(asked.at_s):
                if at >= seconds:
                    break
                pacer.at(start + round(at * 1e9), block.begin, row)
            await asyncio.sleep(seconds + HEAD_START_NS / 1e9)
            used = time.process_time() - cpu
            await block.trail()
        finally:
            pacer.close()
        if failed:
            raise failed[0]
        return block.figures(start, seconds, used)

    async def closed(self, asked: Asked, seconds: float, at_once: int) -> Figures:
        """`at_once` operations under way at any time."""
        block = _Block(self, asked)
        start, cpu = now_ns(), time.process_time()
        block.until = start + round(seconds * 1e9)
        for _ in range(at_once):
            block.next(start)
        await asyncio.sleep(seconds)
        used = time.process_time() - cpu
        await block.trail()
        return block.figures(start, seconds, used)


class _Block:
    def __init__(self, runner: Runner, asked: Asked) -> None:
        self._runner, self._asked = runner, asked
        self._row = 0
        self._under_way = 0
        self._idle = asyncio.Event()
        self.until = 0
        """A closed block goes on until then."""
        self._looks: list[tuple[int, int, int, int, int]] = []
        self._marks: list[tuple[int, int]] = []
        self._answered: list[int] = []
        self._late: list[int] = []
        self._errors = self._stale = 0

    def next(self, due: int) -> None:
        if due < self.until and self._row < len(self._asked):
            self._row += 1
            self.begin(due, self._row - 1)

    def begin(self, due: int, row: int) -> None:
        asked, people = self._asked, self._runner._people
        conversation, person = asked.conversation[row], asked.person[row]
        name = self._runner._population.conversation_id(conversation)
        self._under_way += 1
        self._idle.clear()
        self._late.append(now_ns() - due)
        if asked.is_mark[row]:
            self._mark(due, name, conversation, person, people[asked.other[row]])
            return
        least = self._runner._marked.get((person, conversation), 0)

        def heard(reply: Incoming | None, sent: int, moment: int) -> None:
            if reply is None or not reply.conversations or reply.conversations[0].conversation_id != name:
                self._failed(moment)
                return
            stages = reply.t
            store = 0 if stages is None else stages.store + stages.cache
            server = 0 if stages is None else stages.server
            self._looks.append((due, sent, moment, store, server))
            self._stale += reply.conversations[0].read_seq < least
            self._ended(moment)

        people[person].ask(State(conversations=[name], limit=1), heard)

    def _mark(self, due: int, name: str, conversation: int, person: int, other: Person) -> None:
        runner = self._runner
        reader = runner._people[person]
        runner._sent += 1

        def marked(seq: int, reply: Incoming | None, moment: int) -> None:
            if reply is None or reply.type != "ACK":
                self._failed(moment)
                return
            key = (person, conversation)
            runner._marked[key] = max(runner._marked.get(key, 0), seq)
            self._marks.append((due, moment))
            self._ended(moment)

        def sent(reply: Incoming | None, _: int, moment: int) -> None:
            if reply is None or reply.type != "ACK" or reply.seq < 0:
                self._failed(moment)
                return
            self._answered.append(moment)
            seq = reply.seq
            reader.ask(Read([Mark(name, seq)]), lambda reply, _, at: marked(seq, reply, at))

        other.ask(Send(name, f"{runner._nonce}-{runner._sent}", BODY), sent)

    def _ended(self, moment: int) -> None:
        self._answered.append(moment)
        self._over(moment)

    def _failed(self, moment: int) -> None:
        self._errors += 1
        self._over(moment)

    def _over(self, moment: int) -> None:
        self._under_way -= 1
        self.next(moment)
        if not self._under_way:
            self._idle.set()

    async def trail(self) -> None:
        """Until everything is answered, or for TRAILING_S."""
        self.until = 0
        if self._under_way:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), TRAILING_S)

    def figures(self, start: int, seconds: float, cpu_s: float) -> Figures:
        end = start + round(seconds * 1e9)
        looks = np.array(self._looks, np.int64).reshape(-1, 5)
        marks = np.array(self._marks, np.int64).reshape(-1, 2)
        answered = np.array(self._answered, np.int64)
        response = (looks[:, 2] - looks[:, 0]) / 1000
        return Figures(
            seconds=seconds,
            requests_per_s=float(np.count_nonzero(answered <= end)) / seconds,
            looks=len(looks),
            marks=len(marks),
            look_us=_mean(response),
            look_p99_us=_p99(response),
            service_us=_mean((looks[:, 2] - looks[:, 1]) / 1000),
            store_us=_mean(looks[:, 3]),
            server_us=_mean(looks[:, 4]),
            mark_us=_mean((marks[:, 1] - marks[:, 0]) / 1000),
            errors=self._errors,
            unanswered=self._under_way,
            stale=self._stale,
            late_p99_us=_p99(np.array(self._late) / 1000),
            generator_cpu=cpu_s / seconds,
        )


def _mean(values: Any) -> float | None:
    return round(float(np.mean(values)), 1) if len(values) else None


def _p99(values: Any) -> float | None:
    return round(float(np.quantile(values, 0.99, method="inverted_cdf")), 1) if len(values) else None
