"""Conversations to try things in: those that the server was loaded with, or some of one's own through SEED.

A row asks for what it needs and counts from what STATE shows, so that it does not matter what was there."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from schemes.protocol import SeedConversation
from schemes.read_state import DIRECT, GROUP

HUB: Final = 4
GROUP_MEMBERS: Final = (4, 50)
HISTORY: Final = 6
MADE: Final = (60, 10)
"""Direct conversations and groups that are seeded; rows that ask for more get the first again."""
FIRST_NUMBER: Final = 10**9
"""Numbers of one's own begin above every population's."""


class BadRooms(Exception):
    """A file of conversations that cannot be used: what came, what was expected."""


class NoRoom(Exception):
    """The server was not loaded with any conversation of this kind."""


@dataclass(frozen=True)
class Room:
    id: str
    kind: str
    users: tuple[str, ...]


class Rooms:
    """Conversations that the server holds.  Raises BadRooms if there are too few for anything."""

    def __init__(self, conversations: Sequence[SeedConversation]) -> None:
        rooms = [Room(c.id, c.kind, tuple(f"u{n}" for n in c.members)) for c in conversations]
        pairs = [room for room in rooms if room.kind == DIRECT and len(room.users) == 2]
        low, high = GROUP_MEMBERS
        groups = [room for room in rooms if room.kind == GROUP and low <= len(room.users) <= high]
        if len(pairs) < 2:
            raise BadRooms(f"it has {len(pairs)} direct conversations of two people, expected at least 2")
        self._direct = itertools.cycle(pairs)
        self._groups: Iterator[Room] = itertools.cycle(groups)
        self._people = list(dict.fromkeys(user for room in rooms for user in room.users))
        self._hub = _hub(pairs)

    @classmethod
    def read(cls, path: Path) -> Rooms:
        """A file as `bench run --write-population` makes it: one SEED conversation a line."""
        try:
            lines = path.read_bytes().splitlines()
        except OSError as why:
            raise BadRooms(f"{path} cannot be read: {why.strerror}") from None
        conversations = []
        for number, line in enumerate(lines, 1):
            try:
                conversations.append(msgspec.json.decode(line, type=SeedConversation))
            except msgspec.DecodeError as why:
                raise BadRooms(
                    f"{path}, line {number} is no conversation ({why}). Expected one a line, as "
                    "`bench run --url … --write-population FILE` writes them"
                ) from None
        try:
            return cls(conversations)
        except BadRooms as why:
            raise BadRooms(f"{path}: {why}") from None

    def direct(self) -> Room:
        """Two people; another one each time, as long as there are any."""
        return next(self._direct)

    def group(self) -> Room:
        """Of GROUP_MEMBERS people.  Raises NoRoom."""
        room = next(self._groups, None)
        if room is None:
            low, high = GROUP_MEMBERS
            raise NoRoom(f"the server holds no group of {low} to {high} people")
        return room

    def hub(self) -> list[Room]:
        """HUB direct conversations of one person, who comes first in each.  Raises NoRoom."""
        if len(self._hub) < HUB:
            raise NoRoom(f"nobody has {HUB} direct conversations")
        return self._hub[:HUB]

    def stranger(self, room: Room) -> str:
        """Somebody who is not in it.  Raises NoRoom."""
        found = next((user for user in self._people if user not in room.users), None)
        if found is None:
            raise NoRoom(f"everybody is in {room.id}")
        return found


def _hub(pairs: Sequence[Room]) -> list[Room]:
    """The direct conversations of whoever has most of them, that person first."""
    of: dict[str, list[Room]] = {}
    for room in pairs:
        for first, second in (room.users, room.users[::-1]):
            of.setdefault(first, []).append(Room(room.id, room.kind, (first, second)))
    return max(of.values(), key=len)


def made() -> list[SeedConversation]:
    """Conversations to SEED, in numbers that nobody else uses."""
    numbers = itertools.count(FIRST_NUMBER + secrets.randbelow(1 << 40))
    conversations = [_one(DIRECT, [next(numbers), next(numbers)], next(numbers)) for _ in range(MADE[0])]
    conversations += [_one(GROUP, [next(numbers) for _ in range(4)], next(numbers)) for _ in range(MADE[1])]
    middle = next(numbers)
    hub = [_one(DIRECT, [middle, next(numbers)], next(numbers)) for _ in range(HUB)]
    return conversations + hub


def _one(kind: str, members: list[int], number: int) -> SeedConversation:
    return SeedConversation(f"{kind[0]}{number}", kind, members, HISTORY, [HISTORY] * len(members))
