"""A record as rows, for those who decide a second time: plain dictionaries, nothing computed that a check
computes.

Shares nothing with bench/checks but the meaning of the record's columns (bench/record.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np

from bench.record import Op, Outcome
from bench.results import Json
from bench.selftest.held import Record

Cursor = tuple[int, int]
"""(conversation, person)."""
Wrong = set[tuple[int | None, int | None]]
"""The same, of what is wrong; None where a person or a conversation as a whole is."""
NOBODY: Final = 0xFFFFFFFF
APPLIED: Final = 1
"""Bit of a READ's flags."""
READS, SENDS = (Op.READ, Op.PROBE_READ), (Op.SEND, Op.PROBE_SEND)
STATES: Final = (Op.STATE, Op.PROBE_STATE, Op.PROBE_ONCE)
COLUMNS: Final = {
    "operations": "op_id op outcome attempt flags phase conversation user device session argument value "
    "version unread items sent acknowledged",
    "items": "op_id index conversation actor value version change_id last_seq unread applied",
    "pushes": "received at_ms value version change_id session user device conversation actor kind",
    "connections": "session device user role subscribed closed",
    "members": "conversation user read_seq",
    "conversations": "kind history",
    "devices": "device user",
    "final_store": "conversation user read_seq delivered_seq last_seq",
    "final_cache": "conversation user read_seq delivered_seq",
}
"""What is looked at."""


class Rows:
    """The record as rows."""

    def __init__(self, record: Record, clean: Rows | None = None) -> None:
        """`clean`: another record's rows; tables that are the same are taken from it."""
        self.manifest = record.manifest()
        self.drain_end: int = self.manifest["window"]["drain_end"]
        self.tables = record.tables
        self._rows = {name: _rows(record, name, clean) for name in COLUMNS}
        (
            self.operations, self.items, self.pushes, self.connections,
            self.members, self.conversations, self.devices, self.store, self.cache,
        ) = self._rows.values()  # fmt: skip

    @cached_property
    def items_of(self) -> dict[int, list[Json]]:
        found: dict[int, list[Json]] = defaultdict(list)
        for item in sorted(self.items, key=lambda item: item["index"]):
            found[item["op_id"]].append(item)
        return found

    @cached_property
    def _by_op(self) -> dict[int, list[Json]]:
        found: dict[int, list[Json]] = defaultdict(list)
        for row in self.operations:
            found[row["op"]].append(row)
        return found

    def _ended(self, ops: Sequence[Op], *outcomes: Outcome) -> Iterator[Json]:
        return (row for op in ops for row in self._by_op[op] if row["outcome"] in outcomes)

    def happened(self, *ops: Op) -> Iterator[Json]:
        """Operations that were answered, or that nobody knows of; those of one kind in their order."""
        return self._ended(ops, Outcome.OK, Outcome.INFO)

    def answered(self, *ops: Op) -> Iterator[Json]:
        return self._ended(ops, Outcome.OK)

    def unanswered(self, *ops: Op) -> Iterator[Json]:
        return self._ended(ops, Outcome.INFO)

    def marked(self, row: Json) -> Iterator[tuple[int, int]]:
        """(conversation, up to) of a READ or DELIVERED."""
        yield row["conversation"], row["argument"]
        if row["items"] > 1:
            for item in self.items_of[row["op_id"]]:
                if item["index"] > 0:
                    yield item["conversation"], item["value"]

    def applied(self, row: Json) -> Iterator[tuple[int, int, int]]:
        """(conversation, up to, version) of what an answered READ or DELIVERED changed."""
        if row["flags"] & APPLIED:
            yield row["conversation"], row["argument"], row["version"]
        if row["items"] > 1:
            for item in self.items_of[row["op_id"]]:
                if item["index"] > 0 and item["applied"] == 1:
                    yield item["conversation"], item["value"], item["version"]

    @cached_property
    def last_seq(self) -> dict[int, int]:
        return {row["conversation"]: row["last_seq"] for row in self.store}

    @cached_property
    def members_of(self) -> dict[int, list[int]]:
        """In member order."""
        found: dict[int, list[int]] = defaultdict(list)
        for member in self.members:
            found[member["conversation"]].append(member["user"])
        return found

    @cached_property
    def started(self) -> dict[Cursor, int]:
        """Where each cursor was at the start."""
        return {(row["conversation"], row["user"]): row["read_seq"] for row in self.members}

    @cached_property
    def devices_of(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for row in self.devices:
            found[row["user"]].append(row["device"])
        return found

    def direct(self, conversation: int) -> bool:
        return bool(self.conversations[conversation]["kind"] == 0)

    def sent_up_to(self, row: Json) -> int:
        """Which message a SEND became: as answered, else at most the last of its conversation."""
        if row["outcome"] == Outcome.OK and row["value"] > 0:
            return int(row["value"])
        return self.last_seq.get(row["conversation"], -1)

    def shown(self) -> Iterator[tuple[Json, Json]]:
        """(STATE, one of its items about its own person's cursor)."""
        for row in self.answered(*STATES):
            for item in self.items_of[row["op_id"]]:
                if item["actor"] == row["user"]:
                    yield row, item

    def of(self, name: str) -> list[Json]:
        return self._rows[name]


def _rows(record: Record, name: str, clean: Rows | None) -> list[Json]:
    columns: Sequence[str] = COLUMNS[name].split()
    table = record.tables[name]
    if clean is not None and all(
        np.array_equal(table[column], clean.tables[name][column]) for column in columns
    ):
        return clean.of(name)
    plain: list[list[Any]] = [table[column].tolist() for column in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]
