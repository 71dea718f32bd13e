"""One figure of several arms, each of several blocks: intervals, ratios, and who is told apart.  Pure.

Blocks of two arms are paired where their runs stood side by side: the same series, the same block
(`bench/turns.py`).  What both met, a slow minute of the machine, then cancels out of their ratio."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from bench.metrics import intervals
from bench.metrics.intervals import Block, Ratio
from bench.results import Json

Key = tuple[str, int]
"""Series (of a run on its own: its id) and number of the block."""
Blocks = Mapping[Key, Block]


def key(manifest: Json, run_id: str) -> Key:
    said = manifest.get("repeat") or {}
    return (said["series"], said["block"]) if said else (run_id, 0)


def middles(blocks: Mapping[str, Blocks]) -> dict[str, float | None]:
    """By label: the middle block's value."""
    return {
        label: intervals.middle([one.value for one in of.values()]) if of else None
        for label, of in blocks.items()
    }


def ranges(blocks: Mapping[str, Blocks]) -> dict[str, list[float] | None]:
    """By label: lowest and highest block; None for one alone."""
    values = {label: [one.value for one in of.values()] for label, of in blocks.items()}
    return {label: [min(of), max(of)] if len(of) > 1 else None for label, of in values.items()}


def told(blocks: Mapping[str, Blocks], at_least: list[str]) -> dict[str, list[float | None] | None]:
    """By label: the interval of its figure; None below `intervals.ENOUGH` blocks.  A figure that is a lower
    bound has no upper end."""
    found: dict[str, list[float | None] | None] = {}
    for label, of in blocks.items():
        both = intervals.interval(list(of.values()))
        found[label] = None if both is None else [both[0], None if label in at_least else both[1]]
    return found


def ratios(blocks: Mapping[str, Blocks], at_least: list[str]) -> list[Json]:
    """Each arm's figure over each later one's: {arms, value, interval, paired, blocks}.

    Left out where a figure is a lower bound, not known, or not above 0."""
    found = []
    for one, other in combinations([label for label in blocks if label not in at_least], 2):
        ratio = _ratio(blocks[one], blocks[other])
        if ratio is not None:
            both = None if ratio.interval is None else list(ratio.interval)
            found.append(
                {
                    "arms": [one, other],
                    "value": ratio.value,
                    "interval": both,
                    "paired": ratio.paired,
                    "blocks": ratio.blocks,
                }
            )
    return found


def _ratio(ones: Blocks, others: Blocks) -> Ratio | None:
    together = [each for each in ones if each in others]
    if together and len(together) == min(len(ones), len(others)):
        pairs = [(ones[each], others[each]) for each in together]
        return intervals.ratio(*map(list, zip(*pairs, strict=True)), paired=True)
    return intervals.ratio(list(ones.values()), list(others.values()), paired=False)


def ratio_of(row: Json, one: str, other: str) -> Json | None:
    """`one` over `other` of a row of comparison.json; None where it is not told."""
    for ratio in row.get("ratios", ()):
        if ratio["arms"] == [one, other]:
            found: Json = ratio
            return found
        if ratio["arms"] == [other, one]:
            return _turned(ratio)
    return None


def _turned(ratio: Json) -> Json:
    both: list[float] | None = ratio["interval"]
    return ratio | {
        "arms": ratio["arms"][::-1],
        "value": 1 / ratio["value"],
        "interval": None if both is None else [1 / both[1], 1 / both[0]],
    }


def apart(row: Json, one: str, other: str) -> bool | None:
    """Whether the interval of their ratio, or else their own intervals, leave them apart; None without an
    interval."""
    ratio = ratio_of(row, one, other)
    if ratio is not None:
        both: list[float] | None = ratio["interval"]
        return None if both is None else not both[0] <= 1 <= both[1]
    first, second = row["intervals"].get(one), row["intervals"].get(other)
    if first is None or second is None:
        return None
    return _below(first, second) or _below(second, first)


def _below(one: list[Any], other: list[Any]) -> bool:
    return one[1] is not None and bool(one[1] < other[0])
