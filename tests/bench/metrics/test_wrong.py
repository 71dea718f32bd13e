"""Replies that prove themselves wrong are errors and give no latency; what is not said proves nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.metrics import lags, load, wrong
from bench.metrics.history import History
from bench.metrics.operations import summarise_all, timed
from bench.record import NONE, RESET, Op, Outcome
from tests.bench.synthetic import build


@pytest.fixture
def history(tmp_path: Path) -> History:
    folder, _ = build(tmp_path)
    return History(folder)


def first(history: History, op: Op, n: int = 1) -> np.ndarray:
    """The first measured ones that were acknowledged."""
    found = history.measured_rows(op)
    return found[history.outcome(found, Outcome.OK)][:n]


def change(history: History, row: np.ndarray, **values: int) -> None:
    for name, value in values.items():
        column = np.array(history.operations[name])
        column[row] = value
        history.operations.replace(name, column)


def found(history: History, op: Op) -> int:
    return int(np.count_nonzero(wrong.wrong(history, history.measured_rows(op))))


def test_honest_replies_are_none(history: History) -> None:
    everything = np.arange(len(history.operations["op_id"]))
    assert not wrong.wrong(history, everything).any()


@pytest.mark.parametrize("op", [Op.READ, Op.DELIVERED])
def test_a_cursor_below_what_was_asked_is_wrong(history: History, op: Op) -> None:
    row = first(history, op)
    change(history, row, items=1)
    asked = int(history.operations["argument"][row][0])
    change(history, row, value=asked)
    assert found(history, op) == 0
    change(history, row, value=asked + 5)
    assert found(history, op) == 0  # somebody read on meanwhile
    change(history, row, value=asked - 1)
    assert found(history, op) == 1
    change(history, row, value=NONE)
    assert found(history, op) == 0  # it does not say


def test_an_answer_about_several_is_looked_at_where_it_tells_the_first(history: History) -> None:
    row = first(history, Op.READ)
    operations = history.operations
    change(history, row, items=2, value=0)
    op_id, asked = int(operations["op_id"][row][0]), int(operations["argument"][row][0])
    conversation = int(operations["conversation"][row][0])

    def told(first_value: int) -> None:
        items = [
            {"op_id": op_id, "index": 0, "conversation": conversation + 1, "value": 0},
            {"op_id": op_id, "index": 1, "conversation": conversation, "value": first_value},
        ]
        for name in items[0]:
            column = np.array(history.items[name])
            column[:2] = [item[name] for item in items]
            history.items.replace(name, column)

    told(asked)
    assert found(history, Op.READ) == 0
    told(asked - 1)
    assert found(history, Op.READ) == 1


def test_a_message_without_a_place_is_wrong(history: History) -> None:
    change(history, first(history, Op.SEND, 3), value=0)
    assert found(history, Op.SEND) == 3


def test_a_sync_that_goes_back_is_wrong_unless_it_resets(history: History) -> None:
    row = first(history, Op.SYNC)
    change(history, row, argument=100, value=99)
    assert found(history, Op.SYNC) == 1
    change(history, row, flags=RESET)
    assert found(history, Op.SYNC) == 0


def test_what_was_refused_is_not_wrong_too(history: History) -> None:
    row = first(history, Op.SEND)
    change(history, row, value=NONE, outcome=int(Outcome.FAIL))
    assert found(history, Op.SEND) == 0


def test_a_wrong_reply_is_an_error_and_no_latency(history: History) -> None:
    honest, per_s = summarise_all(history)["READ"], load.summarise_load(history)["messages_per_s"]
    acknowledged = len(lags.ack(history).time)
    reads, send = first(history, Op.READ, 4), first(history, Op.SEND)
    change(history, reads, items=1, value=0)
    change(history, send, value=0)
    figures = summarise_all(history)["READ"]
    assert figures["errors"] == {"WRONG_REPLY": 4}
    assert (figures["ok"], figures["fail"]) == (honest["ok"] - 4, honest["fail"] + 4)
    assert figures["count"] == honest["count"]
    for name in ("latency_us", "service_us", "wait_us"):
        assert figures[name]["n"] == honest[name]["n"] - 4
    assert not np.isin(reads, timed(history, Op.READ).row).any()
    assert len(lags.ack(history).time) == acknowledged - 4
    assert load.summarise_load(history)["messages_per_s"] == pytest.approx(per_s - 1 / 20)
