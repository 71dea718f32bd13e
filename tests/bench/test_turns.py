"""Random orders that favour nobody."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from bench.turns import orders, turns


@pytest.mark.parametrize("arms", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_arm_has_every_place_equally_often(arms: int, seed: int) -> None:
    for blocks in range(1, 3 * arms):
        order = orders(arms, blocks, seed)
        assert len(order) == blocks
        assert all(sorted(block) == list(range(arms)) for block in order)
        for place in range(arms):
            had = Counter(block[place] for block in order)
            assert max(had.values()) - min(had[arm] for arm in range(arms)) <= 1


@pytest.mark.parametrize(("arms", "blocks"), [(2, 2), (4, 4), (6, 6), (3, 6), (5, 10)])
def test_every_arm_follows_every_other_equally_often(arms: int, blocks: int) -> None:
    followed = Counter(pair for block in orders(arms, blocks, 1) for pair in pairwise(block))
    assert len(followed) == arms * (arms - 1)
    assert len(set(followed.values())) == 1


def test_the_seed_decides() -> None:
    assert orders(5, 10, 1) == orders(5, 10, 1)
    assert len({str(orders(5, 10, seed)) for seed in range(20)}) == 20
    assert len({str(orders(2, 2, seed)) for seed in range(20)}) == 2


def test_a_turn_says_where_it_stood() -> None:
    found = turns(["db", "redis"], 3, 1, "abc")
    assert [turn.block for _, turn in found] == [0, 0, 1, 1, 2, 2]
    assert [turn.place for _, turn in found] == [0, 1] * 3
    for arm, turn in found:
        assert turn.order[turn.place] == ["db", "redis"][arm]
    told = found[0][1].to_dict()
    assert (told["series"], told["blocks"], told["side"]) == ("abc", 3, None)
    assert isinstance(told["order"], list)
