"""What passed on the loopback device between a server and its clients: requests and replies, by id, with the
kernel's own timestamps.  Nothing of the harness has a part in it.  Needs root (CAP_NET_RAW), and Linux.

The filter is classic BPF (the kernel's Documentation/networking/filter.rst), frames are RFC 6455's."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

IPV4, TCP, OUTGOING = 0x0800, 6, 4
ETH, SNAP, BUFFER = 14, 1 << 18, 64 << 20
SO_ATTACH_FILTER, SO_TIMESTAMPNS, SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 26, 35, 33, 263, 6
LDH, LDB, LDX_IP, LDH_X, LD, JEQ, RET = 0x28, 0x30, 0xB1, 0x48, 0x20, 0x15, 0x06
PACKET_TYPE: Final = 0xFFFFF000 + 4
"""Where a filter finds which way a packet goes: on the loopback device each passes twice."""
TEXT, CONTINUATION = 1, 0
POLL_S: Final = 0.1
SYN: Final = 2
HTTP: Final = (b"GET ", b"HTTP")
"""How a connection begins that will be a WebSocket."""
ANSWERED, UPGRADED = b"HTTP", b"HTTP/1.1 101"
"""How an answer begins, and one after which frames follow; another (/readyz) is never one."""
LAST: Final = 0xFFFFFFFF
"""Of sequence numbers."""
AT_ONCE: Final = 8
"""Segments of one direction that two cores may have sent out of order."""


def _filter(port: int) -> bytes:
    """TCP over IPv4, from or to this port, as it comes in."""
    program = [
        (LD, 0, 0, PACKET_TYPE), (JEQ, 10, 0, OUTGOING), (LDH, 0, 0, 12), (JEQ, 0, 8, IPV4),
        (LDB, 0, 0, ETH + 9), (JEQ, 0, 6, TCP), (LDX_IP, 0, 0, ETH),
        (LDH_X, 0, 0, ETH), (JEQ, 2, 0, port), (LDH_X, 0, 0, ETH + 2), (JEQ, 0, 1, port),
        (RET, 0, 0, SNAP), (RET, 0, 0, 0),
    ]  # fmt: skip
    return b"".join(struct.pack("HBBI", *one) for one in program)


@dataclass
class Wire:
    """Listens while it is entered; `took_us()` afterwards."""

    port: int
    packets: list[tuple[int, bytes]] = field(default_factory=list)

    def __enter__(self) -> Wire:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        code = ctypes.create_string_buffer(program := _filter(self.port))
        length = len(program) // struct.calcsize("HBBI")
        attached = struct.pack("HL", length, ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, attached)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind(("lo", IPV4))  # not before: it hears everything without a filter
        self._socket.settimeout(POLL_S)
        self._until: int | None = None
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._until = time.time_ns()
        self._listener.join()
        with self._socket:
            _, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        if dropped and kind is None:
            raise RuntimeError(f"the kernel dropped {dropped} packets that were not listened to in time")

    def _listen(self) -> None:
        """Until what passed before the end has been read, however late this thread is."""
        while True:
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(SNAP, 64)
            except TimeoutError:
                if self._until is not None:
                    return
                continue
            seconds, ns = struct.unpack("qq", ancillary[0][2])
            at = seconds * 1_000_000_000 + ns
            if self._until is not None and at > self._until:
                return
            self.packets.append((at, packet))

    def took_us(self, op: str, from_s: float, until_s: float) -> list[float]:
        """From request to its ACK, of requests so long after the first packet."""
        return took_us(self.packets, self.port, op, from_s, until_s)

    def answered(self, op: str) -> list[tuple[int, float]]:
        """(ns when it passed, µs until its ACK did) of each such request."""
        return answered(self.packets, self.port, op)


def took_us(
    packets: list[tuple[int, bytes]], port: int, op: str, from_s: float, until_s: float
) -> list[float]:
    """Of packets (ns, Ethernet frame) in their order."""
    began = packets[0][0] if packets else 0
    first, last = (began + int(seconds * 1e9) for seconds in (from_s, until_s))
    return [took for sent, took in answered(packets, port, op) if first <= sent < last]


def answered(packets: list[tuple[int, bytes]], port: int, op: str) -> list[tuple[int, float]]:
    """(ns when it passed, µs until its ACK did) of each such request, in the order of the ACKs."""
    streams: dict[tuple[int, bool], _Stream] = defaultdict(_Stream)
    asked: dict[tuple[int, Any], int] = {}
    found = []
    for at, packet in packets:
        source, target, sequence, begins, payload = _segment(packet)
        peer, is_request = (source, True) if target == port else (target, False)
        if begins:
            streams.pop((peer, is_request), None)
        for message in streams[peer, is_request].take(sequence, payload):
            if is_request and message["type"] == op:
                asked[peer, message["id"]] = at
            elif message["type"] == "ACK" and (peer, message["reply_to"]) in asked:
                sent = asked.pop((peer, message["reply_to"]))
                found.append((sent, (at - sent) / 1e3))
    return found


def _segment(packet: bytes) -> tuple[int, int, int, bool, bytes]:
    """(source port, target port, sequence number, whether a connection begins, payload)."""
    ip = ETH + 4 * (packet[ETH] & 0x0F)
    (total,) = struct.unpack_from("!H", packet, ETH + 2)
    source, target, sequence = struct.unpack_from("!HHI", packet, ip)
    begins = bool(packet[ip + 13] & SYN)
    return source, target, sequence, begins, packet[ip + 4 * (packet[ip + 12] >> 4) : ETH + total]


class _Stream:
    """One direction of a connection, which was not listened to from its beginning: it begins with a frame."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._early: dict[int, bytes] = {}
        """Segments that came before one that belongs before them, by sequence number."""
        self._rest = b""

    def take(self, sequence: int, payload: bytes) -> Iterator[Mapping[str, Any]]:
        """The messages that are whole by this segment; what was sent again is left out."""
        if not payload:
            return
        if self._next is None:
            self._next = sequence
        self._early[sequence] = payload
        while (segment := self._early.pop(self._next, None)) is not None:
            self._next = (self._next + len(segment)) & LAST
            self._rest += segment
        self._early = {at: data for at, data in self._early.items() if (at - self._next) & LAST < LAST // 2}
        if len(self._early) > AT_ONCE:
            raise RuntimeError("a segment is missing")
        if self._rest.startswith(HTTP):
            head, end, rest = self._rest.partition(b"\r\n\r\n")
            plain = end and head.startswith(ANSWERED) and not head.startswith(UPGRADED)
            self._rest = rest if end and not plain else head
        while not self._rest.startswith(HTTP) and (frame := _frame(self._rest)) is not None:
            opcode, body, length = frame
            self._rest = self._rest[length:]
            if opcode == TEXT:
                yield json.loads(body)


def _frame(data: bytes) -> tuple[int, bytes, int] | None:
    """(opcode, payload, bytes that it took); None: not all of it is here.  Raises ValueError for what the
    protocol here does not use: compression, fragments."""
    if len(data) < 2:
        return None
    if data[0] & 0xF0 != 0x80 or data[0] & 0x0F == CONTINUATION:
        raise ValueError(f"not a whole, plain frame: {data[:20]!r}")
    length, at = data[1] & 0x7F, 2
    if length >= 126:
        wide = "!H" if length == 126 else "!Q"
        if len(data) < at + struct.calcsize(wide):
            return None
        (length,) = struct.unpack_from(wide, data, at)
        at += struct.calcsize(wide)
    masked = bool(data[1] & 0x80)
    end = at + 4 * masked + length
    if len(data) < end:
        return None
    body = data[at + 4 * masked : end]
    if masked and length:
        mask = (data[at : at + 4] * (length // 4 + 1))[:length]
        body = (int.from_bytes(body, "big") ^ int.from_bytes(mask, "big")).to_bytes(length, "big")
    return data[0] & 0x0F, body, end
