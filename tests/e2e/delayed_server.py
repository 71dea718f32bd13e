"""The reference server with a planted fault: every UPDATE push is held for PLANTED_PUSH_DELAY_MS.

Run as `python -m tests.e2e.delayed_server SCHEME …`, for the test that proves the lag's measurement."""

from __future__ import annotations

import asyncio
import os

from schemes.__main__ import main
from schemes.read_state import Push
from schemes.server.hub import Hub

DELAY_S = float(os.environ["PLANTED_PUSH_DELAY_MS"]) / 1000
publish = Hub.publish


def held(self: Hub, push: Push) -> None:
    if b'"type":"UPDATE"' in push.frame:
        asyncio.get_running_loop().call_later(DELAY_S, publish, self, push)
    else:
        publish(self, push)


if DELAY_S:
    Hub.publish = held  # type: ignore[method-assign]

if __name__ == "__main__":
    main(prog_name="delayed_server")
