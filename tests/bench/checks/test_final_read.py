"""Each check of the final read with a history that makes it fire and one that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.checks import evidence as collecting
from bench.checks import final_read
from bench.checks.check import Check, Judgement
from bench.checks.final_read import NO_OPERATION, Cursors, Evidence, Messages, Promises, Writes
from bench.checks.story import Story
from bench.metrics.history import History
from bench.metrics.whole import look, why_not
from bench.record import ITEMS, NONE, OPERATIONS, Op, Outcome
from bench.results import FINAL_STORE, MEMBERS, Json
from tests.bench.synthetic import MS, S, build, change_manifest, rows

KEPT = Promises(durable=True, convergence=True, read_ack="durable")
READS, DELIVERIES, MESSAGES, STALE = (
    "acknowledged_reads",
    "acknowledged_deliveries",
    "acknowledged_messages",
    "stale_at_end",
)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def writes(*entries: tuple[int, int, bool]) -> Writes:
    """Of user 5 in conversation 2: (value, acknowledged at ns or 0, is an operation)."""
    n = len(entries)
    return Writes(
        np.full(n, 2),
        np.full(n, 5),
        ints(*(value for value, _, _ in entries)),
        ints(*(at for _, at, _ in entries)),
        ints(*(i if real else NO_OPERATION for i, (_, _, real) in enumerate(entries))),
    )


def at(value: int) -> Cursors:
    return Cursors(ints(2), ints(5), ints(value))


class Bare:
    """Tells of operations by their ids alone."""

    def seed(self, value: int) -> Json:
        return {"part": "write", "op": "seed", "op_id": None, "value": value}

    def held(self, value: int) -> Json:
        return {"part": "held", "op": "store", "op_id": None, "value": value, "at_s": 8.0}

    def by_id(self, op_id: int, part: str, value: int) -> Json:
        who = {"user_id": "u6", "session": 1}
        return {"part": part, "op": "READ", "op_id": op_id, "value": value, **who}


def judge(evidence: Evidence, promises: Promises) -> Judgement:
    return final_read.judge(evidence, promises, Bare())


NOTHING = Cursors(ints(), ints(), ints())
SOMEBODY_ELSE = Cursors(ints(2), ints(6), ints(0))
SEEDED = (3, 1, False)
NO_SENDS = writes()


def case(
    *entries: tuple[int, int, bool], store: int | None, shown: int | None = None, **changes: Any
) -> Evidence:
    held = at(store) if store is not None else SOMEBODY_ELSE
    whole = Evidence(
        reads=writes(SEEDED, *entries),
        deliveries=writes(SEEDED),
        messages=Messages(ints(10), ints(12), ints(10), ints(0), NO_SENDS),
        store_read=held,
        store_delivered=at(10),
        store_read_at=8 * S,
        shown=at(shown) if shown is not None else held,
        shown_at=ints(9 * S),
        shown_by=ints(77),
        unknown="",
        drained=True,
    )
    return replace(whole, **({"deliveries": writes((10, 0, False))} | changes))


def verdicts(judgement: Judgement) -> dict[str, str]:
    return {check.name: check.verdict for check in judgement.checks}


def one(judgement: Judgement, name: str) -> Check:
    return next(check for check in judgement.checks if check.name == name)


@pytest.mark.parametrize(
    ("entries", "store"),
    [
        ([], 3),
        ([(7, S, True)], 7),
        ([(7, S, True), (5, 2 * S, True)], 7),
        ([(7, S, True), (9, 0, True)], 7),
        ([(7, S, True), (9, 0, True)], 9),
        ([(7, S, True), (9, 0, True)], 8),
    ],
)
def test_between_acknowledged_and_attempted_is_fine(entries: list[tuple[int, int, bool]], store: int) -> None:
    judgement = judge(case(*entries, store=store), KEPT)
    assert set(verdicts(judgement).values()) == {"pass"}
    assert judgement.findings == []


@pytest.mark.parametrize(
    ("entries", "store", "kind"),
    [
        ([(7, S, True)], 6, "lost acknowledgement"),
        ([(7, S, True)], None, "lost acknowledgement"),
        ([], 2, "lost acknowledgement"),
        ([(7, S, True), (9, 0, True)], 10, "phantom"),
        ([], 4, "phantom"),
    ],
)
def test_outside_of_it_is_a_violation(
    entries: list[tuple[int, int, bool]], store: int | None, kind: str
) -> None:
    judgement = judge(case(*entries, store=store), KEPT)
    check = one(judgement, READS)
    assert (check.verdict, check.violations, check.promised) == ("fail", 1, True)
    assert judgement.findings[0]["kind"] == kind
    assert judgement.findings[0]["conversation"] == 2
    assert judgement.findings[0]["user"] == 5
    assert check.worst == judgement.findings[0]


def test_a_finding_names_the_operation_that_was_acknowledged() -> None:
    finding = judge(case((5, S, True), (7, 2 * S, True), store=4), KEPT).findings[0]
    asked, held = finding["records"]
    assert (asked["op_id"], asked["value"], held["part"], held["value"]) == (2, 7, "held", 4)
    assert finding["says"] == (
        "The READ up to 7 by u6 was acknowledged, and after the drain the store holds 4."
    )
    assert (finding["acknowledged"], finding["store"], finding["attempted"]) == (7, 4, 7)


def test_eligible_are_the_cursors_that_somebody_was_told_of() -> None:
    assert one(judge(case(store=3), KEPT), READS).eligible == 0
    assert one(judge(case((7, S, True), (6, S, True), store=7), KEPT), READS).eligible == 1


def test_with_a_hole_nothing_passes_and_nothing_is_a_phantom() -> None:
    clean = judge(case((7, S, True), store=9, unknown="2 rows are missing"), KEPT)
    assert set(verdicts(clean).values()) == {"unknown"}
    lost = judge(case((7, S, True), store=6, unknown="2 rows are missing"), KEPT)
    assert verdicts(lost)[READS] == "fail"


@pytest.mark.parametrize(
    ("promises", "promised"),
    [
        (KEPT, True),
        (replace(KEPT, read_ack="queued"), False),
        (replace(KEPT, read_ack="volatile", durable=False), False),
    ],
)
def test_only_durable_acknowledgements_of_a_durable_scheme_are_a_promise(
    promises: Promises, promised: bool
) -> None:
    check = one(judge(case((7, S, True), store=6), promises), READS)
    assert (check.promised, check.violations) == (promised, 1)


def test_what_was_queued_and_not_drained_is_unknown() -> None:
    queued = replace(KEPT, read_ack="queued")
    assert verdicts(judge(case(store=3, drained=False), queued))[READS] == "unknown"
    assert verdicts(judge(case(store=3, drained=False), KEPT))[READS] == "pass"
    assert verdicts(judge(case(store=3, drained=False), KEPT))[STALE] == "unknown"


@pytest.mark.parametrize(("delivered", "verdict"), [(9, "fail"), (10, "pass"), (11, "pass"), (12, "fail")])
def test_deliveries_are_kept_too(delivered: int, verdict: str) -> None:
    deliveries = writes((10, S, True), (11, 0, True))
    judgement = judge(case(store=3, deliveries=deliveries, store_delivered=at(delivered)), KEPT)
    assert verdicts(judgement)[DELIVERIES] == verdict


@pytest.mark.parametrize(
    ("store", "twice", "kind"),
    [
        (9, 0, "lost message"),
        (13, 0, "phantom message"),
        (10, 1, "one seq for two messages"),
        (10, 0, None),
        (12, 0, None),
        (-1, 0, None),
    ],
)
def test_messages(store: int, twice: int, kind: str | None) -> None:
    sends = Writes(ints(0, 0, 0), ints(5, 6, 5), ints(9, 9, 10), ints(S, S, S), ints(1, 2, 3))
    messages = Messages(ints(10), ints(12), ints(store), ints(twice), sends)
    judgement = judge(case(store=3, messages=messages), KEPT)
    assert [finding["kind"] for finding in judgement.findings] == ([kind] if kind else [])
    told = {"lost message": [3, None], "phantom message": [3, None], "one seq for two messages": [1, 2]}
    for finding in judgement.findings:
        assert [record["op_id"] for record in finding["records"]] == told[finding["kind"]]


def test_stale_at_the_end_with_its_proven_age() -> None:
    history = case((6, 2 * S, True), (7, 4 * S, True), store=7, shown=5)
    judgement = judge(history, KEPT)
    assert verdicts(judgement) == {READS: "pass", DELIVERIES: "pass", MESSAGES: "pass", STALE: "fail"}
    finding = judgement.findings[0]
    assert (finding["kind"], finding["shown"], finding["store"]) == ("stale", 5, 7)
    assert finding["age_s"] == 7.0  # shown at 9 s; 6 was acknowledged at 2 s
    assert [(record["part"], record["op_id"], record["value"]) for record in finding["records"]] == [
        ("write", 1, 6), ("held", None, 7), ("read", 77, 5)
    ]  # fmt: skip
    assert not one(judge(history, replace(KEPT, convergence=False)), STALE).promised


def test_what_is_missing_at_the_end_may_be_what_nobody_was_told_of() -> None:
    judgement = judge(case((6, 2 * S, True), (7, 0, True), (9, 0, True), store=7, shown=6), KEPT)
    (finding,) = judgement.findings
    assert (finding["kind"], finding["age_s"]) == ("stale", None)
    assert [(record["part"], record["op_id"]) for record in finding["records"]] == [
        ("write", 2), ("held", None), ("read", 77)
    ]  # fmt: skip
    records = judge(case(store=3, shown=2), KEPT).findings[0]["records"]
    assert [record["part"] for record in records] == ["held", "read"]


def test_the_api_ahead_of_the_store_is_told_apart() -> None:
    judgement = judge(case(store=3, shown=4), KEPT)
    assert judgement.findings[0]["kind"] == "ahead of the store"
    assert judgement.findings[0]["age_s"] is None


@pytest.mark.parametrize(("acknowledged", "verdict"), [(8 * S, "fail"), (8 * S + 1, "pass")])
def test_what_was_acknowledged_after_the_store_was_read_need_not_be_in_it(
    acknowledged: int, verdict: str
) -> None:
    late = case((7, acknowledged, True), store=3, deliveries=writes((11, acknowledged, True)))
    found = verdicts(judge(late, KEPT))
    assert (found[READS], found[DELIVERIES]) == (verdict, verdict)


@pytest.mark.parametrize(
    ("entry", "shown", "kinds"),
    [
        ((7, 8 * S + 1, True), 7, []),
        ((7, 8 * S + 1, True), 5, []),
        ((7, 0, True), 7, []),
        ((7, 0, True), 8, ["ahead of the store"]),
        ((7, 0, True), 2, ["stale"]),
    ],
)
def test_the_api_may_show_what_was_written_after_the_store_was_read(
    entry: tuple[int, int, bool], shown: int, kinds: list[str]
) -> None:
    judgement = judge(case(entry, store=3, shown=shown), KEPT)
    assert [finding["kind"] for finding in judgement.findings] == kinds


def test_before_the_drain_was_complete_the_api_may_be_ahead_but_not_behind() -> None:
    for shown, count in ((9, 0), (2, 1)):
        judgement = judge(case(store=3, shown=shown, drained=False), KEPT)
        assert one(judgement, STALE).violations == count
        assert one(judgement, STALE).verdict == ("fail" if count else "unknown")


def test_without_a_final_read_nothing_is_known_of_the_api() -> None:
    judgement = judge(replace(case(store=3), shown=NOTHING, shown_at=ints()), KEPT)
    assert verdicts(judgement)[STALE] == "unknown"
    assert one(judgement, STALE).eligible == 0


# --- where the store cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "shown", "kind"),
    [
        ([(7, S, True)], 7, None),
        ([(7, S, True), (9, 0, True)], 9, None),
        ([(7, S, True)], 6, "acknowledged and not shown"),
        ([(7, S, True)], 8, "phantom"),
    ],
)
def test_the_api_stands_for_the_store(
    entries: list[tuple[int, int, bool]], shown: int, kind: str | None
) -> None:
    judgement = judge(case(*entries, store=shown, over_api=True), KEPT)
    check = one(judgement, READS)
    assert (check.verdict, check.promise) == ("fail" if kind else "pass", "convergence")
    assert [finding["kind"] for finding in judgement.findings] == ([kind] if kind else [])


def test_over_the_api_a_server_is_held_to_convergence_alone() -> None:
    lost = case((7, S, True), store=6, over_api=True)
    promised = {
        convergence: {check.name for check in judge(lost, promises).checks if check.promised}
        for convergence, promises in ((True, KEPT), (False, replace(KEPT, convergence=False)))
    }
    assert promised == {True: {READS, MESSAGES}, False: set()}


def test_what_only_the_control_door_tells_is_unknown_and_no_pass() -> None:
    judgement = judge(case(store=3, over_api=True), KEPT)
    assert verdicts(judgement) == {READS: "pass", DELIVERIES: "unknown", MESSAGES: "pass", STALE: "unknown"}
    assert "not available" in one(judgement, DELIVERIES).unknown
    assert one(judgement, STALE).eligible == 0


def test_without_drain_a_queued_acknowledgement_may_be_on_its_way() -> None:
    queued = replace(KEPT, read_ack="queued")
    assert verdicts(judge(case(store=3, over_api=True, drained=False), queued))[READS] == "unknown"
    assert verdicts(judge(case(store=3, over_api=True, drained=False), KEPT))[READS] == "pass"


# --- from a run's rows ------------------------------------------------------------------------------------


def of_run(tmp_path: Path, *extra: Json, items: tuple[Json, ...] = (), **knobs: Any) -> Judgement:
    folder, _ = build(tmp_path, **knobs)
    if extra:
        numbered = [{"op_id": 7 << 40 | i, "plan": NONE, "user": 0} | row for i, row in enumerate(extra)]
        folder.write_rows("operations", 7, rows(OPERATIONS, numbered))
        folder.write_rows("items", 7, rows(ITEMS, items))
    history = History(folder)
    return judge_run(history, why_not(look(history)))


def judge_run(history: History, unknown: str = "") -> Judgement:
    collected, promises = collecting.collect(history, unknown), collecting.promises(history)
    return final_read.judge(collected, promises, Story(history))


@pytest.mark.parametrize("scheme", ["memory", "db", "redis", "queue"])
def test_a_correct_run_passes(tmp_path: Path, scheme: str) -> None:
    judgement = of_run(tmp_path, scheme=scheme, errors={"DEADLINE": 0.05, "NOT_MEMBER": 0.05})
    assert set(verdicts(judgement).values()) == {"pass"}
    assert all(check.eligible for check in judgement.checks)
    assert {check.promised for check in judgement.checks if check.promise == "durable"} == {
        scheme != "memory"
    }


@pytest.mark.parametrize("count", [1, 5])
def test_lost_acknowledgements_are_found_one_by_one(tmp_path: Path, count: int) -> None:
    judgement = of_run(tmp_path, lost_acknowledged=count)
    assert one(judgement, READS).violations == count
    assert {finding["kind"] for finding in judgement.findings} == {"lost acknowledgement"}
    assert verdicts(judgement)[STALE] == "pass"


def test_phantoms_are_found_one_by_one(tmp_path: Path) -> None:
    judgement = of_run(tmp_path, phantom=3)
    assert one(judgement, READS).violations == 3
    assert {f["kind"] for f in judgement.findings if f["check"] == READS} == {"phantom"}


def test_stale_cursors_are_found_one_by_one(tmp_path: Path) -> None:
    judgement = of_run(tmp_path, stale_at_end=4)
    assert one(judgement, STALE).violations == 4
    assert all(finding["age_s"] is None or finding["age_s"] > 0 for finding in judgement.findings)
    assert any(finding["age_s"] for finding in judgement.findings)


def test_a_hole_makes_a_clean_run_unknown(tmp_path: Path) -> None:
    judgement = of_run(tmp_path, hole=3)
    assert "pass" not in verdicts(judgement).values()
    assert "is missing" in one(judgement, MESSAGES).unknown


def test_an_unfinished_run_or_final_read_is_unknown(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    change_manifest(folder, final={"answered": 39})
    history = History(folder)
    judgement = judge_run(history)
    assert one(judgement, READS).unknown == "only 39 of 40 final reads were answered"
    change_manifest(folder, ended={"how": "interrupted"})
    history = History(folder)
    assert collecting.collect(history, "").unknown == "the run did not finish"


def test_where_no_store_was_read_nothing_is_lost_or_kept() -> None:
    unread = replace(case((7, S, True), store=7), store_read=NOTHING, store_delivered=NOTHING, shown=NOTHING)
    judgement = judge(replace(unread, shown_at=ints()), KEPT)
    assert {name: verdicts(judgement)[name] for name in (READS, DELIVERIES, STALE)} == {
        READS: "unknown",
        DELIVERIES: "unknown",
        STALE: "unknown",
    }


def test_a_store_that_was_not_read_is_unknown(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    (folder.path / "final_store.parquet").unlink()
    history = History(folder)
    assert collecting.collect(history, "").unknown == "the store was not read at the end"


def over_api(tmp_path: Path, **knobs: Any) -> Judgement:
    """A run whose store could not be read, and nothing of DRAIN."""
    folder, _ = build(tmp_path, **knobs)
    (folder.path / "final_store.parquet").unlink()
    change_manifest(folder, final={"held_against": "api"}, drained=None)
    history = History(folder)
    return judge_run(history, why_not(look(history)))


@pytest.mark.parametrize("scheme", ["memory", "db"])
def test_over_the_api_a_correct_run_passes(tmp_path: Path, scheme: str) -> None:
    judgement = over_api(tmp_path, scheme=scheme, errors={"DEADLINE": 0.05, "NOT_MEMBER": 0.05})
    assert verdicts(judgement) == {READS: "pass", DELIVERIES: "unknown", MESSAGES: "pass", STALE: "unknown"}
    assert one(judgement, READS).eligible
    assert one(judgement, MESSAGES).eligible


def test_over_the_api_what_is_not_shown_is_found_one_by_one(tmp_path: Path) -> None:
    judgement = over_api(tmp_path, stale_at_end=4)
    assert one(judgement, READS).violations == 4
    assert {finding["kind"] for finding in judgement.findings} == {"acknowledged and not shown"}


def test_over_the_api_a_hole_or_an_unanswered_final_read_is_unknown(tmp_path: Path) -> None:
    assert "is missing" in one(over_api(tmp_path / "hole", hole=3), READS).unknown
    folder, _ = build(tmp_path)
    change_manifest(folder, final={"held_against": "api", "answered": 39})
    history = History(folder)
    assert collecting.collect(history, 0).unknown == "only 39 of 40 final reads were answered"


def test_over_the_api_who_was_not_asked_is_not_missed(tmp_path: Path) -> None:
    """The seeded cursors of people who never connect are held against nothing."""
    folder, _ = build(tmp_path)
    change_manifest(folder, final={"held_against": "api"})
    table = folder.table("members")
    members = np.zeros(table.rows, MEMBERS)
    for name in table:
        members[name] = table[name]
    offline = np.array([(0, 10_000, 3)], MEMBERS)
    folder.write_once("members", np.concatenate([members, offline]))
    history = History(folder)
    judgement = judge(collecting.collect(history, 0), collecting.promises(history))
    assert verdicts(judgement)[READS] == "pass"


def ok(op: Op, **values: Any) -> Json:
    return {
        "op": op,
        "outcome": Outcome.OK,
        "sent": 5 * S,
        "acknowledged": 5 * S + MS,
        "value": NONE,
        **values,
    }


def test_an_acknowledged_send_that_is_nowhere_is_lost(tmp_path: Path) -> None:
    judgement = of_run(tmp_path, ok(Op.SEND, conversation=0, value=10_000))
    assert one(judgement, MESSAGES).violations == 1
    assert one(judgement, READS).violations == 1  # sending implies reading


def test_a_send_acknowledged_after_the_store_was_read_need_not_be_in_it(tmp_path: Path) -> None:
    late = ok(Op.SEND, conversation=0, value=10_000, acknowledged=1_000_000 * S)
    judgement = of_run(tmp_path, late)
    assert one(judgement, MESSAGES).violations == one(judgement, READS).violations == 0


def test_an_unanswered_send_may_be_there_or_not(tmp_path: Path) -> None:
    silent = ok(Op.SEND, conversation=0) | {"outcome": Outcome.INFO, "acknowledged": 0}
    assert set(verdicts(of_run(tmp_path, silent)).values()) == {"pass"}


def test_two_messages_with_one_seq(tmp_path: Path) -> None:
    twice = [ok(Op.SEND, conversation=0, value=6) for _ in range(2)]
    judgement = of_run(tmp_path, *twice, send_per_s=1, people=50)
    assert "one seq for two messages" in {finding["kind"] for finding in judgement.findings}
    repeated = [twice[0], twice[1] | {"flags": 1, "attempt": 1}]
    judgement = of_run(tmp_path / "again", *repeated, send_per_s=1, people=50)
    assert "one seq for two messages" not in {finding["kind"] for finding in judgement.findings}


def test_an_acknowledged_delivery_that_is_nowhere_is_lost(tmp_path: Path) -> None:
    judgement = of_run(tmp_path, ok(Op.DELIVERED, conversation=0, argument=10_000))
    assert one(judgement, DELIVERIES).violations == 1
    assert one(judgement, READS).violations == 0


def test_an_unanswered_delivery_may_have_held_more_than_its_first_item(tmp_path: Path) -> None:
    """The store is ahead of what anybody is known to have asked for, but it may have been in there."""

    def ahead(tmp_path: Path, *extra: Json) -> int:
        folder, _ = build(tmp_path)
        table = folder.table("final_store")
        raised = np.zeros(table.rows, FINAL_STORE)
        for name in table:
            raised[name] = table[name]
        mine = (raised["user"] == 0) & (raised["conversation"] == 39)
        raised["last_seq"] += 1
        raised["delivered_seq"] = np.where(mine, raised["last_seq"], raised["delivered_seq"])
        folder.write_once("final_store", raised)
        folder.write_rows("operations", 7, rows(OPERATIONS, extra))
        history = History(folder)
        judgement = judge_run(history)
        return one(judgement, DELIVERIES).violations

    silent = {
        "op": Op.DELIVERED,
        "outcome": Outcome.INFO,
        "sent": S,
        "user": 0,
        "conversation": 0,
        "plan": NONE,
    }
    assert 0 in build(tmp_path / "x")[1].members[39]
    assert ahead(tmp_path / "a") == 1
    assert ahead(tmp_path / "b", silent | {"op_id": 7 << 40}) == 0


def test_items_after_the_first_count(tmp_path: Path) -> None:
    read = ok(Op.READ, conversation=0, argument=1, items=2)
    more: Json = {"op_id": 7 << 40, "index": 1, "conversation": 1, "value": 10_000, "applied": 1}
    judgement = of_run(tmp_path, read, items=(more,))
    assert one(judgement, READS).violations == 1
    assert judgement.findings[0]["conversation"] == 1
