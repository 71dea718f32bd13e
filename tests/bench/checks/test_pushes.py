"""From a whole run's record to what is said of its pushes: nothing of a clean one, else what was planted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.checks import pushes
from bench.checks.check import EVERY_FINDING, Check, keep_findings
from bench.metrics.history import History
from bench.record import NONE, Op, Outcome, PushKind
from bench.results import Json, RunFolder
from tests.bench.synthetic import S, World, build, change_manifest

Ints = NDArray[np.int64]
GAPS, ORDER, TWICE, REGRESS = "push_gaps", "push_order", "push_duplicates", "push_regress"
CAUSAL = "receipt_before_message"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, World]:
    return build(tmp_path_factory.mktemp("run"), scheme="db")


@pytest.fixture
def history(made: tuple[RunFolder, World]) -> History:
    return History(made[0])


def judge(history: History, unknown: str = "") -> tuple[dict[str, Check], list[Json]]:
    judgement = pushes.judge(history, unknown)
    return {check.name: check for check in judgement.checks}, judgement.findings


def wrong(history: History, unknown: str = "") -> dict[str, int]:
    """The checks that found something, and how much."""
    return {name: check.violations for name, check in judge(history, unknown)[0].items() if check.violations}


def put(history: History, table: str, columns: dict[str, Any]) -> None:
    """Another table in its place."""
    vars(history)[table] = columns


def columns(history: History, table: str, rows: Ints | None = None) -> dict[str, Any]:
    found = getattr(history, table)
    return {name: found[name].copy() if rows is None else found[name][rows] for name in found}


def came(history: History, rows: Ints) -> None:
    """These rows of the record of pushes came, in this order, each session's at the times of its own."""
    record = columns(history, "pushes", rows)
    order = np.argsort(record["session"], kind="stable")
    received = record["received"].copy()
    received[order] = received[np.lexsort((received, record["session"]))]
    put(history, "pushes", record | {"received": received})


def every(history: History) -> Ints:
    return np.arange(len(history.pushes["kind"]))


def streams(history: History, kind: PushKind, at_least: int, *, own: bool = False) -> Iterator[Ints]:
    """The rows of each stream of a kind with so many pushes; `own`: of the person's own cursor."""
    record = history.pushes
    rows = np.flatnonzero((record["kind"] == kind) & ((record["change_id"] >= 0) == own))
    names = ("session", "conversation") if kind == PushKind.MESSAGE else ("session", "conversation", "actor")
    for key in sorted({tuple(int(record[name][row]) for name in names) for row in rows}):
        same = np.logical_and.reduce(
            [record[name][rows] == part for name, part in zip(names, key, strict=True)]
        )
        if np.count_nonzero(same) >= at_least:
            yield rows[same]


def test_a_clean_run_is_accused_of_nothing(history: History) -> None:
    checks, findings = judge(history)
    assert not findings
    assert set(checks) == {TWICE, ORDER, REGRESS, GAPS, CAUSAL}
    for check in checks.values():
        assert (check.violations, check.verdict, check.worst, check.promised) == (0, "pass", None, True)
        assert check.eligible > 500


@pytest.mark.parametrize("errors", [{"DEADLINE": 0.1, "UNAVAILABLE": 0.1}, {"RATE_LIMITED": 0.2}])
def test_errors_and_closed_sessions_accuse_nobody(tmp_path: Path, errors: dict[str, float]) -> None:
    assert not wrong(History(build(tmp_path, errors=errors, closed_devices=15)[0]))


def test_each_lost_push_is_found_and_no_other(tmp_path: Path) -> None:
    folder, world = build(tmp_path, lost_pushes=0.03, send_per_s=60)
    history = History(folder)
    lost = [
        told
        for which in ("receipt", "own_device", "implied")
        for told in world.told[which]
        if not told.arrived
    ]
    checks, findings = judge(history)
    assert len(lost) > 50
    assert wrong(history) == {GAPS: len(lost)}
    told = [finding["records"][0]["op_id"] for finding in findings]
    assert sorted(told) == sorted(told.write for told in lost)
    assert {finding["kind"] for finding in findings} == {"gap", "tail gap"}
    assert checks[GAPS].verdict == "fail"


def test_as_many_findings_are_kept_as_asked_for_and_all_are_counted(history: History) -> None:
    rows = every(history)
    came(history, np.sort(np.concatenate([rows, rows])))
    kept = {}
    for number in (5, EVERY_FINDING):
        with keep_findings(number):
            checks, findings = judge(history)
        kept[number] = sum(finding["check"] == TWICE for finding in findings)
        assert checks[TWICE].violations == len(rows)
    usual = sum(finding["check"] == TWICE for finding in judge(history)[1])
    assert (kept[5], usual, kept[EVERY_FINDING]) == (5, 1_000, len(rows))
    assert len(rows) > 1_000


def implied_and_missed(history: History, world: World) -> tuple[int, dict[str, Any]]:
    """How many receipts of the last reading that came with a SEND are taken out, and that SEND."""
    told = {one.write for one in world.told["implied"]}
    sends = [row for row in world.operations if row["op_id"] in told and row["value"] > 1]
    send = max(sends, key=lambda row: row["sent"])
    record = history.pushes
    about = (record["conversation"] == send["conversation"]) & (record["actor"] == send["user"])
    gone = about & (record["kind"] == PushKind.READ) & (record["value"] == send["value"])
    came(history, np.flatnonzero(~gone))
    return int(np.count_nonzero(gone)), send


def test_the_reading_that_a_send_implies_has_to_be_told(made: tuple[RunFolder, World]) -> None:
    history = History(made[0])
    missed, _ = implied_and_missed(history, made[1])
    assert missed > 0
    assert wrong(history) == {GAPS: missed}


def test_a_sender_who_may_have_read_all_before_is_held_to_nothing(made: tuple[RunFolder, World]) -> None:
    history = History(made[0])
    _, send = implied_and_missed(history, made[1])
    operations = columns(history, "operations")
    other = np.flatnonzero((operations["op"] == Op.READ) & (operations["outcome"] == Outcome.ALREADY_READ))[0]
    asked = {
        "outcome": Outcome.INFO, "user": send["user"], "conversation": send["conversation"],
        "argument": send["value"] - 1, "sent": send["sent"] - S, "acknowledged": 0,
    }  # fmt: skip
    for name, value in asked.items():
        operations[name][other] = value
    for name, column in operations.items():
        history.operations.replace(name, column)
    assert GAPS not in wrong(history)


@pytest.mark.parametrize("seed", range(4))
def test_any_that_are_taken_out_or_come_twice_are_found_and_no_others(history: History, seed: int) -> None:
    rng = np.random.default_rng(seed)
    record, rows = history.pushes, every(history)
    out = rng.random(len(rows)) < 0.1
    twice = rows[~out & (rng.random(len(rows)) < 0.1)]
    names = ("conversation", "actor", "value")
    removed = sorted(tuple(int(record[name][row]) for name in names) for row in rows[out])
    came(history, np.sort(np.concatenate([rows[~out], twice])))
    checks, findings = judge(history)
    assert wrong(history) == {GAPS: len(removed), TWICE: len(twice)}
    assert checks[GAPS].eligible == len(rows)
    gone = [finding for finding in findings if finding["check"] == GAPS]
    told = sorted((f["conversation"], f["records"][0]["user"], f["value"]) for f in gone)
    assert told == removed


@pytest.mark.parametrize("kind", [PushKind.MESSAGE, PushKind.READ, PushKind.DELIVERED])
def test_one_that_never_came_though_a_later_one_did(history: History, kind: PushKind) -> None:
    first = next(streams(history, kind, 3))
    expected = {
        name: int(history.pushes[name][first[1]]) for name in ("value", "device", "conversation", "user")
    }
    came(history, np.delete(every(history), first[1]))
    checks, (finding,) = judge(history)
    assert wrong(history) == {GAPS: 1}
    assert finding["kind"] == "gap"
    assert {name: finding[name] for name in expected} == expected
    change, later = finding["records"]
    assert (change["part"], change["value"], later["part"]) == ("write", expected["value"], "push")
    assert later["value"] > expected["value"]
    assert checks[GAPS].worst == finding


@pytest.mark.parametrize("kind", [PushKind.MESSAGE, PushKind.READ, PushKind.DELIVERED])
def test_a_last_one_that_never_came(history: History, kind: PushKind) -> None:
    last = next(streams(history, kind, 3))[-1]
    came(history, np.delete(every(history), last))
    _, (finding,) = judge(history)
    assert wrong(history) == {GAPS: 1}
    assert (finding["kind"], len(finding["records"])) == ("tail gap", 1)


def test_what_was_still_on_its_way_is_not_lost(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, lost_pushes=0.03)
    kinds = {finding["kind"] for finding in judge(History(folder))[1]}
    change_manifest(folder, drained=False)
    checks, findings = judge(History(folder))
    assert kinds == {"gap", "tail gap"}
    assert {finding["kind"] for finding in findings} == {"gap"}
    assert "on its way" in checks[GAPS].unknown


def test_a_hole_in_the_record_is_no_gap(history: History) -> None:
    came(history, np.delete(every(history), next(streams(history, PushKind.MESSAGE, 3))[1]))
    checks, findings = judge(history, unknown="rows are missing")
    assert not findings
    assert {check.verdict for check in checks.values()} == {"unknown"}


def test_a_session_that_ended_within_a_second_may_have_missed_it(history: History) -> None:
    rows = next(streams(history, PushKind.DELIVERED, 3))
    session, received = history.pushes["session"][rows[0]], history.pushes["received"]
    closed = int(received[rows[2]]) + S // 2
    mine = (history.pushes["session"] == session) & (received > closed)
    connections = columns(history, "connections")
    connections["closed"][connections["session"] == session] = closed
    put(history, "connections", connections)
    came(history, np.setdiff1d(every(history), [*np.flatnonzero(mine), rows[1]]))
    assert not wrong(history)


def test_what_nobody_was_told_of_may_not_have_happened(history: History) -> None:
    """A READ without an answer whose receipt went to one device: it counts only where it was pushed."""
    record, operations = history.pushes, columns(history, "operations")
    for rows in streams(history, PushKind.READ, 3):
        name = {column: int(record[column][rows[1]]) for column in ("conversation", "actor", "value")}
        told = np.logical_and.reduce([record[column] == value for column, value in name.items()])
        told &= record["kind"] == PushKind.READ
        if np.count_nonzero(told) == 1:
            break
    read = (operations["op"] == Op.READ) & (operations["conversation"] == name["conversation"])
    read &= (operations["user"] == name["actor"]) & (operations["argument"] == name["value"])
    came(history, np.delete(every(history), rows[1]))
    assert wrong(history) == {GAPS: 1}
    operations["outcome"][read] = Outcome.INFO
    put(history, "operations", operations)
    assert not wrong(history)


def test_an_unanswered_message_that_others_were_pushed(history: History) -> None:
    """Nobody acknowledged it, so only its neighbours in the stream and another device's push tell of it."""
    record, operations = history.pushes, columns(history, "operations")
    rows = next(
        rows for rows in streams(history, PushKind.MESSAGE, 3)
        if not history.membership.direct[record["conversation"][rows[0]]]
    )  # fmt: skip
    conversation, seq = int(record["conversation"][rows[1]]), int(record["value"][rows[1]])
    send = (operations["op"] == Op.SEND) & (operations["conversation"] == conversation)
    send &= operations["value"] == seq
    operations["outcome"][send], operations["value"][send] = Outcome.INFO, NONE
    put(history, "operations", operations)
    assert not wrong(history)  # not even by its own session, which was not told
    came(history, np.delete(every(history), rows[1]))
    _, (finding,) = judge(history)
    assert (finding["kind"], finding["value"]) == ("gap", seq)
    assert [record["part"] for record in finding["records"]] == ["push", "push"]


def test_a_change_that_a_sync_lists(history: History) -> None:
    """A READ that was only queued: nobody knows what it did, but a SYNC numbers it between two that came."""
    record, operations = history.pushes, columns(history, "operations")
    session = int(record["session"][next(streams(history, PushKind.READ, 3, own=True))[0]])
    log = np.flatnonzero((record["session"] == session) & (record["change_id"] >= 0))
    name = {column: int(record[column][log[1]]) for column in ("conversation", "actor", "value", "change_id")}
    told = record["kind"] == PushKind.READ
    for column in ("conversation", "actor", "value"):
        told &= record[column] == name[column]
    user = int(record["user"][log[1]])
    own = told & (record["user"] == user)
    came(history, np.setdiff1d(every(history), np.flatnonzero(told)))
    read = (operations["op"] == Op.READ) & (operations["conversation"] == name["conversation"])
    read &= (operations["user"] == name["actor"]) & (operations["argument"] == name["value"])
    operations["flags"][read], operations["version"][read] = 0, NONE
    put(history, "operations", operations)
    others = {GAPS: int(np.count_nonzero(own))}
    items = columns(history, "items")
    unlisted = np.zeros(len(items["value"]), np.bool_)
    for column in ("conversation", "actor", "value"):
        unlisted |= items[column] != name[column]
    unlisted |= items["change_id"] < 0
    put(history, "items", {column: values[unlisted] for column, values in items.items()})
    assert not wrong(history)
    sync = np.flatnonzero((operations["op"] == Op.SYNC) & (operations["user"] == user))[0]
    listed = {
        column: np.append(values, name.get(column, 0)) for column, values in columns(history, "items").items()
    }
    listed["op_id"][-1] = operations["op_id"][sync]
    put(history, "items", listed)
    assert wrong(history) == others
    finding = judge(history)[1][0]
    assert [(part["part"], part["op"]) for part in finding["records"]] == [
        ("read", "SYNC"), ("push", "push READ")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [PushKind.MESSAGE, PushKind.READ, PushKind.DELIVERED])
def test_one_that_came_twice(history: History, kind: PushKind) -> None:
    row = next(streams(history, kind, 3))[0]
    came(history, np.insert(every(history), row + 1, row))
    _, (finding,) = judge(history)
    assert wrong(history) == {TWICE: 1}
    assert [part["value"] for part in finding["records"]] == [history.pushes["value"][row]] * 2


@pytest.mark.parametrize("own", [False, True])
def test_one_that_came_after_two_later_ones(history: History, own: bool) -> None:
    rows = next(streams(history, PushKind.READ, 3, own=own))[:3]
    order = np.delete(every(history), rows[0])
    came(history, np.insert(order, rows[2], rows[0]))
    _, (finding,) = judge(history)
    assert wrong(history) == {ORDER: 1}
    before, late = finding["records"]
    assert before["version"] > late["version"]
    assert finding["extent"] == 2
    assert finding["age_s"] == pytest.approx(late["received_s"] - before["received_s"], abs=1e-5)


def test_changes_of_one_log_are_in_order_over_all_conversations(history: History) -> None:
    """Two pushes of the person's log about different conversations, the wrong way round."""
    record = history.pushes
    first = next(streams(history, PushKind.READ, 1, own=True))[0]
    log = np.flatnonzero((record["session"] == record["session"][first]) & (record["change_id"] >= 0))
    i = next(
        i for i in range(len(log) - 1) if record["conversation"][log[i]] != record["conversation"][log[i + 1]]
    )
    order = every(history)
    order[[log[i], log[i + 1]]] = log[i + 1], log[i]
    came(history, order)
    assert wrong(history)[ORDER] == 1


def test_a_receipt_before_its_message(history: History) -> None:
    record = history.pushes
    for rows in streams(history, PushKind.MESSAGE, 1):
        same = (record["session"] == record["session"][rows[-1]]) & (record["kind"] == PushKind.READ)
        same &= record["conversation"] == record["conversation"][rows[-1]]
        receipts = np.flatnonzero(same & (record["value"] >= record["value"][rows[-1]]))
        logged = (record["session"] == record["session"][rows[-1]]) & (record["change_id"] >= 0)
        if len(receipts) and not (same | logged)[rows[-1] : receipts[0]].any():
            break
    came(history, np.insert(np.delete(every(history), receipts[0]), rows[-1], receipts[0]))
    _, (finding,) = judge(history)
    assert wrong(history) == {CAUSAL: 1}
    receipt, message = finding["records"]
    assert (receipt["op"], message["op"]) == ("push READ", "push MESSAGE")
    assert receipt["value"] >= message["value"]


def reconnected(history: History) -> tuple[int, Ints]:
    """One device comes back on another session in the middle of the run: that session, and the rows of its
    pushes on streams that had one before."""
    record, middle = columns(history, "pushes"), (history.window.measure + history.window.measure_end) // 2
    connections, operations = columns(history, "connections"), columns(history, "operations")
    rows = max(streams(history, PushKind.DELIVERED, 3), key=len)
    old = int(record["session"][rows[0]])
    new = old | 0x1000
    connections = {
        name: np.append(values, values[connections["session"] == old]) for name, values in connections.items()
    }
    connections["session"][-1], connections["subscribed"][-1] = new, middle + 1
    connections["closed"][np.flatnonzero(connections["session"] == old)] = middle
    put(history, "connections", connections)
    record["session"][(record["session"] == old) & (record["received"] > middle)] = new
    put(history, "pushes", record)
    operations["session"][(operations["session"] == old) & (operations["sent"] > middle)] = new
    put(history, "operations", operations)
    return new, rows[record["session"][rows] == new]


def test_a_reconnect_accuses_nobody(history: History) -> None:
    _, later = reconnected(history)
    assert len(later)
    assert not wrong(history)


def test_a_version_that_starts_again_on_the_next_connection(history: History) -> None:
    session, later = reconnected(history)
    record = columns(history, "pushes")
    record["version"][later] = 1 + np.arange(len(later))
    put(history, "pushes", record)
    assert wrong(history) == {REGRESS: len(later)}
    before, after = judge(history)[1][0]["records"]
    assert (before["version"] > after["version"], after["session"]) == (True, session)
    operations = columns(history, "operations")
    hello = (operations["op"] == Op.HELLO) & (operations["session"] != session)
    operations["version"][hello] = 9  # another epoch than the new session's: its versions start again
    put(history, "operations", operations)
    assert not wrong(history)
