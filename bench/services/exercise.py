"""Keeps one store busy with the smallest things that a run asks of it, for a ceiling of its own.

The clients here are slower than the stores: what counts is what the store's own CPU bought."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.sampler import usage
from bench.services.probe import MysqlUrl
from bench.services.stack import DATABASE, Service

CLIENTS: Final = 8
ROWS: Final = 1_000
RECORD_BYTES: Final = 200
IN_FLIGHT: Final = 50
TABLE: Final = f"{DATABASE}.calibrate"
KEY: Final = "readstate-calibrate"


@dataclass(frozen=True)
class Exercised:
    """Of the measured seconds; `cpu_s` is the store's own."""

    seconds: float
    operations: int
    cpu_s: float


def exercise(service: Service, *, warm_s: float, seconds: float) -> Exercised:
    """Raises what the store's client raises."""
    if service.name == "kafka":
        return asyncio.run(_kafka(service, warm_s, seconds))
    return _threads({"mysql": _mysql, "redis": _redis}[service.name](service), service, warm_s, seconds)


def _mysql(service: Service) -> Callable[[int], Callable[[int], object]]:
    """Each operation is one row's UPDATE and its COMMIT."""
    url = MysqlUrl.parse(service.url)
    with url.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
        cursor.execute(f"CREATE TABLE {TABLE} (id INT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB")
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, 0)", [(i,) for i in range(ROWS)])

    def client(number: int) -> Callable[[int], object]:
        cursor = url.connect().cursor()
        own = ROWS // CLIENTS  # rows of one client: nobody waits for another's lock
        return lambda i: cursor.execute(
            f"UPDATE {TABLE} SET n = n + 1 WHERE id = %s", (number * own + i % own,)
        )

    return client


def _redis(service: Service) -> Callable[[int], Callable[[int], object]]:
    """A SET, then a GET, of a value as long as a cursor's."""

    def client(number: int) -> Callable[[int], object]:
        connection = redis.Redis.from_url(service.url)

        def once(i: int) -> object:
            key = f"{KEY}:{number}:{i // 2 % ROWS}"
            return connection.get(key) if i % 2 else connection.set(key, b"1234,1234,12", ex=60)

        return once

    return client


def _threads(
    client: Callable[[int], Callable[[int], object]], service: Service, warm_s: float, seconds: float
) -> Exercised:
    over = threading.Event()
    done = [0] * CLIENTS

    def work(number: int) -> None:
        once = client(number)
        while not over.is_set():
            once(done[number])
            done[number] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(work, number) for number in range(CLIENTS)]
        try:
            time.sleep(warm_s)
            first = _now(service, sum(done))
            time.sleep(seconds)
            last = _now(service, sum(done))
        finally:
            over.set()
        for one in working:
            one.result()
    return _between(first, last)


async def _kafka(service: Service, warm_s: float, seconds: float) -> Exercised:
    """Records that the broker has acknowledged, IN_FLIGHT at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=service.url)
    producer = AIOKafkaProducer(bootstrap_servers=service.url, acks="all", enable_idempotence=True)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(KEY, num_partitions=8, replication_factor=1)])
        await producer.start()
        try:
            _, warm = await _produce(producer, warm_s, service)
            first, last = await _produce(producer, seconds, service, warm)
        finally:
            await producer.stop()
            await admin.delete_topics([KEY])
    finally:
        await admin.close()
    return _between(first, last)


Moment = tuple[float, int, float]
"""Seconds, operations so far, CPU seconds of the store so far."""


async def _produce(
    producer: AIOKafkaProducer, seconds: float, service: Service, before: Moment | None = None
) -> tuple[Moment, Moment]:
    value = b"x" * RECORD_BYTES
    done = before[1] if before else 0
    first = _now(service, done)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sent = [await producer.send(KEY, value, key=b"%d" % (done + i)) for i in range(IN_FLIGHT)]
        await asyncio.gather(*sent)
        done += IN_FLIGHT
    return first, _now(service, done)


def _now(service: Service, done: int) -> Moment:
    return time.monotonic(), done, usage(list(service.pids))["cpu_s"]


def _between(first: Moment, last: Moment) -> Exercised:
    return Exercised(last[0] - first[0], last[1] - first[1], last[2] - first[2])
