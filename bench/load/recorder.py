"""Writes the rows of `bench/record.py` into memory-mapped files, so that they outlive a killed process.

One file per table and worker, on tmpfs: a page of header with a running counter, then rows.  A row is written
first and counted then, so what the counter covers is whole.  Files grow by segments that are reserved in full
before they are mapped: when the file system is full, growing raises RecordFull, and the run ends saying so,
instead of dying of SIGBUS in the middle of a row.  `keep_ahead`, called from a timer, maps the next segment
before it is needed, so that recording itself does not wait for the kernel.

No locust here and no gevent: the runner reads the files with `read_rows`.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.load.replies import Stages
from bench.population import NOBODY
from bench.record import NONE, TABLES, Outcome

HEADER_BYTES: Final = 4096
MAGIC: Final = int.from_bytes(b"READSTAT", "little")
SEGMENT_BITS: Final = 14
SEGMENT_ROWS: Final = 1 << SEGMENT_BITS
SEGMENT_MASK: Final = SEGMENT_ROWS - 1
OP_ID_BITS: Final = 40
_COUNT: Final = 1

_pack_operation = struct.Struct("<qqqqqqqqqIIIIiIIIIIIHBBBBBBI").pack_into  # rx and what follows as one
_pack_time = struct.Struct("<q").pack_into
_pack_values = struct.Struct("<qqq").pack_into
_unpack_request = struct.Struct("<I42xBxB").unpack_from  # session, op, outcome
_pack_unread = struct.Struct("<i").pack_into
_pack_stages = struct.Struct("<IIIIIH").pack_into
_pack_items = struct.Struct("<H").pack_into
_pack_item = struct.Struct("<qqqqqIIiHBB").pack_into
_pack_push = struct.Struct("<qqqqqIIIIIiBBB5x").pack_into
_pack_connection = struct.Struct("<qqqqqIIIHBB").pack_into

_PENDING: Final = int(Outcome.PENDING)
_OK: Final = int(Outcome.OK)
OPERATION_BYTES: Final = TABLES["operations"].itemsize
ITEM_BYTES: Final = TABLES["items"].itemsize
PUSH_BYTES: Final = TABLES["pushes"].itemsize
CONNECTION_BYTES: Final = TABLES["connections"].itemsize
_OFFSETS: Final[dict[str, dict[str, int]]] = {
    table: {name: place[1] for name, place in (dtype.fields or {}).items()} for table, dtype in TABLES.items()
}
_SENT, _ACKNOWLEDGED, _ARGUMENT, _VALUE, _SESSION, _CONVERSATION = (
    _OFFSETS["operations"][name]
    for name in ("sent", "acknowledged", "argument", "value", "session", "conversation")
)
_UNREAD, _SERVER, _ITEMS, _OP, _OUTCOME, _ERROR, _FLAGS = (
    _OFFSETS["operations"][name]
    for name in ("unread", "server_us", "items", "op", "outcome", "error", "flags")
)
_RX, _RX_LATE = (_OFFSETS["operations"][name] for name in ("rx", "rx_late_us"))
_PUSH_RX: Final = _OFFSETS["pushes"]["rx"]
LONGEST_US: Final = (1 << 16) - 1


class RecordFull(Exception):
    """The file system has no room for more rows: what was recorded so far is whole, the run cannot go on."""


class Table:
    """A growing file of fixed-size rows; row i lies in `segments[i >> SEGMENT_BITS]`."""

    def __init__(self, path: Path, row_bytes: int) -> None:
        self.path = path
        self.row_bytes = row_bytes
        self.count = 0
        self.segments: list[memoryview] = []
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.header = self._map(0, HEADER_BYTES).cast("Q")
        self.header[0] = MAGIC
        self.header[2] = row_bytes
        self.grow()

    def grow(self) -> None:
        """Maps one more segment.  Raises RecordFull."""
        size = SEGMENT_ROWS * self.row_bytes
        self.segments.append(self._map(HEADER_BYTES + len(self.segments) * size, size))

    def keep_ahead(self) -> None:
        """Maps the next segment when more than half of the last one is used.  Raises RecordFull."""
        if len(self.segments) * SEGMENT_ROWS - self.count < SEGMENT_ROWS // 2:
            self.grow()

    def next(self) -> int:
        """The number of the row to write now; it is not counted before `publish`."""
        row = self.count
        if row >> SEGMENT_BITS == len(self.segments):
            self.grow()
        return row

    def publish(self, row: int) -> None:
        self.count = self.header[_COUNT] = row + 1

    def close(self) -> None:
        os.close(self._file)

    def _map(self, offset: int, size: int) -> memoryview:
        try:
            os.posix_fallocate(self._file, offset, size)
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            return memoryview(mmap.mmap(self._file, size, flags=flags, offset=offset))
        except OSError as why:
            raise RecordFull(f"{self.path}: no room for {size} more bytes of records ({why})") from why


class Recorder:
    """The four tables of one worker.  All arguments are as the columns of `bench/record.py` have them."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.base = worker << OP_ID_BITS
        self.paths = {name: folder / f"{name}-{worker}.rows" for name in TABLES}
        self.operations = Table(self.paths["operations"], OPERATION_BYTES)
        self.items = Table(self.paths["items"], ITEM_BYTES)
        self.pushes = Table(self.paths["pushes"], PUSH_BYTES)
        self.connections = Table(self.paths["connections"], CONNECTION_BYTES)

    def keep_ahead(self) -> None:
        """Call it often enough that half a segment (8,192 rows) is not filled in between.  Raises
        RecordFull."""
        for table in (self.operations, self.items, self.pushes, self.connections):
            table.keep_ahead()

    def close(self) -> None:
        for table in (self.operations, self.items, self.pushes, self.connections):
            table.close()

    # --- operations -----------------------------------------------------------------------------------------

    def operation(
        self,
        op: int,
        intended: int,
        sent: int,
        session: int,
        user: int,
        device: int,
        phase: int,
        conversation: int = NOBODY,
        argument: int = NONE,
        plan: int = NONE,
        attempt: int = 0,
        dependency_us: int = 0,
        outcome: int = _PENDING,
        error: int = 0,
    ) -> int:
        """A new row; its number is the request's id on the wire, so that a reply finds it without a table."""
        table = self.operations
        row = table.next()
        _pack_operation(
            table.segments[row >> SEGMENT_BITS],
            (row & SEGMENT_MASK) * OPERATION_BYTES,
            self.base + row, plan, intended, sent, 0, argument, NONE, NONE, NONE,
            session, user, device, conversation, NONE, dependency_us, 0, 0, 0, 0, 0,
            0, op, attempt, outcome, error, phase, 0, 0,
        )  # fmt: skip
        table.publish(row)
        return row

    def end(self, row: int, at: int, outcome: int, error: int = 0) -> None:
        """How it ended without an answer that says anything; `at` is when the reply was read, 0 if none
        came."""
        segment, offset = (
            self.operations.segments[row >> SEGMENT_BITS],
            (row & SEGMENT_MASK) * OPERATION_BYTES,
        )
        _pack_time(segment, offset + _ACKNOWLEDGED, at)
        segment[offset + _ERROR] = error
        segment[offset + _OUTCOME] = outcome

    def answered(
        self,
        row: int,
        at: int,
        value: int,
        version: int,
        change_id: int,
        unread: int,
        items: int,
        flags: int,
        stages: Stages | None,
    ) -> None:
        """It was acknowledged at `at`, and this is what the reply says.  `flags` bit 0: duplicate (SEND),
        applied (READ, DELIVERED)."""
        segment, offset = (
            self.operations.segments[row >> SEGMENT_BITS],
            (row & SEGMENT_MASK) * OPERATION_BYTES,
        )
        _pack_time(segment, offset + _ACKNOWLEDGED, at)
        _pack_values(segment, offset + _VALUE, value, version, change_id)
        _pack_unread(segment, offset + _UNREAD, unread)
        if stages is not None:
            _pack_stages(
                segment,
                offset + _SERVER,
                stages.server,
                stages.wait,
                stages.store,
                stages.cache,
                stages.queue,
                items,
            )
        elif items:
            _pack_items(segment, offset + _ITEMS, items)
        segment[offset + _FLAGS] = flags
        segment[offset + _OUTCOME] = _OK

    def request(self, row: int) -> tuple[int, int, int]:
        """(session, op, outcome) of a row."""
        return _unpack_request(
            self.operations.segments[row >> SEGMENT_BITS], (row & SEGMENT_MASK) * OPERATION_BYTES + _SESSION
        )

    def op(self, row: int) -> int:
        return self.operations.segments[row >> SEGMENT_BITS][(row & SEGMENT_MASK) * OPERATION_BYTES + _OP]

    def outcome(self, row: int) -> int:
        return self.operations.segments[row >> SEGMENT_BITS][
            (row & SEGMENT_MASK) * OPERATION_BYTES + _OUTCOME
        ]

    def session(self, row: int) -> int:
        offset = (row & SEGMENT_MASK) * OPERATION_BYTES + _SESSION
        return int.from_bytes(self.operations.segments[row >> SEGMENT_BITS][offset : offset + 4], "little")

    def conversation(self, row: int) -> int:
        offset = (row & SEGMENT_MASK) * OPERATION_BYTES + _CONVERSATION
        return int.from_bytes(self.operations.segments[row >> SEGMENT_BITS][offset : offset + 4], "little")

    def argument(self, row: int) -> int:
        offset = (row & SEGMENT_MASK) * OPERATION_BYTES + _ARGUMENT
        segment = self.operations.segments[row >> SEGMENT_BITS]
        return int.from_bytes(segment[offset : offset + 8], "little", signed=True)

    def sent(self, row: int) -> int:
        offset = (row & SEGMENT_MASK) * OPERATION_BYTES + _SENT
        return int.from_bytes(self.operations.segments[row >> SEGMENT_BITS][offset : offset + 8], "little")

    def since(self, row: int) -> list[npt.NDArray[np.void]]:
        """The operations from this row on, as arrays over the files themselves; one for each segment."""
        table, views = self.operations, []
        while row < table.count:
            end = min(table.count, (row | SEGMENT_MASK) + 1)
            first = row & SEGMENT_MASK
            segment = np.frombuffer(table.segments[row >> SEGMENT_BITS], TABLES["operations"])
            views.append(segment[first : first + end - row])
            row = end
        return views

    # --- the other tables -----------------------------------------------------------------------------------

    def item(
        self,
        row: int,
        index: int,
        conversation: int,
        actor: int,
        value: int,
        version: int,
        unread: int,
        applied: int,
        last_seq: int = NONE,
        change_id: int = NONE,
    ) -> None:
        """One item of operation `row`'s reply."""
        table = self.items
        at = table.next()
        _pack_item(
            table.segments[at >> SEGMENT_BITS],
            (at & SEGMENT_MASK) * ITEM_BYTES,
            self.base + row, value, version, change_id, last_seq,
            conversation, actor, unread, index, applied, 0,
        )  # fmt: skip
        table.publish(at)

    def push(
        self,
        kind: int,
        received: int,
        at_ms: int,
        value: int,
        version: int,
        change_id: int,
        session: int,
        user: int,
        device: int,
        conversation: int,
        actor: int,
        phase: int,
        unread: int = NONE,
    ) -> None:
        table = self.pushes
        row = table.next()
        _pack_push(
            table.segments[row >> SEGMENT_BITS],
            (row & SEGMENT_MASK) * PUSH_BYTES,
            received, at_ms, value, version, change_id,
            session, user, device, conversation, actor, unread, kind, phase, 0,
        )  # fmt: skip
        table.publish(row)

    def connection(self, intended: int, session: int, user: int, device: int, role: int) -> int:
        """A new row; `opened`, `welcomed`, `subscribed` and `closed` follow by `connection_time`."""
        table = self.connections
        row = table.next()
        segment, offset = table.segments[row >> SEGMENT_BITS], (row & SEGMENT_MASK) * CONNECTION_BYTES
        _pack_connection(segment, offset, intended, 0, 0, 0, 0, session, user, device, 0, role, 0)
        table.publish(row)
        return row

    def connection_time(self, row: int, column: str, at: int) -> None:
        offset = (row & SEGMENT_MASK) * CONNECTION_BYTES + _OFFSETS["connections"][column]
        _pack_time(self.connections.segments[row >> SEGMENT_BITS], offset, at)

    def connection_closed(self, row: int, at: int, code: int, phase: int) -> None:
        segment = self.connections.segments[row >> SEGMENT_BITS]
        offset = (row & SEGMENT_MASK) * CONNECTION_BYTES
        _pack_time(segment, offset + _OFFSETS["connections"]["closed"], at)
        _pack_items(segment, offset + _OFFSETS["connections"]["close_code"], code)
        segment[offset + _OFFSETS["connections"]["phase"]] = phase


class StampedRecorder(Recorder):
    """Adds to each reply and push how its time was taken."""

    def __init__(self, folder: Path, worker: int) -> None:
        super().__init__(folder, worker)
        self._rx = self._late_us = 0

    def received(self, rx: int, late_ns: int) -> None:
        """How what is recorded next was stamped (bench.record.Rx), and how long it lay unread."""
        self._rx = rx
        self._late_us = min(max(0, late_ns) // 1000, LONGEST_US)

    def answered(
        self,
        row: int,
        at: int,
        value: int,
        version: int,
        change_id: int,
        unread: int,
        items: int,
        flags: int,
        stages: Stages | None,
    ) -> None:
        super().answered(row, at, value, version, change_id, unread, items, flags, stages)
        segment = self.operations.segments[row >> SEGMENT_BITS]
        offset = (row & SEGMENT_MASK) * OPERATION_BYTES
        segment[offset + _RX] = self._rx
        _pack_items(segment, offset + _RX_LATE, self._late_us)

    def push(
        self,
        kind: int,
        received: int,
        at_ms: int,
        value: int,
        version: int,
        change_id: int,
        session: int,
        user: int,
        device: int,
        conversation: int,
        actor: int,
        phase: int,
        unread: int = NONE,
    ) -> None:
        row = self.pushes.count
        super().push(
            kind,
            received,
            at_ms,
            value,
            version,
            change_id,
            session,
            user,
            device,
            conversation,
            actor,
            phase,
            unread,
        )
        segment = self.pushes.segments[row >> SEGMENT_BITS]
        segment[(row & SEGMENT_MASK) * PUSH_BYTES + _PUSH_RX] = self._rx


def read_rows(path: Path) -> npt.NDArray[Any]:
    """The rows of one file, as far as its counter says; also while it is being written, or after its writer
    was killed.  The array lies over the file.  Raises OSError, or ValueError for a file that is no such
    table."""
    name = path.name.rpartition("-")[0]
    if name not in TABLES:
        raise ValueError(f"{path}: expected a name like operations-0.rows")
    header = np.fromfile(path, np.uint64, 3)
    if len(header) < 3 or int(header[0]) != MAGIC or int(header[2]) != TABLES[name].itemsize:
        raise ValueError(f"{path}: not a table of {name} of this version")
    if not header[_COUNT]:
        return np.zeros(0, TABLES[name])
    return np.memmap(path, TABLES[name], "r", offset=HEADER_BYTES, shape=(int(header[_COUNT]),))
