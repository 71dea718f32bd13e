"""What is asked in a block, drawn beforehand and alike for every arm: the mix of scenarios/point_reads.py.

A look is STATE of one conversation by name; a mark is a SEND by the other person and the READ of it, so that
each mark moves a cursor.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.plan import HotSet
from bench.population import Ints, Population


@dataclass(frozen=True)
class Asked:
    """Looks and marks in their order.  `person` looks or reads, `other` is the conversation's other one;
    `at_s`: when each is due after the block's start, ascending."""

    is_mark: list[bool]
    conversation: list[int]
    person: list[int]
    other: list[int]
    at_s: list[float]

    def __len__(self) -> int:
        return len(self.is_mark)


def draw(
    population: Population,
    hot: HotSet,
    *,
    reads_per_mark: float,
    count: int,
    rate_per_s: float,
    seed: tuple[int, ...],
) -> Asked:
    """`count` operations, on average `rate_per_s`; `reads_per_mark` 0: marks alone."""
    rng = np.random.default_rng([population.options.seed, 5, *seed])
    conversation, person = hot.draw(population, rng.random(count), rng.random(count))
    return Asked(
        _every(count, 1 / (1 + reads_per_mark), rng),
        conversation.tolist(),
        person.tolist(),
        _other(population, conversation, person).tolist(),
        np.cumsum(rng.exponential(1 / rate_per_s, count)).tolist(),
    )


def devices(population: Population, hot: HotSet, requests_per_s: float, each_per_s: float) -> dict[int, int]:
    """How many devices each person of the hot set needs, so that none asks more than `each_per_s` when all
    together ask `requests_per_s`."""
    share = np.zeros(population.people)
    for side in (0, 1):
        np.add.at(
            share, population.member[population.member_start[hot.conversations] + side], hot.weights / 2
        )
    return {
        int(person): 1 + int(share[person] * requests_per_s / each_per_s) for person in np.flatnonzero(share)
    }


def _every(count: int, share: float, rng: np.random.Generator) -> list[bool]:
    """One of each 1/share, so that the share is exact whatever the seed."""
    marks: list[bool] = (np.diff(np.floor(np.arange(count + 1) * share + rng.random())) > 0).tolist()
    return marks


def _other(population: Population, conversation: Ints, person: Ints) -> Ints:
    pairs = population.member[population.member_start[conversation][:, None] + np.arange(2)].astype(np.int64)
    others: Ints = np.where(pairs[:, 0] == person, pairs[:, 1], pairs[:, 0])
    return others
