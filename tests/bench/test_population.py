"""Who there is: counts, shares, who talks to whom, and what is seeded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.population import (
    NOBODY,
    SEED_FRAME_BYTES,
    PopulationOptions,
    Unread,
    build,
    index_of,
    user_id,
)
from schemes.protocol import encode, user_number


@settings(max_examples=40, deadline=None)
@given(devices=st.integers(2, 900), seed=st.integers(0, 1000))
def test_any_population_is_whole(devices: int, seed: int) -> None:
    population = build(PopulationOptions(devices, seed=seed))
    counts = population.device_counts[: population.connected]
    assert counts.sum() == devices == len(population.device_person)
    assert counts.min() >= 1
    assert counts.max() <= 3
    for conversation in range(population.conversations):
        members = population.members_of(conversation).tolist()
        assert len(set(members)) == len(members) >= 2
        kind = population.kind(conversation)
        assert len(members) == 2 if kind == "direct" else len(members) >= 3
    pairs = {tuple(sorted(population.members_of(c).tolist())) for c in range(population.direct)}
    assert len(pairs) == population.direct, "two people have one direct conversation"


def test_shares_partners_and_groups_are_as_documented() -> None:
    population = build(PopulationOptions(10_000))
    counts = population.device_counts[: population.connected]
    assert population.connected == 6667
    assert [round(float((counts == n).mean()), 2) for n in (1, 2, 3)] == [0.6, 0.3, 0.1]
    direct = population.member[: 2 * population.direct]
    assert set(np.bincount(direct)) == {40}
    sizes = population.sizes[population.direct : population.direct + population.groups]
    assert sizes.min() >= 5
    assert sizes.max() <= 50
    assert 0.75 < (sizes <= 20).mean() < 0.87
    grouped = population.member[2 * population.direct : 2 * population.direct + sizes.sum()]
    assert set(np.bincount(grouped)) == {5}


def test_the_same_seed_is_the_same_population_and_another_is_not() -> None:
    def digest(seed: int) -> str:
        return build(PopulationOptions(300, seed=seed)).seed_sha256()

    assert digest(7) == digest(7) != digest(8)


def test_offline_people_have_no_devices_but_conversations() -> None:
    population = build(PopulationOptions(150, people=400))
    assert (population.connected, population.people) == (100, 400)
    assert population.device_counts[100:].sum() == 0
    offline = population.of_person[population.of_person_start[399] : population.of_person_start[400]]
    assert len(offline) == 40 + 5


@pytest.mark.parametrize(("options", "words"), [
    (PopulationOptions(1), "at least 2 users"),
    (PopulationOptions(150, people=50), "give at least 100"),
])  # fmt: skip
def test_impossible_populations_say_what_is_possible(options: PopulationOptions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(options)


def test_conversations_of_a_person_are_ascending_and_theirs() -> None:
    population = build(PopulationOptions(90))
    for person in range(population.people + 16):
        own = population.of_person[
            population.of_person_start[person] : population.of_person_start[person + 1]
        ]
        assert own.tolist() == sorted(set(own.tolist()))
        assert all(person in population.members_of(c) for c in own)


def test_probe_people_talk_to_nobody_else() -> None:
    population = build(PopulationOptions(90, probe_pairs=3))
    for pair in range(3):
        sender, reader, conversation = population.probe_pair(pair)
        assert population.members_of(conversation).tolist() == [sender, reader]
        own = population.of_person[
            population.of_person_start[sender] : population.of_person_start[sender + 1]
        ]
        assert own.tolist() == [conversation]


def test_names_and_indexes_belong_together() -> None:
    population = build(PopulationOptions(90))
    assert user_number(user_id(0)) == 1
    assert index_of(user_id(41)) == 41
    for conversation in (0, population.direct, population.conversations - 1):
        assert index_of(population.conversation_id(conversation)) == conversation
    assert index_of("general") == index_of("") == index_of("u0") == NOBODY
    of_first = range(population.first_device[0], population.first_device[1])
    assert [population.device_id(d) for d in of_first] == [f"device-{n + 1}" for n in range(len(of_first))]


def test_frames_hold_every_conversation_once_and_keep_their_size() -> None:
    population = build(PopulationOptions(2_000))
    frames = list(population.seed_frames())
    assert len(frames) > 1
    assert all(len(encode(frame)) <= SEED_FRAME_BYTES for frame in frames)
    names = [conversation.id for frame in frames for conversation in frame]
    assert len(names) == len(set(names)) == population.conversations


def test_unread_members_are_behind_and_nobody_is_behind_their_own_message() -> None:
    population = build(PopulationOptions(200))
    group = population.direct
    members = population.members_of(group).tolist()
    one = np.array([0, group, group], np.uint32)
    unread = Unread(
        conversation=one,
        person=np.array([population.members_of(0)[0], members[0], members[1]], np.uint32),
        count=np.array([3, 1, 25], np.uint32),
        last_conversation=np.array([0, group], np.uint32),
        last_sender=np.array([population.members_of(0)[1], members[2]], np.uint32),
    )
    seeded = {conversation.id: conversation for conversation in population.seed_conversations(unread)}
    for name, conversation in seeded.items():
        size = len(conversation.members)
        for place, read_seq in enumerate(conversation.read_seq):
            own = [seq for seq in range(1, conversation.history + 1) if (seq - 1) % size == place]
            assert read_seq >= max(own, default=0)
            if index_of(name) not in (0, group):
                assert read_seq == conversation.history
    direct = seeded[population.conversation_id(0)]
    assert dict(zip(direct.members, direct.read_seq, strict=True)) == {
        int(population.members_of(0)[0]) + 1: 4,
        int(population.members_of(0)[1]) + 1: 5,
    }
    in_group = dict(zip(seeded[f"g{group + 1}"].members, seeded[f"g{group + 1}"].read_seq, strict=True))
    assert in_group[members[0] + 1] == 19
    assert in_group[members[1] + 1] < 20
    assert in_group[members[2] + 1] == 20
