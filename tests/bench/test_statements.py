"""What is heard of an operation: known again, counted, and held against what is declared."""

from __future__ import annotations

import pytest

from bench.cli.statements import lines
from bench.services.wire import Heard, counter_of
from bench.statements import Step, operations, shape, without
from schemes.ledger import DONE


@pytest.mark.parametrize(
    ("sql", "counter"),
    [
        ("SELECT 1", "Com_select"),
        ("(SELECT 1) UNION ALL (SELECT 2)", "Com_select"),
        ("COMMIT", "Com_commit"),
        ("UPDATE conversations SET last_seq = 1", "Com_update"),
        ("UPDATE conversation_members FORCE INDEX (PRIMARY) SET read_seq = 1", "Com_update"),
        ("UPDATE conversation_members m FORCE INDEX (PRIMARY) SET m.read_seq = 1", "Com_update"),
        (
            "UPDATE conversation_members m FORCE INDEX (PRIMARY) STRAIGHT_JOIN user_sync_heads h SET m.v = 1",
            "Com_update_multi",
        ),
        ("INSERT INTO messages VALUES (1)", "Com_insert"),
        ("DELETE FROM outbox WHERE outbox_id IN (1)", "Com_delete"),
        ("ROLLBACK", "Com_rollback"),
    ],
)
def test_a_statement_is_known_by_its_counter(sql: str, counter: str) -> None:
    assert counter_of(sql) == f"mysql.{counter}"


def heard(text: str, *, scripted: bool = False) -> Heard:
    return Heard(f"redis.{text.partition(' ')[0].lower()}", text, scripted)


def test_a_heartbeat_is_left_out_with_what_its_script_sends() -> None:
    beat = heard("EVALSHA 1f 1 applied:t  0 2 0 17 1 9")
    later = heard("EVALSHA 1f 1 applied:t  0 2 0 18 1 9")
    batch = heard("EVALSHA 1f 1 applied:t push:t 0 1 0 18")
    inner = heard("HGET applied:t 0", scripted=True)
    poll = heard("HGETALL applied:t")
    mget = heard("MGET cid:1 convs:1")
    got = [mget, later, inner, inner, batch, inner, poll]
    assert list(without(got, {shape(beat), shape(poll)})) == [mget, batch, inner]


def test_statements_of_one_shape_are_known_again_whatever_their_numbers() -> None:
    one, other = (Heard("mysql.Com_select", f"SELECT a FROM t WHERE id = {n}") for n in (7, 812))
    assert shape(one) == shape(other) != shape(Heard("mysql.Com_select", "SELECT b FROM t WHERE id = 7"))


def test_a_step_says_what_is_not_as_declared() -> None:
    update = Heard("mysql.Com_update", "UPDATE t SET x = 1")
    declared = {"mysql.Com_update": (2, 2), "redis.set": (0, 1), "redis.get": (1, 1)}
    step = Step("READ", (update, heard("GET a"), heard("SET b 1", scripted=True), heard("DEL c")), declared)
    assert step.wrong == ["mysql.Com_update", "redis.del"]
    told = lines(step, 40)
    assert told[0] == "READ: 1 Com_update, 1 del, 1 get, 1 set"
    assert told[3] == "  redis   SET b 1"
    assert told[-2:] == [
        "  NOT AS DECLARED mysql.Com_update: declared 2, counted 1",
        "  NOT AS DECLARED redis.del: declared 0, counted 1",
    ]


def test_long_texts_are_cut_unless_they_are_wanted_whole() -> None:
    step = Step("SEND", (Heard("kafka.records", "0 u1 " + "x" * 100),), {"kafka.records": (1, 1)})
    cut, whole = lines(step, 50)[1], lines(step, None)[1]
    assert len(cut) == 52
    assert cut.endswith("…")
    assert whole.endswith("x" * 100)


def test_every_operation_counts_as_something_that_declarations_know() -> None:
    for name, _, frame, counts, queued in operations():
        assert counts.keys() | queued.keys() <= DONE.keys(), name
        assert frame["type"] in name
