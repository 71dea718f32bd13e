"""From a whole run's record to what is said of its cursors: nothing of a clean one, else what was planted."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.checks import cursors
from bench.checks.check import Check
from bench.metrics.history import History
from bench.record import TABLES, Op, Outcome, Phase
from bench.results import RunFolder
from tests.bench.synthetic import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a scheme that promises all of it, whose probes see what was written at once."""
    return build(tmp_path_factory.mktemp("run"), scheme="db", visible_us=0)[0]


def judge(history: History, unknown: str = "") -> dict[str, Check]:
    return {check.name: check for check in cursors.judge(history, unknown).checks}


def test_a_clean_run_is_accused_of_nothing(folder: RunFolder) -> None:
    checks = judge(History(folder))
    assert len(checks) == 1 + 2 * 3
    for check in checks.values():
        assert (check.violations, check.verdict, check.worst) == (0, "pass", None)
        assert check.eligible > 100
    promised = {name for name, check in checks.items() if check.promised}
    figures = checks["linearizable"].figures
    assert figures["cursors_read"] > 100
    assert (figures["gamma_above_0"], figures["gamma_s"]) == (0, {"p50": None, "max": 0.0})
    assert promised == {
        "read_your_writes_session", "read_your_writes_device",
        "monotonic_reads_session", "monotonic_reads_device",
    }  # fmt: skip


def test_a_run_that_recorded_nothing_is_no_traceback(folder: RunFolder, tmp_path: Path) -> None:
    empty = tmp_path / folder.path.name
    shutil.copytree(folder.path, empty)
    for table in TABLES:
        for shard in empty.glob(f"{table}-*.parquet"):
            shard.unlink()
    for check in judge(History(RunFolder.open(empty))).values():
        assert (check.eligible, check.violations) == (0, 0)


def test_a_hole_in_the_record_is_unknown(folder: RunFolder) -> None:
    for check in judge(History(folder), "three rows are missing").values():
        assert (check.verdict, check.unknown) == ("unknown", "three rows are missing")


def test_one_stale_state_is_found_with_what_proves_it(folder: RunFolder) -> None:
    """A STATE after an acknowledged READ of the same device shows what was before it."""
    history = History(folder)
    state, item, read = _state_after_a_read(history)
    value = history.items["value"].copy()
    value[item] -= 1
    history.items.replace("value", value)
    judgement = cursors.judge(history, "")
    checks = {check.name: check for check in judgement.checks}
    found = [finding for finding in judgement.findings if finding["check"] == "read_your_writes_device"]
    assert checks["read_your_writes_device"].violations == checks["linearizable"].violations == 1
    (finding,) = found
    written, shown = finding["records"]
    assert (shown["op"], shown["op_id"]) == ("STATE", history.operations["op_id"][state])
    assert written["op_id"] == history.operations["op_id"][read]
    assert shown["value"] == written["value"] - 1
    assert written["acknowledged_s"] < shown["sent_s"]
    told = next(finding for finding in judgement.findings if finding["check"] == "linearizable")
    figures = checks["linearizable"].figures
    assert (figures["gamma_above_0"], figures["gamma_s"]["max"]) == (1, told["age_s"])
    assert figures["stale_reads_older_than_s"] == {
        limit: int(told["age_s"] > float(limit)) for limit in ("0", "0.01", "0.1", "1", "10")
    }
    assert told["missed"] == figures["missed_max"] == 1 <= told["missed_at_most"]


def test_what_was_before_the_window_counts_as_exactly(folder: RunFolder) -> None:
    """Devices ask for their STATE while they connect: the same STATE, READ and all, were before the start."""
    history = History(folder)
    state, item, _ = _state_after_a_read(history)
    after = int(history.operations["acknowledged"][state]) + 1
    vars(history)["window"] = dataclasses.replace(history.window, start=after)
    value = history.items["value"].copy()
    value[item] -= 1
    history.items.replace("value", value)
    checks = judge(history)
    assert checks["read_your_writes_device"].violations == checks["linearizable"].violations == 1


def test_an_unanswered_read_accuses_nobody(folder: RunFolder) -> None:
    """The same STATE, but nobody knows whether the READ before it happened."""
    history = History(folder)
    _, item, read = _state_after_a_read(history)
    value = history.items["value"].copy()
    value[item] -= 1
    history.items.replace("value", value)
    outcome = history.operations["outcome"].copy()
    outcome[read] = Outcome.INFO
    history.operations.replace("outcome", outcome)
    assert judge(history)["linearizable"].violations == 0


def test_a_cursor_that_nobody_moved_there(folder: RunFolder) -> None:
    history = History(folder)
    _, item, _ = _state_after_a_read(history)
    value = history.items["value"].copy()
    value[item] += 50
    history.items.replace("value", value)
    judgement = cursors.judge(history, "")
    kinds = [finding["kind"] for finding in judgement.findings if finding["check"] == "linearizable"]
    assert "unwritten" in kinds


def _state_after_a_read(history: History) -> tuple[int, int, int]:
    """(row of a STATE, row of one of its items, row of the READ that moved that cursor last), where one READ
    alone has moved it by one and no later STATE or READ shows that cursor."""
    operations, items = history.operations, history.items
    row_of = {int(op_id): row for row, op_id in enumerate(operations["op_id"])}
    for item in reversed(range(len(items["op_id"]))):
        state = row_of[int(items["op_id"][item])]
        if operations["op"][state] != Op.STATE or operations["phase"][state] == Phase.FINAL:
            continue
        conversation, user = items["conversation"][item], items["actor"][item]
        same = (operations["conversation"] == conversation) & (operations["user"] == user)
        reads = np.flatnonzero(same & (operations["op"] == Op.READ) & (operations["outcome"] == Outcome.OK))
        reads = reads[operations["acknowledged"][reads] < operations["sent"][state]]
        if not len(reads):
            continue
        last = reads[np.argmax(operations["value"][reads])]
        alone = operations["device"][last] == operations["device"][state]
        moved = operations["value"][last] == items["value"][item]
        if alone and moved and _by_one(history, int(last), int(state), same):
            return state, item, int(last)
    raise AssertionError("the synthetic run has no such STATE")


def _by_one(
    history: History, last: int, state: int, same: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> bool:
    """Whether the value below the READ's was the cursor's before, and nothing else shows it meanwhile."""
    operations, membership = history.operations, history.membership
    conversation, user = operations["conversation"][last], operations["user"][last]
    start = membership.read_seq[(membership.conversation == conversation) & (membership.user == user)]
    others = same & np.isin(operations["op"], (Op.READ, Op.SEND)) & (operations["value"] > 0)
    others[last] = False
    values = np.concatenate([start, operations["value"][others]])
    if operations["value"][last] - 1 not in values or operations["value"][last] in values:
        return False
    row_of = {int(op_id): row for row, op_id in enumerate(operations["op_id"])}
    shown = [
        row_of[int(op_id)]
        for op_id, c, u, value in zip(
            *(history.items[name] for name in ("op_id", "conversation", "actor", "value")), strict=True
        )
        if (c, u) == (conversation, user) and value >= operations["value"][last]
    ]
    return all(row == state or operations["sent"][row] > operations["sent"][state] for row in shown)
