"""Who is wrong, decided a second time: plain loops over the rows, and search instead of arithmetic.

Shares nothing with bench/checks but the meaning of the record's columns (bench/record.py).  For small
records: the search for an order of a cursor's operations is exponential in how many of them overlap.

Each function gives the (conversation, person) that are wrong; the person is None where a conversation is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from bench.record import Op, Outcome, Phase
from bench.results import Json
from bench.selftest import oracle_changes, oracle_pushes, oracle_unread
from bench.selftest.rows import NOBODY, READS, SENDS, Cursor, Rows, Wrong


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


@lru_cache(maxsize=1)
def events_of(rows: Rows) -> dict[Cursor, list[Event]]:
    events: dict[Cursor, list[Event]] = defaultdict(list)
    for member in rows.members:
        start = Event(True, member["read_seq"], -math.inf, -math.inf)
        events[member["conversation"], member["user"]].append(start)
    for row in rows.happened(*READS):
        for conversation, up_to in rows.marked(row):
            events[conversation, row["user"]].append(_event(row, True, up_to))
        told = row["outcome"] == Outcome.OK and row["version"] >= 0 and row["value"] >= 0
        if told:
            events[row["conversation"], row["user"]].append(_event(row, False, row["value"]))
    for row in rows.happened(*SENDS):
        cursor = events[row["conversation"], row["user"]]
        if row["outcome"] == Outcome.OK and row["value"] > 0:
            cursor.append(_event(row, True, row["value"]))
    for row, item in rows.shown():
        events[item["conversation"], row["user"]].append(_event(row, False, item["value"]))
    for row in rows.happened(*SENDS):
        if row["outcome"] == Outcome.INFO:
            cursor = events[row["conversation"], row["user"]]
            seen = {event.value for event in cursor if not event.write}
            cursor += [Event(True, value, -math.inf, math.inf) for value in seen]
    return events


def _event(row: Json, write: bool, value: int) -> Event:
    end = row["acknowledged"] if row["outcome"] == Outcome.OK else math.inf
    device = -1 if row["device"] == NOBODY else row["device"]
    return Event(write, value, row["sent"], end, row["session"], device, row["user"])


# --- cursors ------------------------------------------------------------------------------------------------


def linearizable(rows: Rows) -> Wrong:
    return {cursor for cursor, events in events_of(rows).items() if not has_order(tuple(events))}


@lru_cache(maxsize=1024)
def has_order(mixed: tuple[Event, ...]) -> bool:
    """Whether the events can have happened one after the other, each between its begin and its end.  Depth
    first; unanswered writes may be left out (Wing and Gong, 1993)."""
    events = sorted(mixed, key=lambda event: event.begin)
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
        every = events_of(rows).items()
        return {cursor for cursor, events in every if any(map(broken, _sessions(events, of)))}

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


def converged(rows: Rows) -> Wrong:
    """What the store holds against the cache, and the read cursors against the API too.  What was never
    answered, or later than the store was read, may have moved the others on."""
    read, delivered = _late(rows)
    cache = {(row["conversation"], row["user"]): row for row in rows.cache}
    shown = {
        (item["conversation"], row["user"]): item["value"]
        for row, item in rows.shown()
        if row["op"] == Op.STATE and row["phase"] == Phase.FINAL
    }
    wrong: Wrong = set()
    for row in rows.store:
        cursor = row["conversation"], row["user"]
        held, cached = row["read_seq"], cache.get(cursor)
        others = [] if cached is None else [cached["read_seq"]]
        if cursor in shown and shown[cursor] not in others:
            others.append(shown[cursor])
        agree = all(other == held or held < other <= read[cursor] for other in others)
        if cached is not None:
            ours, theirs = (max(path["read_seq"], path["delivered_seq"]) for path in (row, cached))
            agree &= theirs == ours or ours < theirs <= delivered[cursor]
        if not agree:
            wrong.add(cursor)
    return wrong


def _late(rows: Rows) -> tuple[dict[Cursor, int], dict[Cursor, int]]:
    """How far what nobody had answered when the store was read may have moved read cursors, and delivery
    cursors: a READ implies delivery, and of an unanswered DELIVERED nobody knows what it held."""
    read: dict[Cursor, int] = defaultdict(int)
    for cursor, value, promised in _read_writes(rows):
        if not promised:
            read[cursor] = max(read[cursor], value)
    delivered = read.copy()
    for row in rows.happened(Op.DELIVERED):
        marked = list(rows.marked(row))
        if row["outcome"] == Outcome.INFO:
            mine = [conversation for conversation, user in rows.started if user == row["user"]]
            marked += [(conversation, rows.last_seq.get(conversation, -1)) for conversation in mine]
        for conversation, up_to in marked if not _promised(rows, row) else ():
            cursor = conversation, row["user"]
            delivered[cursor] = max(delivered[cursor], up_to)
    return read, delivered


ORACLES: Final[dict[str, Callable[[Rows], Wrong]]] = {
    "acknowledged_reads": acknowledged_reads,
    "acknowledged_deliveries": acknowledged_deliveries,
    "acknowledged_messages": acknowledged_messages,
    "stale_at_end": stale_at_end,
    "converged": converged,
    "linearizable": linearizable,
    **{
        f"read_your_writes_{name}": session_guarantee(True, of)
        for name, of in (("session", "session"), ("device", "device"), ("person", "user"))
    },
    **{
        f"monotonic_reads_{name}": session_guarantee(False, of)
        for name, of in (("session", "session"), ("device", "device"), ("person", "user"))
    },
    "sync_complete": oracle_changes.sync_complete,
    "sync_pages": oracle_changes.sync_pages,
    "versions": oracle_changes.versions,
    "device_state": oracle_changes.device_state,
    "push_duplicates": oracle_pushes.duplicates,
    "push_order": oracle_pushes.order,
    "push_regress": oracle_pushes.regress,
    "push_gaps": oracle_pushes.gaps,
    "receipt_before_message": oracle_pushes.causal,
    "unread": oracle_unread.unread,
    "unread_at_end": oracle_unread.unread_at_end,
    "total_unread": oracle_unread.total_unread,
}
"""By the name of the check."""
