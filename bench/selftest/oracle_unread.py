"""What is wrong with unread numbers, decided a second time: for each number shown, everything that was sent
and read is looked through.

Shares nothing with bench/checks; docs/consistency.md says what is meant."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from bench.record import Op, Outcome, Phase
from bench.results import Json
from bench.selftest.rows import READS, SENDS, Cursor, Rows, Wrong


@dataclass(frozen=True)
class Number:
    """An unread number, as `row` answered it; `read`: what its own READ certainly read."""

    row: Json
    cursor: Cursor
    unread: int
    read: int


def numbers(rows: Rows) -> Iterator[Number]:
    for row in rows.answered(*READS):
        told = [(row["conversation"], row["unread"], row["value"])]
        if row["items"] > 1:
            more = [item for item in rows.items_of[row["op_id"]] if item["index"] > 0]
            told += [(item["conversation"], item["unread"], item["value"]) for item in more]
        for conversation, unread, value in told:
            if unread >= 0 and value >= 0:
                yield Number(row, (conversation, row["user"]), unread, value)
    for row, item in rows.shown():
        if item["unread"] >= 0 and item["value"] >= 0:
            yield Number(row, (item["conversation"], row["user"]), item["unread"], 0)


@dataclass(frozen=True)
class Write:
    value: int
    begin: float
    end: float


@lru_cache(maxsize=1)
def outside(rows: Rows) -> list[Number]:
    """Numbers that cannot have been true at any moment between question and answer."""
    wrong = []
    sends: dict[int, list[Json]] = defaultdict(list)
    writes: dict[Cursor, list[Write]] = defaultdict(list)
    silent: dict[Cursor, float] = {}
    for cursor, value in rows.started.items():
        writes[cursor].append(Write(value, -math.inf, -math.inf))
    for row in rows.happened(*SENDS):
        cursor = row["conversation"], row["user"]
        sends[row["conversation"]].append(row)
        if row["outcome"] == Outcome.INFO:
            silent[cursor] = min(silent.get(cursor, math.inf), row["sent"])
        elif row["value"] > 0:
            writes[cursor].append(Write(row["value"], row["sent"], row["acknowledged"]))
    for row in rows.happened(*READS):
        end = row["acknowledged"] if row["outcome"] == Outcome.OK else math.inf
        for conversation, up_to in rows.marked(row):
            writes[conversation, row["user"]].append(Write(up_to, row["sent"], end))
    for number in numbers(rows):
        begin, end = number.row["sent"], number.row["acknowledged"]
        of = sends[number.cursor[0]]
        history = rows.conversations[number.cursor[0]]["history"]
        told = [row["value"] for row in of if row["outcome"] == Outcome.OK and row["acknowledged"] < begin]
        sent = max([history, *told])
        possibly_sent = history + sum(row["attempt"] == 0 and row["sent"] <= end for row in of)
        mine = writes[number.cursor]
        read = max([number.read, *(write.value for write in mine if write.end < begin)])
        possibly_read = max([0, *(write.value for write in mine if write.begin <= end)])
        low = 0 if silent.get(number.cursor, math.inf) <= end else max(0, sent - possibly_read)
        high = max(0, possibly_sent - read)
        if low <= high and not low <= number.unread <= high:
            wrong.append(number)
    return wrong


def unread(rows: Rows) -> Wrong:
    return {number.cursor for number in outside(rows) if number.row["phase"] != Phase.FINAL}


def unread_at_end(rows: Rows) -> Wrong:
    stored = {
        (row["conversation"], row["user"]): max(0, row["last_seq"] - row["read_seq"]) for row in rows.store
    }
    at_end = [number for number in outside(rows) if number.row["phase"] == Phase.FINAL]
    return {number.cursor for number in at_end if number.unread != stored.get(number.cursor)}


def total_unread(rows: Rows) -> Wrong:
    """Of STATEs that list all of a person's conversations."""
    conversations = Counter(member["user"] for member in rows.members)
    listed: Counter[int] = Counter()
    added: Counter[int] = Counter()
    for row, item in rows.shown():
        if item["unread"] >= 0 and item["value"] >= 0:
            listed[row["op_id"]] += 1
            added[row["op_id"]] += item["unread"]
    return {
        (None, row["user"])
        for row in rows.answered(Op.STATE)
        if row["unread"] >= 0
        and listed[row["op_id"]] == conversations[row["user"]]
        and added[row["op_id"]] != row["unread"]
    }
