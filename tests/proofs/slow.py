"""A TCP proxy that makes what is behind it slower: each piece that the server says is held for a random time.

Exponentially distributed, as waits in a queue are: if every answer were held equally long, everything would
come later in the same order, and no race would be lost that was not lost before.  For proofs, in a thread
with an event loop of its own; the order of bytes on a connection stays."""

from __future__ import annotations

import asyncio
import random
import threading
from types import TracebackType

from bench.services.ports import free_ports


class SlowPort:
    """`with SlowPort(3306, 0.002) as port:` - what comes through `port` is held for 2 ms in the mean."""

    def __init__(self, port: int, mean_s: float, seed: int = 1) -> None:
        self._behind = port
        self._mean_s = mean_s
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> int:
        self._thread.start()
        (port,) = free_ports(1)
        serving = asyncio.start_server(self._connection, "127.0.0.1", port)
        asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        return port

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._behind)
        for way in (self._pump(reader, back, 0.0), self._pump(there, writer, self._mean_s)):
            task = asyncio.ensure_future(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, mean_s: float) -> None:
        try:
            while data := await source.read(1 << 16):
                if mean_s:
                    await asyncio.sleep(self._chance.expovariate(1 / mean_s))
                target.write(data)
        except ConnectionError:
            pass
        finally:
            target.close()
