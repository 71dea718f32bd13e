"""Conversations for the rows: from what a server holds, whatever that is."""

from __future__ import annotations

import pytest

from bench.conformance.rooms import HUB, BadRooms, NoRoom, Rooms, made
from bench.population import PopulationOptions, build
from schemes.protocol import SeedConversation


def pair(number: int, *members: int) -> SeedConversation:
    return SeedConversation(f"d{number}", "direct", list(members), 1, [1, 1])


def test_a_population_has_rooms_of_every_kind() -> None:
    rooms = Rooms(list(build(PopulationOptions(40)).seed_conversations()))
    direct, group, hub = rooms.direct(), rooms.group(), rooms.hub()
    assert len(direct.users) == 2
    assert len(group.users) >= 4
    assert len({room.id for room in hub}) == HUB
    assert len({room.users[0] for room in hub}) == 1
    assert rooms.direct() != direct
    assert rooms.stranger(group) not in group.users


def test_rooms_of_one_s_own_are_enough_and_collide_with_nobody() -> None:
    first, second = made(), made()
    assert {c.id for c in first}.isdisjoint(c.id for c in second)
    rooms = Rooms(first)
    assert len({rooms.direct().id for _ in range(60)}) == 60
    assert len(rooms.group().users) == 4
    assert rooms.hub()[0].users[0] == rooms.hub()[-1].users[0]


def test_what_is_not_there_is_said() -> None:
    rooms = Rooms([pair(1, 1, 2), pair(2, 2, 1)])
    for ask in (rooms.group, rooms.hub, lambda: rooms.stranger(rooms.direct())):
        with pytest.raises(NoRoom):
            ask()
    assert rooms.direct() != rooms.direct()
    with pytest.raises(BadRooms, match="expected at least 2"):
        Rooms([pair(1, 1, 2)])
