"""Where the failpoints are: one READ, SEND, STATE and SYNC on real services come to those that lie on their
way, in that order, under their own ids."""

from __future__ import annotations

import pytest

from bench.services import Stack
from schemes.failpoints import POINTS, SERVER
from tests.anomalies.driver import ANN, Case
from tests.anomalies.table import Row, Variant

pytestmark = pytest.mark.services

WRITE = ["in_txn_before_commit", "after_db_commit", "before_push"]
WRITE_CACHED = ["in_txn_before_commit", "after_db_commit", "before_cache_del", "before_push"]
FILL = ["after_db_select_before_cache_set", "before_cache_set"]
SYNC = ["sync_after_query_before_reply"]


async def nothing(case: Case) -> None:
    raise AssertionError("no recipe is run here")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [("db", [*WRITE, *WRITE, *SYNC]), ("redis", [*WRITE_CACHED, *WRITE_CACHED, *FILL, *SYNC])],
)
async def test_requests_come_to_the_points_on_their_way(
    scheme: str, expected: list[str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_shipped = Variant("as shipped")
    row = Row("-", "-", scheme, as_shipped, as_shipped, nothing, "", beside=False)
    case = Case(row, as_shipped, stack, monkeypatch)
    try:
        await case.start()
        phone = await case.device(ANN)
        for name, point in POINTS.items():
            if point.process == SERVER:
                await case.points.arm(name, "note", count=0)
        await phone.read("d", 6)
        await phone.send("e")
        await phone.state("d")
        await phone.sync(since_change_id=0)
        hits = await case.points.hits()
        assert [hit.name for hit in hits] == expected
        assert [hit.at_ns for hit in hits] == sorted(hit.at_ns for hit in hits)
        assert {hit.user for hit in hits} == {"u1"}
        told = [hit for hit in hits if hit.name not in FILL + SYNC]
        half = len(told) // 2
        assert [(hit.op_id, hit.conversation) for hit in told] == [("1", "d")] * half + [("2", "e")] * half
        assert {hit.op_id for hit in hits if hit.name in FILL} <= {"3"}
        assert {hit.op_id for hit in hits if hit.name in SYNC} == {"4"}
    finally:
        await case.stop()
