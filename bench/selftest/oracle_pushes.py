"""What is wrong with pushes, decided a second time: each connection's pushes one after the other, and of what
had to come each possible receiver.

Shares nothing with bench/checks or bench/metrics; docs/consistency.md says what is meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from bench.record import DUPLICATE, Op, Outcome, PushKind
from bench.results import Json
from bench.selftest.rows import Rows, Wrong

Thing = tuple[int, ...]
"""What a stream is about: (kind, conversation, actor), () the person's change log."""
LOG: Final[Thing] = ()
HOLE_NS: Final = 1_000_000_000
"""Bit of a SEND's flags."""


@dataclass
class Came:
    """One push of a stream.  `place` in the record."""

    place: int
    number: int
    push: Json


@dataclass
class Session:
    """A subscribed session of a device, and what came to it, by stream."""

    session: int
    device: int
    user: int
    subscribed: int
    closed: int
    streams: dict[Thing, list[Came]] = field(default_factory=lambda: defaultdict(list))
    pushes: list[tuple[int, Json]] = field(default_factory=list)


def thing(kind: int, conversation: int, actor: int) -> Thing:
    return (kind, conversation) if kind == PushKind.MESSAGE else (kind, conversation, actor)


@lru_cache(maxsize=1)
def sessions(rows: Rows) -> dict[int, Session]:
    owner = {row["device"]: row["user"] for row in rows.devices}
    kept = [row for row in rows.connections if row["role"] == 0 and row["subscribed"] > 0]
    end = max([rows.drain_end, *(row["closed"] for row in kept)])
    found = {
        row["session"]: Session(
            row["session"], row["device"], owner[row["device"]], row["subscribed"], row["closed"] or end
        )
        for row in kept
    }
    for place, push in enumerate(rows.pushes):
        if push["session"] not in found or push["value"] <= 0:
            continue
        if push["kind"] not in (PushKind.MESSAGE, PushKind.READ, PushKind.DELIVERED):
            continue
        mine = found[push["session"]]
        mine.pushes.append((place, push))
        numbered = push["kind"] != PushKind.MESSAGE and push["version"] >= 0
        number = push["version"] if numbered else push["value"]
        about = thing(push["kind"], push["conversation"], push["actor"])
        mine.streams[about].append(Came(place, number, push))
        if push["kind"] == PushKind.READ and push["change_id"] >= 0:
            mine.streams[LOG].append(Came(place, push["change_id"], push))
    return found


def _cursor(push: Json) -> tuple[int, int]:
    return push["conversation"], push["user"]


def duplicates(rows: Rows) -> Wrong:
    wrong: Wrong = set()
    for session in sessions(rows).values():
        for stream in session.streams.values():
            seen: set[int] = set()
            for came in stream:
                if came.number in seen:
                    wrong.add(_cursor(came.push))
                seen.add(came.number)
    return wrong


def order(rows: Rows) -> Wrong:
    wrong: Wrong = set()
    for session in sessions(rows).values():
        for stream in session.streams.values():
            for i, came in enumerate(stream):
                before = [other.number for other in stream[:i]]
                if came.number not in before and max(before, default=-1) > came.number:
                    wrong.add(_cursor(came.push))
    return wrong


def regress(rows: Rows) -> Wrong:
    """A connection against all earlier ones of its device in the same epoch."""
    epoch = {row["session"]: row["version"] for row in rows.answered(Op.HELLO)}
    wrong: Wrong = set()
    every = sorted(sessions(rows).values(), key=lambda session: session.subscribed)
    for i, later in enumerate(every):
        for earlier in every[:i]:
            same = epoch.get(earlier.session, -1) == epoch.get(later.session, -1)
            if earlier.device != later.device or not same:
                continue
            for about, stream in later.streams.items():
                highest = max((came.number for came in earlier.streams.get(about, ())), default=-1)
                wrong |= {_cursor(came.push) for came in stream if came.number < highest}
    return wrong


def causal(rows: Rows) -> Wrong:
    wrong: Wrong = set()
    for session in sessions(rows).values():
        covered: dict[int, int] = defaultdict(int)
        seen: set[tuple[int, int]] = set()
        for _, push in session.pushes:
            conversation, value = push["conversation"], push["value"]
            if push["kind"] == PushKind.READ:
                covered[conversation] = max(covered[conversation], value)
            elif push["kind"] == PushKind.MESSAGE and (conversation, value) not in seen:
                seen.add((conversation, value))
                if covered[conversation] >= value:
                    wrong.add(_cursor(push))
    return wrong


# --- what never came ----------------------------------------------------------------------------------------


def gaps(rows: Rows) -> Wrong:
    every = sessions(rows)
    of_device: dict[int, list[Session]] = defaultdict(list)
    for session in every.values():
        of_device[session.device].append(session)
    wrong: Wrong = set()
    for operation, kind, conversation, value, people in _told(rows):
        for device in {device for person in people for device in rows.devices_of[person]}:
            for session in of_device[device]:
                asked = session.session == operation["session"] or session.subscribed >= operation["sent"]
                about = thing(kind, conversation, operation["user"])
                if not asked and _missing(rows, session, about, value, operation["acknowledged"]):
                    wrong.add((conversation, session.user))
    wrong |= _skipped_messages(rows, every)
    wrong |= _skipped_changes(rows, every)
    return wrong


def _missing(rows: Rows, session: Session, about: Thing, value: int, acknowledged: int) -> bool:
    stream = session.streams.get(about, [])
    if any(came.push["value"] == value for came in stream):
        return False
    later = [came.push["received"] for came in stream if came.push["value"] > value][:1]
    if later and later[0] <= session.closed - HOLE_NS:
        return True
    ended = rows.manifest["ended"]["how"] == "finished" and rows.manifest["drained"] is True
    outlived = session.closed >= rows.drain_end >= acknowledged and acknowledged + HOLE_NS <= session.closed
    return ended and outlived


def _told(rows: Rows) -> Iterator[tuple[Json, PushKind, int, int, set[int]]]:
    """(acknowledged change, kind, conversation, value, who has to be told of it)."""
    for row in rows.answered(Op.SEND):
        if row["value"] > 0 and not row["flags"] & DUPLICATE:
            members = set(rows.members_of[row["conversation"]])
            yield row, PushKind.MESSAGE, row["conversation"], row["value"], members
            yield from _implied(rows, row)
    for row in rows.answered(Op.DELIVERED):
        for conversation, up_to, _ in rows.applied(row):
            if rows.direct(conversation):
                peers = set(rows.members_of[conversation]) - {row["user"]}
                yield row, PushKind.DELIVERED, conversation, up_to, peers
    for row in rows.answered(Op.READ):
        for conversation, up_to, _ in rows.applied(row):
            receivers = _receivers(rows, conversation, row["user"], up_to)
            yield row, PushKind.READ, conversation, up_to, receivers | {row["user"]}


def _receivers(rows: Rows, conversation: int, reader: int, up_to: int) -> set[int]:
    """The direct peer; in a group the senders of what the READ newly covered, by all values that the cursor
    may have had."""
    members = rows.members_of[conversation]
    if rows.direct(conversation):
        return set(members) - {reader}
    limit = rows.manifest["run"].get("receipt_members") or 200
    if len(members) > limit or _sent_unanswered(rows, conversation, reader):
        return set()
    sender, before = _senders(rows, conversation), _before(rows, conversation, reader, up_to)
    return {sender[seq] for seq in range(before + 1, up_to + 1) if seq in sender} - {reader}


def _implied(rows: Rows, row: Json) -> Iterator[tuple[Json, PushKind, int, int, set[int]]]:
    """The reading that came with a SEND: of others' messages, if its sender had not read up to it."""
    conversation, sender, value = row["conversation"], row["user"], row["value"]
    unread = _before(rows, conversation, sender, value) < value - 1
    if unread and not _sent_unanswered(rows, conversation, sender):
        yield (
            row,
            PushKind.READ,
            conversation,
            value,
            _receivers(rows, conversation, sender, value) | {sender},
        )


def _sent_unanswered(rows: Rows, conversation: int, person: int) -> bool:
    return any(
        row["conversation"] == conversation and row["user"] == person for row in rows.unanswered(Op.SEND)
    )


def _before(rows: Rows, conversation: int, reader: int, up_to: int) -> int:
    """The highest value below `up_to` that the cursor may have had."""
    below = [rows.started[conversation, reader]]
    sends = [row for row in rows.happened(Op.SEND) if row["conversation"] == conversation]
    below += [row["value"] for row in sends if row["user"] == reader and row["value"] > 0]
    for row in rows.happened(Op.READ):
        if row["user"] == reader:
            below += [value for where, value in _may_have_read(rows, row) if where == conversation]
    return max([value for value in below if value < up_to], default=0)


def _may_have_read(rows: Rows, row: Json) -> list[tuple[int, int]]:
    """What a READ marked, but what its answer says that it changed nothing of."""
    if row["outcome"] == Outcome.INFO or row["version"] < 0:
        return list(rows.marked(row))
    return [(conversation, up_to) for conversation, up_to, _ in rows.applied(row)]


@lru_cache(maxsize=64)
def _senders(rows: Rows, conversation: int) -> dict[int, int]:
    """Who sent which message, as far as anybody knows."""
    members = rows.members_of[conversation]
    seeded = range(1, rows.conversations[conversation]["history"] + 1)
    sender = {seq: members[(seq - 1) % len(members)] for seq in seeded}
    sends = [row for row in rows.happened(Op.SEND) if row["conversation"] == conversation]
    if any(row["outcome"] == Outcome.INFO for row in sends):
        for push in rows.pushes:
            if push["kind"] == PushKind.MESSAGE and push["conversation"] == conversation:
                sender.setdefault(push["value"], push["actor"])
    first: dict[int, int] = {}
    for row in sends:
        if row["value"] > len(seeded):
            first.setdefault(row["value"], row["user"])
    return {**sender, **first}


def _skipped_messages(rows: Rows, every: dict[int, Session]) -> Wrong:
    """A lower and a higher message came, this one did not, and somebody shows that there is one."""
    known = _messages(rows, every)
    wrong: Wrong = set()
    for session in every.values():
        sent, silent = _asked(rows, session)
        messages = [about for about in session.streams if about[:1] == (PushKind.MESSAGE,)]
        for about in messages:
            conversation, stream = about[1], session.streams[about]
            for value in _between(session, stream, set(known[conversation])):
                excused = conversation in silent and not known[conversation][value]
                if (conversation, value) not in sent and not excused:
                    wrong.add((conversation, session.user))
    return wrong


def _messages(rows: Rows, every: dict[int, Session]) -> dict[int, dict[int, bool]]:
    """By conversation the seqs that there are, and whether the SEND of each was acknowledged."""
    known: dict[int, dict[int, bool]] = defaultdict(dict)
    for row in rows.answered(Op.SEND):
        if row["value"] > 0 and not row["flags"] & DUPLICATE:
            known[row["conversation"]][row["value"]] = True
    for session in every.values():
        for _, push in session.pushes:
            if push["kind"] == PushKind.MESSAGE:
                known[push["conversation"]].setdefault(push["value"], False)
    return known


def _between(session: Session, stream: list[Came], known: set[int]) -> set[int]:
    """The known numbers between two that came, where the upper one came early enough."""
    first: dict[int, int] = {}
    for came in stream:
        first.setdefault(came.number, came.push["received"])
    skipped = set()
    for number in known - first.keys():
        above = [other for other in first if other > number]
        lower = any(other < number for other in first)
        if above and lower and first[min(above)] <= session.closed - HOLE_NS:
            skipped.add(number)
    return skipped


def _asked(rows: Rows, session: Session) -> tuple[set[tuple[int, int]], set[int]]:
    """What messages the session sent itself, and where it sent some whose number nobody knows."""
    own = [row for row in rows.happened(Op.SEND) if row["session"] == session.session]
    sent = {(row["conversation"], row["value"]) for row in own if row["value"] > 0}
    return sent, {row["conversation"] for row in own if row["value"] <= 0}


def _skipped_changes(rows: Rows, every: dict[int, Session]) -> Wrong:
    """The same of each person's change log.  A change is what the first push of it said, else the SYNC."""
    known: dict[int, dict[int, tuple[Json, bool]]] = defaultdict(dict)
    in_order = sorted(
        ((place, push) for session in every.values() for place, push in session.pushes),
        key=lambda entry: entry[0],
    )
    for _, push in in_order:
        if push["kind"] == PushKind.READ and push["change_id"] >= 0:
            known[push["user"]].setdefault(push["change_id"], (push, True))
    for row in rows.answered(Op.SYNC):
        for item in rows.items_of[row["op_id"]]:
            if item["change_id"] >= 0:
                known[row["user"]].setdefault(item["change_id"], (item, False))
    unsure = {(row["conversation"], row["user"]) for row in rows.unanswered(Op.SEND)}
    unsure_reads = {
        (conversation, row["user"], value)
        for row in rows.unanswered(Op.READ)
        for conversation, value in rows.marked(row)
    }
    wrong: Wrong = set()
    for session in every.values():
        sent, silent = _asked(rows, session)
        read = {
            marked
            for row in rows.happened(Op.READ)
            if row["session"] == session.session
            for marked in rows.marked(row)
        }
        for number in _between(session, session.streams.get(LOG, []), set(known[session.user])):
            change, pushed = known[session.user][number]
            conversation, actor, value = (change[name] for name in ("conversation", "actor", "value"))
            here = (conversation, value) in read | sent or conversation in silent
            if actor == session.user and here:
                continue
            may_be_silent = (conversation, actor) in unsure or (conversation, actor, value) in unsure_reads
            if pushed or not may_be_silent:
                wrong.add((conversation, session.user))
    return wrong
