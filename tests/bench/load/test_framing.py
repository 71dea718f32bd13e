"""The short way through a frame against websockets' own, byte for byte."""

from __future__ import annotations

from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from bench.load.framing import FRAME_BYTES_MAX, Frames, Handshakes, close_frame, text_frame
from schemes.protocol import SUBPROTOCOL

URI = parse_uri("ws://localhost/ws")
SIZES = st.sampled_from([0, 1, 124, 125, 126, 127, 200, 65535, 65536, 70000])


def theirs(frame: Frame, mask: bool) -> bytes:
    return frame.serialize(mask=mask)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, fill=st.binary(min_size=1, max_size=1), mask=st.binary(min_size=4, max_size=4))
def test_what_goes_out_is_what_the_library_would_write(size: int, fill: bytes, mask: bytes) -> None:
    payload = fill * size
    with mock.patch("websockets.frames.secrets.token_bytes", return_value=mask):
        assert text_frame(payload, mask=mask) == theirs(Frame(Opcode.TEXT, payload), mask=True)
        assert text_frame(b"\x03\xe8", 0x88, mask) == theirs(Frame(Opcode.CLOSE, b"\x03\xe8"), mask=True)


def test_masks_differ_and_decode_at_a_server() -> None:
    frames = {text_frame(b"hello") for _ in range(50)}
    assert len(frames) > 40
    server = ServerProtocol(state=OPEN)
    for frame in frames:
        server.receive_data(frame)
    assert {bytes(event.data) for event in server.events_received() if isinstance(event, Frame)} == {b"hello"}


@st.composite
def conversations(draw: st.DrawFn) -> list[Frame]:
    """Legal frames of a server: whole texts, fragments with control frames between them, perhaps a close."""
    frames: list[Frame] = []
    for _ in range(draw(st.integers(0, 6))):
        payload = draw(st.binary(max_size=40)) * draw(st.sampled_from([1, 4, 2000]))
        pieces = draw(st.integers(1, 3))
        step = len(payload) // pieces + 1
        for piece in range(pieces):
            opcode = Opcode.TEXT if piece == 0 else Opcode.CONT
            fin = piece == pieces - 1
            frames.append(Frame(opcode, payload[piece * step : (piece + 1) * step], fin=fin))
            if draw(st.booleans()):
                frames.append(Frame(draw(st.sampled_from([Opcode.PING, Opcode.PONG])), b"beat"))
    if draw(st.booleans()):
        frames.append(Frame(Opcode.CLOSE, b"\x03\xf5bye"))
    return frames


def by_library(chunks: list[bytes]) -> tuple[list[bytes], bytes, bool]:
    """(messages, bytes that go out, is it over), from websockets alone."""
    protocol = ClientProtocol(URI, state=OPEN, max_size=FRAME_BYTES_MAX)
    messages: list[bytes] = []
    parts: list[bytes] = []
    out = b""
    for chunk in chunks:
        protocol.receive_data(chunk)
        for event in protocol.events_received():
            if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                parts.append(bytes(event.data))
                if event.fin:
                    messages.append(b"".join(parts))
                    parts = []
        out += b"".join(protocol.data_to_send())
    return messages, out, protocol.state is not OPEN


def by_us(chunks: list[bytes]) -> tuple[list[bytes], bytes, bool]:
    frames = Frames()
    messages: list[bytes] = []
    for chunk in chunks:
        if not frames.close_code:
            messages += frames.feed(chunk)
    return messages, frames.out, bool(frames.close_code)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[low:high] for low, high in pairwise(bounds)]


@settings(max_examples=300, deadline=None)
@given(frames=conversations(), places=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_legal_stream_in_any_pieces_is_read_as_the_library_reads_it(
    frames: list[Frame], places: list[int]
) -> None:
    chunks = cut(b"".join(theirs(frame, mask=False) for frame in frames), places)
    with mock.patch("websockets.frames.secrets.token_bytes", return_value=b"mask"):
        assert by_us(chunks) == by_library(chunks)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), places=st.lists(st.integers(0, 400), max_size=6))
@example(data=b"\x81\x85mask\x00\x00\x00\x00\x00", places=[])
@example(data=b"\x81\xfe\x00", places=[1])
@example(data=b"\x81\x7f" + (FRAME_BYTES_MAX + 1).to_bytes(8, "big"), places=[5])
@example(data=b"\x80\x01x", places=[])
@example(data=b"\x01\x01a\x81\x01b", places=[])
def test_garbage_ends_a_connection_where_the_library_ends_it(data: bytes, places: list[int]) -> None:
    chunks = cut(data, places)
    messages, _, over = by_us(chunks)
    expected, _, expected_over = by_library(chunks)
    assert messages == expected
    if expected_over and not over:  # the library sees it from half a frame, we when all of it is there
        _, _, over = by_us([*chunks, bytes(FRAME_BYTES_MAX)])
    assert over or not expected_over


def test_close_code_is_the_servers() -> None:
    frames = Frames()
    frames.feed(theirs(Frame(Opcode.CLOSE, (1013).to_bytes(2, "big")), mask=False))
    assert frames.close_code == 1013
    assert frames.out[:1] == b"\x88", "the close is echoed"


def answer(offer: bytes, subprotocols: list[Subprotocol] | None) -> bytes:
    server = ServerProtocol(subprotocols=subprotocols)
    server.receive_data(offer)
    server.send_response(server.accept(server.events_received()[0]))  # type: ignore[arg-type]
    return b"".join(server.data_to_send())


def test_handshake_in_pieces_gives_back_what_follows() -> None:
    handshake = Handshakes(URI).start()
    data = answer(handshake.request, [Subprotocol(SUBPROTOCOL)]) + b"\x81\x01x"
    assert handshake.receive(data[:20]) is None
    assert handshake.receive(data[20:]) == b"\x81\x01x"


UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
WRONG_KEY = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: wrong\r\n\r\n"
)


@pytest.mark.parametrize("subprotocols", [[Subprotocol(SUBPROTOCOL)], None])
def test_a_server_may_ignore_our_subprotocol_and_each_key_is_new(
    subprotocols: list[Subprotocol] | None,
) -> None:
    first, second = Handshakes(URI).start(), Handshakes(URI).start()
    assert first.request != second.request
    reply = answer(first.request, subprotocols)
    assert first.receive(reply) == b""
    with pytest.raises(InvalidHandshake):
        second.receive(reply)


@pytest.mark.parametrize("reply", [UNAVAILABLE, WRONG_KEY])
def test_a_refused_or_wrong_handshake_raises(reply: bytes) -> None:
    with pytest.raises(InvalidHandshake):
        Handshakes(URI).start().receive(reply)


def test_close_frame_reaches_a_server() -> None:
    server = ServerProtocol(state=OPEN)
    server.receive_data(close_frame(1000))
    assert server.close_rcvd is not None
    assert server.close_rcvd.code == 1000
