"""What is written down about a run: the tables, their columns, and the small vocabularies in them.  Pure.

The load processes write these rows as they are into memory-mapped files (`bench/load/recorder.py`), so that
what was recorded survives the death of its process; the runner turns them into Parquet (`bench/results.py`)
and everything that is reported is computed from there.

Times are nanoseconds of CLOCK_MONOTONIC, one clock per host; 0 means "did not happen".  Durations end in
their unit.  Conversations, people and devices are their indexes in the population (`bench/population.py`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from schemes.protocol import ERRORS

SCHEMA_VERSION: Final = 2


class Op(IntEnum):
    """What was asked.  CONNECT is TCP and the WebSocket handshake; HELLO is AUTH where it was /control."""

    CONNECT = 0
    HELLO = 1
    SUB = 2
    SEND = 3
    DELIVERED = 4
    READ = 5
    STATE = 6
    SYNC = 7
    HISTORY = 8
    PING = 9
    PROBE_SEND = 10
    """A probe's own message, READ and STATE: on people and conversations of their own."""
    PROBE_READ = 11
    PROBE_STATE = 12
    """Asked again and again until it shows what `argument` says."""
    PROBE_DURABLE = 13
    """What MySQL and Redis hold of a probe's cursor, asked through the control door."""
    PROBE_CACHED = 14
    PROBE_ONCE = 15
    """A STATE that is asked once, a planned time after the acknowledgement of its READ, and not again."""


class Outcome(IntEnum):
    """ok: acknowledged.  fail: certainly did not happen.  info: nobody knows (deadline, close, UNAVAILABLE,
    INTERNAL).  unsent: never left this process.  already_read: a planned READ that finds nothing new."""

    PENDING = 0
    OK = 1
    FAIL = 2
    INFO = 3
    UNSENT = 4
    ALREADY_READ = 5


class Phase(IntEnum):
    SETUP = 0
    CONNECT = 1
    WARMUP = 2
    MEASURE = 3
    DRAIN = 4
    FINAL = 5


class Rx(IntEnum):
    """Whose clock says when a reply or push came."""

    NONE = 0
    """This process read it: late by what its event loop had to do first."""
    CLEAN = 1
    """The kernel got its last byte."""
    COALESCED = 2
    """This process read it, together with more, so that the kernel's stamp is not its own."""


class PushKind(IntEnum):
    MESSAGE = 0
    READ = 1
    DELIVERED = 2
    GOODBYE = 3
    OTHER = 4


class Stall(IntEnum):
    """What held a process up: its event loop came back late, it collected garbage, or the wall clock was
    moved while it ran (which holds nobody up, but is seen in the same place).  CORE: of a LOOP that was
    noticed at the same time, how much the process waited for a core, at most."""

    LOOP = 0
    GC = 1
    CLOCK = 2
    CORE = 3


ERROR_NAMES: Final = ("", *ERRORS, "DEADLINE", "CLOSED", "REFUSED", "NOT_CONNECTED")
"""Index = the code in `operations.error`; the last four are the client's own words."""
ERROR_CODES: Final = {name: code for code, name in enumerate(ERROR_NAMES)}

NONE: Final = -1
"""A missing integer (no version, no change id, not planned)."""

DUPLICATE: Final = 1
"""Bit of a SEND's `flags`: an earlier attempt was it."""
MORE: Final = 2
"""Bit of a SYNC's `flags`: another page follows."""
RESET: Final = 4
"""Bit of a SYNC's `flags`: `reset_required`, the change log does not reach back that far."""

OPERATIONS: Final = np.dtype(
    [
        ("op_id", "<i8"),  # worker << 40 | row number in this worker: a hole is visible
        ("plan", "<i8"),  # row of the plan that this carries out (bench/plan.py), NONE if unplanned
        ("intended", "<i8"),  # when the schedule wanted it; latency counts from here
        ("sent", "<i8"),  # just before the send call
        ("acknowledged", "<i8"),  # when the reply came (`rx` says by whose clock); 0 if none did
        ("argument", "<i8"),  # READ, DELIVERED: up_to_seq of the first item; SYNC: since; HISTORY: from_seq;
        # PROBE_STATE, _ONCE, _DURABLE, _CACHED: the seq of the READ that is waited for
        ("value", "<i8"),  # READ: read_seq; SEND: seq; STATE, SYNC, HELLO: change_id; PROBE_DURABLE, _CACHED:
        # read_seq held, NONE if there is no entry; else NONE
        ("version", "<i8"),  # of the first item; HELLO: epoch; NONE
        ("change_id", "<i8"),  # NONE
        ("session", "<u4"),  # one WebSocket incarnation: worker << 24 | number
        ("user", "<u4"),  # person
        ("device", "<u4"),
        ("conversation", "<u4"),  # of the first item; 0xFFFFFFFF if none
        ("unread", "<i4"),  # as answered, of the first item; STATE: total_unread; NONE
        ("dependency_us", "<u4"),  # READ, DELIVERED: how long it waited for its MESSAGE to arrive
        ("server_us", "<u4"),  # the server's own stage times (protocol.StageTimes)
        ("wait_us", "<u4"),
        ("store_us", "<u4"),
        ("cache_us", "<u4"),
        ("queue_us", "<u4"),
        ("items", "<u2"),  # rows of ITEMS that belong to this one
        ("op", "<u1"),
        ("attempt", "<u1"),  # 0 first, 1 retried with the same ids
        ("outcome", "<u1"),
        ("error", "<u1"),  # index in ERROR_NAMES
        ("phase", "<u1"),
        ("flags", "<u1"),  # bit 0: duplicate (SEND) / applied (READ, DELIVERED); SYNC: MORE, RESET
        ("rx", "<u1"),
        ("_pad", "<u1"),
        ("rx_late_us", "<u2"),  # how long after the kernel's stamp it was read; 65535: that or longer
    ]
)
ITEMS: Final = np.dtype(
    [
        ("op_id", "<i8"),
        ("value", "<i8"),  # READ: read_seq; STATE: read_seq; SYNC: up_to_seq
        ("version", "<i8"),
        ("change_id", "<i8"),  # SYNC
        ("last_seq", "<i8"),  # STATE; NONE
        ("conversation", "<u4"),
        ("actor", "<u4"),  # whose cursor it is: the person themselves, or the peer
        ("unread", "<i4"),
        ("index", "<u2"),
        ("applied", "<u1"),
        ("_pad", "<u1"),
    ]
)
PUSHES: Final = np.dtype(
    [
        ("received", "<i8"),  # `rx` says by whose clock
        ("at_ms", "<i8"),  # the server's wall clock, from the frame
        ("value", "<i8"),  # MESSAGE: seq; UPDATE: up_to_seq
        ("version", "<i8"),  # NONE for MESSAGE
        ("change_id", "<i8"),  # NONE where there is none
        ("session", "<u4"),
        ("user", "<u4"),  # who was told
        ("device", "<u4"),
        ("conversation", "<u4"),
        ("actor", "<u4"),  # MESSAGE: sender; UPDATE: whose cursor moved
        ("unread", "<i4"),  # UPDATE read/ to the reader's own devices: as told; NONE
        ("kind", "<u1"),
        ("phase", "<u1"),
        ("rx", "<u1"),
        ("_pad", "<u1"),
        ("_pad_of_row", "<u4"),
    ]
)
CONNECTIONS: Final = np.dtype(
    [
        ("intended", "<i8"),  # when it was asked for
        ("opened", "<i8"),  # handshake complete
        ("welcomed", "<i8"),
        ("subscribed", "<i8"),  # SUB acknowledged; 0 for probe and final connections
        ("closed", "<i8"),  # 0: still open when the run ended
        ("session", "<u4"),
        ("user", "<u4"),
        ("device", "<u4"),
        ("close_code", "<u2"),  # as received; 1000 closed by us at the end; 1006 without a close frame
        ("role", "<u1"),  # 0 device, 1 probe, 2 final read
        ("phase", "<u1"),  # in which it was closed
    ]
)
TABLES: Final = {"operations": OPERATIONS, "items": ITEMS, "pushes": PUSHES, "connections": CONNECTIONS}
"""One Parquet file per table and worker: `<table>-<worker>.parquet`, without columns that begin with `_`."""

TIMESERIES: Final = (("t", "int64"), ("component", "string"), ("metric", "string"), ("value", "float64"))
"""`timeseries.parquet`, long form, one sample a second.  component: generator, server, consumer, mysql,
redis, kafka, machine.  metric: cpu_s (cumulative), rss_bytes, runqueue_s (cumulative), and the stores' own
counters under their own names (Com_select, Handler_update, keyspace_hits, ...)."""
