"""What `findings.jsonl` has: one shape, one order, one story told once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.checks import all_checks, findings
from bench.checks.check import Check, Judgement
from bench.metrics.history import History
from bench.results import Json, RunFolder
from tests.bench.synthetic import build

SHAPE = {
    "id", "check", "promise", "promised", "kind", "says", "at_s", "conversation", "conversation_id", "user",
    "user_id", "episode", "in_episode", "also", "records",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return build(tmp_path_factory.mktemp("run"), scheme="redis", stale_at_end=5, lost_acknowledged=2)[0]


def record(part: str, op_id: int | None, at_s: float, value: int = 1) -> Json:
    return {"part": part, "op": "READ", "op_id": op_id, "value": value, "sent_s": at_s}


def finding(check: str, *records: Json, user: int = 1, **figures: object) -> Json:
    return {"check": check, "kind": "stale", "conversation": 0, "user": user, "says": ""} | {
        "records": list(records),
        **figures,
    }


def finish(folder: RunFolder, checks: list[Check], found: list[Json]) -> Judgement:
    return findings.finish(Judgement(checks, found), History(folder).membership)


def test_every_finding_of_every_check_has_the_shape(folder: RunFolder) -> None:
    judged = all_checks.judge(History(folder), 0)
    assert {finding["check"] for finding in judged.findings} >= {
        "acknowledged_reads", "stale_at_end", "linearizable", "read_your_writes_person"
    }  # fmt: skip
    for number, one in enumerate(judged.findings, start=1):
        assert one["id"] == f"f{number}"
        assert set(one) >= SHAPE
        assert 2 <= len(one["records"]) <= 5
        assert re.fullmatch(r"[A-Z].*\.", one["says"])
        assert f"{one['user_id']}" == f"u{one['user'] + 1}"
        times = [findings.when(record) for record in one["records"]]
        assert times == sorted(times)
        assert one["at_s"] == times[-1]


def test_each_check_shows_its_worst(folder: RunFolder) -> None:
    judged = all_checks.judge(History(folder), 0)
    for check in judged.checks:
        own = [finding for finding in judged.findings if finding["check"] == check.name]
        assert check.worst == (own[0] if own else None)
        assert bool(check.violations) == bool(own)
        assert len({f["episode"] for f in own}) == check.to_dict()["episodes"]
        assert all(f["age_s"] is None or f["age_s"] <= (own[0]["age_s"] or 0) for f in own if "age_s" in f)


def test_broken_promises_come_first_and_what_was_lost_before_what_is_old(folder: RunFolder) -> None:
    checks = [
        Check("linearizable", "linearizable", False, 9, 1),
        Check("monotonic_reads_device", "monotonic_reads", True, 9, 2),
        Check("acknowledged_reads", "durable", True, 9, 1),
    ]
    found = [
        finding("linearizable", record("write", 1, 1), record("read", 2, 2), age_s=99.0),
        finding("monotonic_reads_device", record("read", 3, 1), record("read", 4, 2), age_s=1.0),
        finding("monotonic_reads_device", record("read", 5, 1), record("read", 6, 2), age_s=8.0),
        finding("acknowledged_reads", record("write", 7, 1), record("held", None, 9)),
    ]
    ordered = finish(folder, checks, found).findings
    assert [(one["check"], one.get("age_s")) for one in ordered] == [
        ("acknowledged_reads", None), ("monotonic_reads_device", 8.0), ("monotonic_reads_device", 1.0),
        ("linearizable", 99.0),
    ]  # fmt: skip


def test_the_worst_of_each_episode_comes_before_all_others(folder: RunFolder) -> None:
    checks = [Check("linearizable", "linearizable", False, 9, 3)]
    found = [
        finding("linearizable", record("read", n, n), age_s=age, episode=episode, in_episode=size)
        for n, (age, episode, size) in enumerate([(9.0, 4, 2), (3.0, 7, 1), (8.0, 4, 2)])
    ]
    ordered = finish(folder, checks, found).findings
    assert [(one["id"], one["episode"], one["age_s"]) for one in ordered] == [
        ("f1", "f1", 9.0), ("f2", "f2", 3.0), ("f3", "f1", 8.0)
    ]  # fmt: skip
    assert [one["id"] for one in findings.causes(ordered)] == ["f1", "f2"]


def test_two_checks_that_accuse_for_the_same_write_tell_one_story(folder: RunFolder) -> None:
    checks = [Check(name, "linearizable", False, 9, 1) for name in ("linearizable", "stale_at_end")]
    write, filler = record("write", 1, 1), record("filler", 8, 0.5)
    found = [
        finding("linearizable", write, filler, record("read", 2, 2), age_s=1.0),
        finding("stale_at_end", write, record("read", 3, 3), age_s=1.0),
        finding("stale_at_end", write, record("read", 4, 3), user=2, age_s=1.0),
        finding("linearizable", write, record("held", None, 9), age_s=1.0),
    ]
    judged = finish(folder, checks, found).findings
    told = findings.causes(judged)
    assert len(told) == 3  # another person's cursor and what the store held are stories of their own
    assert told[0]["also"] == ["stale_at_end"]
    assert told[1]["also"] == told[2]["also"] == []


def test_a_finding_without_a_sentence_gets_a_plain_one(folder: RunFolder) -> None:
    checks = [Check("linearizable", "linearizable", False, 9, 1)]
    found = finding("linearizable", record("write", 1, 2, 7), record("push", None, 1, 6), kind="gap")
    (one,) = finish(folder, checks, [found]).findings
    assert one["says"] == "Gap: READ 6, then READ 7."


def test_what_was_read_while_the_write_went_on_is_accused_not_the_write(folder: RunFolder) -> None:
    """The accused read began before the record that explains it."""
    found = finding("x", record("read", 1, 1), record("write", 2, 5))
    assert findings.accused(found)["op_id"] == 1


def test_written_and_read_again_they_are_the_same(folder: RunFolder, tmp_path: Path) -> None:
    judged = all_checks.judge(History(folder), 0)
    other = RunFolder(tmp_path)
    other.write_findings(judged.findings)
    assert other.findings() == judged.findings
