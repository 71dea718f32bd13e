"""What a block asks: the share, the hot set, the same for all arms, and hot people with more devices."""

from __future__ import annotations

import numpy as np
import pytest

from bench.claims import mix
from bench.plan import hot_set
from bench.population import Population, PopulationOptions, build


@pytest.fixture(scope="module")
def people() -> Population:
    return build(PopulationOptions(300, people=300, probe_pairs=0))


def drawn(people: Population, reads_per_mark: float = 19.0, seed: tuple[int, ...] = (0, 1, 2)) -> mix.Asked:
    hot = hot_set(people)
    return mix.draw(people, hot, reads_per_mark=reads_per_mark, count=20_000, rate_per_s=500.0, seed=seed)


@pytest.mark.parametrize(("reads_per_mark", "share"), [(19.0, 0.05), (1.0, 0.5), (0.0, 1.0)])
def test_the_share_is_exact(people: Population, reads_per_mark: float, share: float) -> None:
    assert np.mean(drawn(people, reads_per_mark).is_mark) == pytest.approx(share, abs=1e-4)


def test_both_people_are_in_the_conversation_and_connected(people: Population) -> None:
    asked = drawn(people)
    for conversation, person, other in list(zip(asked.conversation, asked.person, asked.other, strict=True))[
        :500
    ]:
        assert sorted(people.members_of(conversation).tolist()) == sorted((person, other))
        assert max(person, other) < people.connected


def test_the_hottest_is_asked_as_zipf_says(people: Population) -> None:
    hot = hot_set(people)
    share = np.mean(np.array(drawn(people).conversation) == hot.conversations[0])
    assert share == pytest.approx(hot.weights[0], rel=0.1)


def test_the_rate_is_that_asked_for_and_a_seed_gives_the_same_again(people: Population) -> None:
    asked = drawn(people)
    assert asked.at_s == sorted(asked.at_s)
    assert asked.at_s[-1] == pytest.approx(20_000 / 500.0, rel=0.03)
    assert drawn(people) == asked
    assert drawn(people, seed=(0, 2, 2)) != asked


def test_hot_people_have_more_devices(people: Population) -> None:
    hot = hot_set(people)
    devices = mix.devices(people, hot, 6_000.0, 60.0)
    hottest = people.members_of(int(hot.conversations[0])).tolist()
    assert min(devices[person] for person in hottest) > 6_000 * hot.weights[0] / 2 / 60
    assert set(drawn(people).person) <= devices.keys()
    assert min(devices.values()) >= 1
