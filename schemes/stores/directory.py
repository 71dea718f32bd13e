"""Who is in a conversation.  Membership is fixed during a run (v1), so a server may keep what it has seen.

All schemes keep it alike, in the server's memory, or the comparison would be one of membership caches."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from schemes.ports import Refused
from schemes.read_state import DIRECT, Conversation

CONVERSATIONS_MAX: Final = 131_072
_SCAN_MAX: Final = 8
"""Up to this many members a tuple is searched faster than a set, and is smaller."""


class Directory:
    """A bounded map, least recently used out first.  Strangers and unknown conversations are not kept."""

    def __init__(self, size: int = CONVERSATIONS_MAX) -> None:
        self._size = size
        self._entries: dict[str, tuple[Conversation, Container[int]]] = {}

    def find(self, conversation_id: str) -> Conversation | None:
        entry = self._entries.pop(conversation_id, None)
        if entry is None:
            return None
        self._entries[conversation_id] = entry
        return entry[0]

    def add(self, conversation: Conversation) -> None:
        members = conversation.members
        seen = members if len(members) <= _SCAN_MAX else frozenset(members)
        self._entries[conversation.conversation_id] = (conversation, seen)
        if len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]

    def learn(self, user: int, conversations: Iterable[tuple[str, int | None]]) -> None:
        """Keeps each (conversation, direct peer of the user) that a STATE has shown, unless it is known; a
        group, whose peer is None, has more members than that."""
        for conversation_id, peer in conversations:
            if peer is not None and conversation_id not in self._entries:
                self.add(Conversation(conversation_id, DIRECT, (min(user, peer), max(user, peer))))

    def check(self, user: int, conversation: Conversation) -> Conversation:
        """The conversation, if the user is in it; else Refused("NOT_MEMBER")."""
        entry = self._entries.get(conversation.conversation_id)
        members = entry[1] if entry is not None else conversation.members
        if user not in members:
            raise not_member(conversation.conversation_id)
        return conversation

    def clear(self) -> None:
        self._entries.clear()


def not_member(conversation_id: str) -> Refused:
    """The same for a stranger and for no conversation at all: who is not in it learns nothing."""
    return Refused("NOT_MEMBER", f"not a member of {conversation_id!r}")
