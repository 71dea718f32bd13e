"""How much longer READs take on one server than on another, by what passed on the wire and not by what the
harness says.  They are the load's own: a client that asks one thing at a time saw half as much, since people
read at once what came at once, and a READ that needs more CPU keeps the others waiting.  The servers are
loaded in turn, forwards and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from bench.gate import ranks
from tests.proofs.wire import Wire

FROM_S, UNTIL_S = 1.5, 5.5
"""Of a load, when it is listened to."""


@dataclass(frozen=True)
class Measured:
    """`ratios`: of each other server over the first, with its 95 % interval.  `base_us`: the first's."""

    base_us: float
    ratios: tuple[tuple[float, float, float], ...]


Load = Callable[[], object]


def measure(urls: Sequence[str], loads: Sequence[Load], rounds: int) -> Measured:
    """From the medians of each load, those of one way beside each other."""
    for load in loads:
        load()
    ways = []
    for _ in range(rounds):
        for order in (range(len(urls)), reversed(range(len(urls)))):
            found = {side: _loaded(urls[side], loads[side]) for side in order}
            ways.append([found[side] for side in range(len(urls))])
    times = np.array(ways)
    shifts = [ranks.of_pairs(np.log(times[:, side] / times[:, 0]), 0.05) for side in range(1, len(urls))]
    return Measured(
        float(np.median(times[:, 0])),
        tuple((math.exp(one.estimate), math.exp(one.low), math.exp(one.high)) for one in shifts),
    )


def _loaded(url: str, load: Load) -> float:
    """Median of the READs under this load, µs."""
    port = urlsplit(url).port
    assert port is not None
    with Wire(port) as wire:
        load()
    return float(np.median(wire.took_us("READ", FROM_S, UNTIL_S)))
