"""Milliseconds UTC on our side, DATETIME(3) on MySQL's: the two ways across."""

from __future__ import annotations

import time
from functools import lru_cache


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def stamp(ms: int) -> str:
    """1712054890123 -> '2024-04-02 10:48:10.123'."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def ms_of(column: str) -> str:
    """The SQL expression that gives a DATETIME(3) column as integer milliseconds (the session is in UTC)."""
    return f"CAST(UNIX_TIMESTAMP({column}) * 1000 AS UNSIGNED)"
