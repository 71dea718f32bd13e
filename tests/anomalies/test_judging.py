"""What red and green mean, on records made by hand: neither is given away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.record import Op
from schemes.protocol import DumpRow, FailpointHit
from tests.anomalies.driver import ANN, BOB, SEEDS
from tests.anomalies.judging import green, red
from tests.anomalies.record import NOT_A_DEVICE, Record, clock_ns


class ByHand:
    """A case whose replies are given: Ann's phone, Bob's phone."""

    def __init__(self, check: str = "linearizable") -> None:
        self.record = Record(SEEDS)
        self.ann, self.bob = (self.record.session(u, self.record.device(u, "phone")) for u in (ANN, BOB))
        self.row = SimpleNamespace(check=check)
        self.culprits: set[int] = set()
        self.shadow: set[int] = set()
        self.untold: set[int] = set()
        self.points = SimpleNamespace(hits=self._hits)

    async def _hits(self) -> list[FailpointHit]:
        return [FailpointHit("before_cache_del", "note", "d", "u1", "1", 1)]

    def read(self, up_to_seq: int) -> int:
        row = self.record.ask(Op.READ, self.ann, argument=up_to_seq, conversation=0)
        item = {"read_seq": up_to_seq, "applied": True, "version": up_to_seq, "unread": 0}
        self.record.reply(row, {"type": "ACK", "items": [item], "received_ns": clock_ns()})
        return int(row["op_id"])

    def bob_knows_all(self) -> None:
        """He has signed in."""
        row = self.record.ask(Op.STATE, self.bob)
        reply = {"type": "STATE_RESULT", "conversations": [], "change_id": 0, "received_ns": clock_ns()}
        self.record.reply(row, reply)
        self.sync(self.bob, 0)

    def final_state(self, read_seq: int, unread: int) -> int:
        self.record.drained = clock_ns()
        final = self.record.session(ANN, NOT_A_DEVICE)
        return self.state(read_seq, unread, final)

    def state(self, read_seq: int, unread: int = 0, session: dict[str, Any] | None = None) -> int:
        row = self.record.ask(Op.STATE, session or self.ann)
        shown = {"conversation_id": "d", "read_seq": read_seq, "version": 1, "last_seq": 6, "unread": unread}
        reply = {"type": "STATE_RESULT", "conversations": [shown], "change_id": 0, "received_ns": clock_ns()}
        self.record.reply(row, reply)
        return int(row["op_id"])

    def sync(self, session: dict[str, Any], following: int, *up_to_seqs: int) -> int:
        """A page from 0; the change up to seq 6 is the first, and so on, as `read` has it."""
        row = self.record.ask(Op.SYNC, session, argument=0)
        changes = [
            {"conversation_id": "d", "up_to_seq": seq, "actor_id": "u1", "version": seq, "change_id": seq - 5}
            for seq in up_to_seqs
        ]
        reply = {"type": "SYNC_RESULT", "next_change_id": following, "changes": changes}
        self.record.reply(row, {**reply, "received_ns": clock_ns()})
        return int(row["op_id"])

    def push(self, up_to_seq: int) -> None:
        frame = {"type": "UPDATE", "key": "read/d/u1", "value": {"up_to_seq": up_to_seq}, "at": 1}
        self.record.pushed(self.bob, {**frame, "received_ns": clock_ns()})

    def folder(self, root: Path, ann_in_d: int = 6) -> Any:
        self.record.drained = self.record.drained or clock_ns()
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


async def test_a_page_that_leaves_out_a_change_names_who_made_it(tmp_path: Path) -> None:
    case = ByHand("sync_complete")
    missed, _ = case.read(6), case.read(7)
    other = case.record.session(ANN, case.record.device(ANN, "laptop"))
    page = case.sync(case.ann, 2, 7)
    case.sync(other, 2, 6, 7)
    folder = case.folder(tmp_path, ann_in_d=7)
    case.culprits, case.shadow = {missed}, {page}
    assert await red(case, folder) == ""  # type: ignore[arg-type]
    case.shadow = {page + 1}
    assert "accused are operations" in await red(case, folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", [False, True])
async def test_a_device_that_is_never_told_is_named(told: bool, tmp_path: Path) -> None:
    case = ByHand("device_state")
    case.bob_knows_all()
    case.culprits, case.untold = {case.read(6)}, {case.bob["device"]}
    if told:
        case.push(6)
    folder = case.folder(tmp_path)
    why = await red(case, folder)  # type: ignore[arg-type]
    assert why == ("device_state found nothing; found by others: []" if told else "")
    assert (green(case, folder) == "") == told  # type: ignore[arg-type]
    case.untold = {case.ann["device"]}
    assert told or "accused are devices" in await red(case, folder)  # type: ignore[arg-type]


async def test_a_number_at_the_end_is_accused_beside_those_before(tmp_path: Path) -> None:
    case = ByHand("unread")
    case.state(5, unread=1)
    case.shadow = {case.state(5, unread=2), case.final_state(5, unread=2)}
    folder = case.folder(tmp_path, ann_in_d=5)
    assert await red(case, folder) == ""  # type: ignore[arg-type]
    case.shadow.pop()
    assert "accused are operations" in await red(case, folder)  # type: ignore[arg-type]
