"""Keeps one store busy with the smallest things that a run asks of it, for a ceiling of its own.

The clients here are slower than the stores: what counts is what the store's own CPU bought."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
SLICE_S: Final = 2.0
TICK_S: Final = 0.01
"""The kernel counts CPU time in these."""
IN_FLIGHT: Final = 400
PIPELINE: Final = 32
"""Together, as many clients of a busy server come: so each wake-up costs it as much every time."""
STEADY: Final = 1.05
"""A cold JVM takes several times the CPU, and is warm when two slices gain less than this over the one
before."""
TABLE: Final = f"{DATABASE}.calibrate"
KEY: Final = "readstate-calibrate"


@dataclass(frozen=True)
class Exercised:
    """Of the measured seconds.  `per_cpu_s`: operations for a second of the store's own CPU, in a good slice
    (the upper quartile): what others do on the machine only makes it worse."""

    seconds: float
    operations: int
    per_cpu_s: float


Client = Callable[[int], int]
"""Operations that it has done so far -> how many it did now."""


def exercise(service: Service, *, warm_s: float, seconds: float) -> Exercised:
    """Store and client go before everything else where that is allowed.  Raises what the client raises."""
    cores.prefer([*service.pids, os.getpid()])
    try:
        if service.name == "kafka":
            return asyncio.run(_kafka(service, warm_s, seconds))
        client = {"mysql": _mysql, "redis": _redis}[service.name](service)
        return _threads(client, service, warm_s, seconds)
    finally:
        cores.release({"calibrate": [os.getpid()]}, os.cpu_count() or 1)


def _mysql(service: Service) -> Callable[[int], Client]:
    """Each operation is one row's UPDATE and its COMMIT."""
    url = MysqlUrl.parse(service.url)
    with url.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
        cursor.execute(f"CREATE TABLE {TABLE} (id INT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB")
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, 0)", [(i,) for i in range(ROWS)])

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


def _threads(client: Callable[[int], Client], service: Service, warm_s: float, seconds: float) -> Exercised:
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
            while moments[-1][0] - moments[0][0] < seconds:
                time.sleep(SLICE_S)
                moments.append(_now(service, sum(done)))
        finally:
            over.set()
        for one in working:
            one.result()
    return exercised(moments)


async def _kafka(service: Service, warm_s: float, seconds: float) -> Exercised:
    """Records that the broker has acknowledged, IN_FLIGHT at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=service.url)
    producer = AIOKafkaProducer(bootstrap_servers=service.url, acks="all", enable_idempotence=True)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(KEY, num_partitions=8, replication_factor=1)])
        await producer.start()
        try:
            await _produce(producer, service, warm_s, until=steady)
            moments = await _produce(producer, service, seconds)
        finally:
            await producer.stop()
            await admin.delete_topics([KEY])
    finally:
        await admin.close()
    return exercised(moments)


Moment = tuple[float, int, float]
"""Seconds, operations so far, CPU seconds of the store so far."""


async def _produce(
    producer: AIOKafkaProducer,
    service: Service,
    seconds: float,
    until: Callable[[Sequence[Moment]], bool] = lambda _: False,
) -> list[Moment]:
    """Until that is so, or the time is over."""
    value, done = b"x" * RECORD_BYTES, 0
    moments = [_now(service, done)]
    end = time.monotonic() + seconds
    while not until(moments) and time.monotonic() < end:
        sent = [await producer.send(KEY, value, key=b"%d" % (done + i)) for i in range(IN_FLIGHT)]
        await asyncio.gather(*sent)
        done += IN_FLIGHT
        if time.monotonic() - moments[-1][0] >= SLICE_S:
            moments.append(_now(service, done))
    return moments


def _now(service: Service, done: int) -> Moment:
    return time.monotonic(), done, usage(list(service.pids))["cpu_s"]


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
    slices = _slices(moments)
    good = sorted(slices)[3 * len(slices) // 4] if slices else 0.0
    return Exercised(moments[-1][0] - moments[0][0], moments[-1][1] - moments[0][1], good)
