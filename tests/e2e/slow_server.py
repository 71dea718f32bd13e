"""The reference server with a planted service time: SENDs pass one at a time, each for PLANTED_SERVICE_MS.

So its capacity is known by construction: a single server with a constant service time, whose delays follow
from the times of arrival alone.  Run as `python -m tests.e2e.slow_server SCHEME …`."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from schemes.__main__ import main
from schemes.memory.scheme import Memory

SERVICE_S = float(os.environ["PLANTED_SERVICE_MS"]) / 1000
send = Memory.send
free_at = 0.0


async def slowly(self: Memory, *args: Any, **kwargs: Any) -> Any:
    global free_at
    loop = asyncio.get_running_loop()
    free_at = max(free_at, loop.time()) + SERVICE_S
    await asyncio.sleep(free_at - loop.time())
    return await send(self, *args, **kwargs)


Memory.send = slowly  # type: ignore[method-assign]

if __name__ == "__main__":
    main(prog_name="slow_server")
