"""The consumer's script, `apply.lua`, and how a batch of events becomes its keys and arguments.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Final

from schemes.queue.events import Applied, MessageSent, ReadMoved, rs_key
from schemes.stores.redis import Script
from schemes.stores.rows import MemberState

APPLY: Final = Script(resources.files(__package__).joinpath("apply.lua").read_text())
ALWAYS: Final = -1
"""The offset of what comes from MySQL and not from the log."""
_WIDTH: Final = 9
"""Arguments per event."""


def offsets_key(prefix: str, topic: str) -> str:
    """A hash: by partition, the offset of the next event to apply.  Written by the script alone, in the same
    step as the state, so that an event which is delivered again is known."""
    return f"{prefix}applied:{topic}"


def channel_of(prefix: str, topic: str) -> str:
    """Where the pushes are published.  Pub/sub knows no databases, so the name tells whose they are."""
    return f"{prefix}push:{topic}"


def change_of(value: bytes) -> int:
    """The change up to which everything is applied, of a `cid` ("17", or "17 19": 18 is on its way)."""
    return int(value.split(b" ", 1)[0])


class Batch:
    """Collects what one call of the script applies, in order."""

    def __init__(self, prefix: str, topic: str) -> None:
        self._prefix = prefix
        self._topic = topic
        self.keys: list[str] = [offsets_key(prefix, topic)]
        self._args: list[Any] = []

    def __len__(self) -> int:
        return len(self.keys) // 2

    def add(self, event: Applied, partition: int, offset: int) -> None:
        pushes = bytes(event.tell)[1:-1]
        if isinstance(event, MessageSent):
            seq, sent_ms, sender = event.value.last_seq, event.value.sent_time, event.value.sender
            conversation = event.key.removeprefix("head:")
            self._place(rs_key(conversation, sender), event.key)
            self._args += (partition, offset, seq, seq, 0, "head", seq, sent_ms, pushes)
            return
        value = event.value
        cursor = (partition, offset, value.read_seq, value.delivered_seq, value.version)
        if isinstance(event, ReadMoved):
            self._place(event.key, f"cid:{event.user}")
            self._args += (*cursor, "change", event.change_id, "", pushes)
        else:
            self._place(event.key, event.key)
            self._args += (*cursor, "", "", "", pushes)

    def add_state(self, user: int, change_id: int, rows: Sequence[MemberState]) -> None:
        """All of a user's conversations as MySQL has them, and the change that they are as of, last."""
        for row in rows:
            own = (ALWAYS, ALWAYS, row.read_seq, row.delivered_seq, row.version)
            self._place(rs_key(row.conversation_id, user), f"head:{row.conversation_id}")
            self._args += (*own, "head", row.last_seq, row.last_sent_ms, "")
            if row.peer is not None:
                key = rs_key(row.conversation_id, row.peer)
                self._place(key, key)
                self._args += (ALWAYS, ALWAYS, row.peer_read_seq or 0, row.peer_delivered_seq or 0)
                self._args += (row.peer_version or 0, "", "", "", "")
        if rows:
            key = rs_key(rows[0].conversation_id, user)
            self._place(key, f"cid:{user}")
            self._args += (ALWAYS, ALWAYS, 0, 0, 0, "changes", change_id, "", "")

    def singles(self) -> Iterator[tuple[int, int, Batch]]:
        """Partition, offset and a batch of its own for each of what was added, in order."""
        for i in range(len(self)):
            one = Batch(self._prefix, self._topic)
            one.keys += self.keys[1 + 2 * i : 3 + 2 * i]
            one._args = self._args[_WIDTH * i : _WIDTH * (i + 1)]
            yield one._args[0], one._args[1], one

    def args(self, channel: str, at_ns: int, offsets: Mapping[int, int]) -> list[Any]:
        """`offsets`: by partition, the offset after this batch."""
        positions = [part for offset in offsets.items() for part in offset]
        return [channel, at_ns, len(offsets), *positions, *self._args]

    def _place(self, cursor: str, other: str) -> None:
        self.keys += (self._prefix + cursor, self._prefix + other)
