"""Mutants of the recorded run: none survives, and the scoring notices a check that has gone blind."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings

from bench.checks import all_checks
from bench.checks.check import Judgement
from bench.checks.register import NEVER
from bench.metrics import whole
from bench.metrics.history import History
from bench.record import Outcome
from bench.selftest import mutations, scores
from bench.selftest import mutations_changes as changes
from bench.selftest import mutations_looks as looks
from bench.selftest import mutations_pushes as pushes
from bench.selftest import mutations_unread as unread
from bench.selftest.held import Record
from bench.selftest.mutations import OPERATORS, Operator
from bench.selftest.oracle import ORACLES, Event, has_order
from bench.selftest.rows import Rows
from tests.bench.checks.test_register import Row, histories, linearizable

pytestmark = pytest.mark.slow  # thousands of judgements


@pytest.fixture(scope="module")
def clean() -> Record:
    return Record.load()


def test_the_recorded_run_is_clean_and_can_show_everything(clean: Record) -> None:
    history = clean.history()
    assert whole.look(history)["problems"] == []
    checks = {check.name: check for check in all_checks.judge(history, "").checks}
    assert set(checks) == set(ORACLES) == set(OPERATORS)
    assert all(check.verdict == "pass" and check.eligible >= 30 for check in checks.values())
    rows = Rows(clean)
    assert all(oracle(rows) == set() for oracle in ORACLES.values())


def test_no_mutant_survives_and_no_check_accuses_more_than_its_oracle() -> None:
    """One per check that is wrong; `make proof-mutations` has fifty."""
    found = scores.score(wanted=1, seed=3)
    assert scores.failures(found, 1) == []
    assert len(found.mutants) > len(OPERATORS)


def test_several_changes_at_once_are_judged_alike_too() -> None:
    found = scores.several(8, (1, 2))
    assert [mutant.disagree for mutant in found] == [[]] * 8
    assert sum(bool(mutant.killers) for mutant in found) > 4
    assert any("; " in mutant.what for mutant in found)
    assert str(len(found)) in scores.together(scores.Scores([], found))


def test_a_check_that_has_gone_blind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = all_checks.judge

    def blind(history: History, unknown: str) -> Judgement:
        judged = judge(history, unknown)
        return Judgement(judged.checks, [f for f in judged.findings if f["check"] != "stale_at_end"])

    monkeypatch.setattr(all_checks, "judge", blind)
    found = scores.score(2, 1, ["stale_at_end"])
    assert len(found.survivors) == 2
    assert any("survived stale_at_end" in line for line in scores.failures(found, 2))


def test_a_check_that_accuses_too_many_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = all_checks.judge

    def eager(history: History, unknown: str) -> Judgement:
        judged = judge(history, unknown)
        others = [dict(f, conversation=0, user=0) for f in judged.findings]
        return Judgement(judged.checks, judged.findings + others)

    monkeypatch.setattr(all_checks, "judge", eager)
    found = scores.score(1, 1, ["linearizable"])
    assert found.survivors == []
    assert any("oracle disagree" in line for line in scores.failures(found, 1))


@pytest.mark.parametrize(
    ("operator", "check"),
    [
        (mutations.lost_and_not_looked_at, "acknowledged_reads"),
        (looks.look_twice_at_end, "stale_at_end"),
        (mutations.hold_other_delivered, "acknowledged_deliveries"),
        (mutations.send_again, "acknowledged_messages"),
        (mutations.cache_other_read, "converged"),
        (mutations.show_own_message_too_soon, "linearizable"),
        (changes.leave_out_change, "sync_complete"),
        (changes.swap_changes, "sync_pages"),
        (changes.other_time_pushed, "versions"),
        (changes.never_tell_device, "device_state"),
        (pushes.push_again, "push_duplicates"),
        (pushes.move_push, "push_order"),
        (pushes.reconnect_and_count_back, "push_regress"),
        (pushes.drop_push, "push_gaps"),
        (pushes.receipt_first, "receipt_before_message"),
        (unread.count_elsewhere, "unread"),
        (unread.count_elsewhere, "unread_at_end"),
        (unread.total_other, "total_unread"),
    ],
)
def test_each_of_these_checks_finds_what_no_other_does(clean: Record, operator: Operator, check: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        record = clean.copy()
        if operator(record, rng) is None:
            continue
        if {name for name, cursors in scores.accused(record).items() if cursors} == {check}:
            return
    pytest.fail(f"no {operator.__name__} of 60 is found by {check} alone")


@pytest.mark.parametrize("operator", sorted({op for ops in OPERATORS.values() for op in ops}, key=str))
def test_an_operator_leaves_a_record_that_could_have_been_written(clean: Record, operator: Operator) -> None:
    rng, made, begun = np.random.default_rng(2), 0, clean.manifest()["clock"]["began"]
    for _ in range(60):
        record = clean.copy()
        if operator(record, rng) is None:
            continue
        made += 1
        assert not _same(record, clean)
        assert whole.look(record.history())["problems"] == []
        operations, items, pushes, store, cache = (
            record.tables[name] for name in ("operations", "items", "pushes", "final_store", "final_cache")
        )
        done = operations["outcome"] == Outcome.OK
        assert (operations["acknowledged"][done] > operations["sent"][done]).all()
        assert operations["sent"][operations["sent"] > 0].min() >= begun
        assert (items["value"] >= 0).all()
        assert (items["value"][items["last_seq"] >= 0] <= items["last_seq"][items["last_seq"] >= 0]).all()
        assert (pushes["value"] >= 1).all()
        for held in (store, cache):
            assert (np.maximum(held["read_seq"], held["delivered_seq"]) <= held["last_seq"]).all()
        if made == 5:
            return
    assert made >= 3


def _same(record: Record, other: Record) -> bool:
    return all(
        np.array_equal(values, other.tables[table][column])
        for table, columns in record.tables.items()
        for column, values in columns.items()
    )


def test_a_dropped_operation_closes_up_the_numbers(clean: Record) -> None:
    record = clean.copy()
    record.drop_operation(10)
    operations = record.tables["operations"]["op_id"]
    assert len(operations) == len(clean.tables["operations"]["op_id"]) - 1
    assert whole.look(record.history())["missing"] == 0
    assert len(clean.tables["operations"]["op_id"]) == len(Record.load().tables["operations"]["op_id"])


def test_a_reordered_record_is_numbered_anew_and_says_the_same(clean: Record) -> None:
    """Two operations change places: each keeps its items."""
    record = clean.copy()
    operations = record.tables["operations"]
    state, other = np.flatnonzero(operations["items"] > 2)[:2].tolist()
    for column in ("intended", "sent", "acknowledged"):
        operations[column][[state, other]] = operations[column][[other, state]]
    record.in_order()
    assert whole.look(record.history())["problems"] == []
    assert _contents(record) == _contents(clean)


def _contents(record: Record) -> list[tuple[int, list[int]]]:
    """(session, versions shown) of all operations that have items, in no order."""
    operations, items = record.tables["operations"], record.tables["items"]
    return sorted(
        (int(session), items["version"][items["op_id"] == op_id].tolist())
        for op_id, session in zip(operations["op_id"], operations["session"], strict=True)
        if (items["op_id"] == op_id).any()
    )


def test_a_push_that_came_later_is_later_in_the_record_of_its_worker(clean: Record) -> None:
    record = clean.copy()
    _, first, last = max(record.table("pushes").shards(), key=lambda shard: shard[2] - shard[1])
    received, version = (record.tables["pushes"][name].copy() for name in ("received", "version"))
    when = int(received[last - 5]) + 1
    place = record.move_push(first + 3, when)
    pushes = record.tables["pushes"]
    assert first + 3 < place < last
    assert (pushes["received"][place], pushes["version"][place]) == (when, version[first + 3])
    assert pushes["received"][place - 1] <= when
    assert record.move_push(place, int(received[first:last].min()) - 1) == first


def test_the_page_names_every_check_and_what_only_it_kills(clean: Record) -> None:
    mutant = next(scores.mutants(clean, "stale_at_end", 1, np.random.default_rng(1)))
    alone = dataclasses.replace(mutant, accused={**mutant.accused, "linearizable": set()})
    alone.accused.update({check: set() for check in alone.accused if check != "stale_at_end"})
    found = scores.Scores([mutant, alone])
    page = scores.page(found, 1, 1)
    assert all(f"`{check}`" in page for check in OPERATORS)
    assert f"| `stale_at_end` | 2 | 0 | 2 | 2 | 0 | {found.only('stale_at_end')} of 2 |" in page
    assert found.only("stale_at_end") > 0


def test_a_check_that_is_not_needed_is_noticed(clean: Record) -> None:
    mutant = next(scores.mutants(clean, "stale_at_end", 1, np.random.default_rng(1)))

    def killed_by(*checks: str) -> scores.Scores:
        accused = {check: {(1, 1)} if check in checks else set() for check in mutant.accused}
        return scores.Scores([dataclasses.replace(mutant, accused=accused)])

    session, device = "read_your_writes_session", "read_your_writes_device"
    found = killed_by(session, device, "linearizable")
    assert scores.redundant(found, [session, device]) == []
    assert scores.redundant(found, ["linearizable"]) == [
        "linearizable kills nothing that no other check does"
    ]
    assert len(scores.redundant(killed_by(session, "linearizable", "unread"), [session])) == 1
    assert scores.redundant(killed_by(session), [session]) == [f"{session} kills what linearizable does not"]
    assert found.only_promise(session, scores.promises_of_checks()) == 1


# --- the second implementation ------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(histories())
def test_the_search_for_an_order_is_that_of_the_register_tests(rows: list[Row]) -> None:
    """Two searches that know nothing of each other."""
    for key in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == key]
        events = [
            Event(write, value, begin, math.inf if end == NEVER else end)
            for _, write, value, begin, end in mine
        ]
        assert has_order(tuple(events)) == linearizable(mine)
