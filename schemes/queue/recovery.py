"""`queue_first`: what MySQL has and Redis may have missed, because the consumer died between the two.

MySQL refuses a mark that it has already, so the batch that comes again would change nothing and tell nobody.
What it changed the first time stands in the change logs of the people concerned: it is read from there, from
where `cid:<user>` ends, and applied and told now.  Some of it is not lost but still on its way, as the event
of a SEND is: the script tells a change that comes from here and from the log once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Raw

from schemes.ports import SyncFrom, Trace
from schemes.protocol import Change, CursorValue, Update, encode, user_number
from schemes.queue import events
from schemes.queue.events import ReadMoved, ReceiptMoved, Told, rs_key
from schemes.queue.script import ALWAYS, Batch, change_of
from schemes.read_state import unread
from schemes.stores.kafka import BATCH_MAX, Record
from schemes.stores.mysql import MySQL
from schemes.stores.redis import RedisStore
from schemes.stores.rows import MemberState, QueuedMark

_CHANGES_MAX: Final = 500
_CLOCKS_MS: Final = 200
"""How far the producers' clocks may be from ours."""


class Lost:
    """One user's changes since Redis' last, and the state that they led to (as of `change_id`)."""

    __slots__ = ("change_id", "changes", "rows", "user")

    def __init__(
        self, user: int, changes: Sequence[Change], change_id: int, rows: Sequence[MemberState]
    ) -> None:
        self.user = user
        self.changes = changes
        self.change_id = change_id
        self.rows = rows

    def add_to(self, batch: Batch) -> None:
        left = {row.conversation_id: unread(row.last_seq, row.read_seq) for row in self.rows}
        for change in self.changes:
            batch.add(_event(self.user, change, left.get(change.conversation_id, 0)), ALWAYS, ALWAYS)
        batch.add_state(self.user, self.change_id, self.rows)


class Recovery:
    def __init__(self, redis: RedisStore, store: MySQL) -> None:
        self._redis = redis
        self._store = store
        self._suspect_below: dict[int, int] = {}
        self._suspect_until_ms = 0

    def suspect(self, positions: Mapping[int, int], now_ms: int) -> None:
        """What is in the log now may have been in hand before: the first batch of each partition."""
        self._suspect_below = {partition: offset + BATCH_MAX for partition, offset in positions.items()}
        self._suspect_until_ms = now_ms + _CLOCKS_MS

    def suspects(self, records: Iterable[Record]) -> bool:
        return any(
            record.timestamp <= self._suspect_until_ms
            and record.offset < self._suspect_below.get(record.partition, 0)
            for record in records
        )

    async def lost(self, marks: Sequence[QueuedMark]) -> list[Lost]:
        """Of everybody whom these marks concern.  Nothing is changed."""
        people = {mark.user for mark in marks}
        for name in {mark.conversation_id for mark in marks}:
            conversation = await self._store.conversation(name, Trace())
            if len(conversation.members) == 2:
                people.update(conversation.members)
        return [lost for user in sorted(people) if (lost := await self._of(user)) is not None]

    async def _of(self, user: int) -> Lost | None:
        """None where Redis knows nothing of the user: STATE will ask MySQL then."""
        (held,) = await self._redis.fetch([self._redis.cid(user)], Trace())
        if held is None:
            return None
        since = SyncFrom(change_of(held), None)
        page = await self._store.sync(user, since, _CHANGES_MAX, False, Trace())
        change_id, rows = await self._store.states(user, None, Trace())
        return Lost(user, page.changes, change_id, rows)


def _event(user: int, change: Change, left: int) -> ReadMoved:
    actor = user_number(change.actor_id)
    own = actor == user
    value = CursorValue(up_to_seq=change.up_to_seq, read_time=change.at)
    if own:
        value.unread = left
    update = Update(
        key=f"read/{change.conversation_id}/{change.actor_id}",
        value=value,
        version=change.version,
        at=change.at,
        change_id=change.change_id,
    )
    told = Told((user,), change.conversation_id, "", Raw(encode(update)))
    kind = ReadMoved if own else ReceiptMoved
    return kind(
        key=rs_key(change.conversation_id, actor),
        value=events.CursorValue(change.up_to_seq, change.up_to_seq, change.version),
        tell=Raw(events.encode([told])),
        user=user,
        change_id=change.change_id,
    )
