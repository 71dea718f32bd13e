"""What was planted against what was found, on a made-up run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.metrics.history import History
from bench.record import Op, PushKind
from bench.results import Json
from bench.selftest.lies import Planted
from bench.selftest.truth import RESIDUAL_NS, Result, Row, judge
from tests.bench.synthetic import build

EVENTS = {"stale_answer": 40}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(build(tmp_path_factory.mktemp("run"))[0])


def stale(history: History, **changes: Any) -> tuple[Planted, Json]:
    """A lie about the first STATE of a first device, and a finding that names it."""
    record = history.operations
    first = np.isin(record["device"], _first_devices(history))
    row = int(np.flatnonzero((record["op"] == Op.STATE) & first)[0])
    number = str(int(record["op_id"][row]) & ((1 << 40) - 1))
    lie = Planted("stale_answer", 0, int(record["user"][row]), "device-1", 3, 5, request=number, **changes)
    return lie, {
        "check": "linearizable",
        "conversation": 3,
        "records": [{"op_id": int(record["op_id"][row])}],
    }


def _first_devices(history: History) -> list[int]:
    membership = history.membership
    order = np.argsort(membership.device)
    _, first = np.unique(membership.device_user[order], return_index=True)
    devices: list[int] = membership.device[order][first].tolist()
    return devices


def row(result: Result, kind: str) -> Row:
    return next(row for row in result.rows if row.kind == kind)


def test_a_lie_that_a_finding_names_is_found(history: History) -> None:
    lie, finding = stale(history)
    result = judge(history, [finding], [lie], EVENTS)
    assert row(result, "stale_answer") == Row("stale_answer", 40, 1, 1, 1, (), None)
    assert result.good


def test_one_answer_may_hold_several_lies(history: History) -> None:
    lie, finding = stale(history)
    other = Planted("unread_drift", 0, lie.user, lie.device, 9, 5, request=lie.request)
    result = judge(history, [finding, finding | {"conversation": 9}], [lie, other], EVENTS)
    assert result.good
    assert judge(history, [finding], [lie, other], EVENTS).rows[6].missed == (other,)


def test_a_lie_that_nobody_names_is_missed(history: History) -> None:
    lie, _ = stale(history)
    result = judge(history, [], [lie], EVENTS)
    assert row(result, "stale_answer").missed == (lie,)
    assert not result.good


def test_a_lie_without_effect_need_not_be_found(history: History) -> None:
    lie, _ = stale(history, effective=False)
    assert judge(history, [], [lie], EVENTS).good


def test_a_finding_about_nothing_planted_is_false(history: History) -> None:
    lie, finding = stale(history)
    other = {"check": "linearizable", "records": [{"op_id": 1}], "conversation": 3, "user": lie.user}
    result = judge(history, [finding, other], [lie], EVENTS)
    assert result.false == (other,)
    assert not result.good


def test_a_lost_acknowledgement_explains_what_is_found_of_its_cursor_and_no_other(history: History) -> None:
    lie = Planted("lost_ack", 0, 2, "device-1", 3, 5, request="999999")
    of = [{"check": "acknowledged_reads", "conversation": 3, "user": user} for user in (2, 4)]
    result = judge(history, of, [lie], {})
    assert row(result, "lost_ack").found == 1
    assert result.false == (of[1],)


def test_a_dropped_push_is_found_by_its_device_and_conversation(history: History) -> None:
    device = _first_devices(history)[5]
    user = int(history.membership.device_user[history.membership.device == device][0])
    lie = Planted("dropped_push", 0, user, "device-1", 3, 5)
    of = [{"check": "push_gaps", "conversation": 3, "device": number} for number in (device, device + 1)]
    result = judge(history, of, [lie], {})
    assert row(result, "dropped_push").found == 1
    assert result.false == (of[1],)


def test_a_cut_connection_excuses_no_finding(history: History) -> None:
    lie, finding = stale(history)
    lie.kind = "cut"
    result = judge(history, [finding], [lie], {})
    assert result.false == (finding,)
    assert row(result, "cut").missed == ()


@pytest.mark.parametrize(("late_ns", "found"), [(0, 1), (RESIDUAL_NS, 1), (RESIDUAL_NS + 1, 0), (-1, 0)])
def test_a_held_push_must_be_recorded_when_it_was_let_go(history: History, late_ns: int, found: int) -> None:
    pushes = history.pushes
    first = np.isin(pushes["device"], _first_devices(history))
    push = int(np.flatnonzero((pushes["kind"] == PushKind.READ) & first)[0])
    lie = Planted(
        "late_push",
        int(pushes["received"][push]) - late_ns,
        int(pushes["user"][push]),
        "device-1",
        int(pushes["conversation"][push]),
        int(pushes["value"][push]),
        actor=int(pushes["actor"][push]),
    )
    told = row(judge(history, [], [lie], {}), "late_push")
    assert told.found == found
    if late_ns >= 0:
        assert told.residual_p99_us == late_ns / 1e3
