"""What is wrong with incremental sync, versions and what devices know at the end, decided a second time.

Shares nothing with bench/checks; docs/consistency.md says what is meant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from bench.record import DUPLICATE, MORE, RESET, Op, Outcome, PushKind
from bench.results import Json
from bench.selftest.rows import NOBODY, READS, SENDS, Cursor, Rows, Wrong

Meaning = tuple[Cursor, int, int]
"""A change: whose cursor it moved, to which version, to where."""


@dataclass(frozen=True)
class Heard:
    """A change that a device was told of, by a page or a push."""

    device: int
    user: int
    change_id: int
    cursor: Cursor
    version: int
    value: int
    received: int


@dataclass(frozen=True)
class Page:
    """An answered SYNC.  `began`: when the first page of its chain was sent."""

    row: Json
    changes: list[Json]
    began: int

    def covers(self, change_id: int) -> bool:
        return bool(self.row["argument"] < change_id <= self.row["value"])

    @cached_property
    def held(self) -> set[int]:
        return {item["change_id"] for item in self.changes if self.covers(item["change_id"])}

    @property
    def reset(self) -> bool:
        return bool(self.row["flags"] & RESET)

    @property
    def last(self) -> bool:
        return not self.row["flags"] & MORE and not self.reset


@dataclass(frozen=True)
class Owed:
    """An acknowledged change, and whom it is owed."""

    user: int
    cursor: Cursor
    version: int
    sent: int
    acknowledged: int


@lru_cache(maxsize=1)
def pages(rows: Rows) -> list[Page]:
    """In the order in which they were asked for."""
    found, began = [], {}
    fresh = _fresh(rows)
    for row in sorted(_syncs(rows), key=lambda row: row["sent"]):
        if row["device"] not in began or row["op_id"] in fresh:
            began[row["device"]] = row["sent"]
        found.append(Page(row, rows.items_of[row["op_id"]], began[row["device"]]))
    return found


def _syncs(rows: Rows) -> Iterator[Json]:
    return (row for row in rows.answered(Op.SYNC) if row["device"] != NOBODY)


def _fresh(rows: Rows) -> set[int]:
    """The first SYNC of each session, where it goes on from where a STATE of that session was."""
    shown = {(row["session"], row["value"]) for row in rows.answered(Op.STATE)}
    first: dict[int, Json] = {}
    for row in sorted(_syncs(rows), key=lambda row: row["sent"]):
        first.setdefault(row["session"], row)
    return {row["op_id"] for row in first.values() if (row["session"], row["argument"]) in shown}


def heard(rows: Rows) -> list[Heard]:
    """Pages before pushes, each in the order of the record."""
    found = [
        Heard(
            row["device"], row["user"], item["change_id"], (item["conversation"], item["actor"]),
            item["version"], item["value"], row["acknowledged"],
        )
        for row in _syncs(rows) for item in rows.items_of[row["op_id"]]
    ]  # fmt: skip
    found += [
        Heard(
            push["device"], push["user"], push["change_id"], (push["conversation"], push["actor"]),
            push["version"], push["value"], push["received"],
        )
        for push in rows.pushes if push["kind"] == PushKind.READ
    ]  # fmt: skip
    return found


def sync_pages(rows: Rows) -> Wrong:
    wrong: Wrong = set()
    for page in pages(rows):
        ids = [item["change_id"] for item in page.changes]
        leads_back = page.row["value"] < page.row["argument"] and not page.reset
        if leads_back or not all(map(page.covers, ids)) or any(b <= a for a, b in pairwise(ids)):
            wrong.add((None, page.row["user"]))
    return wrong


class _Known:
    """What anybody was told of: by change id and by version when each device first heard of it, and what is
    in each person's change log."""

    def __init__(self, rows: Rows) -> None:
        self._by_id: dict[Any, int] = {}
        self._by_version: dict[Any, int] = {}
        self._exists: dict[int, dict[int, Heard]] = defaultdict(dict)
        for one in heard(rows):
            _earliest(self._by_id, (one.device, one.change_id), one.received)
            _earliest(self._by_version, (one.device, one.cursor, one.version), one.received)
            if one.change_id >= 0:
                self._exists[one.user].setdefault(one.change_id, one)

    def not_held(self, page: Page) -> list[Heard]:
        """Of its range, what others show to exist and it does not hold."""
        log = self._exists[page.row["user"]]
        return [log[number] for number in log if page.covers(number) and number not in page.held]

    def left_out(self, page: Page) -> list[Heard]:
        """The same, but for what its device had heard of by then."""
        by = page.row["acknowledged"], page.row["device"]
        return [
            one for one in self.not_held(page) if self._by_id.get((by[1], one.change_id), math.inf) > by[0]
        ]

    def short(self, page: Page) -> bool:
        """Of ids that nobody ever saw."""
        seen = len(page.held) + len(self.not_held(page))
        return bool(page.row["value"] - page.row["argument"] > seen)

    def heard_by(self, page: Page, change: Owed) -> bool:
        name = page.row["device"], change.cursor, change.version
        return bool(self._by_version.get(name, math.inf) <= page.row["acknowledged"])


def sync_complete(rows: Rows) -> Wrong:
    every, known = [page for page in pages(rows) if not page.reset], _Known(rows)
    holes = [(page.row["device"], one) for page in every for one in known.left_out(page)]
    proven = {(device, one.cursor, one.version) for device, one in holes}
    missed = [
        (page.row["device"], change)
        for page, change in _asked_after(rows)
        if not known.heard_by(page, change)
        and (page.row["device"], change.cursor, change.version) not in proven
    ]
    behind = {device for device, _ in missed}
    short = [page for page in every if known.short(page) and page.row["device"] not in behind]
    wrong: Wrong = {one.cursor for _, one in holes} | {change.cursor for _, change in missed}
    return wrong | {(None, page.row["user"]) for page in short}


def _asked_after(rows: Rows) -> Iterator[tuple[Page, Owed]]:
    """Each change that is owed to a device, and the last page of what it asked for next."""
    last_pages: dict[int, list[Page]] = defaultdict(list)
    for page in pages(rows):
        if page.last:
            last_pages[page.row["device"]].append(page)
    for change in _owed(rows):
        for device in rows.devices_of[change.user]:
            asked = [page for page in last_pages[device] if page.row["sent"] > change.acknowledged]
            if asked and asked[0].began < change.sent:
                yield asked[0], change


def _owed(rows: Rows) -> Iterator[Owed]:
    """READs that were applied, to the reader and to the direct peer."""
    for row in rows.answered(*READS):
        for conversation, _, version in rows.applied(row):
            people = rows.members_of[conversation] if rows.direct(conversation) else [row["user"]]
            for user in people if version >= 0 else ():
                yield Owed(user, (conversation, row["user"]), version, row["sent"], row["acknowledged"])


def _earliest(known: dict[Any, int], name: Any, at: int) -> None:
    known[name] = min(known.get(name, at), at)


# --- versions -----------------------------------------------------------------------------------------------


def versions(rows: Rows) -> Wrong:
    seen: dict[Cursor, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for cursor, version, value in _states(rows):
        if version >= 0 and value >= 0:
            seen[cursor][version].add(value)
    own = {(row["conversation"], row["user"], row["value"]) for row in rows.answered(*SENDS)}
    own |= {
        (push["conversation"], push["actor"], push["value"])
        for push in rows.pushes
        if push["kind"] == PushKind.MESSAGE
    }
    unsure = {(row["conversation"], row["user"]) for row in rows.unanswered(*SENDS)}
    wrong: Wrong = set()
    for cursor, by_version in seen.items():
        for values in by_version.values():
            if cursor not in unsure and len({_without_own(own, cursor, value) for value in values}) > 1:
                wrong.add(cursor)
        for older in by_version:
            newer = [value for version in by_version if version > older for value in by_version[version]]
            if newer and min(newer) < max(by_version[older]):
                wrong.add(cursor)
    return wrong | _two_times(rows) | _two_changes(rows)


def _states(rows: Rows) -> Iterator[tuple[Cursor, int, int]]:
    """(cursor, version, value), whoever was told."""
    for row in rows.answered(*READS):
        yield (row["conversation"], row["user"]), row["version"], row["value"]
        for item in rows.items_of[row["op_id"]]:
            if item["index"] > 0:
                yield (item["conversation"], item["actor"]), item["version"], item["value"]
    for row in rows.answered(Op.STATE, Op.PROBE_STATE, Op.PROBE_ONCE, Op.SYNC):
        for item in rows.items_of[row["op_id"]]:
            yield (item["conversation"], item["actor"]), item["version"], item["value"]
    for push in rows.pushes:
        if push["kind"] == PushKind.READ:
            yield (push["conversation"], push["actor"]), push["version"], push["value"]


def _without_own(own: set[tuple[int, int, int]], cursor: Cursor, value: int) -> int:
    while (*cursor, value) in own:
        value -= 1
    return value


def _two_times(rows: Rows) -> Wrong:
    times: dict[tuple[Cursor, int], set[int]] = defaultdict(set)
    for push in rows.pushes:
        said = push["version"] >= 0 and push["value"] >= 0 and push["at_ms"] >= 0
        if push["kind"] == PushKind.READ and said:
            times[(push["conversation"], push["actor"]), push["version"]].add(push["at_ms"])
    return {cursor for (cursor, _), at in times.items() if len(at) > 1}


def _two_changes(rows: Rows) -> Wrong:
    meanings: dict[tuple[int, int], set[Meaning]] = defaultdict(set)
    for one in heard(rows):
        if one.change_id >= 0:
            meanings[one.user, one.change_id].add((one.cursor, one.version, one.value))
    return {(None, user) for (user, _), several in meanings.items() if len(several) > 1}


# --- what devices know at the end ---------------------------------------------------------------------------


def device_state(rows: Rows) -> Wrong:
    knows, told = _knows(rows), _told(rows)
    writes: dict[Cursor, list[tuple[Json, float]]] = defaultdict(list)
    for row, cursor, value in _writes(rows):
        writes[cursor].append((row, value))
    wrong: Wrong = set()
    for device, (user, began) in _stayed(rows).items():
        looked = {row["conversation"] for row in rows.answered(Op.HISTORY) if row["device"] == device}
        silent = {row["conversation"] for row in rows.unanswered(Op.READ, Op.SEND) if row["device"] == device}
        for held in rows.store:
            cursor = held["conversation"], held["user"]
            start, store, own = rows.started[cursor], held["read_seq"], held["user"] == user
            concerned = own or rows.direct(held["conversation"])
            if store == start or user not in rows.members_of[held["conversation"]] or not concerned:
                continue
            first = min((row["sent"] for row, _ in writes[cursor]), default=math.inf)
            if held["conversation"] in looked or (own and held["conversation"] in silent):
                continue
            if not own and first <= began:
                continue
            least = min(store, max([start, *told[cursor]]))
            most = max([store, *(value for _, value in writes[cursor])])
            if not least <= max(start, knows.get((device, cursor), 0)) <= most:
                wrong.add(cursor)
    return wrong


def _told(rows: Rows) -> dict[Cursor, list[int]]:
    """What acknowledged operations moved each cursor to, so that others were told."""
    told: dict[Cursor, list[int]] = defaultdict(list)
    for row in rows.answered(*SENDS):
        if _acknowledged(rows, row) and not row["flags"] & DUPLICATE:
            told[row["conversation"], row["user"]].append(row["value"])
    for row in rows.answered(*READS):
        if not _acknowledged(rows, row):
            continue
        moved = rows.marked(row) if row["version"] < 0 else ((name, to) for name, to, _ in rows.applied(row))
        for conversation, up_to in moved:
            told[conversation, row["user"]].append(up_to)
    return told


def _acknowledged(rows: Rows, row: Json) -> bool:
    return bool(row["outcome"] == Outcome.OK and row["acknowledged"] <= rows.drain_end)


def _writes(rows: Rows) -> Iterator[tuple[Json, Cursor, float]]:
    for row in rows.happened(*SENDS):
        value = row["value"] if row["outcome"] == Outcome.OK else math.inf
        yield row, (row["conversation"], row["user"]), value
    for row in rows.happened(*READS):
        for conversation, value in rows.marked(row):
            yield row, (conversation, row["user"]), value


def _knows(rows: Rows) -> dict[tuple[int, Cursor], int]:
    """The highest that each device was told of each cursor."""
    knows: dict[tuple[int, Cursor], int] = defaultdict(int)

    def tell(device: int, conversation: int, actor: int, value: int) -> None:
        name = device, (conversation, actor)
        knows[name] = max(knows[name], value)

    for row in rows.answered(Op.READ, Op.SEND):
        tell(row["device"], row["conversation"], row["user"], row["value"])
    for row in rows.answered(Op.READ, Op.STATE, Op.SYNC):
        for item in rows.items_of[row["op_id"]]:
            tell(row["device"], item["conversation"], item["actor"], item["value"])
    for push in rows.pushes:
        if push["kind"] in (PushKind.READ, PushKind.MESSAGE):
            tell(push["device"], push["conversation"], push["actor"], push["value"])
    return knows


def _stayed(rows: Rows) -> dict[int, tuple[int, float]]:
    """By device, its person and when it last took its state from a STATE: devices that caught up before the
    end, or went on without, on a connection that outlived it, and never had to start again."""
    end = rows.drain_end
    signed_in = {row["session"] for row in rows.answered(Op.READ, Op.SEND) if row["acknowledged"] <= end}
    reset, fresh = set(), _fresh(rows)
    began: dict[int, float] = {}
    states = [row for row in rows.answered(Op.STATE) if row["device"] != NOBODY]
    for row in sorted(states, key=lambda row: row["sent"]):
        began[row["device"]] = row["sent"]
    for row in sorted(_syncs(rows), key=lambda row: row["sent"]):
        if not row["flags"] & MORE and row["acknowledged"] <= end:
            signed_in.add(row["session"])
        if row["flags"] & RESET:
            reset.add(row["device"])
        if row["op_id"] in fresh:
            began[row["device"]] = max(began.get(row["device"], math.inf), row["sent"])
    return {
        row["device"]: (row["user"], began.get(row["device"], math.inf))
        for row in rows.connections
        if row["role"] == 0
        and row["subscribed"] > 0
        and (row["closed"] == 0 or row["closed"] > end)
        and row["session"] in signed_in
        and row["device"] not in reset
    }
