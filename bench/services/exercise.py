"""Keeps one store busy with the smallest things that a run asks of it, for a ceiling of its own.

The clients here are slower than the stores: what counts is what the store's own CPU bought."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench import cores
from bench.sampler import usage
from bench.services.probe import MysqlUrl
from bench.services.stack import DATABASE, Service

CLIENTS: Final = 8
ROWS: Final = 1_000
RECORD_BYTES: Final = 200
BATCH_BYTES: Final = 512
"""A record is a batch, as it is in a run; of many together, the broker's CPU would hardly be seen."""
SLICE_S: Final = 1.5
TICK_S: Final = 0.01
"""The kernel counts CPU time in these."""
IN_FLIGHT: Final = 400
PIPELINE: Final = 32
"""Together, as many clients of a busy server come: so each wake-up costs it as much every time."""
STEADY: Final = 1.05
"""A cold JVM takes several times the CPU, and is warm when two slices gain less than this over the one
before."""
COLD_S: Final = 30.0
"""After which it is taken for warm in any case."""
TABLE: Final = f"{DATABASE}.calibrate"
KEY: Final = "readstate-calibrate"


@dataclass(frozen=True)
class Exercised:
    """Of the measured seconds.  `per_cpu_s`: of each slice, operations for a second of the store's CPU."""

    seconds: float
    operations: int
    per_cpu_s: tuple[float, ...]


Moment = tuple[float, int, float]
"""Seconds, operations so far, CPU seconds of the store so far."""
Client = Callable[[int], int]
"""Operations that it has done so far -> how many it did now."""


def prepare(service: Service) -> None:
    """Makes what is written to, and warms up what starts cold.  Raises what the client raises."""
    if service.name == "mysql":
        _make_table(MysqlUrl.parse(service.url))
    elif service.name == "kafka":
        asyncio.run(_make_topic(service))
        with _first(service):
            asyncio.run(_kafka(service, lambda moments: steady(moments) or _passed(moments) >= COLD_S))


def exercise(service: Service, *, warm_s: float, seconds: float) -> Exercised:
    """Store and client go before everything else where that is allowed.  Raises what the client raises."""
    with _first(service):
        if service.name == "kafka":
            return exercised(
                asyncio.run(_kafka(service, lambda moments: _passed(moments) >= seconds, warm_s))
            )
        client = {"mysql": _mysql, "redis": _redis}[service.name](service)
        return exercised(_threads(client, service, warm_s, seconds))


@contextmanager
def _first(service: Service) -> Iterator[None]:
    cores.prefer([*service.pids, os.getpid()])
    try:
        yield
    finally:
        cores.release({"calibrate": [os.getpid()]}, os.cpu_count() or 1)


def _make_table(url: MysqlUrl) -> None:
    with url.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
        cursor.execute(f"CREATE TABLE {TABLE} (id INT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB")
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, 0)", [(i,) for i in range(ROWS)])


def _mysql(service: Service) -> Callable[[int], Client]:
    """Each operation is one row's UPDATE and its COMMIT."""
    url = MysqlUrl.parse(service.url)

    def client(number: int) -> Client:
        cursor = url.connect().cursor()
        own = ROWS // CLIENTS  # rows of one client: nobody waits for another's lock

        def once(i: int) -> int:
            cursor.execute(f"UPDATE {TABLE} SET n = n + 1 WHERE id = %s", (number * own + i % own,))
            return 1

        return once

    return client


def _redis(service: Service) -> Callable[[int], Client]:
    """SETs and GETs of values as long as a cursor's."""

    def client(number: int) -> Client:
        pipeline = redis.Redis.from_url(service.url).pipeline(transaction=False)

        def once(i: int) -> int:
            for one in range(i, i + PIPELINE, 2):
                key = f"{KEY}:{number}:{one % ROWS}"
                pipeline.set(key, b"1234,1234,12", ex=60)
                pipeline.get(key)
            return len(pipeline.execute())

        return once

    return client


def _threads(
    client: Callable[[int], Client], service: Service, warm_s: float, seconds: float
) -> list[Moment]:
    over = threading.Event()
    done = [0] * CLIENTS

    def work(number: int) -> None:
        once = client(number)
        while not over.is_set():
            done[number] += once(done[number])

    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(work, number) for number in range(CLIENTS)]
        try:
            time.sleep(warm_s)
            moments = [_now(service, sum(done))]
            while _passed(moments) < seconds:
                time.sleep(SLICE_S)
                moments.append(_now(service, sum(done)))
        finally:
            over.set()
        for one in working:
            one.result()
    return moments


async def _make_topic(service: Service) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=service.url)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(KEY, num_partitions=8, replication_factor=1)])
    finally:
        await admin.close()


async def _kafka(
    service: Service, over: Callable[[Sequence[Moment]], bool], warm_s: float = 0.0
) -> list[Moment]:
    """Records that the broker has acknowledged, IN_FLIGHT at once."""
    value, done, moments = b"x" * RECORD_BYTES, 0, list[Moment]()
    async with AIOKafkaProducer(
        bootstrap_servers=service.url, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    ) as producer:
        due = time.monotonic() + warm_s
        while not over(moments):
            sent = [await producer.send(KEY, value, key=b"%d" % (done + i)) for i in range(IN_FLIGHT)]
            await asyncio.gather(*sent)
            done += IN_FLIGHT
            if time.monotonic() >= due:
                moments.append(_now(service, done))
                due = moments[-1][0] + SLICE_S
    return moments


def _now(service: Service, done: int) -> Moment:
    return time.monotonic(), done, usage(list(service.pids))["cpu_s"]


def _passed(moments: Sequence[Moment]) -> float:
    return moments[-1][0] - moments[0][0] if moments else 0.0


def _slices(moments: Sequence[Moment]) -> list[float]:
    """Operations for a second of CPU, from a moment at the end of each slice."""
    return [
        (later[1] - earlier[1]) / max(later[2] - earlier[2], TICK_S) for earlier, later in pairwise(moments)
    ]


def steady(moments: Sequence[Moment]) -> bool:
    """Nothing was gained over the last two slices."""
    slices = _slices(moments)
    return len(slices) >= 3 and max(slices[-2:]) < STEADY * slices[-3]


def exercised(moments: Sequence[Moment]) -> Exercised:
    """From a moment at the end of each slice."""
    first, last = moments[0], moments[-1]
    return Exercised(last[0] - first[0], last[1] - first[1], tuple(_slices(moments)))
