"""WebSocket frames of a client: the complete text frame by hand, everything else by websockets' own core.

A reply or a push is nearly always one whole, unfragmented text frame; cutting it out of the stream here costs
a tenth of what the library needs.  Pings, closes, fragments and everything illegal go through the library's
Sans-I/O `ClientProtocol`, and a fuzz test holds both ways together byte for byte.  No I/O.
"""

from __future__ import annotations

import base64
import random
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.speedups import apply_mask
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI
from websockets.utils import accept_key

from schemes.protocol import SERVER_FRAME_BYTES_MAX, SUBPROTOCOL

WHOLE_TEXT: Final = 0x81
CLOSE: Final = 0x88
ABNORMAL: Final = 1006
"""The close code of a connection that ended without a close frame."""
FRAME_BYTES_MAX: Final = SERVER_FRAME_BYTES_MAX + (1 << 16)

_SUBPROTOCOL: Final = SUBPROTOCOL.encode()
_random_bits = random.Random().getrandbits


def text_frame(payload: bytes, opcode: int = WHOLE_TEXT, mask: bytes | None = None) -> bytes:
    """A whole masked frame.  The mask hides nothing here, so it need not come from the system's entropy."""
    size = len(payload)
    if mask is None:
        mask = _random_bits(32).to_bytes(4, "little")
    if size < 126:
        head = bytes((opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + mask + apply_mask(payload, mask)


def framed_bytes(payload: int) -> int:
    """The size of a server's whole text frame with a payload of so many bytes."""
    return payload + (2 if payload < 126 else 4 if payload < 65536 else 10)


def close_frame(code: int) -> bytes:
    return text_frame(code.to_bytes(2, "big"), CLOSE)


class Handshakes:
    """Opens connections to one address: the request is the library's, made once, but for the key."""

    def __init__(self, uri: WebSocketURI) -> None:
        self.uri = uri
        library = self.library()
        library.send_request(library.connect())
        request = b"".join(library.data_to_send())
        self._before, _, self._after = request.partition(library.key.encode())

    def library(self) -> ClientProtocol:
        return ClientProtocol(self.uri, subprotocols=[Subprotocol(SUBPROTOCOL)])

    def start(self) -> Handshake:
        key = base64.b64encode(_random_bits(128).to_bytes(16, "little"))
        return Handshake(self, key.decode(), self._before + key + self._after)


class Handshake:
    """The opening of one connection: `request` goes out, `receive` takes what comes back.

    An answer that is plainly right is taken here, any other one is the library's to judge."""

    __slots__ = ("_handshakes", "_key", "_received", "request")

    def __init__(self, handshakes: Handshakes, key: str, request: bytes) -> None:
        self._handshakes = handshakes
        self._key = key
        self._received = b""
        self.request = request

    def receive(self, data: bytes) -> bytes | None:
        """None while the answer is incomplete, else what came after it.

        Raises InvalidHandshake (or another reason of the library) when the server refused."""
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        is_ours = head.startswith(b"HTTP/1.1 101 ") and _SUBPROTOCOL in head and b"xtensions" not in head
        if not (is_ours and b": " + accept_key(self._key).encode() + b"\r\n" in head + b"\r\n"):
            self._judge(head + end)
        return rest

    def _judge(self, answer: bytes) -> None:
        library = self._handshakes.library()
        library.key = self._key
        library.receive_data(answer)
        if library.state is OPEN:
            return
        library.receive_eof()
        if library.handshake_exc is not None:
            raise library.handshake_exc
        raise InvalidHandshake(f"not upgraded: {answer[:60]!r}")


class Frames:
    """Cuts the bytes of one open connection into the payloads of text messages.

    After `feed`: `out` holds bytes to write (pongs, the echo of a close), `close_code` is not 0 once the
    connection is over; nothing may be fed after that."""

    __slots__ = ("_library", "_parts", "_tail", "close_code", "out")

    def __init__(self) -> None:
        self._tail = b""
        self._library: ClientProtocol | None = None
        self._parts: list[bytes] | None = None
        self.out = b""
        self.close_code = 0

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the messages that are complete now."""
        if self._tail:
            data = self._tail + data
            self._tail = b""
        messages: list[bytes] = []
        position, available = 0, len(data)
        while available - position > 1:
            size, head = data[position + 1], position + 2
            if size > 125:
                head, size = _long(data, position)
                if size < 0:
                    self._rare(data[position:head], messages)
                    return messages
            end = head + size
            if end > available:
                break
            if data[position] == WHOLE_TEXT and self._parts is None:
                messages.append(data[head:end])
            elif self._rare(data[position:end], messages):
                return messages
            position = end
        if position < available:
            self._tail = data[position:]
        return messages

    def _rare(self, frame: bytes, messages: list[bytes]) -> bool:
        """One frame through the library.  True when the connection is over."""
        library = self._library
        if library is None:
            library = self._library = ClientProtocol(_ANYWHERE, state=OPEN, max_size=FRAME_BYTES_MAX)
        library.receive_data(frame)
        for event in library.events_received():
            if isinstance(event, Frame):
                self._event(event, messages)
        self.out += b"".join(library.data_to_send())
        if library.state is not OPEN:
            received = library.close_rcvd
            self.close_code = received.code if received else (library.close_code or ABNORMAL)
            return True
        if self._parts is None:
            self._library = None
        return False

    def _event(self, event: Frame, messages: list[bytes]) -> None:
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._parts = []
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) and self._parts is not None:
            self._parts.append(bytes(event.data))
            if event.fin:
                messages.append(b"".join(self._parts))
                self._parts = None


def _long(data: bytes, position: int) -> tuple[int, int]:
    """(where the payload starts, its size) of a frame with an extended length; -1 for what a server may not
    send (a mask, more than FRAME_BYTES_MAX): the library refuses it by its head alone."""
    size = data[position + 1]
    if size > 127:
        return position + 2, -1
    head = position + (4 if size == 126 else 10)
    if len(data) < head:
        return head, 0
    size = int.from_bytes(data[position + 2 : head], "big")
    return head, size if size <= FRAME_BYTES_MAX else -1


_ANYWHERE = WebSocketURI(False, "localhost", 80, "/", "", None, None)
