"""What the stores of a run say that they have done since they started, asked at a quiet moment: for the work
ledger, which holds it against what the scheme declares.

Unlike `counters.py` this is asked a few times in a run, and for all that they count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import pymysql
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from bench.services.probe import MysqlUrl, NotReady, Refused, redis_client
from bench.services.stack import Service, ServicesError

Counted: TypeAlias = dict[str, float]

MYSQL: Final = ("Com_", "Handler_", "Innodb_data_fsyncs", "Innodb_os_log_", "Bytes_", "Questions")
"""Beginnings of the names that are kept."""
TIMEOUT_S: Final = 10.0


def totals(services: Mapping[str, Service], topic: str | None) -> dict[str, Counted]:
    """By service: counter -> value since the service started.  Raises ServicesError."""
    asked: dict[str, Callable[[str], Counted]] = {
        "mysql": _mysql,
        "redis": _redis,
        "kafka": lambda url: _kafka(url, topic or ""),
    }
    try:
        return {name: ask(services[name].url) for name, ask in asked.items() if name in services}
    except (pymysql.MySQLError, NotReady, Refused, KafkaError, OSError, TimeoutError) as why:
        raise ServicesError(f"A store could not be asked for its counters: {why!r}.") from why


def _mysql(url: str) -> Counted:
    with MysqlUrl.parse(url).connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS")
        return {
            str(name): float(value)
            for name, value in cursor.fetchall()
            if str(name).startswith(MYSQL) and value
        }


def _redis(url: str) -> Counted:
    """`<command>` -> calls, those inside scripts too; and the bytes of the network."""
    with redis_client(url) as client:
        told: dict[str, Any] = client.info("commandstats")
        stats: dict[str, Any] = client.info("stats")
    calls = {name.removeprefix("cmdstat_"): float(one["calls"]) for name, one in told.items()}
    return calls | {name: float(stats[name]) for name in ("total_net_input_bytes", "total_net_output_bytes")}


def _kafka(bootstrap: str, topic: str) -> Counted:
    """`records`: the sum of the topic's end offsets."""
    return {"records": float(asyncio.run(asyncio.wait_for(_end(bootstrap, topic), TIMEOUT_S)))}


async def _end(bootstrap: str, topic: str) -> int:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, client_id="ledger")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return sum(ends.values())
