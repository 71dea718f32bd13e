"""Fair terms: what a store must have done with a change before its acknowledgement counts, alike for all.

A *class* says what an acknowledged change outlives, as far as the store's settings decide it:

none      nothing: it may be in the memory of the store's process alone
process   the death of the store's process (kill -9): the kernel has it
power     the same, and the store has asked the disk to flush it; whether the disk did is not known here

`--durability process` or `power` sets every store that an acknowledgement rests on to that class, `article`
leaves each as its makers ship it.  What counts is what the running services say of themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from bench.options import ARTICLE, POWER, PROCESS

NONE: Final = "none"
CLASSES: Final = (NONE, PROCESS, POWER)
"""The weakest first."""
FLUSHED_AT_COMMIT: Final = ("1", "3")
"""innodb_flush_log_at_trx_commit; 3 is MariaDB's own."""


@dataclass(frozen=True)
class Terms:
    """`rests_on`: the stores that acknowledgements rest on.  `pool_ratio`: bytes of InnoDB's buffer pool per
    byte of seeded data; None: the pool that a machine of this size gets."""

    durability: str = ARTICLE
    rests_on: frozenset[str] = frozenset()
    pool_ratio: float | None = None


AS_SHIPPED: Final = Terms()


def mysql_settings(durability: str) -> dict[str, str]:
    """Options of mysqld.  Under `article` the binary log is as MariaDB (off) or MySQL (on) ship it."""
    if durability == PROCESS:
        return {"innodb-flush-log-at-trx-commit": "2", "log-bin": "OFF"}
    if durability == POWER:
        return {"innodb-flush-log-at-trx-commit": "1", "log-bin": "binlog", "sync-binlog": "1"}
    return {"innodb-flush-log-at-trx-commit": "1"}


def redis_settings(durability: str, rests_on: Collection[str]) -> dict[str, str]:
    """A cache needs no file.  `everysec` is no class: while it flushes, a write waits in the process."""
    if durability == ARTICLE or "redis" not in rests_on:
        return {"appendonly": "no"}
    return {"appendonly": "yes", "appendfsync": "always" if durability == POWER else "no"}


def topic_settings(durability: str, rests_on: Collection[str]) -> dict[str, str]:
    """Options of the queue scheme's processes, for the topic that they make."""
    return {"flush-messages": "1"} if durability == POWER and "kafka" in rests_on else {}


def class_of_store(name: str, settings: Mapping[str, str]) -> str | None:
    """By what a running service says of itself; None where it does not say enough."""
    return {"mysql": _of_mysql, "redis": _of_redis, "kafka": _of_kafka}[name](settings)


def _of_mysql(settings: Mapping[str, str]) -> str | None:
    flush = settings.get("innodb_flush_log_at_trx_commit")
    if flush is None:
        return None
    if flush == "0":
        return NONE
    # after a crash InnoDB takes back what a binary log has not
    synced = settings.get("log_bin", "OFF") in ("OFF", "0") or settings.get("sync_binlog") == "1"
    return POWER if flush in FLUSHED_AT_COMMIT and synced else PROCESS


def _of_redis(settings: Mapping[str, str]) -> str | None:
    if "appendonly" not in settings:
        return None
    if settings["appendonly"] != "yes":
        return NONE
    return {"always": POWER, "no": PROCESS}.get(settings.get("appendfsync", ""), NONE)


def _of_kafka(settings: Mapping[str, str]) -> str | None:
    flush = settings.get("flush.messages", settings.get("log.flush.interval.messages"))
    if flush is None:
        return None
    return POWER if flush == "1" else PROCESS


def classed(
    services: Mapping[str, Mapping[str, str]], rests_on: Collection[str]
) -> tuple[str | None, dict[str, str | None]]:
    """The class of an acknowledgement, the weakest of the stores that it rests on, and every store's own.

    `services`: name -> settings.  None where a store does not say; `none` where it rests on no store."""
    own = {name: class_of_store(name, settings) for name, settings in services.items()}
    counts = [own.get(name) for name in sorted(rests_on)]
    known = [one for one in counts if one is not None]
    if len(known) < len(counts):
        return None, own
    return min(known, key=CLASSES.index, default=NONE), own


def planned(terms: Terms, needs: Collection[str]) -> tuple[str | None, dict[str, str | None]]:
    """The same of services that `needs` names and that are still to be set so."""
    asked = {
        "mysql": mysql_settings(terms.durability),
        "redis": redis_settings(terms.durability, terms.rests_on),
        "kafka": {"flush-messages": "as shipped", **topic_settings(terms.durability, terms.rests_on)},
    }
    said = {
        name: {key.replace("-", "." if name == "kafka" else "_"): value for key, value in settings.items()}
        for name, settings in asked.items()
        if name in needs
    }
    return classed(said, terms.rests_on)
