"""From a record to what is said of its unread numbers: nothing of a clean one, else what was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.checks import counted, unread
from bench.checks.check import Check
from bench.metrics.history import History
from bench.record import NONE, Op, Outcome, Phase
from bench.results import Json, RunFolder
from tests.bench.synthetic import build, change_manifest

Ints = NDArray[np.int64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a scheme that promises all of it, whose probes see what was written at once."""
    return build(tmp_path_factory.mktemp("run"), scheme="db", visible_us=0)[0]


@pytest.fixture
def history(folder: RunFolder) -> History:
    return History(folder)


def judge(history: History, unknown: str = "") -> tuple[dict[str, Check], list[Json]]:
    judgement = unread.judge(history, unknown)
    return {check.name: check for check in judgement.checks}, judgement.findings


def wrong(history: History) -> dict[str, int]:
    return {name: check.violations for name, check in judge(history)[0].items() if check.violations}


def change(history: History, table: str, column: str, row: int, by: int) -> None:
    values = getattr(history, table)[column].copy()
    values[row] += by
    getattr(history, table).replace(column, values)


def states(history: History, *, final: bool = False) -> list[tuple[int, int]]:
    """(row of the STATE, row of its item) of all that were shown, but to probes."""
    operations = history.operations
    is_state = (operations["op"] == Op.STATE) & ((operations["phase"] == Phase.FINAL) == final)
    row_of = {int(operations["op_id"][row]): int(row) for row in np.flatnonzero(is_state)}
    op_ids = history.items["op_id"].tolist()
    return [(row_of[op_id], item) for item, op_id in enumerate(op_ids) if op_id in row_of]


def quiet(history: History) -> list[tuple[int, int]]:
    """Of those, where nobody sends or reads in the conversation for a second before and after."""
    operations = history.operations
    busy = np.isin(operations["op"], (Op.SEND, Op.READ)) & (operations["sent"] > 0)
    at, where = operations["sent"][busy], operations["conversation"][busy]
    return [
        (state, item)
        for state, item in states(history)
        if np.abs(at[where == history.items["conversation"][item]] - operations["sent"][state]).min(
            initial=1 << 60
        )
        > 10**9
    ]


def untotalled(history: History) -> None:
    """So that a changed number is not wrong in the sum too."""
    history.operations.replace(
        "unread", np.where(history.operations["op"] == Op.STATE, NONE, history.operations["unread"])
    )


def test_a_clean_run_is_accused_of_nothing(history: History) -> None:
    checks, findings = judge(history)
    assert not findings
    assert set(checks) == {"unread", "unread_at_end", "total_unread"}
    for check in checks.values():
        assert (check.violations, check.verdict, check.worst, check.promised) == (0, "pass", None, True)
        assert check.eligible > 100


@pytest.mark.parametrize("errors", [{"DEADLINE": 0.1, "UNAVAILABLE": 0.1}, {"RATE_LIMITED": 0.2}])
def test_errors_and_closed_sessions_accuse_nobody(tmp_path: Path, errors: dict[str, float]) -> None:
    folder, _ = build(tmp_path, errors=errors, closed_devices=15, visible_us=0)
    assert not wrong(History(folder))


@pytest.mark.parametrize("by", [1, -1])
def test_one_more_or_less_in_a_state(history: History, by: int) -> None:
    untotalled(history)
    state, item = next(pair for pair in quiet(history) if history.items["unread"][pair[1]] > 0)
    before = int(history.items["unread"][item])
    change(history, "items", "unread", item, by)
    checks, (finding,) = judge(history)
    assert wrong(history) == {"unread": 1}
    assert finding["kind"] == ("too high" if by > 0 else "too low")
    assert (finding["low"], finding["high"], finding["unread"], finding["drift"]) == (
        before, before, before + by, by
    )  # fmt: skip
    assert finding["records"][-1]["op_id"] == history.operations["op_id"][state]
    assert 2 <= len(finding["records"]) <= 3
    assert checks["unread"].worst == finding


def test_judged_some_at_a_time_it_is_the_same(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    untotalled(history)
    for _, item in quiet(history)[::7]:
        change(history, "items", "unread", item, 3 + item)  # no two are equally wrong
    change(history, "items", "unread", states(history, final=True)[0][1], 2)
    at_once = judge(history)
    monkeypatch.setattr(counted, "PART", 50)
    assert judge(history) == at_once
    assert at_once[0]["unread"].violations > 10
    assert at_once[0]["unread_at_end"].violations == 1


@pytest.mark.parametrize("op", [Op.PROBE_STATE, Op.PROBE_ONCE])
def test_what_a_probe_is_shown_counts_too(history: History, op: Op) -> None:
    operations, items = history.operations, history.items
    asked = operations["op_id"][operations["op"] == op]
    change(history, "items", "unread", int(np.flatnonzero(np.isin(items["op_id"], asked))[0]), 50)
    assert wrong(history) == {"unread": 1}


def test_the_second_conversation_of_a_read_counts_too(history: History) -> None:
    """Its number is among the items; nobody can have 40 unread messages here."""
    operations, items = history.operations, history.items
    read = int(np.flatnonzero((operations["op"] == Op.READ) & (operations["unread"] == 0))[0])
    other = next(item for _, item in quiet(history) if items["actor"][item] == operations["user"][read])
    second = {name: np.append(items[name], items[name][other]) for name in items}
    for name, value in (("op_id", operations["op_id"][read]), ("index", 1), ("unread", 40)):
        second[name][-1] = value
    vars(history)["items"] = second
    change(history, "operations", "items", read, 2)
    (finding,) = judge(history)[1]
    assert (finding["unread"], finding["conversation"]) == (40, items["conversation"][other])
    assert finding["records"][-1]["op_id"] == operations["op_id"][read]


def test_the_answer_to_a_read_does_not_count_what_it_read(history: History) -> None:
    """Its own write was not acknowledged when it was asked for, and is certain all the same."""
    operations = history.operations
    reads = np.flatnonzero((operations["op"] == Op.READ) & (operations["unread"] == 0))
    alone = next(row for row in reads if _alone(history, int(row)))
    change(history, "operations", "unread", int(alone), 1)
    assert wrong(history) == {"unread": 1}


def _alone(history: History, row: int) -> bool:
    """Nobody else asks for anything in its conversation at about the same time."""
    operations = history.operations
    same = operations["conversation"] == operations["conversation"][row]
    near = np.abs(operations["sent"] - operations["sent"][row]) < 10**8
    return int(np.count_nonzero(same & near)) == 1


def own_last(history: History) -> tuple[int, int]:
    """(row of the STATE, row of its item) where the last message is the person's own, acknowledged before."""
    operations, items = history.operations, history.items
    sends = (operations["op"] == Op.SEND) & (operations["outcome"] == Outcome.OK)
    for state, item in quiet(history):
        own = sends & (operations["user"] == items["actor"][item])
        own &= (operations["conversation"] == items["conversation"][item]) & (
            operations["value"] == items["last_seq"][item]
        )
        if (own & (operations["acknowledged"] < operations["sent"][state])).any() and items["unread"][
            item
        ] == 0:
            return state, item
    raise AssertionError("the synthetic run has no such STATE")


def test_ones_own_message_is_never_unread(history: History) -> None:
    untotalled(history)
    _, item = own_last(history)
    change(history, "items", "unread", item, 1)
    change(history, "items", "value", item, -1)  # as if sending did not imply reading
    (finding,) = judge(history)[1]
    assert (finding["kind"], finding["drift"], finding["high"]) == ("own message unread", 1, 0)
    assert finding["records"][-2]["op"] == "SEND"
    assert finding["records"][-2]["value"] == finding["last_seq_shown"]


def _was_read(history: History, state: int, item: int) -> bool:
    """An acknowledged READ moved the cursor that is shown to where it is."""
    operations, items = history.operations, history.items
    reads = (operations["op"] == Op.READ) & (operations["outcome"] == Outcome.OK)
    reads &= operations["acknowledged"] < operations["sent"][state]
    for column, shown in (("conversation", "conversation"), ("user", "actor"), ("value", "value")):
        reads &= operations[column] == items[shown][item]
    return bool(reads.any())


def test_a_number_that_its_stale_cursor_explains(history: History) -> None:
    untotalled(history)
    operations = history.operations
    state, item = next(pair for pair in quiet(history) if _was_read(history, *pair))
    change(history, "items", "value", item, -1)
    change(history, "items", "unread", item, 1)
    (finding,) = judge(history)[1]
    assert (finding["kind"], finding["drift"]) == ("too high: stale cursor", 1)
    assert [record["part"] for record in finding["records"]] == ["message", "write", "read"]
    assert finding["records"][1]["value"] == finding["read_seq_shown"] + 1
    assert finding["records"][2]["op_id"] == operations["op_id"][state]


def test_a_number_that_does_not_count_the_newest_message(history: History) -> None:
    untotalled(history)
    _, item = next(pair for pair in quiet(history) if history.items["unread"][pair[1]] > 0)
    change(history, "items", "last_seq", item, -1)
    change(history, "items", "unread", item, -1)
    (finding,) = judge(history)[1]
    assert (finding["kind"], finding["drift"]) == ("too low: newest messages not shown yet", -1)
    assert finding["records"][0]["value"] == finding["last_seq_shown"] + 1


def test_a_number_of_a_cursor_that_nobody_moved_there(history: History) -> None:
    untotalled(history)
    _, item = next(pair for pair in quiet(history) if history.items["unread"][pair[1]] > 0)
    change(history, "items", "value", item, 1)
    change(history, "items", "unread", item, -1)
    assert judge(history)[1][0]["kind"] == "too low: cursor ahead of all writes"


def test_a_total_that_is_not_the_sum(history: History) -> None:
    operations = history.operations
    row = int(np.flatnonzero((operations["op"] == Op.STATE) & (operations["unread"] > 0))[0])
    change(history, "operations", "unread", row, 2)
    (finding,) = judge(history)[1]
    assert wrong(history) == {"total_unread": 1}
    assert finding["total"] == finding["sum"] + 2
    assert finding["records"][0]["op_id"] == operations["op_id"][row]


def test_at_the_end_every_number_is_exact(tmp_path: Path) -> None:
    history = History(build(tmp_path, stale_at_end=3, visible_us=0)[0])
    checks, findings = judge(history)
    assert wrong(history) == {"unread_at_end": 3}
    assert {(finding["kind"], finding["drift"]) for finding in findings} <= {
        ("too high: stale cursor", 1), ("own message unread", 1)
    }  # fmt: skip
    assert checks["unread_at_end"].promised


def test_what_the_store_lost_is_not_told_of_its_numbers_too(tmp_path: Path) -> None:
    assert not wrong(History(build(tmp_path, lost_acknowledged=3, visible_us=0)[0]))


def test_a_number_is_not_final_while_something_is_on_its_way(tmp_path: Path) -> None:
    folder, _ = build(tmp_path, stale_at_end=3, visible_us=0)
    change_manifest(folder, drained=False)
    check = judge(History(folder))[0]["unread_at_end"]
    assert (check.verdict, check.violations) == ("unknown", 0)


def test_a_hole_in_the_record_is_unknown(history: History) -> None:
    untotalled(history)
    change(history, "items", "unread", quiet(history)[0][1], 5)
    checks, findings = judge(history, unknown="rows are missing")
    assert not findings
    assert {check.verdict for check in checks.values()} == {"unknown"}
