"""How much longer a READ takes on one server than on another, by a client that shares nothing with the gate:
`websockets` and JSON, one request at a time, both servers in turn (A B B A), nothing else under way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.contract.client import Client

ROUNDS = 300
"""Four READs each."""
DRAWS = 2_000


@dataclass(frozen=True)
class Measured:
    ratio: float
    interval: tuple[float, float]
    base_us: float


async def measure(
    urls: tuple[str, str], secret: bytes, conversation: str, people: tuple[str, str]
) -> Measured:
    """Of the medians of B over A, with a 95 % bootstrap interval over rounds."""
    writer, reader = people
    servers = [
        (await Client.open(url, secret, writer, "w"), await Client.open(url, secret, reader, "r"))
        for url in urls
    ]
    times = np.array([await _round(servers, conversation) for _ in range(ROUNDS)])
    for pair in servers:
        for client in pair:
            await client.close()
    rng = np.random.default_rng(5)
    drawn = [_ratio(times[rng.integers(0, len(times), len(times))]) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Measured(_ratio(times), (float(low), float(high)), float(np.median(times[:, [0, 3]])))


async def _round(servers: Sequence[tuple[Client, Client]], conversation: str) -> list[float]:
    return [await _read(*servers[side], conversation) for side in (0, 1, 1, 0)]


async def _read(writer: Client, reader: Client, conversation: str) -> float:
    """A message, and how long the READ of it takes, µs."""
    sent = await writer.ask(
        "SEND", conversation_id=conversation, client_msg_id=f"m{time.monotonic_ns()}", body="hello"
    )
    began = time.perf_counter()
    reply = await reader.ask("READ", items=[{"conversation_id": conversation, "up_to_seq": sent["seq"]}])
    took = time.perf_counter() - began
    assert reply["type"] == "ACK", reply
    return took * 1e6


def _ratio(times: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    return float(np.median(times[:, [1, 2]]) / np.median(times[:, [0, 3]]))
