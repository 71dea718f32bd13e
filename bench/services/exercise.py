"""Keeps one store busy with the smallest things that a run asks of it, for a ceiling of its own.

The clients here are slower than the stores: what counts is what the store's own CPU bought."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymysql.constants import CLIENT

from bench import cores
from bench.sampler import usage
from bench.services.probe import MysqlUrl
from bench.services.stack import DATABASE, Service

CLIENTS: Final = 8
ROWS: Final = 1_000
RECORD_BYTES: Final = 200
BATCH_BYTES: Final = 512
"""A record is a batch, as it is in a run; of many together, the broker's CPU would hardly be seen."""
IN_FLIGHT: Final = 400
PIPELINE: Final = 32
"""Redis commands, or MySQL's statements, sent together, as many clients of a busy server come: so each
wake-up costs it as much every time."""
COLD_S: Final = 25.0
"""A cold JVM compiles what is hot: records per second of CPU rose from 6,800 to 30,000 within three slices.
After so long the first two are still 30 to 60 % below the later ones, and the middle half leaves them out."""
TABLE: Final = f"{DATABASE}.calibrate"
KEY: Final = "readstate-calibrate"


@dataclass(frozen=True)
class Exercised:
    """`cpu_s`: of the store."""

    seconds: float
    operations: int
    cpu_s: float


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
            asyncio.run(_kafka(service, 0.0, COLD_S))


def exercise(service: Service, *, warm_s: float, seconds: float) -> Exercised:
    """Store and client go before everything else where that is allowed.  Raises what the client raises."""
    with _first(service):
        if service.name == "kafka":
            first, last = asyncio.run(_kafka(service, warm_s, seconds))
        else:
            client = {"mysql": _mysql, "redis": _redis}[service.name](service)
            first, last = _threads(client, service, warm_s, seconds)
    return Exercised(last[0] - first[0], last[1] - first[1], last[2] - first[2])


@contextmanager
def _first(service: Service) -> Iterator[None]:
    pids = [*service.pids, os.getpid()]
    cores.prefer(pids)
    try:
        yield
    finally:
        cores.prefer_no_more(pids)


def _make_table(url: MysqlUrl) -> None:
    with url.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
        cursor.execute(f"CREATE TABLE {TABLE} (id INT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB")
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, 0)", [(i,) for i in range(ROWS)])


def _mysql(service: Service) -> Callable[[int], Client]:
    """Each operation is one row's UPDATE and its COMMIT, PIPELINE of them in one text."""
    url = MysqlUrl.parse(service.url)

    def client(number: int) -> Client:
        cursor = url.connect(client_flag=CLIENT.MULTI_STATEMENTS).cursor()
        own = ROWS // CLIENTS  # rows of one client: nobody waits for another's lock
        texts = [
            ";".join(f"UPDATE {TABLE} SET n = n + 1 WHERE id = {number * own + row % own}" for row in rows)
            for rows in (range(first, first + PIPELINE) for first in range(own))
        ]

        def once(i: int) -> int:
            cursor.execute(texts[i // PIPELINE % own])
            while cursor.nextset():
                pass
            return PIPELINE

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
) -> tuple[Moment, Moment]:
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
            first = _now(service, sum(done))
            time.sleep(seconds)
            last = _now(service, sum(done))
        finally:
            over.set()
        for one in working:
            one.result()
    return first, last


async def _make_topic(service: Service) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=service.url)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(KEY, num_partitions=8, replication_factor=1)])
    finally:
        await admin.close()


async def _kafka(service: Service, warm_s: float, seconds: float) -> tuple[Moment, Moment]:
    """Records that the broker has acknowledged, IN_FLIGHT at once."""
    value, done, first = b"x" * RECORD_BYTES, 0, None
    async with AIOKafkaProducer(
        bootstrap_servers=service.url, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    ) as producer:
        due = time.monotonic() + warm_s
        while True:
            sent = [await producer.send(KEY, value, key=b"%d" % (done + i)) for i in range(IN_FLIGHT)]
            await asyncio.gather(*sent)
            done += IN_FLIGHT
            if time.monotonic() < due:
                continue
            now = _now(service, done)
            if first is not None:
                return first, now
            first, due = now, now[0] + seconds


def _now(service: Service, done: int) -> Moment:
    return time.monotonic(), done, usage(list(service.pids))["cpu_s"]
