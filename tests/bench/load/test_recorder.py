"""What is written down survives, whole, and says when there is no more room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.load import recorder as recorder_module
from bench.load.recorder import SEGMENT_ROWS, Recorder, RecordFull, StampedRecorder, read_rows
from bench.load.replies import Stages
from bench.record import NONE, TABLES, Op, Outcome, Phase, PushKind, Rx


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path, 3)


def test_every_column_of_an_operation_lands_where_the_record_says(recorder: Recorder) -> None:
    row = recorder.operation(
        Op.READ, 11, 12, session=13, user=14, device=15, phase=Phase.MEASURE, conversation=16, argument=17,
        plan=18, attempt=1, dependency_us=19,
    )  # fmt: skip
    pending = read_rows(recorder.paths["operations"])[0].copy()
    recorder.answered(row, 20, 21, 22, 23, 24, 25, 1, Stages(26, 27, 28, 29, 30))
    done = read_rows(recorder.paths["operations"])[0]
    assert pending["outcome"] == Outcome.PENDING
    assert pending["acknowledged"] == 0
    assert {name: int(done[name]) for name in done.dtype.names if not name.startswith("_")} == {
        "op_id": 3 << 40, "plan": 18, "intended": 11, "sent": 12, "acknowledged": 20, "argument": 17,
        "value": 21, "version": 22, "change_id": 23, "session": 13, "user": 14, "device": 15,
        "conversation": 16, "unread": 24, "dependency_us": 19, "server_us": 26, "wait_us": 27, "store_us": 28,
        "cache_us": 29, "queue_us": 30, "items": 25, "op": Op.READ, "attempt": 1, "outcome": Outcome.OK,
        "error": 0, "phase": Phase.MEASURE, "flags": 1, "rx": Rx.NONE, "rx_late_us": 0,
    }  # fmt: skip


def test_what_was_not_said_is_none(recorder: Recorder) -> None:
    recorder.operation(Op.PING, 1, 2, 3, 4, 5, Phase.CONNECT)
    row = read_rows(recorder.paths["operations"])[0]
    assert [
        int(row[name]) for name in ("plan", "argument", "value", "version", "change_id", "unread")
    ] == 6 * [NONE]
    assert row["conversation"] == 0xFFFFFFFF


def test_the_other_tables(recorder: Recorder) -> None:
    recorder.item(7, 1, 2, 3, 4, 5, 6, 1, 8, 9)
    recorder.push(PushKind.READ, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, Phase.DRAIN, 11)
    row = recorder.connection(1, 2, 3, 4, 1)
    recorder.connection_time(row, "opened", 5)
    recorder.connection_time(row, "subscribed", 6)
    recorder.connection_closed(row, 7, 4408, Phase.MEASURE)

    def only(table: str) -> dict[str, int]:
        found = read_rows(recorder.paths[table])
        assert len(found) == 1
        return {name: int(found[0][name]) for name in found.dtype.names or () if not name.startswith("_")}

    assert only("items") == {
        "op_id": (3 << 40) + 7, "value": 4, "version": 5, "change_id": 9, "last_seq": 8, "conversation": 2,
        "actor": 3, "unread": 6, "index": 1, "applied": 1,
    }  # fmt: skip
    assert only("pushes") == {
        "received": 1, "at_ms": 2, "value": 3, "version": 4, "change_id": 5, "session": 6, "user": 7,
        "device": 8, "conversation": 9, "actor": 10, "unread": 11, "kind": PushKind.READ,
        "phase": Phase.DRAIN, "rx": Rx.NONE,
    }  # fmt: skip
    assert only("connections") == {
        "intended": 1, "opened": 5, "welcomed": 0, "subscribed": 6, "closed": 7, "session": 2, "user": 3,
        "device": 4, "close_code": 4408, "role": 1, "phase": Phase.MEASURE,
    }  # fmt: skip


def test_stamps_land_beside_what_was_stamped_and_nowhere_else(tmp_path: Path) -> None:
    recorder = StampedRecorder(tmp_path, 3)
    for _ in range(3):
        recorder.operation(Op.READ, 1, 2, 3, 4, 5, Phase.MEASURE)
    for row, (rx, late_ns) in ((0, (Rx.CLEAN, 1_234_567)), (2, (Rx.COALESCED, 1 << 40))):
        recorder.received(rx, late_ns)
        recorder.answered(row, 20, 21, 22, 23, 24, 25, 1, Stages(26, 27, 28, 29, 30))
        recorder.push(PushKind.READ, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, Phase.DRAIN)
    operations, pushes = (read_rows(recorder.paths[table]) for table in ("operations", "pushes"))
    assert operations["rx"].tolist() == [Rx.CLEAN, Rx.NONE, Rx.COALESCED]
    assert operations["rx_late_us"].tolist() == [1234, 0, 65535]
    assert operations["flags"].tolist() == [1, 0, 1]
    assert operations["queue_us"].tolist() == [30, 0, 30]
    assert pushes["rx"].tolist() == [Rx.CLEAN, Rx.COALESCED]
    assert pushes["phase"].tolist() == 2 * [Phase.DRAIN]


def test_it_grows_over_segments_and_old_rows_can_still_end(recorder: Recorder) -> None:
    for number in range(SEGMENT_ROWS + 5):
        recorder.operation(Op.SEND, number, number, 1, 1, 1, Phase.MEASURE)
    recorder.end(3, 9, Outcome.FAIL, 2)
    recorder.end(SEGMENT_ROWS + 1, 0, Outcome.INFO, 3)
    rows = read_rows(recorder.paths["operations"])
    assert rows["intended"].tolist() == list(range(SEGMENT_ROWS + 5))
    assert rows["outcome"].nonzero()[0].tolist() == [3, SEGMENT_ROWS + 1]
    assert (rows["op_id"] - (3 << 40)).tolist() == list(range(SEGMENT_ROWS + 5))
    since = recorder.since(SEGMENT_ROWS - 2)
    assert [len(part) for part in since] == [2, 5]
    assert recorder.sent(SEGMENT_ROWS + 4) == SEGMENT_ROWS + 4


def test_the_next_segment_is_there_before_it_is_needed(recorder: Recorder) -> None:
    for _ in range(SEGMENT_ROWS * 3 // 4):
        recorder.operation(Op.SEND, 1, 1, 1, 1, 1, Phase.MEASURE)
    assert len(recorder.operations.segments) == 1
    recorder.keep_ahead()
    recorder.keep_ahead()
    assert len(recorder.operations.segments) == 2


def test_no_more_room_is_said_and_loses_nothing(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _offset: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder_module.os, "posix_fallocate", full)
    for _ in range(SEGMENT_ROWS):
        recorder.operation(Op.SEND, 1, 1, 1, 1, 1, Phase.MEASURE)
    with pytest.raises(RecordFull, match=r"no room .*No space left"):
        recorder.operation(Op.SEND, 1, 1, 1, 1, 1, Phase.MEASURE)
    assert len(read_rows(recorder.paths["operations"])) == SEGMENT_ROWS


WRITER = """
import sys
from pathlib import Path
from bench.load.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), 0)
print("writing", flush=True)
n = 0
while True:
    recorder.operation(3, n, n, 1, 1, 1, 3, argument=n)
    n += 1
"""


def test_rows_survive_kill_9_and_are_whole(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.3)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    rows = read_rows(tmp_path / "operations-0.rows")
    assert len(rows) > 1000
    assert (rows["argument"] == range(len(rows))).all()
    assert (rows["intended"] == rows["sent"]).all()


@pytest.mark.parametrize("name", ["operations-0.rows", "songs-0.rows"])
def test_a_foreign_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 8192)
    with pytest.raises(ValueError, match=r"operations"):
        read_rows(tmp_path / name)


def test_an_empty_table_has_no_rows(recorder: Recorder) -> None:
    assert {name: len(read_rows(path)) for name, path in recorder.paths.items()} == dict.fromkeys(TABLES, 0)
