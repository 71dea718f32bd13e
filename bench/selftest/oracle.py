"""Who is wrong, decided a second time: plain loops over the rows, and search instead of arithmetic.

Shares nothing with bench/checks but the meaning of the record's columns (bench/record.py).  For small
records: the search for an order of a cursor's operations is exponential in how many of them overlap.

Each function gives the (conversation, person) that are wrong; the person is None where a conversation is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from bench.record import Op, Outcome, Phase
from bench.results import Json
from bench.selftest.held import Record

Cursor = tuple[int, int]
Wrong = set[tuple[int, int | None]]
NOBODY: Final = 0xFFFFFFFF
COLUMNS: Final = {
    "operations": "op_id op outcome attempt flags phase conversation user device session argument value "
    "version items sent acknowledged",
    "items": "op_id index conversation actor value",
    "members": "conversation user read_seq",
    "conversations": "history",
    "final_store": "conversation user read_seq delivered_seq last_seq",
}
"""What is looked at."""
READS, SENDS = (Op.READ, Op.PROBE_READ), (Op.SEND, Op.PROBE_SEND)


@dataclass(frozen=True)
class Event:
    """Something done to one cursor.  `end` is infinite where nobody answered."""

    write: bool
    value: int
    begin: float
    end: float
    session: int = -1
    device: int = -1
    user: int = -1


class Rows:
    """The record as rows."""

    def __init__(self, record: Record) -> None:
        self.manifest = record.manifest()
        self.drain_end: int = self.manifest["window"]["drain_end"]
        self.operations, self.items, self.members, self.conversations, self.store = (
            _rows(record, name, columns.split()) for name, columns in COLUMNS.items()
        )
        self.items_of: dict[int, list[Json]] = defaultdict(list)
        for item in self.items:
            self.items_of[item["op_id"]].append(item)

    def happened(self, *ops: Op) -> Iterator[Json]:
        """Operations that were answered, or that nobody knows of."""
        for row in self.operations:
            if row["op"] in ops and row["outcome"] in (Outcome.OK, Outcome.INFO):
                yield row

    def marked(self, row: Json) -> Iterator[tuple[int, int]]:
        """(conversation, up to) of a READ or DELIVERED."""
        yield row["conversation"], row["argument"]
        if row["items"] > 1:
            for item in self.items_of[row["op_id"]]:
                if item["index"] > 0:
                    yield item["conversation"], item["value"]

    @cached_property
    def last_seq(self) -> dict[int, int]:
        return {row["conversation"]: row["last_seq"] for row in self.store}

    def sent_up_to(self, row: Json) -> int:
        """Which message a SEND became: as answered, else at most the last of its conversation."""
        if row["outcome"] == Outcome.OK and row["value"] > 0:
            return int(row["value"])
        return self.last_seq.get(row["conversation"], -1)

    def shown(self) -> Iterator[tuple[Json, Json]]:
        """(STATE, one of its items about its own person's cursor)."""
        for row in self.operations:
            if row["op"] in (Op.STATE, Op.PROBE_STATE) and row["outcome"] == Outcome.OK:
                for item in self.items_of[row["op_id"]]:
                    if item["actor"] == row["user"]:
                        yield row, item

    @cached_property
    def events(self) -> dict[Cursor, list[Event]]:
        events: dict[Cursor, list[Event]] = defaultdict(list)
        for member in self.members:
            start = Event(True, member["read_seq"], -math.inf, -math.inf)
            events[member["conversation"], member["user"]].append(start)
        for row in self.happened(*READS):
            for conversation, up_to in self.marked(row):
                events[conversation, row["user"]].append(_event(row, True, up_to))
            told = row["outcome"] == Outcome.OK and row["version"] >= 0 and row["value"] >= 0
            if told:
                events[row["conversation"], row["user"]].append(_event(row, False, row["value"]))
        for row in self.happened(*SENDS):
            cursor = events[row["conversation"], row["user"]]
            if row["outcome"] == Outcome.OK and row["value"] > 0:
                cursor.append(_event(row, True, row["value"]))
        for row, item in self.shown():
            events[item["conversation"], row["user"]].append(_event(row, False, item["value"]))
        for row in self.happened(*SENDS):
            if row["outcome"] == Outcome.INFO:
                cursor = events[row["conversation"], row["user"]]
                seen = {event.value for event in cursor if not event.write}
                cursor += [Event(True, value, -math.inf, math.inf) for value in seen]
        return events


def _rows(record: Record, name: str, columns: Sequence[str]) -> list[Json]:
    plain: list[list[Any]] = [record.tables[name][column].tolist() for column in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]


def _event(row: Json, write: bool, value: int) -> Event:
    end = row["acknowledged"] if row["outcome"] == Outcome.OK else math.inf
    device = -1 if row["device"] == NOBODY else row["device"]
    return Event(write, value, row["sent"], end, row["session"], device, row["user"])


# --- cursors ------------------------------------------------------------------------------------------------


def linearizable(rows: Rows) -> Wrong:
    return {cursor for cursor, events in rows.events.items() if not has_order(events)}


def has_order(events: list[Event]) -> bool:
    """Whether the events can have happened one after the other, each between its begin and its end.  Depth
    first; unanswered writes may be left out (Wing and Gong, 1993)."""
    events = sorted(events, key=lambda event: event.begin)
    everything = (1 << len(events)) - 1
    optional = sum(1 << i for i, event in enumerate(events) if event.end == math.inf)
    seen: set[tuple[int, int]] = set()
    stack = [(0, 0)]
    while stack:
        done, value = state = stack.pop()
        if done | optional == everything:
            return True
        if state in seen:
            continue
        seen.add(state)
        left = [i for i in range(len(events)) if not done >> i & 1]
        first_end: float = min(events[i].end for i in left)
        for i in left:
            event = events[i]
            if event.begin > first_end:
                break
            if event.write:
                stack.append((done | 1 << i, max(value, event.value)))
            elif event.value == value:
                stack.append((done | 1 << i, value))
    return False


def session_guarantee(write: bool, of: str) -> Callable[[Rows], Wrong]:
    """`write`: read your writes, else monotonic reads; `of`: session, device or user."""

    def wrong(rows: Rows) -> Wrong:
        return {cursor for cursor, events in rows.events.items() if any(map(broken, _sessions(events, of)))}

    def broken(events: list[Event]) -> bool:
        reads = [event for event in events if not event.write]
        others = [event for event in events if event.write == write]
        return any(other.end < read.begin and other.value > read.value for read in reads for other in others)

    return wrong


def _sessions(events: list[Event], of: str) -> Iterable[list[Event]]:
    grouped: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        grouped[getattr(event, of)].append(event)
    grouped.pop(-1, None)
    return grouped.values()


# --- after the drain ------------------------------------------------------------------------------------


def acknowledged_reads(rows: Rows) -> Wrong:
    least: dict[Cursor, int] = defaultdict(int)
    most: dict[Cursor, int] = defaultdict(int)
    for member in rows.members:
        cursor = member["conversation"], member["user"]
        least[cursor] = most[cursor] = member["read_seq"]
    for cursor, value, promised in _read_writes(rows):
        most[cursor] = max(most[cursor], value)
        if promised:
            least[cursor] = max(least[cursor], value)
    return _outside(rows, least, most, "read_seq")


def _read_writes(rows: Rows) -> Iterator[tuple[Cursor, int, bool]]:
    for row in rows.happened(*READS):
        for conversation, up_to in rows.marked(row):
            yield (conversation, row["user"]), up_to, _promised(rows, row)
    for row in rows.happened(*SENDS):
        yield (row["conversation"], row["user"]), rows.sent_up_to(row), _promised(rows, row)


def _promised(rows: Rows, row: Json) -> bool:
    return bool(row["outcome"] == Outcome.OK and row["acknowledged"] <= rows.drain_end)


def acknowledged_deliveries(rows: Rows) -> Wrong:
    history = [conversation["history"] for conversation in rows.conversations]
    least: dict[Cursor, int] = defaultdict(int)
    most: dict[Cursor, int] = defaultdict(int)
    for member in rows.members:
        most[member["conversation"], member["user"]] = history[member["conversation"]]
    for cursor, value, _ in _read_writes(rows):
        most[cursor] = max(most[cursor], value)
    for member in rows.members:
        cursor = member["conversation"], member["user"]
        most[cursor] = max(most[cursor], member["read_seq"])
    for row in rows.happened(Op.DELIVERED):
        for conversation, up_to in rows.marked(row):
            cursor = conversation, row["user"]
            most[cursor] = max(most[cursor], up_to)
            if _promised(rows, row):
                least[cursor] = max(least[cursor], up_to)
        if row["outcome"] == Outcome.INFO:
            for conversation, user in [cursor for cursor in most if cursor[1] == row["user"]]:
                reached = rows.last_seq.get(conversation, -1)
                most[conversation, user] = max(most[conversation, user], reached)
    return _outside(rows, least, most, "delivered_seq")


def _outside(rows: Rows, least: dict[Cursor, int], most: dict[Cursor, int], name: str) -> Wrong:
    held = {(row["conversation"], row["user"]): max(row["read_seq"], row[name]) for row in rows.store}
    return {
        cursor
        for cursor in held.keys() | least.keys() | most.keys()
        if not least.get(cursor, 0) <= held.get(cursor, 0) <= most.get(cursor, 0)
    }


def acknowledged_messages(rows: Rows) -> Wrong:
    wrong: Wrong = set()
    sends_of: dict[int, list[Json]] = defaultdict(list)
    for send in rows.happened(*SENDS):
        sends_of[send["conversation"]].append(send)
    for conversation, row in enumerate(rows.conversations):
        if conversation not in rows.last_seq:
            continue
        sends = sends_of[conversation]
        told = [send for send in sends if send["outcome"] == Outcome.OK and send["value"] > 0]
        least = max([row["history"], *(send["value"] for send in told if _promised(rows, send))])
        most = row["history"] + sum(send["attempt"] == 0 for send in sends)
        given = [send["value"] for send in told if not send["flags"] & 1]
        if not least <= rows.last_seq[conversation] <= most or len(set(given)) < len(given):
            wrong.add((conversation, None))
    return wrong


def stale_at_end(rows: Rows) -> Wrong:
    held = {(row["conversation"], row["user"]): row["read_seq"] for row in rows.store}
    late: dict[Cursor, int] = defaultdict(int)
    for cursor, value, promised in _read_writes(rows):
        if not promised:
            late[cursor] = max(late[cursor], value)
    wrong: Wrong = set()
    for row, item in rows.shown():
        cursor, value = (item["conversation"], row["user"]), item["value"]
        if row["op"] != Op.STATE or row["phase"] != Phase.FINAL or cursor not in held:
            continue
        if value < held[cursor] or (value > held[cursor] and value > late[cursor]):
            wrong.add(cursor)
    return wrong


ORACLES: Final[dict[str, Callable[[Rows], Wrong]]] = {
    "acknowledged_reads": acknowledged_reads,
    "acknowledged_deliveries": acknowledged_deliveries,
    "acknowledged_messages": acknowledged_messages,
    "stale_at_end": stale_at_end,
    "linearizable": linearizable,
    **{
        f"read_your_writes_{name}": session_guarantee(True, of)
        for name, of in (("session", "session"), ("device", "device"), ("person", "user"))
    },
    **{
        f"monotonic_reads_{name}": session_guarantee(False, of)
        for name, of in (("session", "session"), ("device", "device"), ("person", "user"))
    },
}
"""By the name of the check."""
