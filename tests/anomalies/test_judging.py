"""What red and green mean, on records made by hand: neither is given away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.record import Op
from schemes.protocol import DumpRow, FailpointHit
from tests.anomalies.driver import ANN, BOB, SEEDS
from tests.anomalies.judging import green, missing_from_sync, red, untold, wrong_badges
from tests.anomalies.record import Record, clock_ns


class ByHand:
    """A case whose replies are given: Ann's phone, Bob's phone."""

    def __init__(self, check: str = "linearizable", judge: Callable[[Any], set[int]] | None = None) -> None:
        self.record = Record(SEEDS)
        self.ann, self.bob = (self.record.session(u, self.record.device(u, "phone")) for u in (ANN, BOB))
        self.row = SimpleNamespace(check=check, judge=judge)
        self.culprits: set[int] = set()
        self.shadow: set[int] = set()
        self.points = SimpleNamespace(hits=self._hits)

    async def _hits(self) -> list[FailpointHit]:
        return [FailpointHit("before_cache_del", "note", "d", "u1", "1", 1)]

    def read(self, up_to_seq: int) -> int:
        row = self.record.ask(Op.READ, self.ann, argument=up_to_seq, conversation=0)
        item = {"read_seq": up_to_seq, "applied": True, "version": up_to_seq, "unread": 0}
        self.record.reply(row, {"type": "ACK", "items": [item], "received_ns": clock_ns()})
        return int(row["op_id"])

    def state(self, read_seq: int, unread: int = 0) -> int:
        row = self.record.ask(Op.STATE, self.ann)
        shown = {"conversation_id": "d", "read_seq": read_seq, "version": 1, "last_seq": 6, "unread": unread}
        reply = {"type": "STATE_RESULT", "conversations": [shown], "change_id": 0, "received_ns": clock_ns()}
        self.record.reply(row, reply)
        return int(row["op_id"])

    def sync(self, session: dict[str, Any], *up_to_seqs: int) -> None:
        row = self.record.ask(Op.SYNC, session, argument=0)
        changes = [
            {"conversation_id": "d", "up_to_seq": seq, "actor_id": "u1", "version": 1, "change_id": i + 1}
            for i, seq in enumerate(up_to_seqs)
        ]
        reply = {"type": "SYNC_RESULT", "next_change_id": len(changes), "changes": changes}
        self.record.reply(row, {**reply, "received_ns": clock_ns()})

    def push(self, up_to_seq: int) -> None:
        frame = {"type": "UPDATE", "key": "read/d/u1", "value": {"up_to_seq": up_to_seq}, "at": 1}
        self.record.pushed(self.bob, {**frame, "received_ns": clock_ns()})

    def folder(self, root: Path, ann_in_d: int = 6) -> Any:
        self.record.drained = clock_ns()
        held = [
            DumpRow(seed.id, user, ann_in_d if (seed.id, user) == ("d", ANN) else read_seq, 6, 1, 6)
            for seed in SEEDS
            for user, read_seq in zip(seed.members, seed.read_seq, strict=True)
        ]
        return self.record.write(root, "redis", held, 5)


@pytest.fixture
def stale() -> ByHand:
    """A READ up to 6, then two STATEs that show 5."""
    case = ByHand()
    case.culprits = {case.read(6)}
    case.shadow = {case.state(5), case.state(5)}
    return case


async def test_red_is_exactly_what_was_expected(stale: ByHand, tmp_path: Path) -> None:
    folder = stale.folder(tmp_path)
    assert await red(stale, folder) == ""  # type: ignore[arg-type]
    assert "found: " in green(stale, folder)  # type: ignore[arg-type]


async def test_another_cause_is_not_red(stale: ByHand, tmp_path: Path) -> None:
    stale.culprits = {99}
    why = await red(stale, stale.folder(tmp_path))  # type: ignore[arg-type]
    assert why == "blamed are operations [1], the failpoint logged [99]"


async def test_one_operation_too_many_or_too_few_is_not_red(stale: ByHand, tmp_path: Path) -> None:
    folder = stale.folder(tmp_path)
    stale.shadow = {2}
    assert await red(stale, folder) == "accused are operations [2, 3], expected [2]"  # type: ignore[arg-type]
    stale.shadow = {2, 3, 4}
    assert "expected [2, 3, 4]" in await red(stale, folder)  # type: ignore[arg-type]


async def test_the_finding_of_another_check_is_not_red(stale: ByHand, tmp_path: Path) -> None:
    stale.row.check = "acknowledged_reads"
    why = await red(stale, stale.folder(tmp_path))  # type: ignore[arg-type]
    assert why.startswith("acknowledged_reads found nothing")


async def test_another_place_is_not_red(stale: ByHand, tmp_path: Path) -> None:
    async def elsewhere() -> list[FailpointHit]:
        return [FailpointHit("before_cache_del", "note", "e", "u1", "1", 1)]

    stale.points.hits = elsewhere
    assert "[(0, 1)]" in await red(stale, stale.folder(tmp_path))  # type: ignore[arg-type]


async def test_a_lost_acknowledgement_names_its_operation(tmp_path: Path) -> None:
    case = ByHand("acknowledged_reads")
    case.culprits = {case.read(6)}
    assert await red(case, case.folder(tmp_path, ann_in_d=5)) == ""  # type: ignore[arg-type]


async def test_nothing_wrong_is_green_and_not_red(tmp_path: Path) -> None:
    case = ByHand()
    case.culprits = {case.read(6)}
    case.state(6)
    folder = case.folder(tmp_path)
    assert green(case, folder) == ""  # type: ignore[arg-type]
    assert "found nothing" in await red(case, folder)  # type: ignore[arg-type]


async def test_nothing_to_judge_is_not_green(tmp_path: Path) -> None:
    case = ByHand("read_your_writes_session")
    case.state(5, unread=1)
    folder = case.folder(tmp_path, ann_in_d=5)
    assert green(case, folder).startswith("read_your_writes_session says pass of 0")  # type: ignore[arg-type]


# --- the rows' own judges ---------------------------------------------------------------------------------


def test_a_change_that_no_sync_gives_is_missing() -> None:
    case = ByHand(judge=missing_from_sync)
    missed, _ = case.read(6), case.read(7)
    case.sync(case.ann, 7)
    case.read(8)  # after the last SYNC: nobody came past it yet
    assert missing_from_sync(case) == {missed}  # type: ignore[arg-type]
    case.sync(case.ann, 6, 8)
    assert missing_from_sync(case) == set()  # type: ignore[arg-type]


def test_who_is_told_by_push_or_by_sync_is_told() -> None:
    case = ByHand(judge=untold)
    first = case.read(6)
    assert untold(case) == {first}  # type: ignore[arg-type]
    case.push(6)
    second = case.read(7)
    assert untold(case) == {second}  # type: ignore[arg-type]
    case.sync(case.bob, 7)
    assert untold(case) == set()  # type: ignore[arg-type]


def test_a_badge_is_what_last_and_read_seq_make_it() -> None:
    case = ByHand(judge=wrong_badges)
    case.state(5, unread=1)
    wrong = case.state(5, unread=0)
    assert wrong_badges(case) == {wrong}  # type: ignore[arg-type]
