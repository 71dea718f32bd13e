"""Lags of made-up runs against what the made-up world did, and of a few rows against plain reasoning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.metrics import lags, queue_lag, visible
from bench.metrics.history import History
from bench.metrics.lags import Lag
from bench.record import (
    CONNECTIONS,
    ERROR_CODES,
    ITEMS,
    NONE,
    OPERATIONS,
    PUSHES,
    Op,
    Outcome,
    Phase,
    PushKind,
)
from bench.results import CONVERSATIONS, DEVICES, MEMBERS, RunFolder
from tests.bench.synthetic import MS, START, S, Spread, World, build, change_manifest, rows

RANGE_SHARE = 0.02
"""How exactly the made-up times fill their range."""


def collected(tmp_path: Path, **knobs: Any) -> tuple[dict[str, Lag], World, History]:
    folder, world = build(tmp_path, **knobs)
    history = History(folder)
    return lags.collect(history), world, history


def measured(world: World, history: History, which: str) -> list[tuple[int, float, bool]]:
    """What the world did to writes of the measured window: (op_id, lag, arrived)."""
    inside = set(history.operations["op_id"][history.measured].tolist())
    return [(told.write, told.lag_us, told.arrived) for told in world.told[which] if told.write in inside]


@pytest.mark.parametrize("which", ["receipt", "own_device", "message"])
def test_every_device_that_had_to_be_told_and_no_other(tmp_path: Path, which: str) -> None:
    found, world, history = collected(tmp_path)
    lag, truth = found[which], measured(world, history, which)
    op_id = history.operations["op_id"][lag.operation]
    assert sorted(op_id.tolist()) == sorted(write for write, _, _ in truth)
    by_hand = sorted((write, round(lag_us)) for write, lag_us, _ in truth)
    assert sorted(zip(op_id.tolist(), np.round(lag.time / 1e3).astype(int).tolist(), strict=True)) == by_hand
    assert lag.undelivered == 0


def test_quantiles_are_those_of_the_world(tmp_path: Path) -> None:
    receipt = Spread(4_000, 24_000)
    found, _, _ = collected(tmp_path, receipt_us=receipt, measure_s=30)
    figures = found["receipt"].curve().summarise()
    for name, p in (("p50", 0.5), ("p90", 0.9)):
        assert figures[name] == pytest.approx(receipt.at(p), abs=RANGE_SHARE * 20_000)


@pytest.mark.parametrize("shift", [0, 50_000])
def test_a_planted_delay_moves_the_median_by_itself(tmp_path: Path, shift: int) -> None:
    plain, _, _ = collected(tmp_path / "a")
    late, _, _ = collected(tmp_path / "b", lag_shift_us=shift)
    moved = late["receipt"].curve().summarise()["p50"] - plain["receipt"].curve().summarise()["p50"]
    assert moved == pytest.approx(shift, abs=RANGE_SHARE * 20_000)


def test_lost_pushes_are_undelivered_unless_a_later_one_covers_them(tmp_path: Path) -> None:
    found, world, history = collected(tmp_path, lost_pushes=0.2, measure_s=40)
    lag = found["receipt"]
    lost = [write for write, _, arrived in measured(world, history, "receipt") if not arrived]
    late = np.count_nonzero(lag.time[lag.observed] > 30_000 * 1_000)
    assert lag.undelivered > 0
    assert late > 0
    assert lag.undelivered + late == len(lost)
    assert len(lag.time) == len(measured(world, history, "receipt"))


def test_a_closed_session_is_censored_and_not_undelivered(tmp_path: Path) -> None:
    found, _, history = collected(tmp_path, closed_devices=12, receipt_us=Spread(900_000, 1_000_000))
    lag = found["receipt"]
    closed = ~lag.outlived
    assert closed.any()
    assert lag.undelivered == 0
    assert (~lag.observed[closed]).any()
    censored = lag.operation[~lag.observed]
    middle = (history.window.measure + history.window.measure_end) // 2
    assert (history.operations["sent"][censored] + lag.time[~lag.observed] == middle).all()


def test_acknowledgement_lag_holds_the_unanswered_at_their_deadline(tmp_path: Path) -> None:
    found, _, _ = collected(tmp_path, errors={"DEADLINE": 0.05}, read_us=Spread(1_000, 21_000))
    ack = found["ack"]
    missing = ~ack.observed
    assert 0 < np.count_nonzero(missing) < 0.2 * len(missing)
    assert (ack.time[missing] == 5 * S).all()
    assert ack.curve().summarise()["p50"] == pytest.approx(11_500, abs=1_500)


def test_lag_from_the_acknowledgement_is_signed(tmp_path: Path) -> None:
    found, _, _ = collected(tmp_path, read_us=Spread(30_000, 40_000), receipt_us=Spread(1_000, 2_000))
    assert (found["receipt"].from_ack < 0).all()
    assert found["receipt"].curve_from_ack().summarise()["p50"] < -25_000


def test_the_summary_says_what_it_cannot_know(tmp_path: Path) -> None:
    found, _, history = collected(tmp_path, probes=0, scheme="memory")
    entries = lags.summarise(found, visible.collect(history), queue_lag.collect(history))
    assert [entries[name]["why_not"] for name in ("durable", "cache", "queue")] == 3 * ["no durable store"]
    assert not entries["visible"]["available"]
    assert "probe" in entries["visible"]["why_not"]
    assert entries["receipt"]["available"]
    assert entries["receipt"]["undelivered_share"] == 0


@pytest.mark.parametrize(
    ("scheme", "missing"),
    [("db", {"cache": "no cache", "queue": "no queue"}), ("redis", {"queue": "no queue"}), ("queue", {})],
)
def test_each_scheme_has_the_lags_of_its_services(
    tmp_path: Path, scheme: str, missing: dict[str, str]
) -> None:
    found, _, history = collected(tmp_path, scheme=scheme)
    entries = lags.summarise(found, visible.collect(history), queue_lag.collect(history))
    assert {name: entry["why_not"] for name, entry in entries.items() if not entry["available"]} == missing


# --- a few rows -------------------------------------------------------------------------------------------

READER, PEER, THIRD = 0, 1, 2
T = START + 2 * S


class Tiny:
    """Conversation 0: READER and PEER.  Conversation 1: a group of all three, 3 seeded messages (one each).
    Person p has device p and session p; READER has device 3 as well."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder: RunFolder
        self.folder, world = build(tmp_path, people=6, groups=0, probes=0, measure_s=2, drain_s=10)
        for file in self.folder.path.glob("*.parquet"):
            file.unlink()
        self.end = world.drain_end
        change_manifest(
            self.folder, window={"start": START, "measure": START + S, "measure_end": START + 10 * S}
        )
        self.folder.write_once(
            "conversations", rows(CONVERSATIONS, [{"kind": 0, "history": 4}, {"kind": 1, "history": 3}])
        )
        members = [(0, READER), (0, PEER), (1, READER), (1, PEER), (1, THIRD)]
        self.folder.write_once(
            "members", rows(MEMBERS, ({"conversation": c, "user": u, "read_seq": 1} for c, u in members))
        )
        owners = [(0, READER), (1, PEER), (2, THIRD), (3, READER)]
        self.folder.write_once("devices", rows(DEVICES, ({"device": d, "user": u} for d, u in owners)))
        self.connected = [
            {"opened": START, "subscribed": START + 1, "session": d, "user": u, "device": d}
            for d, u in owners
        ]
        self.operations: list[dict[str, Any]] = []
        self.pushes: list[dict[str, Any]] = []

    def operation(self, op: Op, at: int, **values: Any) -> None:
        row = {
            "op_id": len(self.operations), "plan": NONE, "op": op, "intended": at, "sent": at,
            "acknowledged": at + 10 * MS, "outcome": Outcome.OK, "phase": Phase.MEASURE, "version": 7,
            "value": NONE,
        }  # fmt: skip
        self.operations.append(row | values)

    def read(self, conversation: int, up_to: int, at: int = T, user: int = READER, **values: Any) -> None:
        self.operation(
            Op.READ, at, conversation=conversation, argument=up_to, value=up_to, user=user, device=user,
            session=user, flags=1, **values,
        )  # fmt: skip

    def push(
        self,
        session: int,
        conversation: int,
        value: int,
        at: int,
        actor: int = READER,
        kind: PushKind = PushKind.READ,
    ) -> None:
        self.pushes.append(
            {"received": at, "value": value, "session": session, "conversation": conversation, "actor": actor,
             "kind": kind}
        )  # fmt: skip

    def lags(self) -> dict[str, Lag]:
        self.folder.write_rows("operations", 0, rows(OPERATIONS, self.operations))
        self.folder.write_rows("pushes", 0, rows(PUSHES, self.pushes))
        self.folder.write_rows("connections", 0, rows(CONNECTIONS, self.connected))
        return lags.collect(History(self.folder))


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path)


def test_a_higher_push_covers_a_lower_read(tiny: Tiny) -> None:
    tiny.read(0, 2)
    tiny.read(0, 4, at=T + 5 * MS)
    tiny.push(PEER, 0, 4, T + 30 * MS)
    assert tiny.lags()["receipt"].time.tolist() == [30 * MS, 25 * MS]


def test_a_lower_push_or_anothers_does_not(tiny: Tiny) -> None:
    tiny.read(0, 4)
    tiny.push(PEER, 0, 3, T + 30 * MS)
    tiny.push(PEER, 0, 4, T + 30 * MS, actor=PEER)
    tiny.push(PEER, 1, 4, T + 30 * MS)
    tiny.push(THIRD, 0, 4, T + 30 * MS)
    receipt = tiny.lags()["receipt"]
    assert receipt.observed.tolist() == [False]
    assert receipt.undelivered == 1
    assert receipt.time.tolist() == [tiny.end - T]


def test_own_devices_but_the_one_that_read(tiny: Tiny) -> None:
    tiny.read(0, 4)
    tiny.push(3, 0, 4, T + 7 * MS)
    tiny.push(READER, 0, 4, T + 1 * MS)
    assert tiny.lags()["own_device"].time.tolist() == [7 * MS]


def test_in_groups_the_senders_of_what_was_newly_read(tiny: Tiny) -> None:
    """Seqs 1 to 3 are from READER, PEER, THIRD; everyone starts at 1.  READ 2 covers PEER's, then 3
    THIRD's."""
    tiny.read(1, 2)
    tiny.push(PEER, 1, 2, T + 20 * MS)
    tiny.read(1, 3, at=T + S)
    tiny.push(THIRD, 1, 3, T + S + 40 * MS)
    receipt = tiny.lags()["receipt"]
    assert sorted(receipt.time.tolist()) == [20 * MS, 40 * MS]


def test_in_groups_a_message_of_the_run_is_its_senders(tiny: Tiny) -> None:
    tiny.operation(Op.SEND, T, conversation=1, value=4, user=PEER, device=PEER, session=PEER)
    tiny.read(1, 4, at=T + S, user=THIRD)
    tiny.push(PEER, 1, 4, T + S + MS, actor=THIRD)
    tiny.push(READER, 1, 4, T + S + MS, actor=THIRD)
    receipt = tiny.lags()["receipt"]
    told = [T + S + time for time in receipt.time.tolist()]
    assert told == [T + S + MS]  # THIRD started at 1: seq 2 and 4 are PEER's, 3 their own


def test_in_groups_ones_own_send_was_read_before(tiny: Tiny) -> None:
    """PEER sends seq 4, so that a READ of 4 by PEER can only cover what others sent after that: nothing."""
    tiny.operation(Op.SEND, T, conversation=1, value=4, user=PEER, device=PEER, session=PEER)
    tiny.read(1, 5, at=T + S, user=PEER)
    tiny.operation(Op.SEND, T + MS, conversation=1, value=5, user=THIRD, device=THIRD, session=THIRD)
    tiny.push(THIRD, 1, 5, T + S + MS, actor=PEER)
    assert tiny.lags()["receipt"].time.tolist() == [MS]


def test_in_groups_ones_own_unanswered_send_was_read_before(tiny: Tiny) -> None:
    """As before, but nobody answered PEER's SEND: that it became seq 4 shows in what was pushed to others.
    Without that, THIRD's seq 3 would be missed: PEER read it by sending, and told so then."""
    tiny.operation(Op.SEND, T, conversation=1, value=NONE, user=PEER, device=PEER, session=PEER)
    tiny.operations[-1] |= {"outcome": Outcome.INFO, "error": ERROR_CODES["DEADLINE"]}
    tiny.push(READER, 1, 4, T + MS, actor=PEER, kind=PushKind.MESSAGE)
    tiny.operation(Op.SEND, T + MS, conversation=1, value=5, user=READER, device=READER, session=READER)
    tiny.read(1, 5, at=T + S, user=PEER)
    for device in (READER, 3):
        tiny.push(device, 1, 5, T + S + MS, actor=PEER)
    receipt = tiny.lags()["receipt"]
    assert (receipt.time.tolist(), receipt.undelivered) == ([MS, MS], 0)


def test_large_groups_are_told_nothing(tiny: Tiny) -> None:
    change_manifest(tiny.folder, run={"receipt_members": 2})
    tiny.read(1, 3)
    assert len(tiny.lags()["receipt"].time) == 0


def test_a_read_that_changed_nothing_is_no_write(tiny: Tiny) -> None:
    tiny.read(0, 4)
    tiny.operations[-1]["flags"] = 0
    assert len(tiny.lags()["receipt"].time) == 0


def test_where_the_server_cannot_say_the_record_does(tiny: Tiny) -> None:
    """A queued READ answers without a version: a second READ of the same value is no write, a higher one
    is."""
    for up_to, at in ((3, T), (3, T + S), (4, T + 2 * S)):
        tiny.read(0, up_to, at=at)
        tiny.operations[-1] |= {"flags": 0, "version": NONE}
        tiny.push(PEER, 0, up_to, at + 9 * MS)
    assert tiny.lags()["receipt"].time.tolist() == [9 * MS, 9 * MS]


def test_an_unanswered_read_counts_if_a_push_shows_it(tiny: Tiny) -> None:
    silent = {"acknowledged": 0, "outcome": Outcome.INFO, "error": ERROR_CODES["DEADLINE"]}
    tiny.read(0, 3)
    tiny.operations[-1] |= silent
    tiny.push(PEER, 0, 3, T + 50 * MS)
    tiny.read(0, 4, at=T + S)
    tiny.operations[-1] |= silent
    receipt = tiny.lags()["receipt"]
    assert receipt.observed.tolist() == [True, False]
    assert receipt.time.tolist() == [50 * MS, 5 * S]
    assert receipt.undelivered == 0


def test_a_refused_read_is_no_write(tiny: Tiny) -> None:
    tiny.read(0, 4)
    tiny.operations[-1] |= {"outcome": Outcome.FAIL, "error": ERROR_CODES["SEQ_AHEAD"]}
    found = tiny.lags()
    assert len(found["receipt"].time) == len(found["ack"].time) == 0


def test_who_subscribed_later_or_had_left_need_not_be_told(tiny: Tiny) -> None:
    tiny.connected[PEER]["subscribed"] = T + 1
    tiny.connected[3]["closed"] = T - 1
    tiny.read(0, 4)
    found = tiny.lags()
    assert len(found["receipt"].time) == len(found["own_device"].time) == 0


def test_what_comes_after_the_drain_is_no_observation(tiny: Tiny) -> None:
    tiny.read(0, 4)
    tiny.push(PEER, 0, 4, tiny.end + 1)
    assert tiny.lags()["receipt"].undelivered == 1


def test_pushes_of_sessions_without_a_connection_are_nobodys(tiny: Tiny) -> None:
    tiny.read(0, 4)
    tiny.push(77, 0, 4, T + MS)
    tiny.push(5 << 24 | PEER, 0, 4, T + MS)
    assert tiny.lags()["receipt"].undelivered == 1


def test_messages_go_to_every_device_but_the_sending_socket(tiny: Tiny) -> None:
    tiny.operation(Op.SEND, T, conversation=0, value=5, user=READER, device=READER, session=READER)
    for session, after in ((PEER, 3), (3, 4), (READER, 5)):
        tiny.push(session, 0, 5, T + after * MS)
        tiny.pushes[-1]["kind"] = PushKind.MESSAGE
    tiny.push(PEER, 0, 6, T + MS)
    tiny.pushes[-1]["kind"] = PushKind.MESSAGE
    assert sorted(tiny.lags()["message"].time.tolist()) == [3 * MS, 4 * MS]


def test_several_items_are_several_writes(tiny: Tiny) -> None:
    tiny.read(0, 4)
    tiny.operations[-1]["items"] = 2
    tiny.folder.write_rows(
        "items",
        0,
        rows(
            ITEMS,
            [
                {"op_id": 0, "conversation": 0, "value": 4, "index": 0, "applied": 1},
                {"op_id": 0, "conversation": 1, "value": 2, "index": 1, "applied": 1},
            ],
        ),
    )
    tiny.push(PEER, 0, 4, T + MS)
    tiny.push(PEER, 1, 2, T + 2 * MS)
    assert sorted(tiny.lags()["receipt"].time.tolist()) == [MS, 2 * MS]
