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
from bench.metrics import load
from bench.metrics.history import History
from bench.record import Outcome
from bench.selftest import mutations, scores
from bench.selftest.held import WORKER, Record
from bench.selftest.mutations import OPERATORS, Operator
from bench.selftest.oracle import ORACLES, Event, has_order
from bench.selftest.rows import Rows
from tests.bench.checks.test_register import Row, histories, linearizable


@pytest.fixture(scope="module")
def clean() -> Record:
    return Record.load()


def test_the_recorded_run_is_clean_and_can_show_everything(clean: Record) -> None:
    history = clean.history()
    assert load.holes(history)["missing"] == 0
    checks = {check.name: check for check in all_checks.judge(history, 0).checks}
    assert set(checks) == set(ORACLES) == set(OPERATORS)
    assert all(check.verdict == "pass" and check.eligible >= 30 for check in checks.values())
    rows = Rows(clean)
    assert all(oracle(rows) == set() for oracle in ORACLES.values())


def test_no_mutant_survives_and_no_check_accuses_more_than_its_oracle() -> None:
    found = scores.score(wanted=2, seed=3)
    assert scores.failures(found, 2) == []
    assert len(found.mutants) > 2 * len(OPERATORS)


def test_a_check_that_has_gone_blind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = all_checks.judge

    def blind(history: History, missing_rows: int) -> Judgement:
        judged = whole(history, missing_rows)
        return Judgement(judged.checks, [f for f in judged.findings if f["check"] != "stale_at_end"])

    monkeypatch.setattr(all_checks, "judge", blind)
    found = scores.score(2, 1, ["stale_at_end"])
    assert len(found.survivors) == 2
    assert any("survived stale_at_end" in line for line in scores.failures(found, 2))


def test_a_check_that_accuses_too_many_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = all_checks.judge

    def eager(history: History, missing_rows: int) -> Judgement:
        judged = whole(history, missing_rows)
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
        (mutations.hold_other_delivered, "acknowledged_deliveries"),
        (mutations.send_again, "acknowledged_messages"),
        (mutations.unanswered_and_not_shown, "stale_at_end"),
        (mutations.show_more, "linearizable"),
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
    rng, made = np.random.default_rng(2), 0
    earliest = clean.tables["operations"]["sent"].min()
    for _ in range(20):
        record = clean.copy()
        if operator(record, rng) is None:
            continue
        made += 1
        assert any(
            not np.array_equal(values, clean.tables[table][column])
            for table, columns in record.tables.items()
            for column, values in columns.items()
        )
        operations, items, store = (record.tables[name] for name in ("operations", "items", "final_store"))
        assert load.holes(record.history())["missing"] == 0
        done = operations["outcome"] == Outcome.OK
        assert (operations["acknowledged"][done] > operations["sent"][done]).all()
        assert operations["sent"].min() >= earliest
        assert np.isin(items["op_id"], operations["op_id"]).all()
        assert (items["value"] >= 0).all()
        assert (items["value"][items["last_seq"] >= 0] <= items["last_seq"][items["last_seq"] >= 0]).all()
        assert (store["read_seq"] <= store["last_seq"]).all()
        assert (store["delivered_seq"] <= store["last_seq"]).all()
    assert made >= 3


def test_a_dropped_operation_closes_up_the_numbers(clean: Record) -> None:
    record = clean.copy()
    record.drop_operation(10)
    operations = record.tables["operations"]["op_id"]
    assert len(operations) == len(clean.tables["operations"]["op_id"]) - 1
    assert sorted((operations & ((1 << WORKER) - 1)).tolist()) == list(range(len(operations)))
    assert len(clean.tables["operations"]["op_id"]) == len(Record.load().tables["operations"]["op_id"])


def test_the_page_names_every_check_and_what_only_it_kills(clean: Record) -> None:
    mutant = next(scores.mutants(clean, "stale_at_end", 1, np.random.default_rng(1)))
    alone = dataclasses.replace(mutant, accused={**mutant.accused, "linearizable": set()})
    alone.accused.update({check: set() for check in alone.accused if check != "stale_at_end"})
    found = scores.Scores([mutant, alone])
    page = scores.page(found, 1, 1)
    assert all(f"`{check}`" in page for check in OPERATORS)
    assert f"| `stale_at_end` | 2 | 0 | 2 | 2 | 0 | {found.only('stale_at_end')} of 2 |" in page


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
