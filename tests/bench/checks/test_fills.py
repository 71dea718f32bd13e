"""Who is suspected of a stale fill: where the culprit is known, and where nobody can have done it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.checks import all_checks
from bench.metrics.history import History
from bench.record import ITEMS, NONE, OPERATIONS, Op, Outcome
from bench.results import RunFolder
from tests.bench.synthetic import MS, START, S, build, change_manifest, rows

CONVERSATION, READER, PEER = 0, 0, 1
WRITE, STALE = 7 << 40, (7 << 40) + 9
AT = START + 2 * S
WRITTEN = 10_000
"""More than anybody in the made-up run reads."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return build(tmp_path, scheme="redis", people=16, measure_s=4, send_per_s=2)[0]


def state(
    op_id: int, user: int, sent: int, took: int, value: int, store_us: int, conversation: int = CONVERSATION
) -> tuple[Any, Any]:
    row = {
        "op_id": op_id, "plan": NONE, "op": Op.STATE, "outcome": Outcome.OK, "user": user, "device": 90,
        "session": op_id & 0xFF, "sent": sent, "acknowledged": sent + took, "items": 1, "store_us": store_us,
        "cache_us": 100, "server_us": store_us + 200, "conversation": 0xFFFFFFFF, "value": 0,
    }  # fmt: skip
    item = {"op_id": op_id, "value": value, "conversation": conversation, "actor": user, "last_seq": WRITTEN}
    return row, item


def told(
    folder: RunFolder,
    *others: tuple[Any, Any],
    scheme: str = "redis",
    conversation: int = CONVERSATION,
    reader: int = READER,
) -> dict[str, Any]:
    """The linearizable finding of a STATE that shows 9,999 after a READ up to 10,000 from 2.00 to 2.01 s."""
    write = {
        "op_id": WRITE, "plan": NONE, "op": Op.READ, "outcome": Outcome.OK, "user": reader, "device": 91,
        "session": 3, "sent": AT, "acknowledged": AT + 10 * MS, "argument": WRITTEN, "value": NONE,
        "version": NONE, "conversation": conversation, "store_us": 4_000, "server_us": 5_000,
    }  # fmt: skip
    earlier = write | {
        "op_id": WRITE + 1,
        "argument": WRITTEN - 1,
        "sent": AT - S,
        "acknowledged": AT - S + MS,
    }
    stale = state(STALE, reader, AT + 3 * S, 2 * MS, WRITTEN - 1, 0, conversation)
    states = [stale, *others]
    folder.write_rows("operations", 7, rows(OPERATIONS, [write, earlier, *(row for row, _ in states)]))
    folder.write_rows("items", 7, rows(ITEMS, [item for _, item in states]))
    change_manifest(folder, run={"scheme": scheme})
    judged = all_checks.judge(History(folder), 0)
    return next(
        finding
        for finding in judged.findings
        if finding["check"] == "linearizable" and finding["records"][-1]["op_id"] == STALE
    )


def filler(finding: dict[str, Any]) -> dict[str, Any] | None:
    return next((record for record in finding["records"] if record["part"] == "filler"), None)


def test_the_fill_that_spans_the_write_is_suspected(folder: RunFolder) -> None:
    finding = told(folder, state(WRITE + 2, READER, AT - 20 * MS, 60 * MS, WRITTEN - 1, store_us=900))
    suspect = filler(finding)
    assert suspect is not None
    assert (suspect["op_id"], suspect["value"], suspect["suspects"]) == (WRITE + 2, WRITTEN - 1, 1)
    assert [record["part"] for record in finding["records"]] == ["filler", "write", "read"]
    assert "Suspected: the STATE of u1" in finding["says"]
    assert "the only read" in finding["says"]


def test_the_peer_fills_the_key_too(folder: RunFolder) -> None:
    """A STATE of the other member of a direct conversation asks for this cursor; what it got is not
    recorded."""
    suspect = filler(told(folder, state(WRITE + 2, PEER, AT - 20 * MS, 60 * MS, 3, store_us=900)))
    assert suspect is not None
    assert (suspect["user_id"], suspect["value"]) == ("u2", None)


def test_in_a_group_nobody_fills_the_key_of_another_member(folder: RunFolder) -> None:
    members = folder.table("members")
    group = int(np.flatnonzero(folder.table("conversations")["kind"] == 1)[0])
    reader, other = (int(user) for user in members["user"][members["conversation"] == group][:2])
    spanning = AT - 20 * MS, 60 * MS, WRITTEN - 1, 900, group
    assert filler(told(folder, state(WRITE + 2, other, *spanning), conversation=group, reader=reader)) is None
    own = told(folder, state(WRITE + 2, reader, *spanning), conversation=group, reader=reader)
    assert filler(own) is not None


def test_of_several_the_last_is_named_and_the_others_counted(folder: RunFolder) -> None:
    many = [
        state(WRITE + n, READER, AT - n * 10 * MS, 100 * MS, WRITTEN - 1, store_us=900) for n in (4, 2, 3)
    ]
    suspect = filler(told(folder, *many))
    assert suspect is not None
    assert (suspect["op_id"], suspect["suspects"]) == (WRITE + 2, 3)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(state(WRITE + 2, READER, AT - 20 * MS, 60 * MS, WRITTEN - 1, 0), id="asked the cache"),
        pytest.param(state(WRITE + 2, READER, AT - 20 * MS, 60 * MS, WRITTEN, 900), id="showed the new"),
        pytest.param(state(WRITE + 2, READER, AT - 90 * MS, 60 * MS, WRITTEN - 1, 900), id="ended before"),
        pytest.param(state(WRITE + 2, READER, AT + 11 * MS, 60 * MS, WRITTEN - 1, 900), id="began after"),
    ],
)
def test_who_cannot_have_done_it_is_not_suspected(folder: RunFolder, other: tuple[Any, Any]) -> None:
    finding = told(folder, other)
    assert filler(finding) is None
    assert "Suspected" not in finding["says"]


def test_only_reads_of_cache_aside_fill_a_cache(folder: RunFolder) -> None:
    spanning = state(WRITE + 2, READER, AT - 20 * MS, 60 * MS, WRITTEN - 1, store_us=900)
    assert filler(told(folder, spanning, scheme="queue")) is None


def test_the_made_up_run_alone_suspects_nobody(folder: RunFolder) -> None:
    finding = told(folder)
    assert filler(finding) is None
    assert np.isclose(finding["age_s"], 2.99)
