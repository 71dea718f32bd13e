"""In which order the runs of a command take their turns, so that none is favoured by its place.  Pure.

A block is every arm once.  What drifts (a warming machine, a filling disk, a neighbour) would be credited to
whoever always comes first, and what one run leaves behind to whoever always follows it.  So the blocks are
rows of Latin squares, drawn from the seed: within as many blocks as there are arms each arm has each place
once, and over any number of blocks the places of an arm differ in number by at most one.  The squares are
E. J. Williams's ("Experimental designs balanced for the estimation of residual effects of treatments",
Australian Journal of Scientific Research A 2, 1949, 149-168): in an even number of arms each follows each
other one equally often within a square, in an odd number within two, a square and its mirror.  Rows and names
are shuffled.  A free shuffle of each block would be as random and not as balanced: of six blocks of two
arms one in ten begins five or six times with the same arm."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Turn:
    """One run's place among those of its command, for the manifest.

    `block` and `place` count from 0; `order` names the arms of its block in their order.  `side` tells alike
    arms apart (`bench noise`)."""

    series: str
    block: int
    place: int
    blocks: int
    order: tuple[str, ...]
    side: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"order": list(self.order)}


def orders(arms: int, blocks: int, seed: int) -> list[list[int]]:
    """Indexes of the arms in their order, by block."""
    rng = random.Random(f"turns {seed}")
    found: list[list[int]] = []
    while len(found) < blocks:
        names = rng.sample(range(arms), arms)
        square = [[names[place] for place in row] for row in _square(arms)]
        mirror = [row[::-1] for row in square]
        for rows in rng.sample([square, mirror], 2):
            found += rng.sample(rows, arms)
    return found[:blocks]


def _square(n: int) -> list[list[int]]:
    """Row i is the zigzag 0, 1, n - 1, 2, n - 2, ... moved on by i."""
    zigzag = [(step + 1) // 2 if step % 2 else (n - step // 2) % n for step in range(n)]
    return [[(i + place) % n for place in zigzag] for i in range(n)]


def turns(
    names: Sequence[str], blocks: int, seed: int, series: str, *, sides: bool = False
) -> list[tuple[int, Turn]]:
    """(index of the arm, its turn), in the order in which they run.  `sides`: that is what the names are."""
    return [
        (
            arm,
            Turn(series, block, place, blocks, tuple(names[i] for i in order), names[arm] if sides else None),
        )
        for block, order in enumerate(orders(len(names), blocks, seed))
        for place, arm in enumerate(order)
    ]
