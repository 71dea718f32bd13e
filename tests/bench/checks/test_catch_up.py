"""From a whole run's record to what is said of SYNC, of versions and of devices: nothing of a clean one, else
exactly what was planted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.checks import catch_up
from bench.checks.check import Check, Judgement
from bench.metrics.history import History
from bench.record import DUPLICATE, MORE, NONE, RESET, TABLES, Op, Outcome, PushKind
from bench.results import Json, RunFolder
from tests.bench.synthetic import S, build, change_manifest

COMPLETE, PAGES, VERSIONS, DEVICES = "sync_complete", "sync_pages", "versions", "device_state"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return build(tmp_path_factory.mktemp("run"), scheme="db", visible_us=0)[0]


def judge(history: History, unknown: str = "") -> tuple[dict[str, Check], list[Json]]:
    judgement: Judgement = catch_up.judge(history, unknown)
    return {check.name: check for check in judgement.checks}, judgement.findings


def only(history: History, name: str, violations: int = 1) -> list[Json]:
    """The findings, after asserting that this check alone fails, with so many violations."""
    checks, findings = judge(history)
    assert {check: found.violations for check, found in checks.items() if found.violations} == {
        name: violations
    }
    return findings


def change(table: Any, row: int, **values: int) -> None:
    for column, value in values.items():
        changed = table[column].copy()
        changed[row] = value
        table.replace(column, changed)


def items(history: History) -> list[tuple[int, int]]:
    """(row of items, row of operations) of all items of SYNCs, latest first."""
    operations = history.operations
    syncs = {int(operations["op_id"][row]): int(row) for row in np.flatnonzero(operations["op"] == Op.SYNC)}
    owned = [(i, syncs[int(o)]) for i, o in enumerate(history.items["op_id"]) if int(o) in syncs]
    return sorted(owned, key=lambda pair: -int(operations["sent"][pair[1]]))


def pushes_of(history: History, item: int, device: int) -> list[int]:
    """Rows of the pushes by which this device was told of the change of an item."""
    pushes, told = history.pushes, history.items
    same = (pushes["kind"] == PushKind.READ) & (pushes["device"] == device)
    for column in ("conversation", "actor", "version"):
        same &= pushes[column] == told[column][item]
    return np.flatnonzero(same).tolist()


def proofs_of(history: History, item: int, sync: int) -> int:
    """How often others of the person's devices were told of that change id."""
    pushes, change_id = history.pushes, history.items["change_id"][item]
    user, device = (history.operations[column][sync] for column in ("user", "device"))
    pushed = (pushes["user"] == user) & (pushes["change_id"] == change_id) & (pushes["device"] != device)
    return int(np.count_nonzero(pushed))


def owned(history: History, *, proven: bool) -> tuple[int, int]:
    """(row of items, row of operations) of the last change that its device heard of by that page alone, and
    others of the person's devices by a push, or not at all."""
    for item, sync in items(history):
        alone = not pushes_of(history, item, int(history.operations["device"][sync]))
        if alone and bool(proofs_of(history, item, sync)) == proven and _is_owed(history, item, sync):
            return item, sync
    raise AssertionError("the synthetic run has no such change")


def _is_owed(history: History, item: int, sync: int) -> bool:
    """Whether it was read after the device's first SYNC, by an operation that was acknowledged."""
    operations = history.operations
    first = operations["sent"][
        (operations["op"] == Op.SYNC) & (operations["device"] == operations["device"][sync])
    ]
    return bool((operations["sent"][read_of(history, item)] > first.min()).any())


def read_of(history: History, item: int) -> np.ndarray[Any, Any]:
    """The row of the READ that an item tells of."""
    operations, told = history.operations, history.items
    same = (operations["op"] == Op.READ) & (operations["outcome"] == Outcome.OK)
    for column, name in (("conversation", "conversation"), ("user", "actor"), ("version", "version")):
        same &= operations[column] == told[name][item]
    return np.flatnonzero(same)


def forget(history: History, item: int) -> None:
    """The page does not hold it any more."""
    change(history.items, item, op_id=-1)


def test_a_clean_run_is_accused_of_nothing(folder: RunFolder) -> None:
    checks, findings = judge(History(folder))
    assert findings == []
    assert set(checks) == {COMPLETE, PAGES, VERSIONS, DEVICES}
    for check in checks.values():
        assert (check.verdict, check.promised, check.worst) == ("pass", True, None)
        assert check.eligible > 100
    assert checks[COMPLETE].figures["pages"] == checks[PAGES].eligible


@pytest.mark.parametrize("knobs", [{"errors": {"DEADLINE": 0.2}}, {"closed_devices": 20}])
def test_unanswered_reads_and_lost_sessions_accuse_nobody(tmp_path: Path, knobs: dict[str, Any]) -> None:
    checks, findings = judge(History(build(tmp_path, visible_us=0, **knobs)[0]))
    assert findings == []
    assert all(check.eligible for check in checks.values())


def test_a_run_that_recorded_nothing_is_no_traceback(folder: RunFolder, tmp_path: Path) -> None:
    empty = tmp_path / folder.path.name
    shutil.copytree(folder.path, empty)
    for table in TABLES:
        for shard in empty.glob(f"{table}-*.parquet"):
            shard.unlink()
    checks, _ = judge(History(RunFolder.open(empty)))
    assert {(check.eligible, check.violations) for check in checks.values()} == {(0, 0)}


def test_a_hole_in_the_record_is_unknown(folder: RunFolder) -> None:
    for check in judge(History(folder), "three rows are missing")[0].values():
        assert (check.verdict, check.unknown) == ("unknown", "three rows are missing")


def test_device_state_is_unknown_where_something_was_on_its_way(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, visible_us=0)
    change_manifest(folder, drained=False)
    verdicts = {name: check.verdict for name, check in judge(History(folder))[0].items()}
    assert verdicts == {COMPLETE: "pass", PAGES: "pass", VERSIONS: "pass", DEVICES: "unknown"}
    (folder.path / "final_store.parquet").unlink()
    assert judge(History(folder))[0][DEVICES].unknown == "the store was not read at the end"


# --- completeness -----------------------------------------------------------------------------------------


def test_a_hole_that_others_prove(folder: RunFolder) -> None:
    """The page of one device lacks what another device of the person was told, and no push ever came."""
    history = History(folder)
    operations = history.operations
    item, sync = owned(history, proven=True)
    forget(history, item)
    (finding,) = only(history, COMPLETE)
    assert (finding["kind"], finding["device"]) == ("hole", operations["device"][sync])
    assert finding["change_id"] == history.items["change_id"][item]
    assert finding["since"] < finding["change_id"] <= finding["next"]
    made, page = finding["records"]
    (read,) = read_of(history, item).tolist()
    assert page["op_id"] == operations["op_id"][sync]
    assert (made["part"], made["op_id"]) == ("write", operations["op_id"][read])
    assert judge(history)[0][COMPLETE].figures["holes"] == 1
    change(operations, read, outcome=Outcome.INFO)  # nobody says who made it: a push shows that there is one
    (finding,) = [finding for finding in judge(history)[1] if finding["check"] == COMPLETE]
    assert finding["records"][-1] == page or finding["records"][0] == page
    (proof,) = [record for record in finding["records"] if record != page]
    assert (proof["op"], proof["value"]) == ("push READ", history.items["value"][item])


def test_a_hole_that_only_an_acknowledgement_proves(folder: RunFolder) -> None:
    """A change is gone from every page and every push of that person: the log never had it."""
    history = History(folder)
    operations = history.operations
    item, sync = owned(history, proven=False)
    (read,) = read_of(history, item).tolist()
    forget(history, item)
    (finding,) = only(history, COMPLETE)
    assert (finding["kind"], finding["change_id"]) == ("hole", None)
    write, page = finding["records"]
    assert (write["op"], write["op_id"]) == ("READ", operations["op_id"][read])
    assert page["op_id"] == operations["op_id"][sync]
    assert write["acknowledged_s"] < page["sent_s"]
    change(operations, read, outcome=Outcome.INFO)  # nobody was told of it: only a gap of ids is left
    (finding,) = [finding for finding in judge(history)[1] if finding["check"] == COMPLETE]
    assert finding["kind"] == "gap of change ids"


def test_a_change_that_comes_late(folder: RunFolder) -> None:
    """The page lacks it, and the push comes a second after the page."""
    history = History(folder)
    operations = history.operations
    item, sync, push = next(
        (item, sync, pushed[0])
        for item, sync in items(history)
        if len(pushed := pushes_of(history, item, int(operations["device"][sync]))) == 1
    )
    forget(history, item)
    assert judge(history)[0][COMPLETE].violations == 0  # the push came in time
    change(history.pushes, push, received=int(operations["acknowledged"][sync]) + S)
    (finding,) = only(history, COMPLETE)
    assert (finding["kind"], finding["late_s"]) == ("late change", 1.0)
    assert finding["records"][-1]["op"] == "push READ"
    assert judge(history)[0][COMPLETE].figures["late"] == 1


def test_more_to_come_and_a_reset_owe_nothing(folder: RunFolder) -> None:
    history = History(folder)
    _, sync = owned(history, proven=True)
    for item, owner in items(history):
        if owner == sync:
            forget(history, item)
    assert judge(history)[0][COMPLETE].violations > 0
    change(history.operations, sync, flags=RESET)
    assert judge(history)[0][COMPLETE].violations == 0
    change(history.operations, sync, flags=MORE, value=int(history.operations["argument"][sync]))
    assert judge(history)[0][COMPLETE].violations == 0


def test_a_session_that_starts_from_its_state_is_owed_nothing_of_before(folder: RunFolder) -> None:
    """A device comes back, forgets where it was, and goes on from where STATE is."""
    history = History(folder)
    operations = history.operations
    _, sync = owned(history, proven=True)
    for item, owner in items(history):
        if owner == sync:
            forget(history, item)
    change(operations, sync, argument=int(operations["value"][sync]), session=0xABCDEF)
    assert judge(history)[0][COMPLETE].violations > 0
    same = (operations["op"] == Op.STATE) & (operations["device"] == operations["device"][sync])
    (state,) = np.flatnonzero(same & (operations["intended"] == operations["intended"][sync])).tolist()
    change(operations, state, session=0xABCDEF)
    assert judge(history)[0][COMPLETE].violations == 0


# --- pages ------------------------------------------------------------------------------------------------


def test_a_page_that_leads_back(folder: RunFolder) -> None:
    history = History(folder)
    operations = history.operations
    empty = np.flatnonzero(
        (operations["op"] == Op.SYNC) & (operations["items"] == 0) & (operations["value"] > 0)
    )
    last = empty[np.argmax(operations["sent"][empty])]
    change(operations, int(last), value=int(operations["argument"][last]) - 1)
    (finding,) = only(history, PAGES)
    assert (finding["kind"], finding["records"][0]["op_id"]) == ("leads back", operations["op_id"][last])


def test_a_page_out_of_order(folder: RunFolder) -> None:
    history = History(folder)
    told = history.items
    pairs = [(item, sync) for item, sync in items(history) if history.operations["items"][sync] >= 2]
    first, sync = pairs[0]
    second = next(item for item, owner in pairs if owner == sync and item != first)
    a, b = int(told["index"][first]), int(told["index"][second])
    change(told, first, index=b)
    change(told, second, index=a)
    (finding,) = only(history, PAGES)
    assert finding["kind"] == "changes out of order"


def test_a_change_outside_of_its_page(folder: RunFolder) -> None:
    """A page holds again what an earlier page of that device held."""
    history = History(folder)
    operations, told = history.operations, history.items
    for item, sync in reversed(items(history)):
        later = np.flatnonzero(
            (operations["op"] == Op.SYNC) & (operations["device"] == operations["device"][sync])
            & (operations["sent"] > operations["sent"][sync]) & (operations["items"] == 0)
        )  # fmt: skip
        copies = [i for i, owner in items(history) if owner == sync and i != item]
        if len(later) and copies and pushes_of(history, copies[0], int(operations["device"][sync])):
            break
    change(told, copies[0], op_id=int(operations["op_id"][later[0]]))
    change(operations, int(later[0]), items=1)
    (finding,) = only(history, PAGES)
    assert finding["kind"] == "changes outside of its range"


# --- versions ---------------------------------------------------------------------------------------------


def test_one_version_with_two_values(folder: RunFolder) -> None:
    history = History(folder)
    push = _push_of_a_read_that_moved_by_two(history)
    change(history.pushes, push, value=int(history.pushes["value"][push]) - 1)
    findings = only(history, VERSIONS, violations=2)
    assert {finding["kind"] for finding in findings} == {
        "one version, two states", "one change id, two changes"
    }  # fmt: skip
    first, second = findings[0]["records"]
    assert first["value"] + 1 == second["value"]
    assert "push READ" in {first["op"], second["op"]}


def test_a_higher_version_with_a_lower_value(folder: RunFolder) -> None:
    """An acknowledgement with the next version, and a value that was passed already."""
    history = History(folder)
    operations = history.operations
    held = history.folder.table("final_store")
    final = dict(zip(zip(held["conversation"], held["user"], strict=True), held["read_seq"], strict=True))
    row = next(
        int(row)
        for row in np.flatnonzero((operations["op"] == Op.READ) & (operations["version"] > 1))
        if final[operations["conversation"][row], operations["user"][row]] == operations["value"][row]
    )
    change(operations, row, version=10_000, flags=0)
    kinds = [finding["kind"] for finding in judge(history)[1] if finding["check"] == VERSIONS]
    assert "a higher version, a lower value" not in kinds
    change(operations, row, value=1)
    kinds = [finding["kind"] for finding in judge(history)[1] if finding["check"] == VERSIONS]
    assert kinds == ["a higher version, a lower value"]


def test_what_a_probe_is_shown_has_its_version_too(folder: RunFolder) -> None:
    """Far above what later versions have."""
    history = History(folder)
    operations, told = history.operations, history.items
    asked = operations["op_id"][operations["op"] == Op.PROBE_ONCE]
    item = int(np.flatnonzero(np.isin(told["op_id"], asked) & (told["version"] > 1))[0])
    change(told, item, value=10_000)
    kinds = {finding["kind"] for finding in judge(history)[1] if finding["check"] == VERSIONS}
    assert "a higher version, a lower value" in kinds


def test_one_version_with_two_times(folder: RunFolder) -> None:
    """The first time that a message was read is told to one device, and another one to the next."""
    history = History(folder)
    push = _push_of_a_read_that_moved_by_two(history)
    change(history.pushes, push, at_ms=int(history.pushes["at_ms"][push]) + 1)
    (finding,) = only(history, VERSIONS)
    assert finding["kind"] == "one version, two times"


def test_ones_own_message_keeps_the_version(folder: RunFolder) -> None:
    """A cursor that moved over nothing but its owner's own message may keep its version; over the message of
    another it may not."""
    history = History(folder)
    operations, told = history.operations, history.items
    for send in np.flatnonzero((operations["op"] == Op.SEND) & (operations["outcome"] == Outcome.OK)):
        mine = (told["conversation"] == operations["conversation"][send]) & (
            told["actor"] == operations["user"][send]
        )
        after = np.flatnonzero(mine & (told["value"] == operations["value"][send]) & (told["last_seq"] > 0))
        before = np.flatnonzero(
            mine & (told["value"] == operations["value"][send] - 1) & (told["last_seq"] > 0)
        )
        if len(after) and len(before):
            break
    silent = told["version"].copy()
    silent[after] = silent[before[0]]
    silent[mine & (told["value"] < operations["value"][send] - 1) & (told["last_seq"] > 0)] = 0
    told.replace("version", silent)
    kinds = [
        f["kind"] for f in judge(history)[1] if f["check"] == VERSIONS and f["version"] == silent[before[0]]
    ]
    assert "one version, two states" not in kinds
    change(operations, int(send), outcome=Outcome.FAIL)
    pushes = history.pushes
    gone = (pushes["conversation"] == operations["conversation"][send]) & (
        pushes["value"] == operations["value"][send]
    )
    pushes.replace("kind", np.where(gone, PushKind.OTHER, pushes["kind"]))
    kinds = [
        f["kind"] for f in judge(history)[1] if f["check"] == VERSIONS and f["version"] == silent[before[0]]
    ]
    assert "one version, two states" in kinds


def _push_of_a_read_that_moved_by_two(history: History) -> int:
    """A `read/` push with a change id that other devices were told of too, and whose value is no message of
    the reader."""
    pushes = history.pushes
    read = pushes["kind"] == PushKind.READ
    sent = {
        (int(c), int(v), int(a))
        for c, v, a in zip(
            *(pushes[n][pushes["kind"] == PushKind.MESSAGE] for n in ("conversation", "value", "actor")),
            strict=True,
        )
    }
    for row in np.flatnonzero(read & (pushes["change_id"] > 0)):
        same = read.copy()
        for column in ("user", "change_id", "conversation", "actor", "version"):
            same &= pushes[column] == pushes[column][row]
        cursor = int(pushes["conversation"][row]), int(pushes["value"][row]), int(pushes["actor"][row])
        lower = history.items["version"][
            (history.items["conversation"] == cursor[0]) & (history.items["actor"] == cursor[2])
            & (history.items["value"] >= cursor[1] - 1) & (history.items["version"] < pushes["version"][row])
        ]  # fmt: skip
        if same.sum() >= 2 and cursor not in sent and not len(lower):
            return int(row)
    raise AssertionError("the synthetic run has no such push")


# --- devices ----------------------------------------------------------------------------------------------


def test_a_device_that_was_never_told(tmp_path: Path) -> None:
    """All that told one device of the last advance of a cursor is gone."""
    folder, _ = build(tmp_path, visible_us=0)
    history = History(folder)
    due, known = catch_up.Record(history).device_state().due, catch_up.Record(history).device_state().known
    synced = set(history.operations["device"][history.operations["op"] == Op.SYNC].tolist())
    for device, cursor, least in zip(due.device, due.cursor, due.least, strict=True):
        if device not in synced:
            continue
        told = (known.device == device) & (known.cursor == cursor) & (known.value >= least)
        pushes = history.pushes
        ours = (
            (pushes["device"] == device) & (pushes["conversation"] == cursor >> 32)
            & (pushes["actor"] == cursor & 0xFFFFFFFF) & (pushes["value"] >= least)
            & (pushes["kind"] == PushKind.READ)
        )  # fmt: skip
        if told.sum() == ours.sum() == 1:
            break
    else:
        raise AssertionError("the synthetic run has no such device")
    pushes.replace("kind", np.where(ours, PushKind.OTHER, pushes["kind"]))
    (finding,) = only(history, DEVICES)
    assert (finding["kind"], finding["device"], finding["store"]) == ("behind the store", device, least)
    assert finding["knows"] < least
    write, held = finding["records"]
    assert (write["part"], held["part"]) == ("write", "held")
    assert finding["knows"] < write["value"] <= least
    operations = history.operations
    sync = np.flatnonzero((operations["op"] == Op.SYNC) & (operations["device"] == device))[0]
    change(operations, int(sync), flags=RESET)
    assert judge(history)[0][DEVICES].violations == 0  # it may have started again
    change(operations, int(sync), flags=0)
    write = np.flatnonzero(
        np.isin(operations["op"], (Op.READ, Op.SEND)) & (operations["conversation"] == cursor >> 32)
        & (operations["user"] == cursor & 0xFFFFFFFF) & (operations["value"] >= least)
    )  # fmt: skip
    for row in write:
        change(operations, int(row), outcome=Outcome.INFO)
    checks, _ = judge(history)
    assert (checks[DEVICES].violations, checks[DEVICES].figures) == (0, {"behind_by_unanswered": 1})


def test_a_device_is_not_promised_what_an_unanswered_attempt_did(tmp_path: Path) -> None:
    """The retry of a SEND finds it done, and tells nobody; as little does a READ that changes nothing."""
    folder, _ = build(tmp_path, visible_us=0)
    history = History(folder)
    operations, items = history.operations, history.items
    before = catch_up.Record(history).device_state().due
    moved = before.least > before.start
    promised = set(before.cursor[moved].tolist())
    operations.replace("flags", np.where(operations["op"] == Op.SEND, DUPLICATE, 0).astype(np.uint8))
    items.replace("applied", np.zeros(len(items["applied"]), np.uint8))
    after = catch_up.Record(history).device_state().due
    assert promised
    assert (after.least == after.start).all()
    assert (after.most >= before.least).all()


def test_a_device_that_never_asks_is_judged_once_it_goes_on_without(folder: RunFolder) -> None:
    """Every other device does nothing; then no SYNC of the run was answered either."""

    def judged() -> set[int]:
        return set(catch_up.Record(history).device_state().due.device.tolist())

    history = History(folder)
    operations = history.operations
    acts = np.isin(operations["op"], (Op.READ, Op.SEND))
    idle = acts & (operations["device"] % 2 == 0)
    operations.replace("outcome", np.where(idle, Outcome.FAIL, operations["outcome"]))
    before = judged()
    asked = operations["op"] == Op.SYNC
    operations.replace("outcome", np.where(asked, Outcome.INFO, operations["outcome"]))
    went_on = set(operations["device"][acts & ~idle].tolist())
    assert judged() == before & went_on
    assert {device % 2 for device in before} == {0, 1}


def test_a_device_that_was_told_what_nobody_did(folder: RunFolder) -> None:
    history = History(folder)
    due = catch_up.Record(history).device_state().due
    push = next(
        int(row)
        for row in np.flatnonzero(history.pushes["kind"] == PushKind.READ)
        if (
            (due.device == history.pushes["device"][row])
            & (due.cursor >> 32 == history.pushes["conversation"][row])
            & (due.cursor & 0xFFFFFFFF == history.pushes["actor"][row])
        ).any()
    )
    change(history.pushes, push, value=10_000)
    found = [f for f in judge(history)[1] if f["check"] == DEVICES]
    assert [finding["kind"] for finding in found] == ["ahead of the store"]
    assert found[0]["knows"] == 10_000


def test_a_sync_by_time_is_heard_and_has_no_range_of_ids(folder: RunFolder) -> None:
    history = History(folder)
    operations = history.operations
    by_time = operations["argument"].copy()
    by_time[operations["op"] == Op.SYNC] = NONE
    operations.replace("argument", by_time)
    checks, findings = judge(history)
    assert not findings
    assert checks["sync_pages"].eligible == 0
    assert checks["versions"].eligible > 0
