"""The names that the servers and the consumer of the queue scheme must agree on."""

from __future__ import annotations

from typing import Final

DEFAULTS: Final = {
    "mysql-url": "mysql+aiomysql://root@127.0.0.1:3306/readstate",
    "redis-url": "redis://127.0.0.1:6379/0",
    "kafka-bootstrap": "127.0.0.1:9092",
    "topic": "cache-update-topic",
    "group": "cache",
}


def status_key(prefix: str, group: str, member: int) -> str:
    """Where a consumer writes its heartbeat: `Status` as JSON, alive for two seconds."""
    return f"{prefix}consumer:{group}:{member}"
