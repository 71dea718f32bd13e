"""The stores' own counters, read once a second: what they say they did, to hold against what was asked.

A connection that breaks gives no sample for that second; whether a service died is told elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

import pymysql
import redis

from bench.services.probe import MysqlUrl
from bench.services.stack import Service

MYSQL = frozenset(
    {
        "Com_begin", "Com_commit", "Com_delete", "Com_insert", "Com_insert_select", "Com_rollback",
        "Com_select", "Com_update", "Com_update_multi",
        "Innodb_buffer_pool_read_requests", "Innodb_buffer_pool_reads", "Innodb_data_fsyncs",
        "Innodb_buffer_pool_bytes_dirty", "Innodb_buffer_pool_pages_dirty", "Innodb_checkpoint_age",
        "Innodb_os_log_written", "Innodb_row_lock_time", "Innodb_row_lock_waits",
        "Handler_delete", "Handler_update", "Handler_write", "Questions",
        "Threads_connected", "Threads_running",
    }
)  # fmt: skip
REDO: Final = tuple(f"Innodb_redo_log_{end}_lsn" for end in ("current", "checkpoint"))
"""MySQL's way to say how old its redo log is; MariaDB says it itself."""
_NAMES: Final = ", ".join(f"'{name}'" for name in sorted({*MYSQL, *REDO}))
ASK_MYSQL: Final = f"SHOW GLOBAL STATUS WHERE Variable_name IN ({_NAMES})"
"""Of some 500: a client in Python would take 2 ms to read them all."""
SECTIONS: Final = ("stats", "memory", "clients")
REDIS = frozenset(
    {
        "keyspace_hits", "keyspace_misses", "total_commands_processed", "total_net_input_bytes",
        "total_net_output_bytes", "used_memory", "expired_keys", "evicted_keys", "connected_clients",
    }
)  # fmt: skip


class Counters:
    """Connections to the stores of one run, opened before it and kept."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._mysql = MysqlUrl.parse(services["mysql"].url).connect() if "mysql" in services else None
        self._redis = (
            redis.Redis.from_url(services["redis"].url, socket_timeout=1) if "redis" in services else None
        )
        self._sections: tuple[str, ...] = SECTIONS

    def sample(self) -> list[tuple[str, str, float]]:
        """(component, counter, value), cumulative as the store keeps it."""
        return [*self._sample_mysql(), *self._sample_redis()]

    def _sample_mysql(self) -> list[tuple[str, str, float]]:
        if self._mysql is None:
            return []
        try:
            with self._mysql.cursor() as cursor:
                cursor.execute(ASK_MYSQL)
                rows = cursor.fetchall()
        except (pymysql.MySQLError, OSError):
            return []
        status = {str(name): str(value) for name, value in rows}
        ends = [status.get(name) for name in REDO]
        if None not in ends:
            status["Innodb_checkpoint_age"] = str(int(ends[0] or 0) - int(ends[1] or 0))
        return [("mysql", name, float(value)) for name, value in status.items() if name in MYSQL]

    def _sample_redis(self) -> list[tuple[str, str, float]]:
        if self._redis is None:
            return []
        try:
            info = self._redis.info(*self._sections)
        except redis.ResponseError:  # before Redis 7: one section, or all
            self._sections = ()
            return []
        except redis.RedisError:
            return []
        return [("redis", name, float(value)) for name, value in info.items() if name in REDIS]

    def close(self) -> None:
        for connection in (self._mysql, self._redis):
            if connection is not None:
                with contextlib.suppress(pymysql.MySQLError, redis.RedisError, OSError):
                    connection.close()
