"""Kernel receive stamps: earlier than a sleepy reader's, and dropped when they are not the message's own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from bench.clocks import CLOCK_ERROR_NS
from bench.load.engine import RECEIVE_BYTES, Connection
from bench.load.pacing import now_ns
from bench.load.recorder import read_rows
from bench.load.stamps import StampedEngine, stamp_of
from bench.record import Op, Phase, PushKind, Rx

MS = 1_000_000
SLEEP_NS = 50 * MS


class Peer:
    """A server's end, and the engine's connection to it; pushes land in the record as they do in a run."""

    def __init__(self, engine: StampedEngine) -> None:
        self.engine = engine
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.device = SimpleNamespace(pushed=self._pushed, replied=self._replied, lost=lambda _code: None)
            self.connection = Connection(self.device, 7, 0)  # type: ignore[arg-type]
            self.device.connection = self.connection
            self.connection.socket = engine._socket(socket.AF_INET, socket.SOCK_STREAM, 0)
            self.connection.socket.connect(listener.getsockname())
            self.connection.socket.setblocking(False)
            self.server, _ = listener.accept()
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _pushed(self, _message: Any, session: int, moment: int) -> None:
        self.engine.recorder.push(PushKind.OTHER, moment, 0, -1, -1, -1, session, 1, 2, 3, 4, Phase.MEASURE)

    def _replied(self, row: int, _op: int, _reply: Any, moment: int) -> None:
        self.engine.recorder.answered(row, moment, 0, 0, 0, 0, 0, 0, None)

    def send(self, *frames: dict[str, Any]) -> int:
        """All in one go; when that was."""
        self.server.sendall(b"".join(map(framed, frames)))
        return now_ns()

    def read(self) -> None:
        self.engine._ready(self.connection)

    def pushes(self) -> list[tuple[Rx, int]]:
        rows = read_rows(self.engine.recorder.paths["pushes"])
        return [(Rx(rx), at) for rx, at in zip(rows["rx"].tolist(), rows["received"].tolist(), strict=True)]

    def close(self) -> None:
        self.server.close()
        self.connection.socket.close()


def framed(frame: dict[str, Any]) -> bytes:
    payload = json.dumps(frame).encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


PUSH = {"type": "NOTICE"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[StampedEngine]:
    engine = StampedEngine("ws://127.0.0.1:9", tmp_path, 0, on_fatal=pytest.fail)
    yield engine
    engine.stop()
    assert not engine.counters


@pytest.fixture
def peer(engine: StampedEngine) -> Iterator[Peer]:
    peer = Peer(engine)
    peer.send(PUSH)  # the kernel begins to stamp a moment after the first socket has asked for it
    deadline = time.monotonic() + 5
    while not peer.pushes() or peer.pushes()[-1][0] != Rx.CLEAN:
        assert time.monotonic() < deadline, "this kernel gives no receive stamps"
        peer.send(PUSH)
        gevent.sleep(0.01)
        peer.read()
    engine.recorder.pushes.count = 0  # the test's own rows begin here
    yield peer
    peer.close()


def sleepily(peer: Peer) -> int:
    """A reader whose event loop is busy with something else; when it woke up."""
    time.sleep(SLEEP_NS / 1e9)
    woke = now_ns()
    peer.read()
    return woke


def test_a_sleepy_reader_does_not_make_a_push_late(peer: Peer) -> None:
    before = now_ns()
    after = peer.send(PUSH)
    woke = sleepily(peer)
    ((rx, at),) = peer.pushes()
    assert rx == Rx.CLEAN
    assert before - CLOCK_ERROR_NS <= at <= after + CLOCK_ERROR_NS
    assert woke - at >= SLEEP_NS


def test_a_reply_says_how_long_it_lay_unread(peer: Peer) -> None:
    row = peer.engine.recorder.operation(Op.READ, 1, 2, 7, 1, 2, Phase.MEASURE)
    after = peer.send({"type": "ACK", "reply_to": str(row)})
    sleepily(peer)
    found = read_rows(peer.engine.recorder.paths["operations"])[row]
    assert found["rx"] == Rx.CLEAN
    assert found["acknowledged"] <= after + CLOCK_ERROR_NS
    assert SLEEP_NS // 1000 <= found["rx_late_us"] <= 65535


def test_two_messages_in_one_read_are_stamped_when_they_are_read(peer: Peer) -> None:
    """The stamp is the second one's: the first would seem as late as that."""
    peer.send(PUSH)
    time.sleep(SLEEP_NS / 1e9)
    second = peer.send(PUSH)
    woke = sleepily(peer)
    for rx, at in peer.pushes():
        assert rx == Rx.COALESCED
        assert second < woke <= at


def test_a_piece_of_the_next_message_spoils_the_stamp_but_not_the_next_ones(peer: Peer) -> None:
    whole = framed(PUSH)
    peer.server.sendall(whole + whole[:5])
    time.sleep(0.001)
    peer.read()
    peer.server.sendall(whole[5:])
    completed = now_ns()
    woke = sleepily(peer)
    (first, _), (second, at) = peer.pushes()
    assert (first, second) == (Rx.COALESCED, Rx.CLEAN)
    assert at <= completed + CLOCK_ERROR_NS < woke


def test_a_ping_beside_a_message_spoils_its_stamp(peer: Peer) -> None:
    peer.server.sendall(b"\x89\x00" + framed(PUSH))
    sleepily(peer)
    assert [rx for rx, _ in peer.pushes()] == [Rx.COALESCED]


def test_a_read_that_fills_its_buffer_is_not_trusted(peer: Peer) -> None:
    """More bytes may lie behind it, and the stamp be theirs."""
    filler = {"type": "NOTICE", "fills": ""}
    filler["fills"] = "x" * (RECEIVE_BYTES - len(framed(filler | {"fills": "x" * 60_000})) + 60_000)
    assert len(framed(filler)) == RECEIVE_BYTES
    peer.send(filler)
    peer.send(PUSH)
    time.sleep(0.01)
    peer.read()
    peer.read()
    assert [rx for rx, _ in peer.pushes()] == [Rx.COALESCED, Rx.CLEAN]


def test_order_on_a_connection_survives_the_change_of_clocks(peer: Peer) -> None:
    for number in range(50):
        peer.send(*[PUSH] * (1 + number % 3))
        gevent.sleep(0.0005)
        peer.read()
    times = [at for _, at in peer.pushes()]
    assert len(times) > 90
    assert times == sorted(times)


def test_no_control_message_is_no_stamp() -> None:
    assert stamp_of([]) == 0
    assert stamp_of([(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\0\0\0\0")]) == 0
