"""Asks a service whether it works, what it is and how it is set. It writes nothing but a throw-away topic.

`NotReady` means: ask again. `Refused` means: asking again will not help (wrong password, no such database).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from bench.services.stack import hidden

MYSQL_SETTINGS = (
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "sync_binlog",
    "transaction_isolation",
    "tx_isolation",  # MariaDB before 11.1
    "time_zone",
    "innodb_buffer_pool_size",
    "innodb_flush_method",
    "max_connections",
    "thread_handling",
    "thread_pool_stall_limit",  # MariaDB
    "local_infile",
    "performance_schema",
    "character_set_server",
    "skip_name_resolve",
)
REDIS_SETTINGS = ("save", "appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "io-threads")
KAFKA_SETTINGS = (
    "group.coordinator.append.linger.ms",
    "group.min.session.timeout.ms",
    "group.initial.rebalance.delay.ms",
    "broker.session.timeout.ms",
    "broker.heartbeat.interval.ms",
    "offsets.topic.num.partitions",
    "offsets.topic.replication.factor",
    "default.replication.factor",
    "min.insync.replicas",
    "auto.create.topics.enable",
    "log.flush.interval.messages",
)
KAFKA_TOPIC_SETTINGS = ("flush.messages", "flush.ms")
_DENIED = {1044, 1045, 1049, 1130, 1698, 2059, 2061}  # MySQL: access, password, database, host, plug-in


class NotReady(Exception):
    """Not yet."""


class Refused(Exception):
    """It answered, and the answer is no."""


@dataclass(frozen=True)
class Facts:
    engine: str
    version: str
    settings: Mapping[str, str]


@dataclass(frozen=True)
class MysqlUrl:
    """mysql+driver://user:password@host:port/database"""

    driver: str
    user: str
    password: str
    host: str
    port: int
    database: str

    @classmethod
    def parse(cls, url: str) -> MysqlUrl:
        parts = urlsplit(url)
        scheme, _, driver = parts.scheme.partition("+")
        if scheme not in ("mysql", "mariadb") or not parts.hostname:
            raise ValueError(
                f"{hidden(url)!r} is not a MySQL URL; one looks like mysql://user:password@host:3306/db"
            )
        return cls(
            driver=driver or "aiomysql",
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            host=parts.hostname,
            port=parts.port or 3306,
            database=unquote(parts.path.strip("/")),
        )

    def connect(self, *, database: str | None = None, client_flag: int = 0) -> pymysql.Connection[Any]:
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            connect_timeout=5,
            read_timeout=30,
            autocommit=True,
            client_flag=client_flag,
        )


@contextlib.contextmanager
def mysql_errors() -> Iterator[None]:
    """Turns the driver's errors into ours."""
    try:
        yield
    except pymysql.MySQLError as error:
        number = error.args[0] if error.args else None
        kind = Refused if number in _DENIED else NotReady
        raise kind(f"{error.args[-1]} (error {number})") from error


def mysql_answers(url: str) -> bool:
    """Signs in and out. A bare connection counts as an error, after a hundred MySQL shuts the host out."""
    try:
        with mysql_errors(), MysqlUrl.parse(url).connect():
            return True
    except (NotReady, Refused):
        return False


def mysql(url: str) -> Facts:
    with mysql_errors(), MysqlUrl.parse(url).connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@version, @@version_comment")
        version, comment = cursor.fetchone() or ("", "")
        marks = ", ".join(["%s"] * len(MYSQL_SETTINGS))
        cursor.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({marks})", MYSQL_SETTINGS)
        found = {str(name): str(value) for name, value in cursor.fetchall()}
    if "tx_isolation" in found:
        found.setdefault("transaction_isolation", found.pop("tx_isolation"))
    engine = "MariaDB" if "mariadb" in f"{version} {comment}".lower() else "MySQL"
    return Facts(engine, str(version), {name: found[name] for name in MYSQL_SETTINGS if name in found})


def mysql_uptime_s(url: str) -> int:
    """Whole seconds since it started."""
    with mysql_errors(), MysqlUrl.parse(url).connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Uptime'")
        found = cursor.fetchone()
    return int(found[1]) if found else 0


@contextlib.contextmanager
def redis_client(url: str) -> Iterator[redis.Redis]:
    """A client whose errors are ours."""
    client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=30, decode_responses=True)
    try:
        yield client
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise Refused(str(error)) from error
    except redis.ResponseError as error:
        raise (NotReady if "LOADING" in str(error) else Refused)(str(error)) from error
    except redis.RedisError as error:
        raise NotReady(str(error)) from error
    finally:
        client.close()


def redis_server(url: str) -> Facts:
    with redis_client(url) as client:
        if client.ping() is not True:
            raise NotReady("PING was not answered with PONG")
        info: dict[str, Any] = client.info("server")
        try:
            found: dict[str | None, str | None] = client.config_get(*REDIS_SETTINGS)
        except redis.ResponseError:  # managed Redis forbids CONFIG
            found = {}
    engine = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    settings = {name: str(found[name]) or "(none)" for name in REDIS_SETTINGS if name in found}
    return Facts(engine, version, settings)


def redis_run_id(url: str) -> str:
    """Made up anew at each start."""
    with redis_client(url) as client:
        found: dict[str, Any] = client.info("server")
    return str(found["run_id"])


def kafka(bootstrap: str) -> Facts:
    """Produces a record and consumes it as a member of a group, so that the group coordinator is up, too."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it complains while a broker is starting
    try:
        return asyncio.run(asyncio.wait_for(_kafka(bootstrap), 30))
    except (KafkaError, OSError, TimeoutError) as error:
        raise NotReady(str(error) or type(error).__name__) from error
    except AttributeError as error:
        if "nodeId" not in str(error):  # aiokafka 0.13, where the broker knows no controller yet
            raise
        raise NotReady(f"the broker knows no controller yet ({error})") from error


def kafka_topic(bootstrap: str, topic: str) -> dict[str, str]:
    """What decides how a topic is kept, {} where the broker does not say."""
    try:
        return asyncio.run(asyncio.wait_for(_kafka_topic(bootstrap, topic), 10))
    except (KafkaError, OSError, TimeoutError):
        return {}


async def _kafka_topic(bootstrap: str, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    await admin.start()
    try:
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    entries = [entry for answer in answers for resource in answer.resources for entry in resource[4]]
    return {entry[0]: str(entry[1]) for entry in entries if entry[0] in KAFKA_TOPIC_SETTINGS}


async def _kafka(bootstrap: str) -> Facts:
    topic = f"readstate-probe-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
        try:
            await _round_trip(bootstrap, topic)
            return await _kafka_facts(admin)
        finally:
            await admin.delete_topics([topic])
    finally:
        await admin.close()


async def _round_trip(bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"ready?")
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        record = await consumer.getone()
        await consumer.commit()
    finally:
        await consumer.stop()
    if record.value != b"ready?":
        raise NotReady(f"sent b'ready?' to a topic of our own and read {record.value!r} back")


async def _kafka_facts(admin: Any) -> Facts:
    cluster = await admin.describe_cluster()
    broker = str(cluster["brokers"][0]["node_id"])
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, broker)])
    entries = [entry for answer in answers for resource in answer.resources for entry in resource[4]]
    found = {entry[0]: str(entry[1]) for entry in entries}
    return Facts("Apache Kafka", "", {name: found[name] for name in KAFKA_SETTINGS if name in found})
