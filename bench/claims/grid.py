"""Which cells there are, and what the arms are called.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

DB, REDIS, QUEUE, CONTROL = "db", "redis", "queue", "memory"
BASE_TIMES: Final = 0.3
BURST_TIMES: Final = 1.5
"""Of what `db` carries of that mix: the load before the burst, and of it."""


@dataclass(frozen=True)
class Grid:
    """`histories`: seeded messages per direct chat and per group.  `pool_ratios`: bytes of MySQL's buffer
    pool per byte of data, None for one that holds all."""

    histories: tuple[tuple[int, int], ...] = ((5, 20), (40, 40))
    pool_ratios: tuple[float | None, ...] = (None, 0.1)
    reads_per_mark: tuple[float, ...] = (1.0, 4.0, 19.0)

    def stands(self) -> Iterator[tuple[tuple[int, int], float | None]]:
        for history in self.histories:
            for ratio in self.pool_ratios:
                yield history, ratio


def stand_name(history: tuple[int, int], ratio: float | None) -> str:
    return f"history {history[0]}/{history[1]}, {pool(ratio)}"


def pool(ratio: float | None) -> str:
    return "pool holds all" if ratio is None else f"pool {ratio:g} of the data"
