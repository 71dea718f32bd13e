"""How the runner and a load process talk: JSON lines over a socket pair that the child inherits.

Orders go one way, `{"do": "begin", "t0_ns": 1}`; events come back, `{"event": "live", ...}`.  When the other
end is gone, `receive` says so by EOFError, and a load process ends itself.  No locust here.
"""

from __future__ import annotations

import _socket  # the C type: in a child, gevent's own class would wait in the event loop
import ctypes
import os
import signal
import sys
from typing import Any, Final

import msgspec

_PR_SET_PDEATHSIG: Final = 1
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Channel:
    """One end, made from its descriptor.  `receive` never blocks; `send` would when the other end did not
    read, but it does."""

    def __init__(self, descriptor: int) -> None:
        self.socket = _socket.socket(fileno=descriptor)
        self._received = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Raises OSError when the other end is gone."""
        self.socket.sendall(_encode(message) + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        """What has come since the last call.  Raises EOFError when the other end is gone."""
        try:
            while data := self.socket.recv(65536, _socket.MSG_DONTWAIT):
                self._received += data
        except BlockingIOError:
            return self._lines()
        except ConnectionResetError:
            pass  # the same as the end of the stream
        lines = self._lines()
        if not lines:
            raise EOFError
        return lines

    def receive_one(self) -> dict[str, Any]:
        """Waits for the next message.  Raises EOFError when the other end is gone."""
        while b"\n" not in self._received:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return _decode(line)

    def close(self) -> None:
        self.socket.close()

    def _lines(self) -> list[dict[str, Any]]:
        *lines, self._received = self._received.split(b"\n")
        return [_decode(line) for line in lines]


def inherited() -> Channel:
    """The child's end: its descriptor is the only argument of the process.  From here on the child dies when
    its parent does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
    return Channel(int(sys.argv[1]))


def leave(code: int = 0) -> None:
    """Ends the process without gevent's and Locust's farewells, which take seconds with 10,000 users."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
