"""What really arrives at the stores: statements by MySQL's general log, commands by Redis' MONITOR, records
by reading the topic.  For private services alone: recording slows them down."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import redis
from aiokafka import AIOKafkaConsumer

from bench.services.probe import MysqlUrl

_JOINED: Final = re.compile(
    r"UPDATE\s+\S+(?:\s+\w+)?(?:\s+FORCE INDEX \(\w+\))?\s+(?:STRAIGHT_)?JOIN", re.IGNORECASE
)
_OWN_WORDS: Final = {"INSERT": "insert", "UPDATE": "update", "DELETE": "delete", "COMMIT": "commit"}
_TAKE_MS: Final = 300


class Heard(NamedTuple):
    """One statement, command or record.  `counter` is the one of the work ledger that it moves; `scripted`: a
    script sent it, inside Redis."""

    counter: str
    text: str
    scripted: bool = False


def counter_of(sql: str) -> str:
    """`mysql.Com_…` of a statement."""
    word = sql.lstrip(" (").split(" ", 1)[0].upper()
    if word == "UPDATE" and _JOINED.match(sql):
        return "mysql.Com_update_multi"
    return f"mysql.Com_{_OWN_WORDS.get(word, word.lower())}"


class MysqlLog:
    """The general log of a server, in its table."""

    def __init__(self, url: str) -> None:
        self._connection = MysqlUrl.parse(url).connect()
        self._do("SET GLOBAL log_output = 'TABLE'")
        self._do("SET GLOBAL general_log = ON")
        self.heard()

    def heard(self) -> list[Heard]:
        """What came since the last time, in the order of arrival."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT argument FROM mysql.general_log WHERE command_type IN ('Query', 'Execute')"
                " AND thread_id <> CONNECTION_ID() ORDER BY event_time"
            )
            found = [bytes(text).decode(errors="replace") if isinstance(text, bytes) else str(text)
                     for (text,) in cursor.fetchall()]  # fmt: skip
        self._do("TRUNCATE TABLE mysql.general_log")
        return [Heard(counter_of(sql), sql) for sql in found]

    def close(self) -> None:
        self._do("SET GLOBAL general_log = OFF")
        self._connection.close()

    def _do(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)


class RedisMonitor:
    """MONITOR, read by a thread of its own."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._heard: list[Heard] = []
        self._ready = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._listen, name="monitor", daemon=True)
        self._thread.start()
        self._ready.wait()

    def heard(self) -> list[Heard]:
        """What came since the last time, in the order of execution."""
        found, self._heard = self._heard, []
        return found

    def close(self) -> None:
        self._over = True
        with contextlib.suppress(redis.RedisError, OSError):
            self._client.ping()  # something for it to hear
        self._thread.join(timeout=2.0)
        self._client.close()

    def _listen(self) -> None:
        with contextlib.suppress(redis.RedisError), self._client.monitor() as monitor:  # type: ignore[no-untyped-call]
            self._ready.set()
            while not self._over:
                told: dict[str, Any] = monitor.next_command()
                text = str(told["command"])
                name = text.split(" ", 1)[0].lower()
                self._heard.append(Heard(f"redis.{name}", text, told["client_type"] == "lua"))


class TopicReader:
    """The records of one topic, from where it ends now."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic

    async def start(self) -> None:
        self._consumer = AIOKafkaConsumer(
            self._topic, bootstrap_servers=self._bootstrap, client_id="statements"
        )
        await self._consumer.start()
        await self._consumer.seek_to_end()
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)

    async def heard(self) -> list[Heard]:
        """What came since the last time."""
        found: list[Heard] = []
        while True:
            got: Mapping[Any, Any] = await self._consumer.getmany(timeout_ms=_TAKE_MS)
            if not got:
                return found
            found += [
                Heard("kafka.records", f"{where.partition} {record.key.decode()} {record.value.decode()}")
                for where, records in got.items()
                for record in records
            ]

    async def close(self) -> None:
        await self._consumer.stop()
