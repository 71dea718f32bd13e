"""Fills Redis at the end of SEED: this scheme's Redis answers every STATE, so it must hold everybody's."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from schemes.ports import Trace
from schemes.protocol import SeedConversation
from schemes.read_state import Conversation
from schemes.stores.mysql import MySQL
from schemes.stores.redis import (
    Cursors,
    Entry,
    Head,
    Membership,
    RedisStore,
    pack_cursors,
    pack_head,
    pack_memberships,
    unpack_memberships,
)

_PAGE: Final = 10_000
_COMMANDS: Final = 500
T = TypeVar("T")


class Warming:
    """Remembers who is where while the seed comes in; the cursors come from MySQL at the end."""

    def __init__(self, redis: RedisStore, store: MySQL) -> None:
        self._redis = redis
        self._store = store
        self._of_user: dict[int, list[Membership]] = {}

    def remember(self, conversations: Iterable[SeedConversation]) -> None:
        for seeded in conversations:
            conversation = Conversation(seeded.id, seeded.kind, tuple(seeded.members))
            for user in seeded.members:
                membership = Membership(seeded.id, seeded.kind, conversation.peer_of(user))
                self._of_user.setdefault(user, []).append(membership)

    async def fill(self) -> None:
        """The cursors of the seeded conversations are replaced: nobody may be writing to them yet.  People
        who were there before keep their change ids and their other conversations."""
        names = {membership.conversation for own in self._of_user.values() for membership in own}
        for users in _chunks(list(self._of_user)):
            await self._fill_people(users)
        for some in _chunks(list(names)):
            await self._fill_heads(some)
        await self._fill_cursors(names)
        self._of_user.clear()

    def forget(self) -> None:
        self._of_user.clear()

    async def _fill_people(self, users: Sequence[int]) -> None:
        redis = self._redis
        known = await redis.fetch([redis.convs(user) for user in users], Trace())
        commands: list[tuple[object, ...]] = []
        for user, packed in zip(users, known, strict=True):
            before = [] if packed is None else unpack_memberships(packed)
            memberships = {one.conversation: one for one in (*before, *self._of_user[user])}
            commands.append(("SET", redis.convs(user), pack_memberships(list(memberships.values()))))
            commands.append(("SET", redis.cid(user), b"0", "NX"))
        await redis.pipeline(None, commands)

    async def _fill_heads(self, names: Sequence[str]) -> None:
        heads = await self._store.heads(names, Trace())
        entries = [
            (self._redis.head(name), pack_head(Head(head.last_seq, head.last_sent_ms)))
            for name, head in heads.items()
        ]
        await self._redis.fill(entries, None)

    async def _fill_cursors(self, names: Container[str]) -> None:
        after: str | None = ""
        while after is not None:
            rows, after = await self._store.dump(after, _PAGE)
            await self._store_all(
                (
                    self._redis.rs(row.conversation_id, row.user_id),
                    pack_cursors(Cursors(row.read_seq, row.delivered_seq, row.version)),
                )
                for row in rows
                if row.conversation_id in names
            )

    async def _store_all(self, entries: Iterable[Entry]) -> None:
        for some in _chunks(list(entries)):
            await self._redis.fill(some, None)


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[first : first + _COMMANDS] for first in range(0, len(values), _COMMANDS))
