"""When the kernel got it: receive stamps for a process whose figures must not depend on how busy it is.

`SO_TIMESTAMPNS` on a TCP socket makes `recvmsg` tell when the last byte that it returned had arrived, in
CLOCK_REALTIME.  That is the arrival of a message only if nothing else was in the same read; whatever is not
is stamped as this process sees it, and the record says so (`bench.record.Rx`).
"""

from __future__ import annotations

import _socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bench.clocks import Clocks
from bench.load.engine import RECEIVE_BYTES, Connection, Engine
from bench.load.framing import ABNORMAL, framed_bytes
from bench.load.recorder import StampedRecorder
from bench.record import Rx

SO_TIMESTAMPNS: Final = 35
"""include/uapi/asm-generic/socket.h; its control message has the same number (socket(7))."""
_TIMESPEC: Final = struct.Struct("@ll")
ANCILLARY_BYTES: Final = _socket.CMSG_SPACE(_TIMESPEC.size)
_CLEAN, _COALESCED, _NONE = int(Rx.CLEAN), int(Rx.COALESCED), int(Rx.NONE)


def stamp_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The kernel's stamp in ns of CLOCK_REALTIME; 0 if it gave none."""
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


class StampedEngine(Engine):
    """The engine of the probe users: takes the time of what arrives from the kernel."""

    recorder: StampedRecorder

    def __init__(self, url: str, folder: Path, worker: int, **options: Any) -> None:
        super().__init__(url, folder, worker, recorder=StampedRecorder, **options)
        self._clocks = Clocks()

    def _socket(self, family: int, kind: int, protocol: int) -> Any:
        socket = super()._socket(family, kind, protocol)
        with suppress(OSError):  # a kernel that has none: the record says so of every row
            socket.setsockopt(_socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return socket

    def _ready(self, connection: Connection) -> None:
        try:
            if connection.out:
                self._flush(connection)
            began = self._clocks.look()
            data, ancillary, _, _ = connection.socket.recvmsg(RECEIVE_BYTES, ANCILLARY_BYTES)
            moment = time.monotonic_ns()
            if not data:
                self._lose(connection, ABNORMAL, "end of stream")
            elif connection.handshake is None:
                self._stamped(connection, data, stamp_of(ancillary), began, moment)
            else:
                self.recorder.received(_NONE, 0)
                self._upgraded(connection, data, moment)
        except BlockingIOError:
            pass  # it was writable, there is nothing to read
        except Exception as error:  # noqa: BLE001  rim of the event loop: this connection ends, others go on
            if not isinstance(error, OSError):
                self.guard(error)
            self._lose(connection, ABNORMAL, repr(error))

    def _stamped(self, connection: Connection, data: bytes, stamp: int, began: int, moment: int) -> None:
        """The stamp is the message's own if it is the only one of this read and ends it.

        A read that fills its buffer may have left bytes unread, and the stamp may be theirs; any other one
        took all that there was.  What is stamped here gets the time when this read began, or the kernel's if
        that is later: not before its last byte, and not after what arrives next on this connection."""
        frames = connection.frames
        size = frames.held + len(data)
        payloads = frames.feed(data)
        arrived = self._clocks.monotonic(stamp, moment) if stamp else 0
        is_alone = len(payloads) == 1 and framed_bytes(len(payloads[0])) == size
        if not arrived:
            self.recorder.received(_NONE, 0)
        elif is_alone and len(data) < RECEIVE_BYTES:
            self.recorder.received(_CLEAN, moment - arrived)
            moment = arrived
        else:
            self.recorder.received(_COALESCED, moment - arrived)
            moment = max(began, arrived)
        self._take(connection, payloads, moment)
