"""Badge-error seconds: small histories by hand, random ones against a plain simulation of every device."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bench.metrics import badge
from bench.metrics.badge import Badge, Cause
from bench.metrics.history import History
from bench.record import CONNECTIONS, ITEMS, NONE, OPERATIONS, PUSHES, Op, Outcome, Phase, PushKind
from bench.results import CONVERSATIONS, DEVICES, MEMBERS, RunFolder
from tests.bench.synthetic import MS, START, S, build, change_manifest, rows

ANN, BOB = 0, 1
PHONE, TABLET, BOBS = 0, 1, 2
"""Devices: two of ANN's, one of BOB's.  Session = device."""
OWNER = {PHONE: ANN, TABLET: ANN, BOBS: BOB}
MEASURE, MEASURE_END, DRAIN_END = START + S, START + 11 * S, START + 12 * S
T = MEASURE + S


class Tiny:
    """Conversation 0 of ANN and BOB, four seeded messages, all read; everybody signed in with STATE at
    MEASURE."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder: RunFolder
        self.folder, _ = build(tmp_path, people=6, groups=0, probes=0, measure_s=2)
        for file in self.folder.path.glob("*.parquet"):
            file.unlink()
        window = {"start": START, "measure": MEASURE, "measure_end": MEASURE_END, "drain_end": DRAIN_END}
        change_manifest(self.folder, window=window)
        self.folder.write_once("conversations", rows(CONVERSATIONS, [{"kind": 0, "history": 4}]))
        members = [{"conversation": 0, "user": user, "read_seq": 4} for user in (ANN, BOB)]
        self.folder.write_once("members", rows(MEMBERS, members))
        owners = [{"device": device, "user": user} for device, user in OWNER.items()]
        self.folder.write_once("devices", rows(DEVICES, owners))
        self.connections = [
            {"subscribed": START + 1, "session": device, "user": user, "device": device}
            for device, user in OWNER.items()
        ]
        self.operations: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.pushes: list[dict[str, Any]] = []
        for device in OWNER:
            self.state(device, MEASURE, read=4, last=4)

    def operation(self, op: Op, device: int, sent: int, took: int, **values: Any) -> None:
        row = {
            "op_id": len(self.operations), "plan": NONE, "op": op, "intended": sent, "sent": sent,
            "acknowledged": sent + took, "outcome": Outcome.OK, "phase": Phase.MEASURE, "version": NONE,
            "value": NONE, "unread": NONE, "argument": NONE, "session": device, "device": device,
            "user": OWNER[device],
        }  # fmt: skip
        self.operations.append(row | values)

    def send(self, device: int, sent: int, seq: int, took: int = MS, **values: Any) -> None:
        self.operation(Op.SEND, device, sent, took, value=seq, **values)

    def read(
        self, device: int, sent: int, up_to: int, unread: int = 0, took: int = MS, **values: Any
    ) -> None:
        self.operation(Op.READ, device, sent, took, argument=up_to, value=up_to, unread=unread, **values)

    def state(self, device: int, at: int, *, read: int, last: int, version: int = NONE) -> None:
        """Answered at `at`."""
        op_id = len(self.operations)
        self.operation(Op.STATE, device, at - MS, MS, items=1, conversation=0xFFFFFFFF)
        item = {"value": read, "unread": last - read, "last_seq": last, "version": version}
        self.items.append(item | {"op_id": op_id, "actor": OWNER[device]})

    def message(self, device: int, at: int, seq: int, sender: int = BOB) -> None:
        self._push(PushKind.MESSAGE, device, at, value=seq, actor=sender)

    def update(self, device: int, at: int, up_to: int, unread: int = 0, version: int = NONE) -> None:
        self._push(
            PushKind.READ, device, at, value=up_to, unread=unread, version=version, actor=OWNER[device]
        )

    def _push(self, kind: PushKind, device: int, at: int, **values: Any) -> None:
        row = {"kind": kind, "received": at, "session": device, "device": device, "user": OWNER[device]}
        self.pushes.append({"version": NONE, "unread": NONE} | row | values)

    def history(self) -> History:
        self.folder.write_rows("operations", 0, rows(OPERATIONS, self.operations))
        self.folder.write_rows("items", 0, rows(ITEMS, self.items))
        self.folder.write_rows("pushes", 0, rows(PUSHES, self.pushes))
        self.folder.write_rows("connections", 0, rows(CONNECTIONS, self.connections))
        return History(self.folder)

    def errors(self) -> list[tuple[int, str, float]]:
        """(device, cause, message-ms) of each episode, by device and time."""
        found = badge.badge(self.history())
        return [
            (int(found.device[i]), Cause(int(found.cause[i])).name, float(found.wrong[i]) / MS)
            for i in range(len(found.wrong))
        ]


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path)


def told(tiny: Tiny, seq: int, at: int, *devices: int) -> None:
    """BOB's message, told to these of ANN's devices the moment it is acknowledged."""
    tiny.send(BOBS, at - MS, seq)
    for device in devices:
        tiny.message(device, at, seq)


def test_what_is_told_at_once_is_no_error(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE, TABLET)
    tiny.read(PHONE, T + S, 5, took=MS)
    tiny.update(TABLET, T + S + MS, 5)
    assert tiny.errors() == []


def test_a_message_is_late_by_how_long_its_push_comes_after_its_ack(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    tiny.message(TABLET, T + 70 * MS, 5)
    assert tiny.errors() == [(TABLET, "LATE", 70)]


def test_while_it_is_on_its_way_both_answers_are_right(tiny: Tiny) -> None:
    tiny.send(BOBS, T, 5, took=200 * MS)
    tiny.message(PHONE, T + 10 * MS, 5)
    tiny.message(TABLET, T + 190 * MS, 5)
    tiny.read(PHONE, T + S, 5, took=300 * MS)
    tiny.update(TABLET, T + S + 10 * MS, 5)
    assert tiny.errors() == []


def test_a_read_elsewhere_is_late_too(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE, TABLET)
    tiny.read(PHONE, T + S, 5, took=MS)
    tiny.update(TABLET, T + S + 41 * MS, 5)
    assert tiny.errors() == [(TABLET, "LATE", 40)]


def test_a_push_that_never_comes_is_lost_until_the_app_is_opened(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    tiny.state(TABLET, T + 3 * S, read=4, last=5)
    assert tiny.errors() == [(TABLET, "LOST", 3_000)]


def test_an_error_counts_to_the_end_of_the_window_only(tiny: Tiny) -> None:
    told(tiny, 5, MEASURE_END - 100 * MS, PHONE)
    assert tiny.errors() == [(TABLET, "LOST", 100)]


def test_an_error_of_two_messages_counts_twice(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    told(tiny, 6, T + 100 * MS, PHONE)
    for seq in (5, 6):
        tiny.message(TABLET, T + 300 * MS, seq)
    assert tiny.errors() == [(TABLET, "LATE", 100 + 2 * 200)]


def test_a_late_read_stays_late_when_another_message_comes_meanwhile(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE, TABLET)
    tiny.read(PHONE, T + S, 5, took=0)
    told(tiny, 6, T + S + 50 * MS, PHONE, TABLET)
    tiny.update(TABLET, T + S + 80 * MS, 5, unread=1)
    found = tiny.errors()
    assert [cause for _, cause, _ in found] == ["LATE", "LATE"]  # both answers were right for 1 ms
    assert sum(ms for _, _, ms in found) == 79


def test_a_stale_state_brings_back_what_was_read(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE, TABLET)
    tiny.read(PHONE, T + S, 5, took=0)
    tiny.update(TABLET, T + S, 5)
    tiny.state(TABLET, T + 2 * S, read=4, last=5)
    tiny.state(TABLET, T + 4 * S, read=5, last=5)
    assert tiny.errors() == [(TABLET, "RESURRECTED", 2_000)]


def test_a_message_that_comes_after_it_was_read_is_resurrected(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    tiny.read(PHONE, T + S, 5, took=0)
    tiny.message(TABLET, T + 2 * S, 5)
    tiny.update(TABLET, T + 3 * S, 5)
    assert tiny.errors() == [(TABLET, "LATE", 1_000), (TABLET, "RESURRECTED", 1_000)]


def test_a_device_that_knows_of_the_read_does_not_count_its_message(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    tiny.read(PHONE, T + S, 5, took=0)
    tiny.update(TABLET, T + S, 5)
    tiny.message(TABLET, T + 2 * S, 5)
    assert tiny.errors() == [(TABLET, "LATE", 1_000)]


def test_a_message_that_a_number_covers_does_not_count_again(tiny: Tiny) -> None:
    tiny.send(BOBS, T, 5, took=0)
    tiny.state(TABLET, T, read=4, last=5)
    tiny.message(TABLET, T + 20 * MS, 5)
    tiny.message(PHONE, T, 5)
    tiny.message(PHONE, T + 10 * MS, 5)  # the same once more
    assert tiny.errors() == []


def test_what_came_beyond_a_number_is_added_to_it(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE, TABLET)
    tiny.state(TABLET, T + 10 * MS, read=4, last=4)
    assert tiny.errors() == []


def test_an_older_update_is_ignored(tiny: Tiny) -> None:
    for seq in (5, 6):
        told(tiny, seq, T, PHONE, TABLET)
    tiny.read(PHONE, T + S, 5, unread=1, took=0, version=1)
    tiny.read(PHONE, T + S, 6, took=0, version=2)
    tiny.update(TABLET, T + S, 6, version=2)
    tiny.update(TABLET, T + 2 * S, 5, unread=1, version=1)
    assert tiny.errors() == []


def test_sending_implies_reading(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE, TABLET)
    tiny.send(PHONE, T + S, 6, took=0)
    tiny.message(TABLET, T + S + 30 * MS, 6, sender=ANN)
    tiny.message(BOBS, T + S, 6, sender=ANN)
    assert tiny.errors() == [(TABLET, "LATE", 30)]


def test_an_unanswered_send_makes_both_answers_right(tiny: Tiny) -> None:
    tiny.send(BOBS, T, NONE, outcome=Outcome.INFO, acknowledged=0)
    tiny.message(PHONE, T + S, 5)
    assert tiny.errors() == []


def test_an_unanswered_read_makes_both_answers_right(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE, TABLET)
    tiny.read(PHONE, T + S, 5, outcome=Outcome.INFO)
    tiny.update(TABLET, T + 2 * S, 5)
    assert tiny.errors() == []


def test_a_retried_send_began_with_its_first_attempt(tiny: Tiny) -> None:
    tiny.send(BOBS, T, NONE, outcome=Outcome.INFO, acknowledged=0, plan=7)
    tiny.message(PHONE, T + 10 * MS, 5)
    tiny.send(BOBS, T + 5 * S, 5, took=0, plan=7, attempt=1)
    tiny.message(TABLET, T + 5 * S + 9 * MS, 5)
    assert tiny.errors() == [(TABLET, "LATE", 9)]


def test_without_a_session_nothing_is_shown(tiny: Tiny) -> None:
    tiny.connections[TABLET]["closed"] = T
    told(tiny, 5, T + S, PHONE)
    tiny.connections.append({"subscribed": T + 3 * S, "session": 9, "user": ANN, "device": TABLET})
    tiny.state(TABLET, T + 3 * S + 10 * MS, read=4, last=5)
    assert tiny.errors() == []
    connected = 10 + 10 + 1 + (MEASURE_END - T - 3 * S) / S
    assert badge.badge(tiny.history()).connected_s == pytest.approx(connected)


def test_a_session_that_ends_before_the_push_could_come_is_not_lost(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    tiny.connections[TABLET]["closed"] = T + S
    assert tiny.errors() == [(TABLET, "LATE", 1_000)]


def test_queued_acknowledgements_say_no_number(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    told(tiny, 6, T + 10 * MS, PHONE)
    tiny.read(PHONE, T + S, 5, unread=NONE, took=0)
    tiny.state(TABLET, T + 10 * MS, read=4, last=6)
    tiny.update(TABLET, T + S, 5, unread=1)
    assert [one for one in tiny.errors() if one[0] == PHONE] == []


def test_the_summary_is_per_hour_of_a_device(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    tiny.message(TABLET, T + 90 * MS, 5)
    entry = badge.summarise(badge.badge(tiny.history()))
    assert entry["user_hours"] == pytest.approx(30 / 3600, abs=1e-6)
    assert entry["error_s"] == {"late": 0.09, "lost": 0, "resurrected": 0, "total": 0.09}
    assert entry["error_s_per_user_hour"]["late"] == pytest.approx(0.09 / (30 / 3600))
    assert entry["episodes"] == {"late": 1, "lost": 0, "resurrected": 0}
    assert entry["worst"]["device"] == TABLET
    assert entry["worst"]["largest"] == 1


def test_every_kth_device_is_enough_of_many(tiny: Tiny) -> None:
    told(tiny, 5, T, PHONE)
    found = badge.badge(tiny.history(), devices_max=2)
    assert found.step == 2
    assert set(found.device.tolist()) <= {PHONE, BOBS}
    assert found.connected_s == 20


def test_without_a_state_nothing_is_known(tiny: Tiny) -> None:
    tiny.operations.clear()
    tiny.items.clear()
    assert badge.summarise(badge.badge(tiny.history())) == {"available": False, "why_not": badge.NOT_SHOWN}


# --- against a plain simulation ---------------------------------------------------------------------------


def simulated(history: History) -> dict[tuple[int, int], float]:
    """Message-ns of wrong badges by device and cause, event by event, with dictionaries."""
    spent: dict[tuple[int, int], float] = defaultdict(float)
    for device, user in OWNER.items():
        for cause, wrong in _device(history, device, user):
            spent[device, cause] += wrong
    return spent


Event = tuple[int, int, str, dict[str, int]]
"""(when, order at equal times, what, with what)."""


def _device(history: History, device: int, user: int) -> list[tuple[int, float]]:
    events: list[Event] = []
    for i in range(history.operations.rows):
        op = {name: int(history.operations[name][i]) for name in history.operations}
        if op["op"] == Op.SEND:
            events += _of_send(op, device, user)
        elif op["op"] == Op.READ and op["outcome"] != Outcome.FAIL:
            events += _of_read(op, device, user)
        elif op["op"] == Op.STATE and op["device"] == device:
            events.append(_of_state(history, op))
    for i in range(history.pushes.rows):
        push = {name: int(history.pushes[name][i]) for name in history.pushes}
        if push["device"] == device:
            events += _of_push(push, user)
    return Screen(sorted(events, key=lambda event: event[:2])).episodes()


def _of_send(op: dict[str, int], device: int, user: int) -> list[Event]:
    mine = op["user"] == user
    if op["outcome"] != Outcome.OK:
        everything = [(op["sent"], 4, "reading", {"seq": 1 << 40})] if mine else []
        return [(op["sent"], 2, "unknown", {}), *everything]
    seq = {"seq": op["value"]}
    found: list[Event] = [(op["acknowledged"], 0, "complete", seq), (op["sent"], 1, "begun", seq)]
    if mine:
        found += [(op["acknowledged"], 3, "read", seq), (op["sent"], 4, "reading", seq)]
    if op["device"] == device:
        found.append((op["acknowledged"], 9, "ack", seq | {"unread": NONE, "version": NONE}))
    return found


def _of_read(op: dict[str, int], device: int, user: int) -> list[Event]:
    if op["user"] != user:
        return []
    found: list[Event] = [(op["sent"], 4, "reading", {"seq": op["argument"]})]
    if op["outcome"] == Outcome.OK:
        found.append((op["acknowledged"], 3, "read", {"seq": op["argument"]}))
        if op["device"] == device:
            said = {"seq": op["value"], "unread": op["unread"], "version": op["version"]}
            found.append((op["acknowledged"], 9, "ack", said))
    return found


def _of_state(history: History, op: dict[str, int]) -> Event:
    items = history.items
    (place,) = [i for i in range(items.rows) if items["op_id"][i] == op["op_id"]]
    item = {name: int(items[name][place]) for name in items}
    said = {"seq": item["value"], "unread": item["unread"], "version": item["version"]}
    return (op["acknowledged"], 5, "state", said | {"covers": item["last_seq"]})


def _of_push(push: dict[str, int], user: int) -> list[Event]:
    said = {"seq": push["value"], "unread": push["unread"], "version": push["version"]}
    if push["kind"] == PushKind.MESSAGE:
        own = push["actor"] == user
        return [(push["received"], 7 if own else 6, "own" if own else "message", said)]
    return [(push["received"], 8, "update", said)] if push["actor"] == user else []


class Screen:
    """One badge, followed from event to event."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.complete = self.begun = self.read = self.reading = 4
        self.unknown = self.cursor = self.covered = 0
        self.version = NONE
        self.shown: int | None = None
        self.had: set[int] = set()

    def episodes(self) -> list[tuple[int, float]]:
        """(cause, message-ns) of each."""
        found: list[tuple[int, float]] = []
        before = 0
        for place, (at, _, kind, said) in enumerate(self.events):
            resurrects = self.happens(kind, said)
            error = self.error()
            if error and (error > 0) != (before > 0 if before else None):
                found.append((self.cause(error, resurrects, place), 0.0))
            until = self.events[place + 1][0] if place + 1 < len(self.events) else DRAIN_END
            if error:
                inside = max(0, min(until, MEASURE_END) - max(at, MEASURE))
                found[-1] = (found[-1][0], found[-1][1] + abs(error) * inside)
            before = error
        return found

    def happens(self, kind: str, said: dict[str, int]) -> bool:
        """Whether the device is told of something that is read, if its badge is too high then."""
        if kind in ("complete", "begun", "read", "reading"):
            setattr(self, kind, max(getattr(self, kind), said["seq"]))
            return False
        if kind == "unknown":
            self.unknown += 1
            return False
        if kind == "message":
            return self.message(said["seq"])
        self.number(kind, said)
        return True

    def message(self, seq: int) -> bool:
        counts = seq not in self.had and seq > self.covered
        self.had.add(seq)
        if counts and self.shown is not None:
            self.shown += 1
        return counts and seq <= self.read

    def number(self, kind: str, said: dict[str, int]) -> None:
        versioned = said["version"] >= 0
        mine, before = (said["version"], self.version) if versioned else (said["seq"], self.cursor)
        self.cursor, self.version = max(self.cursor, said["seq"]), max(self.version, said["version"])
        if kind != "state" and (mine < before or (kind == "update" and mine == before)):
            return
        unread = max(0, said["unread"])
        covers = said.get("covers", said["seq"] + unread)
        self.covered = max(self.covered, covers)
        if kind == "state" or self.shown is not None:
            self.shown = unread + sum(seq > covers for seq in self.had)

    def error(self) -> int:
        if self.shown is None:
            return 0
        low = max(0, self.complete - max(self.reading, self.read))
        high = max(0, max(self.begun, self.complete) + self.unknown - self.read)
        return max(0, self.shown - high) or min(0, self.shown - low)

    def cause(self, error: int, resurrects: bool, place: int) -> Cause:
        if error > 0 and resurrects:
            return Cause.RESURRECTED
        later = [(kind, said.get("seq", 0)) for _, _, kind, said in self.events[place:]]
        if error < 0:
            comes = any(kind in ("message", "own") and seq <= self.complete for kind, seq in later)
        else:
            comes = any(kind in ("update", "own") and seq >= self.read for kind, seq in later)
        return Cause.LATE if comes else Cause.LOST


def random_history(tiny: Tiny, seed: int) -> History:
    """People talk and read; pushes are late, lost, doubled and out of order; states are stale."""
    rng = random.Random(seed)
    at, seq, version = T, 4, 0
    read = {ANN: 4, BOB: 4}
    for _ in range(14):
        at += rng.randrange(1, 400) * MS
        took = rng.randrange(0, 150) * MS
        device = rng.choice((PHONE, TABLET, BOBS))
        user = OWNER[device]
        others = [other for other in OWNER if other != device]
        chance = rng.random()
        if chance < 0.45:
            seq += 1
            lost = rng.random() < 0.1
            tiny.send(device, at, NONE if lost else seq, took, outcome=Outcome.INFO if lost else Outcome.OK)
            read[user] = seq
            for other in others:
                for _copy in range(rng.choice((0, 1, 1, 1, 1, 2))):
                    tiny.message(other, at + rng.randrange(0, 700) * MS, seq, sender=user)
        elif chance < 0.8:
            version += 1
            up_to = rng.randrange(4, seq + 1)
            read[user] = max(read[user], up_to)
            outcome = rng.choice((Outcome.OK, Outcome.OK, Outcome.OK, Outcome.INFO, Outcome.FAIL))
            said = rng.choice((version, NONE))
            unread = rng.choice((seq - up_to, NONE))
            tiny.read(device, at, up_to, unread, took, outcome=outcome, version=said)
            for other in others:
                if OWNER[other] == user and rng.random() < 0.8 and outcome != Outcome.FAIL:
                    tiny.update(other, at + rng.randrange(0, 700) * MS, up_to, unread, said)
        else:
            stale = rng.choice((0, 0, 1))
            tiny.state(device, at + took, read=max(4, read[user] - stale), last=seq, version=NONE)
    return tiny.history()


@pytest.mark.parametrize("seed", range(40))
def test_random_histories_agree_with_the_simulation(tiny: Tiny, seed: int) -> None:
    history = random_history(tiny, seed)
    found = badge.badge(history)
    assert by_cause(found) == {key: wrong for key, wrong in simulated(history).items() if wrong}


def by_cause(found: Badge) -> dict[tuple[int, int], float]:
    spent: dict[tuple[int, int], float] = defaultdict(float)
    for device, cause, wrong in zip(found.device, found.cause, found.wrong, strict=True):
        spent[int(device), int(cause)] += float(wrong)
    return dict(spent)
