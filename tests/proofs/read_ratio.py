"""How much longer a READ takes on one server than on another, by a client that shares nothing with the gate:
`websockets` and JSON, one request at a time.  The servers are loaded in turn, forwards and back, and each is
asked while it carries its load, since there a READ waits for others: more CPU costs it more than that."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.gate import ranks
from tests.contract.client import Client

FROM_S, UNTIL_S = 1.5, 5.5
"""Of a load, when it is asked."""
PAUSE_S = 0.05


@dataclass(frozen=True)
class Measured:
    """`ratios`: of each other server over the first, with its 95 % interval.  `base_us`: the first's."""

    base_us: float
    ratios: tuple[tuple[float, float, float], ...]


Load = Callable[[], object]


async def measure(
    urls: Sequence[str],
    loads: Sequence[Load],
    secret: bytes,
    conversation: str,
    people: tuple[str, str],
    rounds: int,
) -> Measured:
    """From the medians of each load, those of one way beside each other."""
    writer, reader = people
    clients = [
        (await Client.open(url, secret, writer, "w"), await Client.open(url, secret, reader, "r"))
        for url in urls
    ]
    ways = []
    for _ in range(rounds):
        for order in (range(len(urls)), reversed(range(len(urls)))):
            found = {side: await _loaded(*clients[side], conversation, loads[side]) for side in order}
            ways.append([found[side] for side in range(len(urls))])
    for pair in clients:
        for client in pair:
            await client.close()
    times = np.array(ways)
    shifts = [ranks.of_pairs(np.log(times[:, side] / times[:, 0]), 0.05) for side in range(1, len(urls))]
    return Measured(
        float(np.median(times[:, 0])),
        tuple((math.exp(one.estimate), math.exp(one.low), math.exp(one.high)) for one in shifts),
    )


async def _loaded(writer: Client, reader: Client, conversation: str, load: Load) -> float:
    """Median of the READs under this load, µs."""
    began, times = time.monotonic(), []
    under_way = asyncio.create_task(asyncio.to_thread(load))
    await asyncio.sleep(FROM_S)
    while time.monotonic() < began + UNTIL_S:
        times.append(await _read(writer, reader, conversation))
        await asyncio.sleep(PAUSE_S)
    await under_way
    return float(np.median(times))


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
