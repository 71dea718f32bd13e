"""What `bench noise` calls visible, planted: found in at least 80 % of the cases, half of it in at most 50 %.

`python -m tests.proofs.noise NOISE_JSON` (`make proof-noise`) plants it in blocks drawn from those that were
recorded, and in blocks of made-up machines, and says how often the intervals of a comparison find it; and how
often intervals of 6 to 10 made-up blocks cover what they are about.  Prints Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import machine
from bench.metrics import noise
from bench.metrics.intervals import Block, interval, ratio
from bench.metrics.noise import Pair
from bench.noise import METRICS

TRIES: Final = 500
MACHINES: Final = 25
"""Made-up ones, each heard with TRIES / MACHINES new comparisons."""
CHANCE: Final = 0.045
"""Two standard errors of a share of TRIES: what a made-up machine may differ by."""
Draw = Callable[[np.random.Generator, Any], Any]
BETWEEN: Final[dict[str, Draw]] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "heavy tails (t, 3 degrees)": lambda rng, n: rng.standard_t(3, n),
    "skewed (exponential)": lambda rng, n: rng.exponential(1, n) - np.log(2),
}
"""How runs differ from each other: deviations with median 0."""


def main() -> None:
    recorded = json.loads(Path(sys.argv[1]).read_text())
    print("# Intervals, and the smallest visible effect\n")
    about = machine.describe()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, machine class {about['class']} ({about['cores']} cores); "
        f"recorded: {recorded['scheme']}, {recorded['load']['users']} users, "
        f"{recorded['load']['send_per_s']:g} SEND/s, {recorded['load']['duration_s']:g} s, "
        f"{recorded['blocks']} blocks per side, timing {recorded['timing']}.  `make proof-noise`.\n"
    )
    good = all([_planted(recorded), _machines(), _coverage()])
    sys.exit(0 if good else 1)


def _planted(recorded: Any) -> bool:
    print("## Planted in the recorded blocks\n")
    print("Resolution left out: this is about noise alone.\n")
    print("| figure | pairs | smallest visible | found | half of it found |\n|:--|--:|--:|--:|--:|")
    good = True
    for name, entry in recorded["metrics"].items():
        pairs = [(Block(*one), Block(*other)) for one, other in entry["pairs"]]
        n = len(pairs)
        visible = noise.smallest_visible(pairs, n)
        if not visible:
            print(f"| {METRICS[name]} | {n} | {'–' if visible is None else '0 %'} | | |")
            continue
        whole, half = (_found(pairs, effect) for effect in (visible, visible / 2))
        print(f"| {METRICS[name]} | {n} | {visible:.1%} | {whole:.1%} | {half:.1%} |")
        good = good and whole >= noise.POWER and half <= 0.5
    print()
    return good


def _found(pairs: list[Pair], effect: float) -> float:
    """By the interval of their median ratio, what is inside of the blocks drawn too."""
    n = len(pairs)
    drawn, inside = noise.experiments(pairs, n, TRIES, np.random.default_rng(11))
    planted = np.exp(drawn) * (1 + effect)
    seen = []
    for values, shares in zip(planted.tolist(), inside.tolist(), strict=True):
        ones = [Block(v, v * (1 - share), v * (1 + share)) for v, share in zip(values, shares, strict=True)]
        seen.append(_seen(ones, [Block(1.0)] * n))
    return float(np.mean(seen))


def _seen(ones: list[Block], others: list[Block]) -> bool:
    told = ratio(ones, others, paired=True)
    return told is not None and told.interval is not None and not told.interval[0] <= 1 <= told.interval[1]


def _machines() -> bool:
    print("## Planted in new blocks of made-up machines\n")
    print(f"{MACHINES} machines, so many blocks of each, then new ones with it; ±{CHANCE:.1%} by chance.\n")
    print("| runs differ | blocks | found | half of it found |\n|:--|--:|--:|--:|")
    good = True
    for name, draw in BETWEEN.items():
        for n in (10, 20):
            whole, half = (float(np.mean(list(_new_blocks(draw, n, share)))) for share in (1.0, 0.5))
            print(f"| {name} | {n} | {whole:.1%} | {half:.1%} |")
            good = good and whole >= noise.POWER - CHANCE and half <= 0.5 + CHANCE
    print()
    return good


def _new_blocks(draw: Draw, n: int, share: float) -> Iterator[bool]:
    rng = np.random.default_rng(n)

    def side() -> list[Block]:
        return [Block(float(value)) for value in np.exp(0.05 * draw(rng, n))]

    for _ in range(MACHINES):
        visible = noise.smallest_visible(list(zip(side(), side(), strict=True)), n) or 0.0
        for _ in range(TRIES // MACHINES):
            ones = [Block(one.value * (1 + share * visible)) for one in side()]
            yield _seen(ones, side())


def _coverage() -> bool:
    print("## How often 95 % intervals of few blocks cover\n")
    print("| runs differ | " + " | ".join(f"{n} blocks" for n in range(6, 11)) + " |\n|:--|" + "--:|" * 5)
    good = True
    for name, draw in BETWEEN.items():
        rng, shares = np.random.default_rng(1), []
        for n in range(6, 11):
            made = [interval([Block(float(v)) for v in np.exp(0.1 * draw(rng, n))]) for _ in range(TRIES)]
            shares.append(float(np.mean([both is not None and both[0] <= 1 <= both[1] for both in made])))
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
        good = good and min(shares) >= 0.93
    print()
    return good


if __name__ == "__main__":
    main()
