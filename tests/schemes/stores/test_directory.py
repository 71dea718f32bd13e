"""The map of who is in a conversation."""

from __future__ import annotations

import pytest

from schemes.ports import Refused
from schemes.read_state import DIRECT, GROUP, Conversation
from schemes.stores.directory import Directory


def test_the_one_unused_longest_goes_first() -> None:
    directory = Directory(size=2)
    directory.add(Conversation("a", DIRECT, (1, 2)))
    directory.add(Conversation("b", DIRECT, (1, 3)))
    assert directory.find("a") is not None
    directory.add(Conversation("c", DIRECT, (1, 4)))
    assert directory.find("b") is None
    assert directory.find("a") is not None
    assert directory.find("c") is not None


@pytest.mark.parametrize("size", [2, 8, 9, 500])
def test_strangers_are_refused_in_small_and_large_groups(size: int) -> None:
    directory = Directory()
    group = Conversation("g", GROUP, tuple(range(1, size + 1)))
    directory.add(group)
    assert directory.check(size, group) is group
    with pytest.raises(Refused) as why:
        directory.check(size + 1, group)
    assert why.value.code == "NOT_MEMBER"


def test_a_state_shows_who_is_in_direct_conversations_and_not_who_is_in_groups() -> None:
    directory = Directory()
    group = Conversation("g", GROUP, (1, 2, 3))
    directory.add(group)
    directory.learn(7, [("d1", 3), ("d2", 9), ("g", None), ("h", None)])
    assert [directory.find(name) for name in ("g", "h")] == [group, None]
    for name, members in (("d1", (3, 7)), ("d2", (7, 9))):
        found = directory.find(name)
        assert found is not None
        assert (found.kind, found.members) == (DIRECT, members)
        with pytest.raises(Refused):
            directory.check(8, found)


def test_clear_forgets() -> None:
    directory = Directory()
    directory.add(Conversation("a", DIRECT, (1, 2)))
    directory.clear()
    assert directory.find("a") is None
