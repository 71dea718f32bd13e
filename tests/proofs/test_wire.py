from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.proofs.wire import Wire, took_us

SERVER, CLIENT = 9000, 50_000
MS = 1_000_000


def frame(message: Mapping[str, Any], *, mask: bytes = b"") -> bytes:
    body = json.dumps(message).encode()
    length = bytes([len(body)]) if len(body) < 126 else b"\x7e" + struct.pack("!H", len(body))
    if not mask:
        return b"\x81" + length + body
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
    return b"\x81" + bytes([length[0] | 0x80]) + length[1:] + mask + masked


class Talk:
    """One connection's packets."""

    def __init__(self, client: int = CLIENT) -> None:
        self._client = client
        self._sequences = {True: 100, False: 0xFFFFFFF0}
        """The server's are about to begin again from 0."""

    def packet(self, payload: bytes, *, request: bool, flags: int = 0) -> bytes:
        ports = (self._client, SERVER) if request else (SERVER, self._client)
        tcp = struct.pack("!HHIIBBHHH", *ports, self._sequences[request], 0, 5 << 4, flags, 0, 0, 0) + payload
        ip = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1"
        )
        self._sequences[request] = (self._sequences[request] + len(payload)) & 0xFFFFFFFF
        return bytes(14) + ip + tcp


def asked(talk: Talk, number: int, op: str = "READ") -> bytes:
    return talk.packet(frame({"type": op, "id": str(number)}, mask=b"\1\2\3\4"), request=True)


def answered(talk: Talk, number: int, kind: str = "ACK", pad: int = 0) -> bytes:
    return talk.packet(frame({"type": kind, "reply_to": str(number), "pad": "x" * pad}), request=False)


def test_a_request_and_its_ack_are_told_from_others() -> None:
    talk = Talk()
    packets = [
        (0, asked(talk, 1, "SEND")),
        (1 * MS, asked(talk, 2)),
        (2 * MS, answered(talk, 1)),
        (3 * MS, talk.packet(frame({"type": "UPDATE", "pad": "x" * 500}), request=False)),
        (4 * MS, talk.packet(b"", request=True)),
        (5 * MS, asked(talk, 3)),
        (9 * MS, answered(talk, 2, pad=300)),
        (10 * MS, answered(talk, 3, "ERROR")),
    ]
    assert took_us(packets, SERVER, "READ", 0, 1) == [8000.0]
    assert took_us(packets, SERVER, "SEND", 0, 1) == [2000.0]
    assert took_us(packets, SERVER, "READ", 0.002, 1) == [], "asked before that"


def test_connections_have_numbers_of_their_own() -> None:
    one, other = Talk(50_000), Talk(50_001)
    packets = [
        (0, asked(one, 1)),
        (1 * MS, asked(other, 1)),
        (4 * MS, answered(other, 1)),
        (6 * MS, answered(one, 1)),
    ]
    assert took_us(packets, SERVER, "READ", 0, 1) == [3000.0, 6000.0]


def test_frames_that_share_a_segment_or_are_cut_by_one() -> None:
    talk = Talk()
    both = frame({"type": "ACK", "reply_to": "1"}) + frame({"type": "ACK", "reply_to": "2"})
    packets = [(0, asked(talk, 1)), (1 * MS, asked(talk, 2))]
    packets += [(at * MS, talk.packet(part, request=False)) for at, part in ((5, both[:-3]), (7, both[-3:]))]
    assert took_us(packets, SERVER, "READ", 0, 1) == [5000.0, 6000.0]


def test_segments_out_of_order_and_sent_again() -> None:
    talk = Talk()
    first, second = answered(talk, 1), answered(talk, 2)
    packets = [(0, asked(talk, 1)), (0, asked(talk, 2)), (0, asked(talk, 3))]
    late = answered(talk, 3)
    packets += [(3 * MS, first), (5 * MS, late), (6 * MS, first), (7 * MS, second), (8 * MS, late)]
    assert took_us(packets, SERVER, "READ", 0, 1) == [3000.0, 7000.0, 7000.0]


def test_a_connection_that_begins_meanwhile_on_a_port_that_was_used() -> None:
    old, new = Talk(), Talk()
    upgrade, switched = b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    packets = [(0, asked(old, 1)), (1 * MS, answered(old, 1))]
    packets += [(2 * MS, new.packet(b"", request=who, flags=2)) for who in (True, False)]
    packets += [
        (3 * MS, new.packet(upgrade[:9], request=True)),
        (3 * MS, new.packet(upgrade[9:], request=True)),
    ]
    packets += [
        (4 * MS, new.packet(switched, request=False)),
        (5 * MS, asked(new, 1)),
        (9 * MS, answered(new, 1)),
    ]
    assert took_us(packets, SERVER, "READ", 0, 1) == [1000.0, 4000.0]


def test_what_is_missing_or_compressed_is_no_measurement() -> None:
    talk = Talk()
    packets = [(n, asked(talk, n)) for n in range(12)]
    del packets[1]
    with pytest.raises(RuntimeError, match="missing"):
        took_us(packets, SERVER, "READ", 0, 1)
    with pytest.raises(ValueError, match="plain frame"):
        took_us([(0, Talk().packet(b"\xc1\x05hello", request=True))], SERVER, "READ", 0, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may listen to a network device")
async def test_it_hears_what_passes_on_the_loopback_device() -> None:
    async def answer(client: ServerConnection) -> None:
        async for text in client:
            await asyncio.sleep(0.02)
            await client.send(
                json.dumps({"type": "ACK", "reply_to": json.loads(text)["id"], "pad": "x" * 999})
            )

    def port_of(sockets: Iterator[Any]) -> int:
        return int(next(sockets).getsockname()[1])

    async with serve(answer, "127.0.0.1", 0, compression=None) as server:
        port = port_of(iter(server.sockets))
        async with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
            with Wire(port) as wire:
                for number in range(5):
                    await client.send(json.dumps({"type": "READ", "id": str(number)}))
                    await client.recv()
            took = wire.took_us("READ", 0, 60)
    assert len(took) == 5
    assert min(took) >= 19_000


def test_an_answer_that_is_no_websocket_is_left_alone() -> None:
    talk = Talk()
    packets = [
        (0, talk.packet(b"GET /readyz HTTP/1.1\r\n\r\n", request=True)),
        (1, talk.packet(b"HTTP/1.1 200 OK\r\n\r\n", request=False)),
        (2, talk.packet(b"ready\n", request=False)),
    ]

    assert took_us(packets, SERVER, "READ", 0, 1) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may listen to a network device")
def test_it_never_hears_other_ports_not_even_when_it_begins() -> None:
    over = threading.Event()

    def talk() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            while not over.is_set():
                one.sendto(b"nothing of yours", ("127.0.0.1", 9))

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        for _ in range(15):
            with Wire(1) as wire:
                time.sleep(0.002)
            assert wire.packets == []
    finally:
        over.set()
        talker.join()
